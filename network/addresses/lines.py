"""Who has what on a switch, one line for each address: the page and the API show these."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_address

from network import guests
from network.guests import Guest, Port
from network.models import AddressPool, Allocation, Switch

from . import ranges
from .known import Book, plain
from .ranges import Address, Span

# How an address came to be somebody's, the surest first.
HOST, TOLD, LEASED, SEEN = "host", "guest", "leased", "seen"
WORDS = {
    HOST: "The host's own",
    Allocation.Kind.LEASE.value: "Static lease",
    Allocation.Kind.STATIC.value: "Set in the guest",
    Allocation.Kind.RESERVED.value: "Reserved",
    TOLD: "Told by cloud-init",
    LEASED: "Lease",
    SEEN: "Seen",
}


@dataclass(slots=True)
class Line:
    """how: keys of WORDS, the surest first; guest, port: whose it is, where that is a guest; is_known: whether the
    guest of an allocation is still there; other: a MAC address that was seen with it and is not the owner's."""

    switch: Switch
    address: Address
    how: list[str] = field(default_factory=list)
    guest: Guest | None = None
    port: Port | None = None
    mac: str = ""
    name: str = ""
    note: str = ""
    allocation: Allocation | None = None
    expires_at: datetime | None = None
    seen_at: datetime | None = None
    other: str = ""
    pool: AddressPool | None = None

    @property
    def ways(self) -> str:
        return ", ".join(WORDS[way] for way in self.how)

    @property
    def sort_key(self) -> tuple[str, int, int]:
        return self.switch.name, self.address.version, int(self.address)

    @property
    def label(self) -> str:
        """Whose it is, in words."""
        if self.guest is not None:
            return self.guest.name
        if self.allocation is not None and self.allocation.port:
            return "a port that is not plugged in"
        return self.name or ("this host" if HOST in self.how else "")

    @property
    def is_stale(self) -> bool:
        """Given to a port that is not on this switch any more."""
        return self.allocation is not None and bool(self.allocation.port) and self.port is None

    def matches(self, query: str) -> bool:
        words = (str(self.address), self.mac, self.label, self.name, self.note, self.other, self.switch.name)
        return any(query.lower() in word.lower() for word in words)


@dataclass(slots=True)
class Table:
    """Everything that is known of the addresses of some switches. pools: with their spans, by switch."""

    lines: list[Line]
    pools: dict[int, list[tuple[AddressPool, Span]]]
    guests: list[Guest]


def read(switches: Iterable[Switch]) -> Table:
    """In a constant number of queries."""
    rows = list(switches)
    known = guests.find(switches=[switch.pk for switch in rows])
    book = Book(rows, known)
    pools = _pools(rows)
    found: dict[tuple[int, str], Line] = {}
    for line, way in _ways(book, known, found):
        if way not in line.how:
            line.how.append(way)
    for line in found.values():
        spans = pools.get(line.switch.pk, ())
        line.pool = next((pool for pool, span in spans if line.address in span), None)
    return Table(sorted(found.values(), key=lambda line: line.sort_key), pools, known)


def stale(switch: Switch) -> list[Allocation]:
    """What was given to ports that are not on the switch any more."""
    return [line.allocation for line in read([switch]).lines if line.is_stale and line.allocation]


def _pools(switches: list[Switch]) -> dict[int, list[tuple[AddressPool, Span]]]:
    found: dict[int, list[tuple[AddressPool, Span]]] = {switch.pk: [] for switch in switches}
    for pool in AddressPool.objects.filter(switch__in=switches).order_by("pk"):
        span = Span(ip_address(pool.first), ip_address(pool.last))
        found[pool.switch_id].append((pool, span))
    return found


def _ways(book: Book, known: list[Guest], found: dict[tuple[int, str], Line]) -> Iterator[tuple[Line, str]]:
    """Fill ``found`` and yield how each address came to be somebody's, the surest way first."""
    by_key = {port.key: (guest, port) for guest in known for port in guest.ports}
    by_mac = {(port.switch_id, port.mac): (guest, port) for guest in known for port in guest.ports}

    def line(switch_id: int, address: str) -> Line:
        switch = book.switches[switch_id]
        return found.setdefault((switch_id, address), Line(switch, ip_address(address)))

    for switch in book.switches.values():
        for own in ranges.subnets(switch):
            yield line(switch.pk, str(own.ip)), HOST
    for row in book.allocations:
        one = line(row.switch_id, row.address)
        one.allocation, one.mac, one.name, one.note = row, row.mac, row.hostname, row.note
        guest, port = by_key.get(row.port, (None, None))
        if port is not None and port.switch_id == row.switch_id:
            one.guest, one.port, one.mac = guest, port, port.mac
        yield one, row.kind
    for guest, port in by_key.values():
        for word in map(plain, port.static) if port.switch_id in book.switches else ():
            if _is_address(word) and port.switch_id is not None:
                one = line(port.switch_id, word)
                if one.guest is None and one.allocation is None:
                    one.guest, one.port, one.mac = guest, port, port.mac
                if one.port is None or one.port == port:
                    yield one, TOLD
                else:
                    one.other = port.mac
    for lease in book.leases:
        one = line(lease.switch_id, lease.address)
        _claim(one, lease.mac, by_mac)
        one.expires_at, one.name = lease.expires_at, one.name or lease.hostname
        yield one, LEASED
    for switch_id, neighbour in book.neighbours:
        one = line(switch_id, neighbour.address)
        _claim(one, neighbour.mac, by_mac)
        one.seen_at = neighbour.seen_at
        yield one, SEEN


def _claim(line: Line, mac: str, by_mac: dict[tuple[int | None, str], tuple[Guest, Port]]) -> None:
    """Note who was met at the address: its owner, or another."""
    is_reserved = line.allocation is not None and line.allocation.kind == Allocation.Kind.RESERVED
    if not line.mac and not is_reserved and HOST not in line.how:
        line.mac = mac
        line.guest, line.port = by_mac.get((line.switch.pk, mac), (line.guest, line.port))
    elif mac and line.mac and mac != line.mac:
        line.other = mac


def _is_address(word: str) -> bool:
    try:
        ip_address(word)
    except ValueError:
        return False
    return True
