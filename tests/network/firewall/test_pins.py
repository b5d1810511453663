"""Which MAC address a port may send from, as its bridge keeps it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bhype.freebsd.ifconfig import Interface, Member
from network.firewall import pins

from .worlds import nat, web, world


def bridge(most: int, *, filters_vlans: bool = False) -> list[Interface]:
    member = Member("tap1001", most=most)
    return [Interface(nat.interface, details=(member,), filters_vlans=filters_vlans)]


def words(found, world=world):
    return [command.argv[1:] for command in pins.commands(world, found)]


BOUND = ("sw-nat", "static", "tap1001", "58:9c:fc:00:00:01", "ifmaxaddr", "tap1001", "1")
FREE = ("sw-nat", "ifmaxaddr", "tap1001", "0")


def test_a_guarded_port_may_send_from_its_own_address_only():
    assert words(bridge(0)) == [BOUND]
    assert words(bridge(1)) == []


def test_a_port_that_may_send_from_others_is_let_go():
    free = replace(web, ports=(replace(web.ports[0], may_spoof=True),))
    assert words(bridge(1), replace(world, guests=(free,))) == [FREE]


@pytest.mark.parametrize(("most", "expected"), [(0, []), (1, [FREE])])
def test_no_port_is_bound_where_the_bridge_tells_vlans_apart(most, expected):
    """Its address would be bound in VLAN 1, and it could send nothing in another."""
    assert words(bridge(most, filters_vlans=True)) == expected
