"""The real dnsmasq(8), which real DHCP clients ask, in network namespaces."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from network.dhcp import operations
from network.models import AddressPool, Allocation, DnsRecord, Lease, Switch
from tests.labhost import Lab, rows
from tests.network.dhcp.clients import Machine
from tests.network.dhcp.test_service import look, make_interface, web  # noqa: F401

WEB, DB = "58:9c:fc:00:00:05", "58:9c:fc:00:00:06"
Plug = Callable[..., Machine]


@pytest.fixture
def wires(lab: Lab) -> Lab:
    """A lab with wires and two NAT-ed switches, both with DHCP and names."""
    host, _, first = rows()
    second = Switch.objects.create(host=host, name="two", kind="nat", address="10.78.0.1/24")
    for switch, net in ((first, "10.77.0"), (second, "10.78.0")):
        make_interface(lab, switch.interface, f"{net}.1/24")
        AddressPool.objects.create(switch=switch, purpose="dhcp", first=f"{net}.100", last=f"{net}.199")
    Switch.objects.update(has_dhcp=True, has_dns=True)
    lab.wire()
    return lab


@pytest.fixture
def plug(wires: Lab, tmp_path: Path) -> Iterator[Plug]:
    made: list[Machine] = []

    def one(mac: str, switch: str = "sw-nat") -> Machine:
        made.append(Machine(wires, switch, mac, tmp_path))
        return made[-1]

    yield one
    for each in made:
        each.end()


def ensure(lab: Lab) -> None:
    operations.ensure.ask({}, None)
    task = lab.run_tasks()[-1]
    assert task.status == "succeeded", task.error


def test_a_guest_gets_a_lease_and_is_found_by_its_name(wires, plug, web):  # noqa: F811
    ensure(wires)
    guest = plug(WEB)
    told = guest.lease("-x", "hostname:www")
    assert told["ip"].startswith("10.77.0.1") and told["subnet"] == "255.255.255.0"
    assert (told["router"], told["dns"], told["domain"]) == ("10.77.0.1", "10.77.0.1", "nat.internal")
    assert guest.look_up("web1.nat.internal") == [told["ip"]]
    assert guest.look_up(told["ip"], "PTR") == ["web1.nat.internal"]
    # The name that it gave itself is nobody's.
    assert guest.look_up("www.nat.internal") == []
    look(wires)
    row = Lease.objects.get()
    assert (row.address, row.mac, row.hostname) == (told["ip"], WEB, "web1")


def test_switches_are_apart_and_know_each_others_names(wires, plug, web):  # noqa: F811
    DnsRecord.objects.create(switch=Switch.objects.get(name="two"), name="wiki", kind="A", value="10.78.0.9")
    ensure(wires)
    first, second = plug(WEB), plug(DB, "sw-two")
    assert first.lease()["ip"].startswith("10.77.0.") and second.lease()["ip"].startswith("10.78.0.")
    assert first.look_up("wiki.two.internal") == ["10.78.0.9"]
    assert first.look_up("10.78.0.9", "PTR") == ["wiki.two.internal"]
    Switch.objects.filter(name="two").update(kind="private")
    ensure(wires)
    assert first.look_up("wiki.two.internal") == []


def test_a_static_lease_holds(wires, plug, web):  # noqa: F811
    switch = Switch.objects.get(name="nat")
    Allocation.objects.create(switch=switch, address="10.77.0.9", kind="lease", port="nic:5")
    Allocation.objects.create(switch=switch, address="10.77.0.8", kind="lease", mac=DB, hostname="printer")
    ensure(wires)
    guest, other = plug(WEB), plug(DB)
    assert guest.lease()["ip"] == "10.77.0.9"
    assert other.lease()["ip"] == "10.77.0.8"
    assert guest.look_up("printer.nat.internal") == ["10.77.0.8"]
    # A guest that is renamed, and has another address, without a restart.
    Allocation.objects.filter(address="10.77.0.9").update(address="10.77.0.7")
    web["name"] = "shop"
    ensure(wires)
    assert guest.lease()["ip"] == "10.77.0.7"
    assert guest.look_up("shop.nat.internal") == ["10.77.0.7"]


def wait(until: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def make_ipv6(lab: Lab, mode: str) -> None:
    Switch.objects.filter(name="nat").update(address6="fd77::1/64", ipv6=mode)
    Switch.objects.filter(name="two").update(has_dhcp=False, has_dns=False)
    lab.commands("/sbin/ifconfig", "sw-nat", "inet6", "fd77::1", "prefixlen", "64")
    # Router advertisements come from a link-local address; the switch's own plan sees to it.
    lab.inside("ip", "addr", "add", "fe80::1/64", "dev", "sw-nat", "nodad")


def test_guests_make_their_own_ipv6_addresses_and_are_found_at_them(wires, plug, web):  # noqa: F811
    make_ipv6(wires, "slaac")
    ensure(wires)
    guest = plug(WEB)
    guest.lease()
    own = ["fd77::5a9c:fcff:fe00:5"]
    wait(lambda: guest.addresses("-6") == own)
    # dnsmasq asks whether somebody is there before it tells of the name.
    wait(lambda: guest.look_up("web1.nat.internal", "AAAA", "fd77::1") == own)
    assert guest.look_up("fd77::5a9c:fcff:fe00:5", "PTR") == ["web1.nat.internal"]


def test_dhcpv6_gives_addresses_and_keeps_static_ones(wires, plug, web):  # noqa: F811
    switch = Switch.objects.get(name="nat")
    AddressPool.objects.create(switch=switch, purpose="dhcp", first="fd77::100", last="fd77::1ff")
    make_ipv6(wires, "dhcp")
    ensure(wires)
    guest, other = plug(WEB), plug(DB)
    told = guest.lease6()
    assert told["new_ip6_address"].startswith("fd77::1") and told["new_dhcp6_name_servers"] == "fd77::1"
    assert guest.look_up("web1.nat.internal", "AAAA", "fd77::1") == [told["new_ip6_address"]]
    look(wires)
    lease = Lease.objects.get(address=told["new_ip6_address"])
    assert (lease.mac, lease.hostname) == (WEB, "web1")
    # As a click on "make static" has it: bound to the number by which the client is known.
    Allocation.objects.create(
        switch=switch, address="fd77::9", kind="lease", port="nic:5", client_id=lease.client_id
    )
    Allocation.objects.create(switch=switch, address="fd77::8", kind="lease", mac=DB)
    # Until then the guest has both.
    operations.release.ask({"switch_id": switch.pk, "address": lease.address}, None)
    assert wires.run_tasks()[-1].status == "succeeded"
    assert guest.lease6()["new_ip6_address"] == "fd77::9"
    assert other.lease6()["new_ip6_address"] == "fd77::8"
