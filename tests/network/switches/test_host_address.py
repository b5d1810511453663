"""The host's own address on its way to the switch, and back: confirmed, taken back, cut off in the middle."""

from __future__ import annotations

import pytest

from bhype import commit
from bhype.freebsd import ifconfig, route, sysrc
from bhype.hosts.models import Host
from bhype.tasks import ask
from network.models import Switch
from network.switches import host as moving

# Its waits and processes are many: make test-long runs it.
pytestmark = pytest.mark.long


def interfaces(lab) -> dict[str, ifconfig.Interface]:
    return {one.name: one for one in lab.host.query(ifconfig.list_interfaces())}


def addresses(lab, name: str) -> list[str]:
    return [one for one in interfaces(lab)[name].addresses if "%" not in one]


def rc(lab, *names: str) -> dict[str, str]:
    return lab.host.query(sysrc.read(*names))


def move(lab, row: Switch, **params) -> str:
    ask("network.move_host_address", {"switch_id": row.pk, **params}, None)
    task = lab.run_tasks()[-1]
    return task.error if task.status == "failed" else ""


@pytest.fixture
def row(ready):
    """A bridged switch with em0, which has the host's address, for its uplink."""
    row = Switch.objects.create(host=Host.objects.get(), name="public", kind="bridged", uplink="em0")
    ask("network.ensure", {}, None)
    ready.run_tasks()
    yield row
    if (change := commit.look(ready.host, moving.CHANGE)) and not change.has_ended:
        commit.revert(ready.host, moving.CHANGE)


def test_a_confirmed_move_lasts_over_boots(ready, row):
    assert move(ready, row) == ""
    assert addresses(ready, "em0") == [] and addresses(ready, "sw-public") == ["192.0.2.10/24"]
    assert ready.host.query(route.default()).interface == "sw-public"
    assert "cloned_interfaces" not in rc(ready, "ifconfig_em0") and rc(ready, "ifconfig_sw_public") == {}
    ask("network.ensure", {}, None)
    ready.run_tasks()
    assert addresses(ready, "sw-public") == ["192.0.2.10/24"]
    commit.confirm(ready.host, moving.CHANGE)
    ready.sweep()
    row.refresh_from_db()
    assert (row.host_addresses, row.host_before, row.problems) == (["192.0.2.10/24"], None, [])
    assert row.host_router == "192.0.2.1"
    unit = f"bridge{moving.FIRST_BRIDGE + row.pk}"
    found = rc(ready, "ifconfig_sw_public", "ifconfig_em0", "cloned_interfaces", f"ifconfig_{unit}_name")
    assert found["ifconfig_sw_public"].startswith("inet 192.0.2.10/24 addm em0 ")
    assert found["ifconfig_em0"] == "up" and unit in found["cloned_interfaces"].split()
    assert found[f"ifconfig_{unit}_name"] == "sw-public"


def test_a_move_that_nobody_confirms_goes_back(ready, row):
    assert move(ready, row) == ""
    commit.revert(ready.host, moving.CHANGE)
    assert addresses(ready, "em0") == ["192.0.2.10/24"] and addresses(ready, "sw-public") == []
    assert ready.host.query(route.default()).interface == "em0"
    ready.sweep()
    row.refresh_from_db()
    assert (row.host_addresses, row.host_router, row.host_before) == ([], "", None)
    assert rc(ready, "ifconfig_sw_public") == {}


def test_what_was_moved_goes_back_when_it_is_asked_for(ready, row):
    move(ready, row)
    commit.confirm(ready.host, moving.CHANGE)
    assert move(ready, row, is_back=True) == ""
    assert (
        addresses(ready, "em0") == ["192.0.2.10/24"] and "em0" not in interfaces(ready)["sw-public"].members
    )
    commit.confirm(ready.host, moving.CHANGE)
    ready.sweep()
    row.refresh_from_db()
    assert row.host_addresses == []
    assert rc(ready, "ifconfig_em0")["ifconfig_em0"].startswith("inet 192.0.2.10/24")
    assert rc(ready, "ifconfig_sw_public") == {}


@pytest.mark.parametrize("nth", [1, 3])
def test_a_move_that_fails_in_any_step_leaves_the_host_reachable(ready, row, nth):
    ready.fault(command="ifconfig", do="fail", nth=nth + 1)
    move(ready, row)
    ready.clear_faults()
    change = commit.look(ready.host, moving.CHANGE)
    if change is not None and not change.has_ended:
        commit.revert(ready.host, moving.CHANGE)
    assert addresses(ready, "em0") == ["192.0.2.10/24"] or addresses(ready, "sw-public") == ["192.0.2.10/24"]
    ready.sweep()
    row.refresh_from_db()
    assert bool(row.host_addresses) == (addresses(ready, "sw-public") == ["192.0.2.10/24"])


def test_an_address_by_dhcp_is_not_moved(ready, row):
    ready.commands("/usr/sbin/sysrc", "ifconfig_em0=SYNCDHCP")
    assert "by DHCP" in move(ready, row)
    assert addresses(ready, "em0") == ["192.0.2.10/24"]


def test_a_second_move_waits_for_the_first(ready, row):
    move(ready, row)
    assert "waits for its confirmation" in move(ready, row, is_back=True)
    assert addresses(ready, "sw-public") == ["192.0.2.10/24"]
