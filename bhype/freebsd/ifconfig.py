"""ifconfig(8): interfaces, bridges, VLANs, tunnels and taps. It has no machine-readable output on FreeBSD 13 to 15.

What only switches need, VLANs, tunnels and aggregations, is in `ifconfig_switch`.

Its parameters work from left to right, each at once. A refused name, mtu or description is only a warning
with status 0, so callers read back what they have set.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bhype.freebsd import names
from bhype.freebsd.command import Command, ParseError, Query

if TYPE_CHECKING:
    from ipaddress import IPv4Interface, IPv6Interface

PROGRAM = "/sbin/ifconfig"
GROUP = "bhype"
_HEAD = re.compile(r"(\S+): flags=[0-9a-f]+<([A-Z0-9_,]*)>(.*)")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5,19}")
_IPV4 = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}(/[0-9]{1,2})?")
_IPV6 = re.compile(r"[0-9a-f:]+(\.[0-9.]+)?(%\S+)?(/[0-9]{1,3})?")


@dataclass(frozen=True, slots=True)
class Member:
    """What a bridge says of one of its members. untagged, tagged: VLANs on a bridge that filters them (15.0), as 10 and
    "20,30-40"; most: how many MAC addresses may be behind it, 0 for any number."""

    name: str
    is_private: bool = False
    untagged: int | None = None
    tagged: str = ""
    most: int = 0


@dataclass(slots=True)
class Interface:
    """One interface. flags: as "UP", "RUNNING"; addresses: as "10.10.0.1/24" and "fe80::1%em0/64"; members:
    of a bridge, ports of a lagg; opened_by: the process that has a tap open; media: in words.

    details: of each member; filters_vlans: a bridge's flag VLANFILTER (15.0). vlan, parent: of a VLAN its number and
    what it is on. vni, tunnel: of a vxlan its number, and its (local, remote or group) addresses. protocol: a lagg's.
    nd6: flags of IPv6, such as "IFDISABLED".
    """

    name: str
    flags: frozenset[str] = frozenset()
    mtu: int = 0
    description: str = ""
    groups: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    ether: str | None = None
    opened_by: int | None = None
    status: str = ""
    media: str = ""
    details: tuple[Member, ...] = ()
    filters_vlans: bool = False
    vlan: int | None = None
    parent: str = ""
    vni: int | None = None
    tunnel: tuple[str, str] = ("", "")
    protocol: str = ""
    nd6: frozenset[str] = frozenset()

    def member(self, name: str) -> Member | None:
        """What is known of a member of this bridge."""
        return next((one for one in self.details if one.name == name), None)

    @property
    def is_up(self) -> bool:
        return "UP" in self.flags


def list_interfaces() -> Query[list[Interface]]:
    """All interfaces, in the order of their creation."""
    return Query(Command((PROGRAM, "-a")), _interfaces)


def _interfaces(text: str) -> list[Interface]:
    found: list[Interface] = []
    for line_number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            if not line[0].isspace():
                found.append(_head(line))
            elif found:
                _detail(found[-1], line.strip())
            else:
                raise ValueError("an interface expected")
        except (ValueError, IndexError) as error:
            raise ParseError(f"line {line_number}: {error}: {line!r}") from error
    return found


def _head(line: str) -> Interface:
    match = _HEAD.fullmatch(line)
    if not match:
        raise ValueError("name and flags expected")
    words = match[3].split()
    mtu = int(words[words.index("mtu") + 1]) if "mtu" in words else 0
    return Interface(match[1], frozenset(match[2].split(",")) - {""}, mtu)


def _detail(interface: Interface, line: str) -> None:
    """Take one line of an interface; the many that bHype does not use are passed over."""
    key, _, rest = line.partition(" ")
    match key:
        case "description:":
            interface.description = rest
        case "ether":
            interface.ether = _match(_MAC, rest.split()[0])
        case "inet":
            interface.addresses += (_inet(rest.split()),)
        case "inet6":
            interface.addresses += (_inet6(rest.split()),)
        case "member:":
            _member(interface, rest.split())
        case "ifmaxaddr" | "port":
            # The second line of a member; 15.0 leaves ifmaxaddr out where it is 0.
            _member_more(interface, [key, *rest.split()])
        case "bridge":
            # 15.0: "bridge flags=1<VLANFILTER> defuntagged=1" (ifbridge.c)
            interface.filters_vlans = "VLANFILTER" in rest
        case "vlan:":
            words = rest.split()
            parent = words[words.index("interface:") + 1] if "interface:" in words else ""
            interface.vlan, interface.parent = int(words[0]), parent.replace("<none>", "")
        case "vxlan":
            _vxlan(interface, rest.split())
        case "laggproto":
            interface.protocol = rest.split()[0]
        case "laggport:":
            interface.members += (rest.split()[0],)
        case "media:":
            interface.media = rest
        case "nd6":
            interface.nd6 = frozenset(rest.partition("<")[2].strip(">").split(",")) - {""}
        case "groups:":
            interface.groups = tuple(rest.split())
        case "status:":
            interface.status = rest
        case "Opened":
            by, pid_word, pid = rest.split()
            if (by, pid_word) != ("by", "PID"):
                raise ValueError("Opened by PID expected")
            interface.opened_by = int(pid)


def _member(bridge: Interface, words: list[str]) -> None:
    """``tap0 flags=943<LEARNING,DISCOVER,AUTOEDGE,AUTOPTP,PRIVATE>``"""
    bridge.members += (words[0],)
    flags = words[1] if len(words) > 1 else ""
    bridge.details += (
        Member(words[0], is_private="PRIVATE" in flags.partition("<")[2].strip(">").split(",")),
    )


def _member_more(bridge: Interface, words: list[str]) -> None:
    """``ifmaxaddr 1 port 6 priority 128 path cost 2000000 untagged 10 tagged 20,30-40``; with STP the VLANs stand on a
    line of their own."""
    if not bridge.details:
        return
    untagged = int(words[words.index("untagged") + 1]) if "untagged" in words else None
    tagged = words[words.index("tagged") + 1] if "tagged" in words else ""
    most = int(words[words.index("ifmaxaddr") + 1]) if "ifmaxaddr" in words else 0
    last = bridge.details[-1]
    bridge.details = (*bridge.details[:-1], replace(last, untagged=untagged, tagged=tagged, most=most))


def _vxlan(interface: Interface, words: list[str]) -> None:
    """``vni 42 local 10.0.0.1:4789 group 239.0.0.42:4789``; IPv6 in brackets (ifvxlan.c)."""
    pairs = dict(zip(words[::2], words[1::2], strict=False))
    remote = pairs.get("remote") or pairs.get("group") or ""
    interface.vni = int(pairs["vni"])
    interface.tunnel = (_bare(pairs.get("local", "")), _bare(remote))


def _bare(endpoint: str) -> str:
    """The address of ``10.0.0.1:4789`` or ``[fd00::1]:4789``."""
    return endpoint.rpartition(":")[0].strip("[]")


def _match(pattern: re.Pattern[str], word: str) -> str:
    if not pattern.fullmatch(word):
        raise ValueError(f"{word!r} not understood")
    return word


def _inet(words: list[str]) -> str:
    """``10.10.0.1 netmask 0xffffff00 broadcast ...`` or, with -f inet:cidr, ``10.10.0.1/24``."""
    address = _match(_IPV4, words[0])
    if "/" not in address:
        # On point-to-point links "--> peer" stands between; the mask is wherever its word is.
        mask = int(words[words.index("netmask") + 1], 16) if "netmask" in words else 0xFFFFFFFF
        address = f"{address}/{mask.bit_count()}"
    return address


def _inet6(words: list[str]) -> str:
    prefix = words[words.index("prefixlen") + 1] if "prefixlen" in words else "128"
    address = _match(_IPV6, words[0])
    return address if "/" in address else f"{address}/{int(prefix)}"


def create(
    name: str,
    *,
    description: str | None = None,
    mtu: int | None = None,
    group: str | None = None,
    up: bool = False,
) -> Command:
    """Create a numbered interface such as tap1001; ifconfig(8) fails when it exists."""
    parameters = ["create"]
    if description is not None:
        parameters += ["descr", _text(description)]
    if group is not None:
        parameters += ["group", group]
    if mtu is not None:
        parameters += ["mtu", str(_mtu(mtu))]
    if up:
        parameters.append("up")
    return _change(name, *parameters)


def create_bridge(name: str, *, description: str | None = None, group: str = GROUP) -> Command:
    """Create a bridge with a name of its own and set it up.

    The description comes first: a bridge that was left unnamed by a crash still tells whose it is.
    """
    words = ["descr", _text(description)] if description is not None else []
    return Command((PROGRAM, "bridge", "create", *words, "group", group, "name", names.interface(name), "up"))


def destroy(name: str) -> Command:
    return _change(name, "destroy")


def add_member(bridge: str, member: str) -> Command:
    return _change(bridge, "addm", names.interface(member))


def remove_member(bridge: str, member: str) -> Command:
    return _change(bridge, "deletem", names.interface(member))


def set_private(bridge: str, member: str, *, private: bool = True) -> Command:
    """Members that are private to each other exchange no frames."""
    return _change(bridge, "private" if private else "-private", names.interface(member))


def set_description(name: str, description: str) -> Command:
    return _change(name, "descr", _text(description))


def rename(name: str, new_name: str) -> Command:
    return _change(name, "name", names.interface(new_name))


def dress(name: str, new_name: str, *, description: str) -> Command:
    """Mark an interface that something else has made as bHype's, then name it and set it up."""
    return _change(name, "descr", _text(description), "group", GROUP, "name", names.interface(new_name), "up")


