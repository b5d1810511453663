"""Which guest has which address, and who claims another's."""

from __future__ import annotations

import pytest
from django.utils import timezone

from network import guests
from network.addresses import known
from network.addresses.allocate import allocate
from network.addresses.known import Known
from network.models import Lease, Neighbour, Switch
from vms.models import Nic

OTHER = "58:9c:fc:00:00:99"


@pytest.fixture
def nic(vm) -> Nic:
    return vm.nics.get()


def seen(switch, address, mac):
    Neighbour.objects.create(
        host=switch.host, interface=switch.interface, address=address, mac=mac, seen_at=timezone.now()
    )


def of(switch):
    return known.of(switch, guests.find(switches=[switch.pk]))


def test_an_address_is_known_once_by_its_surest_source(switch, vm, nic):
    key = f"nic:{nic.pk}"
    vm.cloud_init = {"networks": [{"nic": 0, "addresses": ["10.77.0.20/24", "FD00:77::0020/64"]}]}
    vm.save()
    Lease.objects.create(switch=switch, address="10.77.0.101", mac=nic.mac)
    for address in ("10.77.0.101", "10.77.0.30"):
        seen(switch, address, nic.mac)
    assert of(switch) == {
        key: [
            Known("10.77.0.20", "static"),
            Known("fd00:77::20", "static"),
            Known("10.77.0.101", "lease"),
            Known("10.77.0.30", "neighbour"),
        ]
    }
    allocate(switch, key, "lease", address="10.77.0.101")
    assert Known("10.77.0.101", "static") in of(switch)[key]


def test_what_a_guest_claims_takes_nothing_from_another(switch, vm, nic):
    """Neither the host's own address, nor one that belongs to somebody else."""
    allocate(switch, "", "static", address="10.77.0.50", mac=OTHER)
    for address in ("10.77.0.1", "10.77.0.50"):
        seen(switch, address, nic.mac)
    assert of(switch) == {f"nic:{nic.pk}": []}
    found = known.Book([switch], guests.find(switches=[switch.pk])).conflicts()
    assert [(one.address, one.mac, one.wanted) for one in found] == [("10.77.0.50", nic.mac, OTHER)]


def test_neighbours_of_other_switches_and_hosts_are_not_taken_for_it(switch, vm, nic):
    other = Switch.objects.create(host=switch.host, name="other", kind="nat", address="10.78.0.1/24")
    seen(other, "10.78.0.5", nic.mac)
    assert of(switch) == {f"nic:{nic.pk}": []}
    assert of(other) == {}


def test_it_asks_as_often_for_many_guests_as_for_one(switch, vm, django_assert_num_queries):
    for number in range(20):
        Nic.objects.create(vm=vm, index=number + 1, switch=switch, mac=f"58:9c:fc:00:01:{number:02x}")
    found = guests.find(switches=[switch.pk])
    with django_assert_num_queries(3):
        assert len(known.of(switch, found)) == 21
    with django_assert_num_queries(4):
        assert len(known.of(switch.host, found)) == 21
