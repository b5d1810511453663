"""Who gets which address: never one twice, never one out of the pools, never one that cannot be."""

from __future__ import annotations

import contextlib
import threading
from datetime import timedelta
from ipaddress import ip_address

import pytest
from django.db import connection, connections
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from network.addresses import ranges
from network.addresses.allocate import Exhausted, Taken, allocate, next_free, release_ports
from network.addresses.defaults import pools_for
from network.addresses.ranges import Unfit
from network.models import AddressPool, Allocation, Lease, Neighbour


@pytest.fixture
def static(switch):
    """Ten addresses to be given for good, and ten for DHCP."""
    made = AddressPool.objects.create(switch=switch, purpose="static", first="10.77.0.10", last="10.77.0.19")
    AddressPool.objects.create(switch=switch, purpose="dhcp", first="10.77.0.100", last="10.77.0.109")
    return made


def test_it_gives_the_first_that_is_free(switch, static):
    """Not allocated, not leased, not seen, not told to a guest, not the host's own."""
    given_ = allocate(switch, "nic:1", "lease")
    assert given_.address == "10.77.0.10"
    Lease.objects.create(switch=switch, address="10.77.0.11", mac="58:9c:fc:00:00:99")
    Neighbour.objects.create(host=switch.host, interface=switch.interface, address="10.77.0.12",
                             mac="58:9c:fc:00:00:98", seen_at=timezone.now())  # fmt: skip
    assert next_free(switch) == "10.77.0.13"
    assert allocate(switch, "nic:2", "static").address == "10.77.0.13"


def test_it_never_gives_what_a_guest_was_told_to_take(switch, static, vm):
    vm.cloud_init = {"networks": [{"nic": 0, "addresses": ["10.77.0.10/24"]}]}
    vm.save()
    assert allocate(switch, "nic:999", "static").address == "10.77.0.11"
    with pytest.raises(Taken, match="web1"):
        allocate(switch, "nic:999", "static", address="10.77.0.10")


def test_it_says_when_nothing_is_left(switch, static):
    for number in range(10):
        allocate(switch, f"nic:{number}", "static")
    with pytest.raises(Exhausted, match="are given"):
        allocate(switch, "nic:99", "static")
    with pytest.raises(Exhausted, match="no pool of IPv6"):
        allocate(switch, "nic:99", "static", 6)
    assert release_ports(["nic:4"]) == 1
    assert allocate(switch, "nic:99", "static").address == "10.77.0.14"


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("10.77.0.1", "host's own"),
        ("10.77.0.0", "subnet itself"),
        ("10.77.0.255", "broadcast"),
        ("10.78.0.5", "not in the subnet"),
        ("224.0.0.1", "not an address for a machine"),
        ("127.0.0.1", "not an address for a machine"),
        ("10.77.0.5\nx", "not an IP address"),
        ("fe80::1%em0", "interface"),
        ("::ffff:10.77.0.5", "in disguise"),
        ("web1", "not an IP address"),
        ("10.77.0.40", "router"),
    ],
)
def test_it_refuses_an_address_that_cannot_be(switch, address, why):
    switch.gateway = "10.77.0.40"
    with pytest.raises(Unfit, match=why):
        allocate(switch, "nic:1", "static", address=address)
    assert not Allocation.objects.exists()


def test_it_refuses_an_address_that_somebody_has(switch, static, vm):
    nic = vm.nics.get()
    allocate(switch, f"nic:{nic.pk}", "lease", address="10.77.0.20")
    with pytest.raises(Taken, match=r"10\.77\.0\.20 belongs to web1 already"):
        allocate(switch, "nic:999", "static", address="10.77.0.20")
    Lease.objects.create(switch=switch, address="10.77.0.105", mac="58:9c:fc:00:00:99", hostname="mail",
                         expires_at=timezone.now() + timedelta(hours=1))  # fmt: skip
    with pytest.raises(Taken, match="leased to mail"):
        allocate(switch, "nic:999", "static", address="10.77.0.105")


def test_a_lease_becomes_static_for_the_one_who_has_it(switch, static, vm):
    nic = vm.nics.get()
    Lease.objects.create(switch=switch, address="10.77.0.105", mac=nic.mac)
    assert allocate(switch, f"nic:{nic.pk}", "lease", address="10.77.0.105").pk
    with pytest.raises(Taken, match="has a static lease already"):
        allocate(switch, f"nic:{nic.pk}", "lease")


@pytest.mark.parametrize(
    "words", [{"mac": "58:9c:fc\n"}, {"mac": "ff:ff:ff:ff:ff:ff"}, {"mac": ""},
              {"mac": "58:9c:fc:00:00:05", "hostname": "a=b"}, {"mac": "58:9c:fc:00:00:05", "hostname": "-x"}]
)  # fmt: skip
def test_it_refuses_words_that_would_break_a_configuration(switch, static, words):
    with pytest.raises(Unfit):
        allocate(switch, "", "lease", **words)


