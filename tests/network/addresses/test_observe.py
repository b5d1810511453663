"""Neighbours of switches, from the host's tables."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from bhype.freebsd.arp import Neighbour as Entry
from network.addresses.observe import KEPT, store
from network.models import Neighbour

MAC, OTHER = "58:9c:fc:00:00:05", "58:9c:fc:00:00:06"
NOW = timezone.now()


@pytest.fixture
def look(switch):
    def store_(*entries, after=timedelta(0)):
        store({switch.interface: switch}, [Entry(*entry) for entry in entries], NOW + after)
        return dict(Neighbour.objects.values_list("address", "mac"))

    return store_


def test_it_keeps_guests_and_not_the_host_itself(look):
    found = look(
        ("10.77.0.5", MAC, "sw-nat"),
        ("10.77.0.1", OTHER, "sw-nat", True),
        ("192.0.2.1", OTHER, "em0"),
        ("fe80::1", MAC, "sw-nat"),
        ("fd00::5", MAC, "sw-nat"),
    )
    assert found == {"10.77.0.5": MAC, "fd00::5": MAC}


def test_another_at_an_address_takes_the_place_of_the_first(look):
    look(("10.77.0.5", MAC, "sw-nat"))
    assert look(("10.77.0.5", OTHER, "sw-nat")) == {"10.77.0.5": OTHER}


def test_one_who_is_silent_is_remembered_for_a_day(look):
    look(("10.77.0.5", MAC, "sw-nat"))
    assert look(after=KEPT - timedelta(minutes=1)) == {"10.77.0.5": MAC}
    assert look(after=KEPT + timedelta(minutes=1)) == {}


def test_what_has_not_changed_is_not_written(look, django_assert_num_queries):
    look(("10.77.0.5", MAC, "sw-nat"))
    with django_assert_num_queries(2):  # the look of the test is one of them
        look(("10.77.0.5", MAC, "sw-nat"), after=timedelta(minutes=5))
    look(("10.77.0.5", MAC, "sw-nat"), after=timedelta(minutes=11))
    assert Neighbour.objects.get().seen_at == NOW + timedelta(minutes=11)
