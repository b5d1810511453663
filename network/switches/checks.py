"""What is wrong with a switch before it is stored: by the other switches, and the host's interfaces. Reads rows only.

A problem is (column, sentence); the sentence says what to do. `plan` and the builders of commands check again what
root's worker does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface

from bhype.freebsd import ifconfig_switch
from network.models import HostInterface, Switch

from .plan import Network

Problem = tuple[str, str]
NAME = re.compile(r"[a-z][a-z0-9-]{0,10}[a-z0-9]|[a-z]")
# Words that addresses of pages, rules and names of hosts have for something else.
RESERVED = frozenset(
    {"new", "adopt", "lagg", "any", "all", "host", "self", "internet", "none", "local", "localhost"}
)
UPLINKS = ("physical", "lagg", "vlan")
MTUS = range(576, 9217)
MTU_IPV6 = 1280
# What a tunnel needs around each packet: Ethernet, IP, UDP and VXLAN.
VXLAN_OVERHEAD = {4: 50, 6: 70}


def problems(row: Switch) -> list[Problem]:
    """All that is wrong with ``row``, which need not be saved."""
    others = list(Switch.objects.filter(host=row.host).exclude(pk=row.pk))
    interfaces = {one.name: one for one in row.host.interfaces.all()}
    found = [*_name(row, others), *_kind(row), *_host(row)]
    if row.adopted:
        return [*found, *_adopted(row, others, interfaces)]
    found += _uplink(row, others, interfaces)
    found += _vlan(row)
    found += _vxlan(row, others, interfaces)
    found += _mtu(row, interfaces)
    found += _addresses(row, others, interfaces)
    return found


def name_problem(name: str) -> str:
    """Why a switch cannot be called so; "" if it can."""
    if not NAME.fullmatch(name):
        return "A name starts with a letter, has only a-z, 0-9 and '-', and at most 12 characters."
    return "This word means something else. Choose another name." if name in RESERVED else ""


def _name(row: Switch, others: list[Switch]) -> Iterator[Problem]:
    if problem := name_problem(row.name):
        yield "name", problem
    elif any(one.name == row.name for one in others):
        yield "name", "There is a switch of this name already."
    elif not row.pk and not row.adopted and row.host.interfaces.filter(name=f"sw-{row.name}").exists():
        yield (
            "name",
            f"The host has an interface sw-{row.name} that is no switch of bHype. Choose another name.",
        )


def _kind(row: Switch) -> Iterator[Problem]:
    kinds, technology = Switch.Kind, row.technology
    if technology == Switch.Technology.VALE:
        if row.kind == kinds.NAT:
            yield (
                "technology",
                "A VALE switch has no interface of the host: there is no NAT on it. Choose if_bridge.",
            )
        for column in ("address", "address6"):
            if getattr(row, column):
                yield column, "The host has no interface on a VALE switch, so it has no address there."
    if technology != Switch.Technology.BRIDGE:
        label = row.get_technology_display()
        for column, what in (
            ("is_isolated", "keeps guests apart"), ("has_vlans", "has VLANs of ports"), ("vxlan", "has a tunnel"),
        ):  # fmt: skip
            if getattr(row, column):
                yield column, f"Only a bridge {what}: choose if_bridge in place of {label}."
    elif row.has_vlans and not row.host.features.get("bridge_vlans"):
        yield (
            "has_vlans",
            "Bridges of this host know no VLANs, those of FreeBSD 15.0 and later do. Make a switch of its own for each "
            "VLAN: its uplink has the VLAN's number.",
        )
    if row.has_vlans and (row.address or row.address6):
        yield (
            "has_vlans",
            "The host has an address on this switch, outside of its VLANs: take it away, or the VLANs.",
        )
    if row.kind == kinds.NAT and not (row.adopted or row.address or row.address6):
        yield "address", "A NAT-ed switch needs an address of the host: its guests leave through it."


def _host(row: Switch) -> Iterator[Problem]:
    """What leads to the host's own addresses: who is connected by them would cut himself off, with no way back."""
    if not (row.host_addresses or row.host_before):
        return
    old = Switch.objects.filter(pk=row.pk).first()
    for column in ("kind", "technology", "adopted", "uplink", "vlan", "has_vlans"):
        if old is not None and getattr(row, column) != getattr(old, column):
            yield column, f"{row.name} has the host's own addresses: move them back to {old.uplink} first."