def test_other_switches_have_addresses_of_their_own(switch, static, host):
    from network.models import Switch

    other = Switch.objects.create(host=host, name="other", kind="nat", address="10.77.0.1/24")
    AddressPool.objects.create(switch=other, purpose="static", first="10.77.0.10", last="10.77.0.19")
    assert allocate(switch, "nic:1", "static").address == allocate(other, "nic:2", "static").address


def test_a_static_lease_of_ipv6_is_bound_to_the_clients_number(switch, vm):
    """FreeBSD's dnsmasq(8) knows clients of DHCPv6 by nothing else."""
    switch.address6 = "fd00:77::1/64"
    switch.save()
    nic = vm.nics.get()
    AddressPool.objects.create(switch=switch, purpose="static", first="fd00:77::10", last="fd00:77::1f")
    with pytest.raises(Unfit, match="DUID"):
        allocate(switch, f"nic:{nic.pk}", "lease", 6)
    duid = "00:03:00:01:58:9c:fc:00:00:01"
    Lease.objects.create(switch=switch, address="fd00:77::1000", mac=nic.mac, client_id=duid)
    row = allocate(switch, f"nic:{nic.pk}", "lease", 6)
    assert (row.address, row.client_id) == ("fd00:77::10", duid)


def test_ipv6_is_given_too(switch):
    switch.address6 = "fd00:77::1/64"
    switch.save()
    AddressPool.objects.create(switch=switch, purpose="static", first="fd00:77::10", last="fd00:77::1f")
    assert allocate(switch, "nic:1", "static", 6).address == "fd00:77::10"
    assert allocate(switch, "nic:1", "static", address="FD00:77:0::0011").address == "fd00:77::11"


@given(
    asked=st.lists(
        st.one_of(st.none(), st.integers(0, 300).map(lambda n: f"10.77.{n // 256}.{n % 256}")), max_size=25
    )
)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_no_address_is_given_twice_and_none_from_outside(switch, static, asked):
    Allocation.objects.all().delete()
    had = []
    for number, address in enumerate(asked):
        try:
            row = allocate(switch, f"nic:{number}", "static", address=address or "")
        except Unfit:
            continue
        had.append(row.address)
        if address is None:
            assert static.first <= row.address <= static.last
    assert len(set(had)) == len(had)
    own = ranges.subnets(switch)[0]
    assert all(
        ip_address(one) in own.network and ip_address(one) not in {own.ip, own.network[0], own.network[-1]}
        for one in had
    )


@given(st.integers(0, 32), st.integers(1, 2**32 - 2), st.booleans())
@settings(max_examples=200)
def test_default_pools_fit_their_subnet(prefix, number, is_six):
    address = (
        f"{ip_address((0xFD << 120) + number)}/{prefix + 96}" if is_six else f"{ip_address(number)}/{prefix}"
    )
    from ipaddress import ip_interface

    own = ip_interface(address)
    spans = [ranges.Span(ip_address(one.first), ip_address(one.last)) for one in pools_for(address)]
    for one in spans:
        assert one.first in own.network and one.last in own.network and one.size > 0
        assert own.ip not in one and own.network[0] not in one and own.network[-1] not in one
    assert not any(a.overlaps(b) for a in spans for b in spans if a is not b)
    if own.network.num_addresses >= 8 and own.ip not in {own.network[0], own.network[-1]}:
        assert spans


@pytest.mark.django_db(transaction=True)
def test_a_guest_that_asks_twice_at_once_has_one_lease(switch, static):
    turn = threading.Lock() if connection.vendor == "sqlite" else contextlib.nullcontext()
    said = []
    start = threading.Barrier(3)

    def ask() -> None:
        try:
            start.wait(10)
            with turn:
                said.append(allocate(switch, "", "lease", mac="58:9c:fc:00:00:77").address)
        except Taken as taken:
            said.append(str(taken))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    given = Allocation.objects.get().address
    assert sorted(said) == sorted([given, *2 * [f"It has a static lease already: {given}."]])


@pytest.mark.django_db(transaction=True)
def test_those_who_ask_at_once_get_different_ones(switch, static):
    """Real threads with connections of their own. On SQLite one waits for another, on PostgreSQL they collide."""
    # The tests' SQLite lies in memory, where a lock is an error at once: there they wait here.
    turn = threading.Lock() if connection.vendor == "sqlite" else contextlib.nullcontext()
    static.last = "10.77.0.59"
    static.save()
    got, errors = [], []
    start = threading.Barrier(5)

    def ask(thread: int) -> None:
        try:
            start.wait(10)
            for number in range(8):
                with turn:
                    got.append(allocate(switch, f"nic:{100 * thread + number}", "static").address)
        except Exception as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not errors
    assert len(set(got)) == len(got) == 40
