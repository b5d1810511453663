"""Giving addresses: never one twice, whoever asks at the same time.

What is free is looked up first, and the unique constraint of the table decides between those who found the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from ipaddress import ip_address

from django.db import IntegrityError, transaction

from bhype.freebsd import names
from bhype.live import publish
from network import guests
from network.dhcp import words
from network.models import AddressPool, Allocation, Lease, Neighbour, Switch

from . import ranges
from .known import plain
from .ranges import Address, Span, Unfit

Kind = Allocation.Kind
# So many others may get ahead of one request.
_TRIES = 50


class Exhausted(Unfit):
    """There is no free address in the pools."""


class Taken(Unfit):
    """The address belongs to somebody."""


def allocate(
    switch: Switch,
    port: str,
    kind: str,
    family: int = 4,
    *,
    address: str = "",
    mac: str = "",
    hostname: str = "",
    note: str = "",
) -> Allocation:
    """Give ``port`` ("nic:12"; "" for another machine, which has a MAC) an address: this one, or "" for the next free
    one of the switch's static pools of ``family`` (4 or 6). Raises Exhausted, Taken, and Unfit for what cannot be.

    kind: of Allocation.Kind. The caller knows that ``port`` is on the switch.
    """
    row = Allocation(
        switch=switch, kind=kind, port=port, mac=_mac(mac), hostname=_hostname(hostname), note=note
    )
    with transaction.atomic():
        if kind == Kind.LEASE:
            # Of two leases for one guest at the same moment the second sees the first.
            Switch.objects.select_for_update(no_key=True).filter(pk=switch.pk).first()
        _check_kind(switch, row, ranges.address(address).version if address else family, address)
        return _give(switch, row, family, address)


def _give(switch: Switch, row: Allocation, family: int, address: str) -> Allocation:
    if address:
        wanted = ranges.address(address)
        _check(switch, wanted, row)
        if not _insert(row, wanted):
            raise _taken(switch, wanted)
        return row
    for _ in range(_TRIES):
        for candidate in _free(switch, family):
            if _insert(row, candidate):
                return row
            break  # somebody was faster: what is free has changed
        else:
            raise _exhausted(switch, family)
    raise Exhausted("Too many ask for addresses at once. Try again.", "address")


def release(rows: Iterable[Allocation]) -> int:
    """Give addresses back. Returns how many."""
    found = list(rows)
    with transaction.atomic():
        Allocation.objects.filter(pk__in=[row.pk for row in found]).delete()
        publish(*{row.switch.subject for row in found}, "addresses")
    return len(found)


def release_ports(keys: Iterable[str]) -> int:
    """Give back all that these ports have."""
    return release(Allocation.objects.filter(port__in=list(keys)).select_related("switch"))


def next_free(switch: Switch, family: int = 4) -> str:
    """What `allocate` would give now; "" for nothing."""
    return str(next(iter(_free(switch, family)), ""))


def free_count(switch: Switch, family: int, enough: int) -> int:
    """How many addresses `allocate` could give now, counted up to ``enough``."""
    return sum(1 for _ in itertools.islice(_free(switch, family), enough))


def static_spans(switch: Switch, family: int) -> list[Span]:
    """The pools of the switch that bHype gives addresses of, in their order."""
    rows = AddressPool.objects.filter(switch=switch, purpose=AddressPool.Purpose.STATIC).order_by("pk")
    spans = [Span(ip_address(row.first), ip_address(row.last)) for row in rows]
    return [one for one in spans if one.first.version == family]


def _free(switch: Switch, family: int) -> Iterable[Address]:
    spans = static_spans(switch, family)
    return ranges.free(spans, _in_use(switch)) if spans else ()


def _in_use(switch: Switch) -> set[Address]:
    """All addresses that cannot be given, whatever pool they are in."""
    found = {one.ip for one in ranges.subnets(switch)}
    found |= {ip_address(switch.gateway)} if switch.gateway else set()
    for one in ranges.subnets(switch):
        found |= {one.network.network_address, one.network.broadcast_address}
    told = {plain(word) for guest in guests.find(switches=[switch.pk]) for port in guest.ports
            if port.switch_id == switch.pk for word in port.static}  # fmt: skip
    seen = Neighbour.objects.filter(host=switch.host_id, interface=switch.interface)
    rows: list[str] = [
        *Allocation.objects.filter(switch=switch).values_list("address", flat=True),
        *Lease.objects.filter(switch=switch).values_list("address", flat=True),
        *seen.values_list("address", flat=True),
        *told,
    ]
    for word in rows:
        try:
            found.add(ip_address(word))
        except ValueError:
            continue  # what a guest was told by hand can be anything
    return found


def _insert(row: Allocation, wanted: Address) -> bool:
    """Whether the address is the row's now. It is not when somebody else has it by now."""
    row.pk, row.address = None, str(wanted)
    try:
        with transaction.atomic():
            row.save(force_insert=True)
            publish(row.switch.subject, "addresses")
    except IntegrityError:
        return False
    return True


