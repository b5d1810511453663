"""Subnets of switches and ranges in them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv6Address,
    IPv6Interface,
    ip_address,
    ip_interface,
)

from network.models import Switch

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface


class Unfit(Exception):
    """An address or a range that cannot be. A sentence for the person who typed; field: where, "" for all of it."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Span:
    """A range of addresses of one family, both ends included."""

    first: Address
    last: Address

    @property
    def size(self) -> int:
        return int(self.last) - int(self.first) + 1

    def __contains__(self, address: Address) -> bool:
        return address.version == self.first.version and int(self.first) <= int(address) <= int(self.last)

    def overlaps(self, other: Span) -> bool:
        return self.first in other or other.first in self

    def __str__(self) -> str:
        return f"{self.first} to {self.last}"


def address(text: str, field: str = "address") -> Address:
    """An address that one machine may have. Raises Unfit."""
    try:
        found = ip_address(text.strip())
    except ValueError as error:
        raise Unfit(f"{text[:80]!r} is not an IP address.", field) from error
    if found.version == 6 and found.scope_id:
        raise Unfit("Leave out the interface behind the %.", field)
    if found.is_multicast or found.is_unspecified or found.is_loopback or found.is_link_local:
        raise Unfit(f"{found} is not an address for a machine on a switch.", field)
    if found.version == 6 and found.ipv4_mapped:
        raise Unfit(f"{found} is an IPv4 address in disguise; write it as one.", field)
    return found


def subnets(switch: Switch) -> list[Interface]:
    """The host's addresses on the switch with their networks. What is no address there is left out."""
    found: list[Interface] = []
    for word in switch.addresses:
        try:
            found.append(ip_interface(word))
        except ValueError:
            continue
    return found


def subnet_of(switch: Switch, wanted: Address) -> Interface | None:
    """The subnet of the switch that ``wanted`` is in."""
    return next((one for one in subnets(switch) if wanted in one.network), None)


def check(switch: Switch, wanted: Address, field: str = "address") -> None:
    """Whether a guest of the switch can have the address. On a switch where the host has none of this family, any.

    Raises Unfit."""
    own = subnets(switch)
    if any(wanted == one.ip for one in own):
        raise Unfit(f"{wanted} is the host's own address.", field)
    if switch.gateway and wanted == ip_address(switch.gateway):
        raise Unfit(f"{wanted} is the router of this switch.", field)
    mine = [one for one in own if one.version == wanted.version]
    subnet = next((one for one in mine if wanted in one.network), None)
    if subnet is None:
        if mine:
            known = " or ".join(str(one.network) for one in mine)
            raise Unfit(f"{wanted} is not in the subnet of {switch.name}, {known}.", field)
        return
    network = subnet.network
    if network.num_addresses <= 2:
        return
    if wanted == network.network_address:
        raise Unfit(f"{wanted} is the address of the subnet itself.", field)
    if wanted.version == 4 and wanted == network.broadcast_address:
        raise Unfit(f"{wanted} is the broadcast address of the subnet.", field)


def span(switch: Switch, first: str, last: str) -> Span:
    """A range that may be a pool of the switch. Raises Unfit."""
    start, end = address(first, "first"), address(last, "last")
    if start.version != end.version:
        raise Unfit("Both ends are IPv4 addresses, or both are IPv6 addresses.", "last")
    if int(end) < int(start):
        raise Unfit(f"The range ends before it begins: {end} comes before {start}.", "last")
    subnet = subnet_of(switch, start)
    if subnet is None:
        known = ", ".join(str(one.network) for one in subnets(switch) if one.version == start.version)
        where = f"; it has {known}" if known else f": the host has no IPv{start.version} address on it"
        raise Unfit(f"{start} is in no subnet of {switch.name}{where}.", "first")
    if end not in subnet.network:
        raise Unfit(f"{end} is not in {subnet.network}, where the range begins.", "last")
    found = Span(start, end)
    for special, what in _special(switch, subnet):
        if special in found:
            field = "last" if special == end and special != start else "first"
            raise Unfit(f"The range has {special} in it, which is {what}. Leave it out.", field)
    return found


def _special(switch: Switch, subnet: Interface) -> Iterator[tuple[Address, str]]:
    yield subnet.ip, "the host's own address"
    network = subnet.network
    if network.num_addresses > 2:
        yield network.network_address, "the address of the subnet itself"
        if network.version == 4:
            yield network.broadcast_address, "the broadcast address of the subnet"
    if switch.gateway:
        yield ip_address(switch.gateway), "the router of this switch"


def free(spans: Iterable[Span], taken: set[Address]) -> Iterator[Address]:
    """The addresses of the spans that are not taken, in order."""
    for one in spans:
        kind = type(one.first)
        for number in range(int(one.first), int(one.last) + 1):
            candidate = kind(number)
            if candidate not in taken:
                yield candidate
