"""Pools of a switch: what may be one, and what has become wrong with those that there are."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from django.db import transaction

from bhype.live import publish
from network.models import AddressPool, Switch

from . import ranges
from .defaults import pools_for
from .ranges import Span, Unfit


def span_of(pool: AddressPool) -> Span:
    return Span(ip_address(pool.first), ip_address(pool.last))


def save(pool: AddressPool) -> AddressPool:
    """Write a pool, new or changed, if it fits its switch and overlaps no other. Raises Unfit."""
    with transaction.atomic():
        switch = Switch.objects.select_for_update(no_key=True).get(pk=pool.switch_id)
        found = ranges.span(switch, str(pool.first), str(pool.last))
        for other in switch.pools.exclude(pk=pool.pk):
            if found.overlaps(span_of(other)):
                raise Unfit(f"It overlaps the pool {span_of(other)}.", "first")
        pool.first, pool.last = str(found.first), str(found.last)
        pool.save()
        publish(switch.subject, "addresses")
    return pool


def remove(pool: AddressPool) -> None:
    """Addresses that were given of it stay given."""
    with transaction.atomic():
        pool.delete()
        publish(pool.switch.subject, "addresses")


def add_defaults(switch: Switch) -> list[AddressPool]:
    """Give a switch the usual pools of each subnet that has none yet."""
    made = []
    with transaction.atomic():
        for subnet in ranges.subnets(Switch.objects.select_for_update(no_key=True).get(pk=switch.pk)):
            if any(span_of(pool).first in subnet.network for pool in switch.pools.all()):
                continue
            made += [
                AddressPool(switch=switch, purpose=one.purpose, first=one.first, last=one.last)
                for one in pools_for(str(subnet))
            ]
        AddressPool.objects.bulk_create(made)
        publish(switch.subject, "addresses")
    return made


def problems(switch: Switch, pools: Iterable[AddressPool]) -> list[str]:
    """What is wrong with pools since the switch was changed, as sentences."""
    found = []
    for pool in pools:
        try:
            ranges.span(switch, str(pool.first), str(pool.last))
        except Unfit as unfit:
            found.append(f"The pool {span_of(pool)}: {unfit}")
    return found