def _adopted(row: Switch, others: list[Switch], interfaces: dict[str, HostInterface]) -> Iterator[Problem]:
    found = interfaces.get(row.adopted)
    if any(one.adopted == row.adopted for one in others):
        yield "adopted", "Another switch is this bridge already."
    elif found is None or found.kind != "bridge":
        yield "adopted", "This host has no such bridge."
    elif found.is_own:
        yield "adopted", "This bridge is bHype's own: it belongs to a switch already."
    if row.kind == Switch.Kind.NAT:
        yield (
            "kind",
            "NAT goes with addresses that bHype gives: make a NAT-ed switch of its own, or adopt it as bridged.",
        )
    if row.technology != Switch.Technology.BRIDGE:
        yield "technology", "A bridge is adopted, which is of the technology if_bridge."
    for column in ("uplink", "vlan", "vxlan", "address", "address6", "has_vlans"):
        if getattr(row, column):
            yield (
                column,
                "bHype changes nothing of a bridge that somebody else has made, but for its guests' ports.",
            )


# What leads outside.


def _uplink(row: Switch, others: list[Switch], interfaces: dict[str, HostInterface]) -> Iterator[Problem]:
    if not row.uplink:
        return
    if row.kind != Switch.Kind.BRIDGED:
        yield "uplink", "Only a bridged switch has an uplink: others are apart from the host's networks."
        return
    found = interfaces.get(row.uplink)
    if found is None:
        yield "uplink", f"This host has no interface {row.uplink}."
        return
    if problem := uplink_problem(found, interfaces):
        yield "uplink", problem
        return
    for other in others:
        if other.uplink != row.uplink:
            continue
        if other.vlan == row.vlan:
            what = f"VLAN {row.vlan} of {row.uplink}" if row.vlan else row.uplink
            yield (
                "uplink",
                f"{what} is the uplink of the switch {other.name}: an interface is in one switch only.",
            )
        elif not (other.vlan and row.vlan):
            whole = other if not other.vlan else row
            yield (
                "uplink",
                f"The switch {whole.name or 'to be'} has all of {row.uplink}, its VLANs included. Give each of the "
                "switches on it a VLAN.",
            )


def uplink_problem(one: HostInterface, interfaces: dict[str, HostInterface]) -> str:
    """Why an interface of the host cannot be an uplink; "" if it can."""
    if one.name.startswith("wlan"):
        return f"{one.name} is a wireless client: an access point takes the packets of this host only."
    if one.kind not in UPLINKS:
        return f"{one.name} is no network card, aggregation or VLAN of the host."
    # What it is made of, down to the cards: nothing of it may be a switch's, which would lead into itself.
    todo, seen = [one], set()
    while todo:
        part = todo.pop()
        if part.name in seen:
            continue
        seen.add(part.name)
        if part.is_own and part.kind != "lagg":
            return f"{one.name} leads back into {part.name}, which is part of a switch."
        below = [*(part.members if part.kind in {"lagg", "bridge"} else ()), part.parent]
        todo += [interfaces[name] for name in below if name in interfaces]
        if part.kind == "bridge":
            return f"{one.name} leads into the bridge {part.name}."
    for other in interfaces.values():
        if one.name in other.members and other.kind == "lagg":
            return f"{one.name} is part of the aggregation {other.name}: choose that."
        if one.name in other.members and other.kind == "bridge" and not other.is_own:
            return f"{one.name} is in the bridge {other.name}, which somebody else has made: adopt that."
    return ""


def _vlan(row: Switch) -> Iterator[Problem]:
    if row.vlan is None:
        return
    if row.vlan not in ifconfig_switch.VLANS:
        yield "vlan", "A VLAN is a number from 1 to 4094."
    elif not row.uplink:
        yield "vlan", "A VLAN is one of an uplink: choose the uplink, too."


def _vxlan(row: Switch, others: list[Switch], interfaces: dict[str, HostInterface]) -> Iterator[Problem]:
    if row.vxlan is None:
        for column in ("vxlan_local", "vxlan_remote"):
            if getattr(row, column):
                yield "vxlan", "A tunnel has a number, the same at both ends."
                return
        return
    if row.vxlan not in ifconfig_switch.VNIS:
        yield "vxlan", "A tunnel's number is from 1 to 16777215."
    try:
        local = ip_address(row.vxlan_local)
    except ValueError:
        yield "vxlan_local", "Say by which of its addresses this host sends."
        return
    try:
        remote = ip_address(row.vxlan_remote)
    except ValueError:
        yield "vxlan_remote", "Say the address of the other host, or a multicast group for several."
        return
    held = {ip_interface(address).ip for one in interfaces.values() for address in plain(one)}
    if "%" in row.vxlan_local or local not in held:
        yield "vxlan_local", "This host does not have this address."
    elif local in {ip_interface(address).ip for address in row.addresses}:
        yield "vxlan_local", "This address is on this switch: the tunnel would lead through itself."
    if "%" in row.vxlan_remote or remote.is_unspecified or remote.is_loopback or remote in held:
        yield "vxlan_remote", "This is no address of another host."
    elif local.version != remote.version:
        yield "vxlan_remote", "Both addresses are IPv4, or both IPv6."
    for other in others:
        if other.vxlan == row.vxlan and other.vxlan_local == row.vxlan_local:
            yield "vxlan", f"The switch {other.name} has a tunnel of this number already."


