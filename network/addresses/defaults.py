"""The pools that a new subnet begins with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_interface

from network.models import AddressPool

# As much of a subnet as pools take at most; an IPv6 one has more addresses than anybody uses.
_ROOM = 1 << 16


@dataclass(frozen=True, slots=True)
class Range:
    """A pool that is proposed. purpose: a word of AddressPool.Purpose; first, last: both ends, in numbers."""

    purpose: str
    first: str
    last: str


def pools_for(address: str) -> list[Range]:
    """The pools of a subnet in which the host has ``address``, such as "10.77.0.1/24": there 10.77.0.10 to 10.77.0.99
    for what is set for good and 10.77.0.100 to 10.77.0.254 for DHCP. A few addresses are left for people's own use;
    the host's own is in none. [] for a subnet with no room. Raises ValueError for what is no address."""
    own = ip_interface(address)
    network = own.network
    size = min(network.num_addresses, _ROOM)
    if size < 4:
        return []
    bottom = 16 if own.version == 6 and size > 256 else 10 if size >= 128 else 1
    border = max(bottom + 1, size // 16 if size == _ROOM else size * 100 // 256)
    spans = (
        (AddressPool.Purpose.STATIC, bottom, border - 1),
        (AddressPool.Purpose.DHCP, border, size - 2),
    )
    mine = int(own.ip) - int(network.network_address)
    return [
        Range(purpose.value, str(network[first]), str(network[last]))
        for purpose, start, end in spans
        for first, last in _without(mine, start, end)
    ]


def _without(mine: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """A span without one number."""
    parts = [(start, end)] if not start <= mine <= end else [(start, mine - 1), (mine + 1, end)]
    yield from ((first, last) for first, last in parts if first <= last)
