"""What a switch is by its kind, when nobody says otherwise: one click makes a network that works."""

from __future__ import annotations

from collections.abc import Iterable

from network.addresses.defaults import pools_for
from network.models import AddressPool, Switch

from .plan import Network, free_address


def fill(row: Switch, used: Iterable[Network]) -> None:
    """Set the columns of a new switch that its kind decides. used: the networks that are taken."""
    if row.kind != Switch.Kind.NAT:
        return
    row.address = row.address or free_address(used)
    row.has_dhcp = row.has_dns = bool(row.address)


def make_pools(row: Switch) -> None:
    """The ranges of a switch's subnets, for those of which it has none."""
    for address in filter(None, (row.address, row.address6)):
        family = ":" in address
        if any((":" in pool.first) == family for pool in row.pools.all()):
            continue
        AddressPool.objects.bulk_create(
            AddressPool(switch=row, purpose=one.purpose, first=one.first, last=one.last)
            for one in pools_for(address)
        )
