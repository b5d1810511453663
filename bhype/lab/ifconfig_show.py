"""What ``ifconfig`` prints about an interface: FreeBSD 14's words."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bhype.lab.ifconfig_run import Interface

FLAGS = {
    **{"UP": 0x1, "BROADCAST": 0x2, "LOOPBACK": 0x8, "RUNNING": 0x40, "PROMISC": 0x100},
    **{"SIMPLEX": 0x800, "MULTICAST": 0x8000, "LOWER_UP": 0x1000000},
}
MEMBER_FLAGS = {"LEARNING": 0x1, "DISCOVER": 0x2, "AUTOEDGE": 0x40, "AUTOPTP": 0x100, "PRIVATE": 0x800}
OPTIONS = {
    "bridge": "options=0",
    "em": "options=4e504bb<RXCSUM,TXCSUM,VLAN_MTU,VLAN_HWTAGGING,JUMBO_MTU,VLAN_HWCSUM,LRO,VLAN_HWFILTER>",
    "lo": "options=680003<RXCSUM,TXCSUM,LINKSTATE,RXCSUM_IPV6,TXCSUM_IPV6>",
    "ngeth": "options=28<VLAN_MTU,JUMBO_MTU>",
    "tap": "options=80000<LINKSTATE>",
    "vmnet": "options=80000<LINKSTATE>",
}
ND6 = {
    "bridge": "options=9<PERFORMNUD,IFDISABLED>",
    "lo": "options=21<PERFORMNUD,AUTO_LINKLOCAL>",
}
STP = (
    "id 00:00:00:00:00:00 priority 32768 hellotime 2 fwddelay 15",
    "maxage 20 holdcnt 6 proto rstp maxaddr 2000 timeout 1200",
    "root id 00:00:00:00:00:00 priority 32768 ifcost 0 port 0",
)


def text(name: str, interfaces: dict[str, Interface], openers: dict[str, int], formats: str) -> str:
    """All lines about ``name``. openers: pids by tap; formats: the argument of -f."""
    me = interfaces[name]
    kind = me["kind"]
    opener = openers.get(me["device"])
    lines = [f"{name}: flags={_flags(name, interfaces, openers)} metric 0 mtu {me['mtu']}"]
    if me["description"]:
        lines.append(f"\tdescription: {me['description']}")
    lines.append(f"\t{OPTIONS[kind]}")
    if me["ether"]:
        lines.append(f"\tether {me['ether']}")
    inet = [_inet(entry, kind, formats) for entry in me["inet"]]
    inet6 = [_inet6(entry, formats) for entry in me["inet6"]]
    lines += [*inet6, *inet] if kind == "lo" else [*inet, *inet6]
    if kind == "bridge":
        lines += [f"\t{line}" for line in STP]
        for member in me["members"]:
            lines += _member(member, interfaces, private=member in me["private"])
    if me["groups"]:
        lines.append(f"\tgroups: {' '.join(me['groups'])}")
    if kind == "em":
        lines += ["\tmedia: Ethernet autoselect (1000baseT <full-duplex>)", "\tstatus: active"]
    elif kind in ("tap", "vmnet"):
        lines += [
            "\tmedia: Ethernet 1000baseT <full-duplex>",
            f"\tstatus: {'active' if opener else 'no carrier'}",
        ]
    lines.append(f"\tnd6 {ND6.get(kind, 'options=29<PERFORMNUD,IFDISABLED,AUTO_LINKLOCAL>')}")
    if opener:
        lines.append(f"\tOpened by PID {opener}")
    return "\n".join(lines) + "\n"


def _linked(interface: Interface, openers: dict[str, int]) -> bool:
    return interface["kind"] in ("em", "lo", "ngeth") or interface["device"] in openers


def _flags(name: str, interfaces: dict[str, Interface], openers: dict[str, int]) -> str:
    me = interfaces[name]
    kind = me["kind"]
    is_open = me["device"] in openers
    linked = _linked(me, openers)
    if kind == "bridge":
        linked = any(_linked(interfaces[member], openers) for member in me["members"])
    up = me["up"] or is_open
    bridged = any(name in each.get("members", ()) for each in interfaces.values())
    on = {
        "UP": up,
        "BROADCAST": kind != "lo",
        "LOOPBACK": kind == "lo",
        "RUNNING": up and (kind not in ("tap", "vmnet") or is_open),
        "PROMISC": bridged,
        "SIMPLEX": kind != "lo",
        "MULTICAST": True,
        "LOWER_UP": linked and up,
    }
    return _bits(FLAGS, [word for word in FLAGS if on[word]])


def _bits(table: dict[str, int], words: list[str]) -> str:
    return f"{sum(table[word] for word in words):x}<{','.join(words)}>"


def _inet(entry: str, kind: str, formats: str) -> str:
    address, _, width = entry.partition("/")
    mask = (0xFFFFFFFF << (32 - int(width))) & 0xFFFFFFFF
    number = int.from_bytes(bytes(int(part) for part in address.split(".")), "big")
    last = number | (~mask & 0xFFFFFFFF)
    shown = f"{address}/{width}" if "inet:cidr" in formats else f"{address} netmask 0x{mask:08x}"
    broadcast = ".".join(str(last >> shift & 255) for shift in (24, 16, 8, 0))
    return f"\tinet {shown}" + ("" if kind == "lo" else f" broadcast {broadcast}")


def _inet6(entry: str, formats: str) -> str:
    address, _, width = entry.partition("/")
    return f"\tinet6 {entry}" if "inet6:cidr" in formats else f"\tinet6 {address} prefixlen {width}"


def _member(name: str, interfaces: dict[str, Interface], *, private: bool) -> list[str]:
    words = [word for word in MEMBER_FLAGS if word != "PRIVATE" or private]
    cost = 20000 if interfaces[name]["kind"] == "em" else 2000000
    return [
        f"\tmember: {name} flags={_bits(MEMBER_FLAGS, words)}",
        f"\t        ifmaxaddr 0 port {interfaces[name]['index']} priority 128 path cost {cost}",
    ]
