"""What the pages and the API show of leases: who has what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from django.db import transaction
from django.db.models import Q, QuerySet

from network.addresses import allocate
from network.addresses.ranges import Unfit
from network.models import Allocation, Lease

from . import wanted

PAGE = 50


@dataclass(frozen=True, slots=True)
class Row:
    """A lease with the guest that has it, if that is known. static: whether it will always have this address."""

    lease: Lease
    guest: wanted.Plugged | None
    is_static: bool

    @property
    def name(self) -> str:
        return self.guest.guest.name if self.guest else self.lease.hostname


def rows(leases: Iterable[Lease]) -> list[Row]:
    """The leases with their guests, in their order. In a constant number of queries."""
    found = list(leases)
    switches = {lease.switch_id for lease in found}
    plugged = wanted.ports(switches, {lease.mac for lease in found if lease.mac}) if found else {}
    by_mac = {(key, one.port.mac): one for key, many in plugged.items() for one in many}
    given = Allocation.objects.filter(switch__in=switches, kind=Allocation.Kind.LEASE)
    static = {(row.switch_id, row.address) for row in given}
    return [
        Row(lease, by_mac.get((lease.switch_id, lease.mac)), (lease.switch_id, lease.address) in static)
        for lease in found
    ]


def search(leases: QuerySet[Lease], query: str, sort: str) -> list[int]:
    """The keys of the leases whose address, MAC address or name has ``query`` in it, sorted; "-" first: backwards."""
    if query:
        word = query.strip().lower()
        leases = leases.filter(
            Q(address__icontains=word)
            | Q(mac__icontains=word)
            | Q(hostname__icontains=word)
            | Q(switch__name=word)
        )
    column = sort.removeprefix("-")
    found = list(leases.values_list("pk", "address", "hostname", "mac", "switch__name", "expires_at"))
    place = {"name": 2, "mac": 3, "switch": 4, "expires": 5}.get(column)

    def key(row: tuple[int, str, str, str, str, object]) -> tuple[object, ...]:
        address = ip_address(row[1])
        where = (address.version, int(address))
        if place is None:
            return where
        value = row[place]
        return (value is None, str(value or ""), *where)

    return [row[0] for row in sorted(found, key=key, reverse=sort.startswith("-"))]


def make_static(lease: Lease) -> Allocation:
    """Let whoever has the lease always get this address. Raises Unfit."""
    row = rows([lease])[0]
    if not (lease.mac or lease.client_id):
        raise Unfit("Nobody knows whose lease this is.")
    is_six = ":" in lease.address
    with transaction.atomic():
        given = allocate.allocate(
            lease.switch,
            row.guest.port.key if row.guest else "",
            Allocation.Kind.LEASE,
            6 if is_six else 4,
            address=lease.address,
            mac="" if row.guest else lease.mac,
            hostname="" if row.guest else lease.hostname,
        )
        if is_six and lease.client_id:
            given.client_id = lease.client_id
            given.save(update_fields=["client_id"])
    return given
