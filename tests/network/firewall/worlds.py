"""A host with guests for tests of rules: as the panel knows it, and as the lab's model of pf does."""

from __future__ import annotations

from bhype.lab.pf.journey import Pfil
from bhype.lab.pf.model import Filter
from bhype.lab.pf.world import Interface
from bhype.lab.pf.world import World as LabWorld
from network.firewall import base, compile
from network.firewall.document import Document
from network.firewall.world import Guest, Net, Port, World

NAT, LAN, DARK = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "abc")
WEB, DB, MAIL, SPY = (f"vm:{digit * 8}-0000-4000-8000-000000000000" for digit in "1234")
CALLS = 'nat-anchor "bhype/*"\nrdr-anchor "bhype/*"\nanchor "bhype/*"\n'
# The user's own rules: none, or none may pass.
OPEN, SHUT = CALLS, 'nat-anchor "bhype/*"\nrdr-anchor "bhype/*"\nblock all\nanchor "bhype/*"\n'
ALL = Pfil(member=True, bridge=True, local=True)
OUTSIDE, OUTSIDE6 = "198.51.100.9", "2001:db8:9::9"

nat = Net(
    1, NAT, "nat", "sw-nat", "nat", ("10.77.0.1/24", "fd77::1/64"), has_dhcp=True, has_dns=True, ipv6="slaac"
)
lan = Net(2, LAN, "lan", "sw-lan", "bridged", ("192.168.9.1/24",), is_open=True, uplinks=("em1",))
dark = Net(3, DARK, "dark", "sw-dark", "private")
web = Guest(
    WEB, "web", ("shop",),
    (Port("nic:1", 1, "tap1001", "58:9c:fc:00:00:01", False, ("10.77.0.5",), ("10.77.0.5", "fd77::5")),),
)  # fmt: skip
db = Guest(
    DB, "db", ("shop", "quiet"),
    (Port("nic:2", 1, "tap1002", "58:9c:fc:00:00:02", False, ("10.77.0.6",), ("10.77.0.6", "fd77::6")),),
)  # fmt: skip
mail = Guest(
    MAIL, "mail", (),
    (Port("nic:3", 2, "tap1003", "58:9c:fc:00:00:03", False, ("192.168.9.7",), ("192.168.9.7",)),),
)  # fmt: skip
# Nobody knows its address.
spy = Guest(SPY, "spy", ("quiet",), (Port("nic:4", 2, "tap1004", "58:9c:fc:00:00:04"),))
world = World(
    (nat, lan, dark), (web, db, mail, spy), ("10.77.0.1", "fd77::1", "192.168.9.1", "192.0.2.10"), ("em0",), "em0",
    "em0", "2001:db8::10", (22, 8080), (22,),
)  # fmt: skip
lab_world = LabWorld(
    {
        "em0": Interface(("192.0.2.10/24", "2001:db8::10/64")),
        "sw-nat": Interface(("10.77.0.1/24", "fd77::1/64"), ("bridge", "bhype"), ("tap1001", "tap1002")),
        "sw-lan": Interface(("192.168.9.1/24",), ("bridge", "bhype"), ("tap1003", "tap1004", "em1")),
        "sw-dark": Interface((), ("bridge", "bhype"), ()),
        "em1": Interface(),
        **{f"tap100{number}": Interface((), ("tap", "bhype")) for number in (1, 2, 3, 4)},
        "lo0": Interface(("127.0.0.1/8", "::1/128"), ("lo",), is_loopback=True),
    }
)
AT = {
    "10.77.0.5": "tap1001", "fd77::5": "tap1001", "10.77.0.6": "tap1002", "fd77::6": "tap1002",
    "192.168.9.7": "tap1003", "192.168.9.66": "tap1004",
}  # fmt: skip


def loaded(document: Document, main: str = OPEN, what: World = world) -> Filter:
    """A pf that has what bHype would load."""
    texts = {
        "": main,
        "bhype/base": base.base(what).text,
        "bhype/rules": compile.rules(document, what).ruleset.text,
    }
    return Filter.of(texts, lab_world)
