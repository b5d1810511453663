"""What ``ifconfig`` prints about an interface: FreeBSD 14's words, or those of the lab's release."""

from __future__ import annotations

from bhype.lab import release
from bhype.lab.ifconfig_state import bridge_of, nd6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bhype.lab.ifconfig_state import Interface

FLAGS = {
    **{"UP": 0x1, "BROADCAST": 0x2, "LOOPBACK": 0x8, "POINTOPOINT": 0x10, "RUNNING": 0x40, "NOARP": 0x80},
    **{"PROMISC": 0x100, "SIMPLEX": 0x800, "MULTICAST": 0x8000, "LOWER_UP": 0x1000000},
}
# In the order of IFBIFBITS (sys/net/if_bridgevar.h), which is not that of their bits.
MEMBER_FLAGS = {
    **{"LEARNING": 0x1, "DISCOVER": 0x2, "STP": 0x4, "SPAN": 0x8, "STICKY": 0x10, "PRIVATE": 0x800},
    **{"EDGE": 0x20, "AUTOEDGE": 0x40, "PTP": 0x80, "AUTOPTP": 0x100},
}
_DEFAULT_FLAGS = ("LEARNING", "DISCOVER", "AUTOEDGE", "AUTOPTP")
_FLAG_WORDS = {"learn": "LEARNING", "discover": "DISCOVER"}
PORT_FLAGS = {"MASTER": 0x1, "STACK": 0x2, "ACTIVE": 0x4, "COLLECTING": 0x8, "DISTRIBUTING": 0x10}
ND6_FLAGS = {
    **{"PERFORMNUD": 0x1, "ACCEPT_RTADV": 0x2, "IFDISABLED": 0x8, "AUTO_LINKLOCAL": 0x20, "NO_RADR": 0x40},
    "NO_DAD": 0x100,
}
OPTIONS = {
    "bridge": "options=0",
    "em": "options=4e504bb<RXCSUM,TXCSUM,VLAN_MTU,VLAN_HWTAGGING,JUMBO_MTU,VLAN_HWCSUM,LRO,VLAN_HWFILTER>",
    "epair": "options=8<VLAN_MTU>",
    "lagg": "options=4e504bb<RXCSUM,TXCSUM,VLAN_MTU,VLAN_HWTAGGING,JUMBO_MTU,VLAN_HWCSUM,LRO,VLAN_HWFILTER>",
    "lo": "options=680003<RXCSUM,TXCSUM,LINKSTATE,RXCSUM_IPV6,TXCSUM_IPV6>",
    "ngeth": "options=28<VLAN_MTU,JUMBO_MTU>",
    "pflog": "options=0",
    "tap": "options=80000<LINKSTATE>",
    "vlan": "options=4000003<RXCSUM,TXCSUM,MEXTPG>",
    "vmnet": "options=80000<LINKSTATE>",
    "vxlan": "options=80020<JUMBO_MTU,LINKSTATE>",
    "wg": "options=80000<LINKSTATE>",
}
_MEDIA = {
    "em": "Ethernet autoselect (1000baseT <full-duplex>)",
    "epair": "Ethernet 10Gbase-T (10Gbase-T <full-duplex>)",
    "lagg": "Ethernet autoselect",
    "tap": "Ethernet 1000baseT <full-duplex>",
    "vlan": "Ethernet autoselect (1000baseT <full-duplex>)",
    "vmnet": "Ethernet 1000baseT <full-duplex>",
    "vxlan": "Ethernet autoselect (autoselect <full-duplex>)",
}
NOBODY = "00:00:00:00:00:00"


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
    if kind == "lagg":
        lines.append(f"\thwaddr {NOBODY}")
    inet = [_inet(entry, kind, formats) for entry in me["inet"]]
    inet6 = [_inet6(entry, name, me["index"], formats) for entry in me["inet6"]]
    lines += [*inet6, *inet] if kind == "lo" else [*inet, *inet6]
    if kind == "bridge":
        lines += _bridge(me, interfaces)
    elif kind == "vxlan" and "vxlanid" in me:
        lines.append(_vxlan(me))
    elif kind == "lagg":
        lines += _lagg(me, interfaces)
    if me["groups"]:
        lines.append(f"\tgroups: {' '.join(me['groups'])}")
    if kind == "vlan":
        lines.append(
            f"\tvlan: {me['vlan']} vlanproto: {me['vlanproto']} vlanpcp: {me['vlanpcp']}"
            f" parent interface: {me['vlandev'] or '<none>'}"
        )
    if kind in _MEDIA:
        lines.append(f"\tmedia: {_MEDIA[kind]}")
        linked = _linked(me, interfaces, openers)
        lines.append(f"\tstatus: {'active' if linked else 'no carrier'}")
    if kind != "pflog":  # IPv6 is not attached to it (S:sys/netinet6/in6.c, in6_domifattach)
        lines.append(f"\tnd6 options={_bits(ND6_FLAGS, [word for word in ND6_FLAGS if word in nd6(me)])}")
    if opener:
        lines.append(f"\tOpened by PID {opener}")
    return "\n".join(lines) + "\n"