def set_group(name: str, group: str) -> Command:
    return _change(name, "group", names.interface(group))


def set_mtu(name: str, mtu: int) -> Command:
    """A bridge's changes that of all its members (if_bridge(4))."""
    return _change(name, "mtu", str(_mtu(mtu)))


def set_address(name: str, address: str) -> Command:
    """``address`` with its prefix, as 10.77.0.1/24 or fd00::1/64. It replaces the first IPv4 address."""
    parsed = _address(address)
    if parsed.version == 4:
        return _change(name, "inet", str(parsed))
    return _change(name, "inet6", str(parsed.ip), "prefixlen", str(parsed.network.prefixlen))


def remove_address(name: str, address: str) -> Command:
    parsed = _address(address)
    return _change(name, "inet" if parsed.version == 4 else "inet6", str(parsed.ip), "-alias")


def up(name: str) -> Command:
    return _change(name, "up")


def down(name: str) -> Command:
    return _change(name, "down")


def _change(name: str, *parameters: str) -> Command:
    return Command((PROGRAM, names.interface(name), *parameters))


def _address(address: str) -> IPv4Interface | IPv6Interface:
    """A word that is no address would be looked up as a host name, which can block on DNS."""
    import ipaddress  # a megabyte that the supervisors, who set no addresses, do without

    try:
        if "/" not in address:
            raise ValueError
        return ipaddress.ip_interface(address)
    except ValueError as error:
        raise names.BadName(
            f"{address!r} is not an address with its prefix, such as 10.77.0.1/24."
        ) from error


def _text(description: str) -> str:
    if not description or not description.isprintable() or len(description.encode()) > 1000:
        raise names.BadName(f"{description[:80]!r} cannot be the description of an interface.")
    return description


def _mtu(mtu: int) -> int:
    if not 576 <= mtu <= 65535:
        raise names.BadName(f"{mtu} is not an MTU.")
    return mtu
