"""A switch's dnsmasq comes, goes and is mended, on a lab without wires: a process that nobody hears stands for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bhype.freebsd import ps
from bhype.tasks.models import Task
from network import guests
from network.dhcp import config, operations
from network.guests import Guest, Port
from network.models import AddressPool, Allocation, Switch
from tests.labhost import Lab, rows


@pytest.fixture
def served(lab: Lab) -> Lab:
    _, _, switch = rows()
    make_interface(lab)
    AddressPool.objects.create(switch=switch, purpose="dhcp", first="10.77.0.100", last="10.77.0.199")
    Switch.objects.update(has_dhcp=True, has_dns=True)
    return lab


def make_interface(lab: Lab, name: str = "sw-nat", address: str = "10.77.0.1/24") -> None:
    """As the operation of switches does it, which these tests do without."""
    mark = f"bhype/switch/{name.removeprefix('sw-')}"
    lab.commands("/sbin/ifconfig", "bridge", "create", "descr", mark, "group", "bhype", "name", name, "up")
    lab.commands("/sbin/ifconfig", name, "inet", address)


@pytest.fixture
def web() -> Iterator[dict[str, str]]:
    """A guest of a kind of the test's own; what is in the dict can be changed."""
    said = {"name": "web1", "mac": "58:9c:fc:00:00:05"}

    def resolver(wanted: guests.Wanted) -> list[Guest]:
        keys = wanted.switches or ()
        port = Port("nic:5", 0, keys[0] if keys else None, said["mac"], "tap1005")
        return [Guest("thing", "thing:1", said["name"], "/", 1, ports=(port,))] if keys else []

    guests.register("thing", resolver, label="thing")
    yield said
    guests._kinds.pop("thing")


def ensure(lab: Lab) -> Task:
    operations.ensure.ask({}, None)
    return lab.run_tasks()[-1]


def pids(lab: Lab, switch: str = "nat") -> list[int]:
    path = f"{config.FOLDER}/{switch}.conf"
    return [one.pid for one in lab.host.query(ps.processes()) if f"--conf-file={path}" in one.command]


def read(lab: Lab, ending: str) -> str:
    return lab.host.read_text(f"{config.FOLDER}/nat.{ending}")


def state() -> tuple[str, str]:
    row = Switch.objects.get(name="nat")
    return row.dhcp_state, row.dhcp_reason


def test_a_switch_gets_its_dnsmasq_and_a_second_run_changes_nothing(served):
    assert ensure(served).status == "succeeded"
    assert state() == ("running", "")
    first = pids(served)
    assert len(first) == 1 and "dhcp-range=10.77.0.100,10.77.0.199" in read(served, "conf")
    assert ensure(served).status == "succeeded"
    assert pids(served) == first


def test_names_and_static_leases_are_read_again_without_a_restart(served, web):
    ensure(served)
    before = pids(served)
    assert read(served, "hosts") == "58:9c:fc:00:00:05,web1\n"
    switch = Switch.objects.get()
    Allocation.objects.create(switch=switch, address="10.77.0.9", kind="lease", port="nic:5")
    ensure(served)
    assert read(served, "hosts") == "58:9c:fc:00:00:05,10.77.0.9,web1\n"
    assert pids(served) == before


def test_a_changed_range_restarts_it(served):
    ensure(served)
    before = pids(served)
    AddressPool.objects.update(last="10.77.0.150")
    ensure(served)
    assert len(pids(served)) == 1 and pids(served) != before


def test_it_goes_with_dhcp_and_names_and_its_files_with_it(served):
    ensure(served)
    Switch.objects.update(has_dhcp=False, has_dns=False)
    ensure(served)
    assert pids(served) == [] and served.host.listdir(config.FOLDER) == [] and state() == ("off", "")
