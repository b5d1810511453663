"""What pages and the API show of the addresses of VMs. Reads only."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Q, QuerySet, prefetch_related_objects

from network.addresses.finder import PART
from network.addresses.known import Book, Known
from network.models import Allocation, Lease, Neighbour
from vms import guests
from vms.models import VM, Nic


def attach(vms: Iterable[VM]) -> None:
    """Let each port of these VMs have ``known``, what is known of its addresses, in a constant number of queries."""
    rows = list(vms)
    prefetch_related_objects(rows, "nics__switch", "tags")
    nics = [nic for vm in rows for nic in vm.nics.all()]
    switches = {nic.switch.pk: nic.switch for nic in nics if nic.switch is not None}
    found: dict[str, list[Known]] = {}
    if switches:
        found = Book(switches.values(), guests.of(rows), narrow=True).by_port()
    for nic in nics:
        nic.known = found.get(guests.port_key(nic), [])  # type: ignore[attr-defined]


def with_address(query: str) -> QuerySet[Nic]:
    """The ports whose address has ``query`` in it; none for what is no part of an address."""
    if not PART.fullmatch(query):
        return Nic.objects.none()
    ports = Allocation.objects.filter(address__icontains=query).values_list("port", flat=True)
    given = [int(number) for kind, _, number in (port.partition(":") for port in ports) if kind == "nic"]
    met = [rows.objects.filter(address__icontains=query).values("mac") for rows in (Lease, Neighbour)]
    return Nic.objects.filter(Q(pk__in=given) | Q(mac__in=met[0]) | Q(mac__in=met[1]))
