from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from bhype.freebsd.ifconfig import Interface
from bhype.hosts.models import Host
from bhype.hosts.observer import Observer
from network.models import Switch
from network.switches import operations, plan
from network.switches.plan import Conflict, Seen, Wanted
from vms.models import Nic

NAT = Wanted("nat", "sw-nat", addresses=("10.77.0.1/24",))
UP = frozenset({"UP", "RUNNING"})


def words(wanted: Wanted, *interfaces: Interface) -> list[str]:
    return [" ".join(command.argv[1:]) for command in plan.commands(wanted, Seen(interfaces))]


def bridge(**values: object) -> Interface:
    base = {
        "name": "sw-nat",
        "flags": UP,
        "mtu": 1500,
        "description": "bhype/switch/nat",
        "addresses": ("10.77.0.1/24",),
    }
    return Interface(**(base | values))


def test_a_missing_switch_is_made():
    assert words(NAT) == [
        "bridge create descr bhype/switch/nat group bhype name sw-nat up",
        "sw-nat inet 10.77.0.1/24",
    ]


def test_a_switch_that_is_right_is_left_alone():
    assert words(NAT, bridge()) == []
    assert plan.is_right(NAT, Seen((bridge(),)))


def test_only_what_is_missing_is_mended():
    assert words(NAT, bridge(flags=frozenset())) == ["sw-nat up"]
    assert words(NAT, bridge(addresses=())) == ["sw-nat inet 10.77.0.1/24"]


def test_what_differs_is_told_by_name():
    tap = Interface("tap1001", UP, 1500)
    plugged = replace(NAT, ports=(plan.Port("tap1001"),))
    assert plan.problem(NAT, Seen((bridge(),))) == ""
    assert plan.problem(NAT, Seen()).startswith("sw-nat is not there")
    assert plan.problem(plugged, Seen((bridge(), tap))).startswith("Not plugged in: tap1001.")
    assert "lacks its address 10.77.0.1/24" in plan.problem(NAT, Seen((bridge(addresses=()),)))
    assert "changed by somebody else" in plan.problem(NAT, Seen((bridge(flags=frozenset()),)))


def test_a_bridge_that_lost_its_name_in_a_crash_is_replaced():
    stray = Interface("bridge0", UP, description="bhype/switch/nat")
    assert words(NAT, stray)[0] == "bridge0 name sw-nat"
    assert words(NAT, stray, bridge()) == ["bridge0 destroy"]


def test_an_interface_of_somebody_else_is_never_touched():
    with pytest.raises(Conflict, match="was not made by bHype"):
        plan.commands(NAT, Seen((bridge(description="mine"),)))
    assert not plan.is_right(NAT, Seen((bridge(description="mine"),)))


def test_an_uplink_must_be_there():
    wanted = Wanted("lan", "sw-lan", uplink="em0")
    there = bridge(name="sw-lan", description="bhype/switch/lan", addresses=())
    # Its guests have each other meanwhile.
    assert words(wanted)[0].startswith("bridge create")
    with pytest.raises(Conflict, match="em0"):
        plan.commands(wanted, Seen((there,)))
    assert words(wanted, Interface("em0", UP, 1500))[-1] == "sw-lan addm em0"


def test_the_first_network_avoids_those_of_the_host():
    assert plan.free_address([]) == "10.77.0.1/24"
    used = [
        Interface("em0", addresses=("10.77.0.9/16", "fe80::1%em0/64")),
        Interface("em1", addresses=("10.78.0.1/24",)),
    ]
    assert plan.free_address(network for _, network in plan.networks(used)) == "10.79.0.1/24"
    assert plan.free_address([ip_network("10.0.0.0/8")]) == ""


def test_switches_are_set_up_and_seen(ready):
    Observer(ready.host).sweep()
    switch = Switch.objects.get()
    assert switch.is_up
    assert (
        ready.commands("/sbin/ifconfig", "sw-nat").splitlines()[1].strip() == "description: bhype/switch/nat"
    )
    ready.commands("/sbin/ifconfig", "tap7", "create")
    ready.commands("/sbin/ifconfig", "sw-nat", "addm", "tap7")
    Observer(ready.host).sweep()
    assert Switch.objects.get().members == ["tap7"]


def test_what_stands_in_the_bridge_for_a_tap_with_a_rate_counts_as_the_tap(ready):
    ready.commands("/sbin/ifconfig", "tap9", "create", "name", "rtap8")
    ready.commands("/sbin/ifconfig", "sw-nat", "addm", "rtap8")
    Observer(ready.host).sweep()
    assert Switch.objects.get().members == ["tap8"]


def test_a_switch_that_was_destroyed_comes_back(ready):
    ready.commands("/sbin/ifconfig", "sw-nat", "destroy")
    from bhype.tasks.models import Task

    Task.objects.all().delete()
    Observer(ready.host).sweep()
    assert not Switch.objects.get().is_up
    assert [(task.operation, task.status) for task in ready.run_tasks()] == [("network.ensure", "succeeded")]
    assert Switch.objects.get().is_up


def test_a_switch_that_cannot_be_made_stops_no_other(ready):
    host = Host.objects.get()
    Switch.objects.create(host=host, name="alpha", kind="private")
    Switch.objects.create(host=host, name="zeta", kind="private")
    ready.commands("/sbin/ifconfig", "bridge", "create", "name", "sw-alpha")
    operations.ensure.ask({}, None)
    (task,) = ready.run_tasks()
    assert task.status == "failed"
    assert "sw-alpha is there already" in task.error
    assert Switch.objects.get(name="zeta").is_up
    assert not Switch.objects.get(name="alpha").is_up


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_set_up_that_was_killed_is_finished_by_the_next(ready, when):
    Switch.objects.create(host=Host.objects.get(), name="lan", kind="nat", address="10.5.0.1/24")
    ready.fault(command="ifconfig create", do="kill", nth=1, when=when)
    operations.ensure.ask({}, None)
    ready.run_tasks()
    ready.clear_faults()
    operations.ensure.ask({}, None)
    assert ready.run_tasks()[-1].status == "succeeded"
    names = ready.commands("/sbin/ifconfig", "-l").split()
    assert [name for name in names if name.startswith(("bridge", "sw-"))] == ["sw-nat", "sw-lan"]


def test_its_pages_show_ports(as_user, viewer, stranger, vm, switch):
    Switch.objects.update(members=[Nic.objects.get().tap, "em0"])
    page = as_user(viewer).get("/network/switches/nat/").content.decode()
    assert "web1" in page and "58:9c:fc:00:00:01" in page and "em0" in page
    assert "/network/switches/nat/" in as_user(viewer).get("/network/").content.decode()
    for path in ("/network/", "/network/switches/nat/"):
        assert as_user(stranger).get(path).status_code == 404
    assert as_user(viewer).get("/network/switches/nosuch/").status_code == 404


def test_the_api_tells_of_switches(as_user, viewer, stranger, switch):
    answer = as_user(viewer).get("/api/v1/switches/nat").json()
    assert (answer["interface"], answer["address"], answer["members"]) == ("sw-nat", "10.77.0.1/24", [])
    assert [row["name"] for row in as_user(viewer).get("/api/v1/switches").json()] == ["nat"]
    for path in ("switches", "switches/nat"):
        assert as_user(stranger).get(f"/api/v1/{path}").status_code == 404
