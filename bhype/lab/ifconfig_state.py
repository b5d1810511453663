"""The state of the lab's interfaces, and the troubles that its ifconfig(8) has with it (see `ifconfig`)."""

from __future__ import annotations

import os

from bhype.lab import core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Interface = dict[str, Any]

CLONERS = ("bridge", "epair", "lagg", "lo", "pflog", "tap", "vlan", "vmnet", "vxlan", "wg")
FAMILIES = {"inet": "inet", "inet6": "inet6", **dict.fromkeys(("ether", "link", "lladdr"), "ether")}
NAME_MAX = 15
EXISTS = "File exists"
MISSING = "No such file or directory"
INVALID = "Invalid argument"
NO_DEVICE = "Device not configured"
# What the interfaces of a kind begin with, where it is not 1500 bytes, or not Ethernet.
MTU = {"pflog": 33152, "vxlan": 1450, "wg": 1420}
# nd6_ifattach in nd6.c: a bridge and a tunnel make no link-local address on their own.
ND6 = {
    **{"bridge": ["PERFORMNUD", "IFDISABLED"], "lo": ["PERFORMNUD", "AUTO_LINKLOCAL"]},
    "wg": ["PERFORMNUD", "IFDISABLED", "NO_DAD"],
}
ND6_DEFAULT = ["PERFORMNUD", "IFDISABLED", "AUTO_LINKLOCAL"]


class Trouble(Exception):
    """ifconfig ends here with ``code``; what it did so far stays done."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code


def boot(data: dict[str, Any], nics: int = 1) -> None:
    """The interfaces of a host that has just started; of an older lab, those that it lacks now."""
    is_new = not data.get("interfaces")
    if is_new:
        data.update(interfaces={}, index=0)
        nic = add(data, "em0", "em", up=True)
        nic.update(inet=["192.0.2.10/24"], ether="00:0c:29:5a:4d:01", groups=[])
        loopback = add(data, "lo0", "lo", up=True)
        loopback.update(inet=["127.0.0.1/8"], inet6=["::1/128"], mtu=16384, ether="")
    for unit in range(1, nics):
        if not any(each["device"] == f"em{unit}" for each in data["interfaces"].values()):
            nic = add(data, f"em{unit}", "em")
            nic.update(ether=f"00:0c:29:5a:4d:{unit + 1:02x}", groups=[])


def add(data: dict[str, Any], name: str, kind: str, *, up: bool = False) -> Interface:
    """A new interface, as its cloner or driver makes it."""
    data["index"] += 1
    noise = os.urandom(2).hex()
    interface: Interface = {
        "kind": kind,
        "device": name,
        "index": data["index"],
        "up": up,
        "mtu": MTU.get(kind, 1500),
        "description": "",
        "groups": [kind],
        "ether": "" if kind in ("pflog", "wg") else f"58:9c:fc:10:{noise[:2]}:{noise[2:]}",
        "inet": [],
        "inet6": [],
    }
    if kind == "bridge":
        interface.update(members=[], private=[])
    data["interfaces"][name] = interface
    return interface


def forget(data: dict[str, Any], name: str) -> None:
    """Remove the interface, also from its bridge, its aggregation and /dev; a VLAN loses its parent."""
    interfaces: dict[str, Interface] = data["interfaces"]
    interface = interfaces.pop(name)
    for other in interfaces.values():
        leave(other, name)
        if other.get("vlandev") == name:
            other["vlandev"] = ""
    node = core.root(f"/dev/{interface['device']}")
    if interface["kind"] in ("tap", "vmnet") and os.path.exists(node):
        os.unlink(node)
    if interface["kind"] == "epair":
        twin = interface["device"][:-1] + ("b" if interface["device"].endswith("a") else "a")
        for each, found in list(interfaces.items()):
            if found["device"] == twin:
                forget(data, each)


def leave(bridge: Interface, member: str) -> None:
    """Take a member out of a bridge or an aggregation, with all that is noted of it."""
    for key in ("members", "private", "span", "laggports"):
        if member in bridge.get(key, ()):
            bridge[key].remove(member)
    for key in ("untagged", "tagged", "ports"):
        bridge.get(key, {}).pop(member, None)


def renamed(bridge: Interface, old: str, new: str) -> None:
    """Note the new name of a member, a port or a parent."""
    for key in ("members", "private", "span", "laggports"):
        if old in bridge.get(key, ()):
            bridge[key][bridge[key].index(old)] = new
    for key in ("untagged", "tagged", "ports"):
        if old in bridge.get(key, {}):
            bridge[key][new] = bridge[key].pop(old)
    for key in ("vlandev", "vxlandev"):
        if bridge.get(key) == old:
            bridge[key] = new


def nd6(interface: Interface) -> list[str]:
    """The flags of IPv6 at an interface (nd6.h)."""
    found: list[str] = interface.get("nd6") or ND6.get(interface["kind"], ND6_DEFAULT)
    return found


def is_mac(text: str) -> bool:
    """Whether ether_aton(3) takes it. By hand, as these programs start often and `re` takes long to import."""
    parts = text.lower().split(":")
    return len(parts) == 6 and all(
        1 <= len(part) <= 2 and not set(part) - set("0123456789abcdef") for part in parts
    )


def bridge_of(interfaces: dict[str, Interface], name: str) -> str:
    """The bridge that ``name`` is a member of, or ""."""
    return next((each for each, found in interfaces.items() if name in found.get("members", ())), "")