def _linked(interface: Interface, interfaces: dict[str, Interface], openers: dict[str, int]) -> bool:
    kind = interface["kind"]
    if kind in ("tap", "vmnet"):
        return interface["device"] in openers
    if kind == "vlan":
        return interface["vlandev"] in interfaces and interfaces[interface["vlandev"]]["up"]
    if kind == "lagg":
        return any(interfaces[port]["up"] for port in interface.get("laggports", ()))
    if kind == "bridge":
        return any(_linked(interfaces[member], interfaces, openers) for member in interface["members"])
    return kind != "vxlan" or "vxlanid" in interface


def is_up(interface: Interface, openers: dict[str, int]) -> bool:
    """bhyve sets a tap up that it opens."""
    return bool(interface["up"]) or interface["device"] in openers


def _flags(name: str, interfaces: dict[str, Interface], openers: dict[str, int]) -> str:
    return _bits(FLAGS, flags(name, interfaces, openers))


def flags(name: str, interfaces: dict[str, Interface], openers: dict[str, int]) -> list[str]:
    """The names of the flags of an interface, in the order in which they are shown."""
    me = interfaces[name]
    kind = me["kind"]
    up = is_up(me, openers)
    linked = _linked(me, interfaces, openers)
    alone = kind in ("lo", "pflog", "wg")
    on = {
        "UP": up,
        "BROADCAST": not alone,
        "LOOPBACK": kind == "lo",
        "POINTOPOINT": False,
        "RUNNING": up and (kind not in ("tap", "vmnet") or me["device"] in openers),
        "NOARP": kind == "wg",
        "PROMISC": bool(bridge_of(interfaces, name)),
        "SIMPLEX": not alone,
        "MULTICAST": kind != "pflog",
        "LOWER_UP": linked and up and release.major() >= 14,
    }
    return [word for word in FLAGS if on[word]]


def _bits(table: dict[str, int], words: list[str]) -> str:
    return f"{sum(table[word] for word in words):x}<{','.join(words)}>"


def _inet(entry: str, kind: str, formats: str) -> str:
    address, _, width = entry.partition("/")
    mask = (0xFFFFFFFF << (32 - int(width))) & 0xFFFFFFFF
    number = int.from_bytes(bytes(int(part) for part in address.split(".")), "big")
    last = number | (~mask & 0xFFFFFFFF)
    shown = f"{address}/{width}" if "inet:cidr" in formats else f"{address} netmask 0x{mask:08x}"
    broadcast = ".".join(str(last >> shift & 255) for shift in (24, 16, 8, 0))
    return f"\tinet {shown}" + ("" if kind in ("lo", "wg") else f" broadcast {broadcast}")


def _inet6(entry: str, name: str, index: int, formats: str) -> str:
    address, _, width = entry.partition("/")
    scope = ""
    if address.startswith("fe80:"):
        address, scope = f"{address}%{name}", f" scopeid 0x{index:x}"
    if "inet6:cidr" in formats:
        return f"\tinet6 {address}/{width}{scope}"
    return f"\tinet6 {address} prefixlen {width}{scope}"