def _check_kind(switch: Switch, row: Allocation, family: int, address: str) -> None:
    """Raise Unfit for what no address helps. address: the one that is asked for, "" for any."""
    if family not in {4, 6}:
        raise Unfit("There are IPv4 and IPv6 addresses only.")
    if row.kind not in Kind.values:
        raise Unfit(f"It is one of {', '.join(Kind.values)}.", "kind")
    if row.kind != Kind.LEASE:
        return
    if not (row.port or row.mac):
        raise Unfit("A static lease is bound to a guest's port, or to a MAC address.", "mac")
    whose = {"port": row.port} if row.port else {"port": "", "mac": row.mac}
    for other in Allocation.objects.filter(switch=switch, kind=Kind.LEASE, **whose):
        if ip_address(other.address).version == family:
            raise Taken(f"It has a static lease already: {other.address}.", "address")
    if family == 6:
        row.client_id = _client_id(switch, row, address)


def _client_id(switch: Switch, row: Allocation, address: str) -> str:
    """The number (DUID) by which DHCPv6 knows who has ``row``; it was seen with a lease. dnsmasq(8) knows clients of
    DHCPv6 by their MAC addresses only where the kernel tells it, which FreeBSD's does not."""
    macs = _macs(switch, row)
    leases = Lease.objects.filter(switch=switch).exclude(client_id="")
    met = leases.filter(address=str(ranges.address(address))).first() if address else None
    met = met or next((lease for lease in leases.filter(mac__in=macs) if ":" in lease.address), None)
    if met is None:
        raise Unfit(
            "DHCPv6 knows a guest by a number of its own (DUID): let it take a lease first, then keep that one.",
            "kind",
        )
    return str(met.client_id)


def _macs(switch: Switch, row: Allocation) -> set[str]:
    """The MAC addresses of who has ``row``."""
    ports = (port for guest in guests.find(switches=[switch.pk]) for port in guest.ports)
    return {row.mac} - {""} | {port.mac for port in ports if row.port and port.key == row.port}


def _check(switch: Switch, wanted: Address, row: Allocation) -> None:
    """Raise Unfit or Taken when an address that somebody wants cannot be given."""
    ranges.check(switch, wanted)
    if Allocation.objects.filter(switch=switch, address=str(wanted)).exists():
        raise _taken(switch, wanted)
    macs = {row.mac} if row.mac else set()
    for guest in guests.find(switches=[switch.pk]):
        for port in guest.ports:
            if port.key == row.port:
                macs.add(port.mac)
            elif port.switch_id == switch.pk and str(wanted) in map(plain, port.static):
                raise Taken(f"{wanted} is set in the guest {guest.name}.", "address")
    lease = Lease.objects.filter(switch=switch, address=str(wanted)).exclude(mac__in=macs).first()
    if lease is not None:
        whom = lease.hostname or lease.mac or lease.client_id
        raise Taken(f"{wanted} is leased to {whom} just now. Take another, or wait for its end.", "address")


def _taken(switch: Switch, wanted: Address) -> Taken:
    row = Allocation.objects.filter(switch=switch, address=str(wanted)).first()
    if row is None:
        return Taken(f"{wanted} was just given to somebody else.", "address")
    return Taken(f"{wanted} belongs to {owner_name(row)} already.", "address")


def owner_name(row: Allocation) -> str:
    """Whose it is, in words."""
    if row.port:
        for guest in guests.find(switches=[row.switch_id]):
            if any(port.key == row.port for port in guest.ports):
                return guest.name
    return row.hostname or row.mac or row.note or ("somebody" if row.port else "a reservation")


def _exhausted(switch: Switch, family: int) -> Exhausted:
    if not static_spans(switch, family):
        return Exhausted(
            f"{switch.name} has no pool of IPv{family} addresses to give for good. Add one to it, or type an address.",
            "address",
        )
    return Exhausted(
        f"All IPv{family} addresses in the pools of {switch.name} are given. Release some, or make a pool larger.",
        "address",
    )


def _mac(text: str) -> str:
    try:
        return names.mac(text) if text else ""
    except names.BadName as error:
        raise Unfit(str(error), "mac") from error


def _hostname(text: str) -> str:
    try:
        return words.label(text) if text else ""
    except words.BadWord as error:
        raise Unfit(str(error), "hostname") from error