def _mtu(row: Switch, interfaces: dict[str, HostInterface]) -> Iterator[Problem]:
    if row.mtu not in MTUS:
        yield "mtu", f"Packets have {MTUS.start} to {MTUS.stop - 1} bytes."
        return
    if row.address6 and row.mtu < MTU_IPV6:
        yield "mtu", f"IPv6 needs packets of at least {MTU_IPV6} bytes."
    uplink = interfaces.get(row.uplink)
    if uplink is not None and uplink.mtu and uplink.mtu != row.mtu and not row.vlan:
        yield (
            "mtu",
            f"Its uplink {uplink.name} has packets of {uplink.mtu} bytes: all of a switch have the same.",
        )
    elif uplink is not None and uplink.mtu and row.mtu > uplink.mtu:
        yield "mtu", f"Its uplink {uplink.name} has packets of at most {uplink.mtu} bytes."


def usual_mtu(row: Switch) -> int:
    """The MTU of a switch of which nobody says it: its uplink's or bridge's, or what a tunnel leaves of 1500 bytes."""
    name = row.uplink or row.adopted
    uplink = row.host.interfaces.filter(name=name).first() if name else None
    if uplink is not None and uplink.mtu in MTUS:
        return uplink.mtu
    if row.vxlan and row.vxlan_local:
        return 1500 - VXLAN_OVERHEAD[6 if ":" in row.vxlan_local else 4]
    return 1500


# Addresses.


def plain(one: HostInterface) -> list[str]:
    """Its addresses with prefix lengths, those of one link only left out."""
    return [address for address in one.addresses if "%" not in address]


def taken(
    row: Switch, others: list[Switch], interfaces: dict[str, HostInterface]
) -> list[tuple[str, Network]]:
    """The networks that ``row`` must not overlap, each with words for what it belongs to."""
    own = {row.interface, *(other.interface for other in others if not other.adopted)}
    found = [
        (f"the host's interface {one.name}", ip_interface(address).network)
        for one in interfaces.values()
        if one.name not in own
        for address in plain(one)
    ]
    return found + [
        (f"the switch {other.name}", ip_interface(address).network)
        for other in others
        for address in other.addresses
    ]


def used(row: Switch) -> list[Network]:
    """The networks that are taken on the host of ``row``."""
    others = list(Switch.objects.filter(host=row.host).exclude(pk=row.pk))
    interfaces = {one.name: one for one in row.host.interfaces.all()}
    return [network for _, network in taken(row, others, interfaces)]


def _addresses(row: Switch, others: list[Switch], interfaces: dict[str, HostInterface]) -> Iterator[Problem]:
    networks = taken(row, others, interfaces)
    for column, version in (("address", 4), ("address6", 6)):
        text: str = getattr(row, column)
        if not text:
            continue
        try:
            found = ip_interface(text) if "/" in text and "%" not in text else None
        except ValueError:
            found = None
        if found is None or found.version != version:
            example = "10.77.0.1/24" if version == 4 else "fd77::1/64"
            yield column, f"An address of the host with its prefix length, such as {example}."
            continue
        if problem := _address_problem(found):
            yield column, problem
            continue
        for what, network in networks:
            if network.version == version and network.overlaps(found.network):
                yield column, f"{found.network} overlaps {network}, which is the network of {what}."
                break


def _address_problem(found: IPv4Interface | IPv6Interface) -> str:
    address, network = found.ip, found.network
    if address.is_loopback or address.is_multicast or address.is_unspecified or address.is_link_local:
        return f"{address} is not an address that a network of guests can have."
    if isinstance(found, IPv4Interface):
        if network.prefixlen > 30 or network.prefixlen < 8:
            return "The prefix length is from 8 to 30: a network has room for the host and a guest."
        if address == network.network_address:
            return (
                f"{address} is the address of the network itself: the host takes {network[1]}, for example."
            )
        if address == network.broadcast_address:
            return f"{address} is the network's broadcast address: the host takes {network[1]}, for example."
        if int(address) >> 28 == 15 or int(address) >> 24 == 0:
            return f"{address} is not an address that a network of guests can have."
    elif network.prefixlen > 126 or network.prefixlen < 16:
        return "The prefix length is from 16 to 126, and 64 where guests make their own addresses."
    elif address == network.network_address:
        return f"{address} is the network's anycast address: the host takes {network[1]}, for example."
    return ""
