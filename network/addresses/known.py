"""Which guest has which address, as far as is known: told, leased, or seen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface
from typing import Literal

from django.db.models import Q

from bhype.hosts.models import Host
from network.guests import Guest
from network.models import Allocation, Lease, Neighbour, Switch

Source = Literal["static", "lease", "neighbour"]
STATIC: Source = "static"
LEASE: Source = "lease"
NEIGHBOUR: Source = "neighbour"


@dataclass(frozen=True, slots=True)
class Known:
    """An address of a port. source: "static" is what bHype gave it, by static lease or in the guest; "lease" what DHCP
    gave it; "neighbour" what it was only seen with: that is the guest's word, which no protection may rely on.
    is_vouched: bHype itself has given it; else its owner has written it into its cloud-init, or it was only seen."""

    address: str
    source: Source
    is_vouched: bool = field(default=True, compare=False)

    @property
    def words(self) -> str:
        """The source as people read it."""
        return {STATIC: "its own", LEASE: "by DHCP", NEIGHBOUR: "seen"}[self.source]


@dataclass(frozen=True, slots=True)
class Conflict:
    """An address that is another's was seen with this MAC. wanted: the port or MAC that it belongs to."""

    switch_id: int
    address: str
    mac: str
    wanted: str


def of(where: Switch | Host, guests: Iterable[Guest]) -> dict[str, list[Known]]:
    """The addresses of these guests' ports by the port's key ("nic:12"), the surest first, each once.

    Ports on other switches than ``where`` has are left out. In four queries, whatever the number of guests.
    """
    switches = [where] if isinstance(where, Switch) else list(where.switches.all())
    return Book(switches, guests).by_port()


@dataclass(slots=True)
class Owned:
    """Who has an address for good: the port's key, or "", and the MAC address."""

    port: str
    mac: str
    is_vouched: bool = True


class Book:
    """All that is known of the addresses of some switches, read at once.

    narrow: only what concerns these guests is read, which is quicker for few of many."""

    def __init__(self, switches: Iterable[Switch], guests: Iterable[Guest], *, narrow: bool = False) -> None:
        self.switches = {switch.pk: switch for switch in switches}
        self.ports = [port for guest in guests for port in guest.ports if port.switch_id in self.switches]
        macs = {port.mac for port in self.ports}
        leases = Lease.objects.filter(switch__in=self.switches)
        if narrow:
            claimed = {address for port in self.ports for address in map(plain, port.static)}
            leases = leases.filter(Q(mac__in=macs) | Q(address__in=claimed))
        self.leases = list(leases)
        by_place = {(switch.host_id, switch.interface): switch.pk for switch in self.switches.values()}
        hosts = {switch.host_id for switch in self.switches.values()}
        rows = Neighbour.objects.filter(
            host__in=hosts, interface__in=[interface for _, interface in by_place]
        )
        self.neighbours = [
            (by_place[place], row)
            for row in (rows.filter(mac__in=macs) if narrow else rows)
            if (place := (row.host_id, row.interface)) in by_place
        ]
        given = Allocation.objects.filter(switch__in=self.switches)
        if narrow:
            met = {row.address for row in self.leases} | {row.address for _, row in self.neighbours}
            given = given.filter(Q(port__in=[port.key for port in self.ports]) | Q(address__in=met))
        self.allocations = list(given)
        self.owners = self._owners()

    def _owners(self) -> dict[tuple[int, str], Owned]:
        """By switch and address. What a guest's owner has told it counts less than a row of bHype's own, and of several
        who were told the same address the port that was there first has it."""
        macs = {port.key: port.mac for port in self.ports}
        leased = {(row.switch_id, row.address): row.mac for row in self.leases}
        found: dict[tuple[int, str], Owned] = {}
        for port in sorted(self.ports, key=lambda port: (len(port.key), port.key)):
            for address in map(plain, port.static):
                if port.switch_id is None or not may_claim(self.switches[port.switch_id], address):
                    continue
                if leased.get((port.switch_id, address), port.mac) in {"", port.mac}:
                    found.setdefault((port.switch_id, address), Owned(port.key, port.mac, is_vouched=False))
        for row in self.allocations:
            if row.kind != Allocation.Kind.RESERVED:
                mac = macs.get(row.port, "") if row.port else row.mac
                found[row.switch_id, row.address] = Owned(row.port, mac)
        return found

    def by_port(self) -> dict[str, list[Known]]:
        given: dict[tuple[int, str], list[Known]] = defaultdict(list)
        for row in self.leases:
            if row.mac and self._is_free(row.switch_id, row.address, row.mac):
                given[row.switch_id, row.mac].append(Known(row.address, LEASE))
        for switch_id, neighbour in self.neighbours:
            if self._is_free(switch_id, neighbour.address, neighbour.mac):
                seen = Known(neighbour.address, NEIGHBOUR, is_vouched=False)
                given[switch_id, neighbour.mac].append(seen)
        told: dict[str, list[Known]] = defaultdict(list)
        for (_, address), owner in self.owners.items():
            told[owner.port].append(Known(address, STATIC, owner.is_vouched))
        return {
            port.key: _once([*told[port.key], *given[port.switch_id, port.mac]])
            for port in self.ports
            if port.switch_id is not None
        }

    def _is_free(self, switch_id: int, address: str, mac: str) -> bool:
        """Whether nobody else has this address for good: what a guest claims takes nothing from another."""
        if address in host_addresses(self.switches[switch_id]):
            return False
        owner = self.owners.get((switch_id, address))
        return owner is None or owner.mac == mac

    def conflicts(self) -> list[Conflict]:
        return [
            Conflict(switch_id, row.address, row.mac, owner.port or owner.mac)
            for switch_id, row in self.neighbours
            if (owner := self.owners.get((switch_id, row.address))) and owner.mac and owner.mac != row.mac
        ]


def plain(word: str) -> str:
    """An address in its one spelling; what is none stays as it is."""
    try:
        return str(ip_address(word.partition("/")[0]))
    except ValueError:
        return word


def may_claim(switch: Switch, address: str) -> bool:
    """Whether the owner of a guest may say that this is its address: not one of the host, nor one that is elsewhere.
    Rules are about addresses, so whoever could name any would leave them, or draw others in."""
    own = []
    for word in switch.addresses:
        with suppress(ValueError):
            own.append(ip_interface(word))
    try:
        found = ip_address(address)
    except ValueError:
        return False
    same = [one for one in own if one.version == found.version]
    if found.is_multicast or found.is_unspecified or found.is_loopback:
        return False
    inside = any(found in one.network for one in same) or found.is_link_local
    return all(found != one.ip for one in same) and (inside or not same)


def host_addresses(switch: Switch) -> set[str]:
    """The host's own on the switch, without prefix lengths."""
    found = set()
    for word in switch.addresses:
        with suppress(ValueError):
            found.add(str(ip_interface(word).ip))
    return found


def _once(found: Iterable[Known]) -> list[Known]:
    by_address: dict[str, Known] = {}
    for one in found:
        by_address.setdefault(one.address, one)
    return list(by_address.values())