def _bridge(me: Interface, interfaces: dict[str, Interface]) -> list[str]:
    settings = {
        "priority": 32768, "hellotime": 2, "fwddelay": 15, "maxage": 20, "holdcnt": 6, "proto": "rstp",
        "maxaddr": 2000, "timeout": 1200,
    } | me.get("settings", {})  # fmt: skip
    has_tree = any(port.get("stp") for port in me.get("ports", {}).values()) and me["up"]
    root = me["ether"] if has_tree else NOBODY
    lines = [
        "\tid {} priority {priority} hellotime {hellotime} fwddelay {fwddelay}".format(root, **settings),
        "\tmaxage {maxage} holdcnt {holdcnt} proto {proto} maxaddr {maxaddr} timeout {timeout}".format(
            **settings
        ),
        f"\troot id {root} priority {settings['priority']} ifcost 0 port 0",
    ]
    if release.major() >= 15:
        default = f" defuntagged={me['defuntagged']}" if me.get("defuntagged") else ""
        words = ["VLANFILTER"] if me.get("vlanfilter") else []
        lines.append(f"\tbridge flags={_bits({'VLANFILTER': 1}, words)}{default}")
    for member in me["members"]:
        lines += _member(member, me, interfaces, str(settings["proto"]))
    for member in me.get("span", ()):
        lines += [
            f"\tmember: {member} flags={_bits(MEMBER_FLAGS, ['SPAN'])}",
            f"\t        {_limit(0)}port {interfaces[member]['index']} priority 0 path cost 0",
        ]
    return lines


def _limit(number: int) -> str:
    return f"ifmaxaddr {number} " if number or release.major() < 15 else ""


def _member(name: str, bridge: Interface, interfaces: dict[str, Interface], protocol: str) -> list[str]:
    port = bridge.get("ports", {}).get(name, {})
    on = dict.fromkeys(_DEFAULT_FLAGS, True)
    on |= {
        _FLAG_WORDS.get(word, word.upper()): value for word, value in port.items() if isinstance(value, bool)
    }
    on["PRIVATE"] = name in bridge["private"]
    words = [word for word in MEMBER_FLAGS if on.get(word)]
    cost = port.get("ifpathcost") or (
        20000 if interfaces[name]["kind"] in ("em", "vlan", "lagg") else 2000000
    )
    line = (
        f"\t        {_limit(port.get('ifmaxaddr', 0))}port {interfaces[name]['index']}"
        f" priority {port.get('ifpriority', 128)} path cost {cost}"
    )
    tail = _vlans(bridge, name)
    if not on.get("STP"):
        return [f"\tmember: {name} flags={_bits(MEMBER_FLAGS, words)}", line + tail]
    works = bridge["up"] and interfaces[name]["up"]
    state = "role designated state forwarding" if works else "role disabled state discarding"
    return [
        f"\tmember: {name} flags={_bits(MEMBER_FLAGS, words)}", f"{line} proto {protocol}", f"\t        {state}{tail}"
    ]  # fmt: skip


def _vlans(bridge: Interface, member: str) -> str:
    untagged = bridge.get("untagged", {}).get(member)
    found = f" untagged {untagged}" if untagged else ""
    parts: list[list[int]] = []
    for number in bridge.get("tagged", {}).get(member, ()):
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    shown = ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)
    return found + (f" tagged {shown}" if shown else "")


def _vxlan(me: Interface) -> str:
    remote = me.get("vxlangroup") or me.get("vxlanremote") or "0.0.0.0"
    local = me.get("vxlanlocal") or ("::" if ":" in remote else "0.0.0.0")
    word = "group" if me.get("vxlangroup") else "remote"
    ends = [
        f"[{address}]:{me.get(key, 4789)}" if ":" in address else f"{address}:{me.get(key, 4789)}"
        for address, key in ((local, "vxlanlocalport"), (remote, "vxlanremoteport"))
    ]
    return f"\tvxlan vni {me['vxlanid']} local {ends[0]} {word} {ends[1]}"


def _lagg(me: Interface, interfaces: dict[str, Interface]) -> list[str]:
    protocol = me.get("laggproto", "failover")
    lines = [f"\tlaggproto {protocol} lagghash l2,l3,l4"]
    first = True
    for port in me.get("laggports", ()):
        live = interfaces[port]["up"]
        words = ["ACTIVE"] if live else []
        if protocol == "lacp" and live:
            words += ["COLLECTING", "DISTRIBUTING"]
        elif protocol == "failover":
            words = (["MASTER"] if port == me["laggports"][0] else []) + (words if first else [])
        first = first and not live
        lines.append(f"\tlaggport: {port} flags={_bits(PORT_FLAGS, words)}")
    return lines
