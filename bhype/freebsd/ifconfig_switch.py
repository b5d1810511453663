"""What switches need of ifconfig(8) besides `ifconfig`: VLANs, tunnels, aggregations, VLANs of ports, more addresses.

Words of VLANs on ports are those of FreeBSD 15.0 (S:sbin/ifconfig/ifbridge.c, if_bridge(4)): until then a bridge passes
tagged frames as they are and knows no VLANs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bhype.freebsd import names
from bhype.freebsd.command import Command
from bhype.freebsd.ifconfig import GROUP, PROGRAM, _address, _change, _text

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

VLANS = range(1, 4095)
# vxlan(4): 24 bits; 0 is a number as any other there, here it stands for none.
VNIS = range(1, 1 << 24)
LAGG_PROTOCOLS = ("lacp", "failover", "loadbalance", "roundrobin")
# Until a port says otherwise, what it sends without a tag belongs to this VLAN.
UNTAGGED = 1
_LAGG = re.compile(r"lagg[0-9]{1,3}")
_TAGGED = re.compile(r"all|[0-9]{1,4}(-[0-9]{1,4})?(,[0-9]{1,4}(-[0-9]{1,4})?){0,63}")


def create_vlan(name: str, parent: str, vlan: int, *, description: str) -> Command:
    """A VLAN of ``parent`` as an interface of its own. It has its description before its name, as a bridge."""
    words = ("vlandev", names.interface(parent), "vlan", str(vlan_id(vlan)))
    return _create("vlan", name, description, *words)


def create_vxlan(
    name: str, vni: int, local: str, remote: str, *, description: str, device: str = ""
) -> Command:
    """A tunnel to the same number elsewhere. remote: a host, or a multicast group, which is sent to by ``device``."""
    here, there = _ip(local), _ip(remote)
    if here.version != there.version:
        raise names.BadName(f"{local} and {remote} are not of one family.")
    words = ["vxlanid", str(vni_number(vni)), "vxlanlocal", str(here)]
    if there.is_multicast:
        words += ["vxlangroup", str(there), "vxlandev", names.interface(device)]
    else:
        words += ["vxlanremote", str(there)]
    return _create("vxlan", name, description, *words)


def create_lagg(name: str, protocol: str, members: tuple[str, ...], *, description: str) -> Command:
    """Several interfaces as one, lagg(4). It keeps its cloned name, as rc.conf(5) knows it by that."""
    if not _LAGG.fullmatch(name):
        raise names.BadName(f"{name!r} is not the name of an aggregation, such as lagg0.")
    if protocol not in LAGG_PROTOCOLS or not members:
        raise names.BadName(f"{protocol!r} of {len(members)} interfaces is not an aggregation.")
    ports = [word for member in members for word in ("laggport", names.interface(member))]
    return _change(
        name, "create", "descr", _text(description), "group", GROUP, "laggproto", protocol, *ports, "up"
    )


def set_protocol(lagg: str, protocol: str) -> Command:
    if protocol not in LAGG_PROTOCOLS:
        raise names.BadName(f"{protocol!r} is not a protocol of aggregations.")
    return _change(lagg, "laggproto", protocol)


def add_port(lagg: str, member: str) -> Command:
    return _change(lagg, "laggport", names.interface(member))


def remove_port(lagg: str, member: str) -> Command:
    return _change(lagg, "-laggport", names.interface(member))


def _create(kind: str, name: str, description: str, *words: str) -> Command:
    """A clone of a name of its own, with its description before that, as a crash may leave it without."""
    return Command(
        (PROGRAM, kind, "create", *words, "descr", _text(description), "group", GROUP,
         "name", names.interface(name), "up")
    )  # fmt: skip


def filter_vlans(bridge: str, *, on: bool = True) -> Command:
    """Let a bridge tell VLANs apart: each member is in those that it is given, and others in `UNTAGGED`."""
    return _change(
        bridge, *(("vlanfilter", "defuntagged", str(UNTAGGED)) if on else ("-defuntagged", "-vlanfilter"))
    )


def add_member(bridge: str, member: str, *, untagged: int | None = None, tagged: str = "") -> Command:
    """Make an interface a member that is in its VLANs from the beginning."""
    words = ["addm", names.interface(member)]
    if untagged is not None:
        words += ["untagged", str(vlan_id(untagged))]
    if tagged:
        words += ["tagged", tagged_vlans(tagged)]
    return _change(bridge, *words)


def set_member_vlans(bridge: str, member: str, *, untagged: int, tagged: str = "") -> Command:
    """Put a member into VLANs, and out of all others."""
    who = names.interface(member)
    return _change(
        bridge, "ifuntagged", who, str(vlan_id(untagged)), "iftagged", who, tagged_vlans(tagged or "none")
    )


def pin(bridge: str, member: str, mac: str) -> Command:
    """Let a member send from one MAC address only: bridge_rtupdate() of S:sys/net/if_bridge.c takes no second one, and
    drops its frames."""
    who = names.interface(member)
    return _change(bridge, "static", who, names.mac(mac), "ifmaxaddr", who, "1")


def unpin(bridge: str, member: str) -> Command:
    """Let a member send from any MAC address; those that were set go with the member."""
    return _change(bridge, "ifmaxaddr", names.interface(member), "0")


def add_address(name: str, address: str) -> Command:
    """One more address, with its prefix length; what is there stays."""
    parsed = _address(address)
    if parsed.version == 4:
        return _change(name, "inet", str(parsed), "alias")
    return _change(name, "inet6", str(parsed.ip), "prefixlen", str(parsed.network.prefixlen), "alias")


def enable_ipv6(name: str) -> Command:
    """A bridge has IPv6 switched off and makes no link-local address on its own (if_bridge(4))."""
    return _change(name, "inet6", "-ifdisabled", "auto_linklocal")


def vlan_id(vlan: int) -> int:
    if vlan not in VLANS:
        raise names.BadName(f"{vlan} is not the number of a VLAN: 1 to 4094.")
    return vlan


def vni_number(vni: int) -> int:
    if vni not in VNIS:
        raise names.BadName(f"{vni} is not the number of a VXLAN: 1 to 16777215.")
    return vni


def tagged_vlans(text: str) -> str:
    """VLANs as a member of a bridge takes them: "all", "none", or as "10,20-30". Raises BadName."""
    if text == "none":
        return text
    if not _TAGGED.fullmatch(text):
        raise names.BadName("VLANs are “all”, or numbers and ranges such as 10,20-30.")
    for part in text.split(",") if text != "all" else ():
        first, _, last = part.partition("-")
        if not 1 <= int(first) <= int(last or first) <= 4094:
            raise names.BadName(f"{part} is not a VLAN or a range of VLANs: 1 to 4094.")
    return text


def _ip(text: str) -> IPv4Address | IPv6Address:
    import ipaddress  # as in `ifconfig`

    try:
        found = ipaddress.ip_address(text)
    except ValueError as error:
        raise names.BadName(f"{text!r} is not an address.") from error
    if "%" in text:
        raise names.BadName(f"{text} is an address of one link only.")
    return found
