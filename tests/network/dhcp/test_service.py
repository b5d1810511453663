"""A switch's dnsmasq comes, goes and is mended, on a lab without wires: a process that nobody hears stands for it."""

from __future__ import annotations

import dataclasses
import itertools
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils import timezone

from bhype.freebsd import dnsmasq, ps
from bhype.host import LocalHost
from bhype.hosts.observer import Sweep
from bhype.tasks.models import Task
from network import guests
from network.dhcp import config, observe, operations, parts, wanted
from network.guests import Guest, Port
from network.models import AddressPool, Allocation, Lease, Neighbour, Switch
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
    lab.commands("/sbin/kldload", "-n", "if_bridge")
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
    path = f"{parts.FOLDER}/{switch}.conf"
    return [one.pid for one in lab.host.query(ps.processes()) if f"--conf-file={path}" in one.command]


def read(lab: Lab, ending: str) -> str:
    return lab.host.read_text(f"{parts.FOLDER}/nat.{ending}")


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
    assert pids(served) == [] and served.host.listdir(parts.FOLDER) == [] and state() == ("off", "")


def test_nobody_can_read_what_dnsmasq_reads_as_nobody(served, web):
    mask = os.umask(0o077)
    try:
        assert ensure(served).status == "succeeded"
    finally:
        os.umask(mask)
    folder = Path(served.host.path(parts.FOLDER))
    assert folder.stat().st_mode & 0o777 == 0o755 and folder.parent.stat().st_mode & 0o011 == 0o011
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in folder.iterdir())


# What is not as wanted is noticed and mended.


def look(lab: Lab, number: int = 0) -> Sweep:
    """What the observer does about DHCP in one sweep."""
    made = lab.look(number)
    made.memory(observe.Memory).rest = 0
    observe.observe(made)
    return made


def sweep(lab: Lab) -> list[Task]:
    before = set(Task.objects.values_list("pk", flat=True))
    look(lab)
    lab.run_tasks()
    asked = Task.objects.exclude(pk__in=before).filter(operation="network.ensure_dhcp")
    return list(asked)


def test_the_observer_has_it_started_and_then_rests(served):
    assert [task.status for task in sweep(served)] == ["succeeded"]
    assert state() == ("running", "")
    assert sweep(served) == []


def test_a_dnsmasq_that_was_killed_comes_back_and_the_page_says_so(served):
    sweep(served)
    (pid,) = pids(served)
    os.kill(pid, signal.SIGKILL)
    Task.objects.all().delete()
    look(served)
    assert state() == ("failed", "dnsmasq has ended by itself; it is being started again.")
    served.run_tasks()
    assert pids(served) not in ([], [pid]) and state() == ("running", "")


def test_while_comparing_rests_a_dnsmasq_that_was_killed_is_noticed_all_the_same(served):
    sweep(served)
    AddressPool.objects.update(last="10.77.0.150")
    served.look().memory(observe.Memory).rest = 5
    observe.observe(served.look())
    assert not Task.objects.filter(operation="network.ensure_dhcp").unfinished().exists()
    os.kill(pids(served)[0], signal.SIGKILL)
    Task.objects.all().delete()
    observe.observe(served.look())
    assert Task.objects.get().operation == "network.ensure_dhcp"


def test_a_guest_that_is_renamed_is_found_by_its_new_name_at_once(served, web):
    sweep(served)
    for name in ("shop", "market"):
        web["name"] = name
        assert len(sweep(served)) == 1
        assert read(served, "hosts") == f"58:9c:fc:00:00:05,{name}\n"


def test_a_file_that_somebody_edited_is_put_right(served):
    sweep(served)
    served.host.write_text(f"{parts.FOLDER}/nat.conf", "interface=em0\n")
    ensure(served)
    assert "interface=sw-nat" in read(served, "conf")


def test_it_ends_with_its_interface_and_comes_back_with_it(served):
    sweep(served)
    served.commands("/sbin/ifconfig", "sw-nat", "destroy")
    ensure(served)
    assert pids(served) == [] and "wait for the switch" in state()[1]
    make_interface(served)
    ensure(served)
    assert len(pids(served)) == 1 and state() == ("running", "")


def test_it_is_restarted_when_its_interface_was_away_for_a_moment(served):
    sweep(served)
    before = pids(served)
    served.commands("/sbin/ifconfig", "sw-nat", "destroy")
    look(served)
    # The operation of switches comes first.
    make_interface(served)
    served.run_tasks()
    assert len(pids(served)) == 1 and pids(served) != before and state() == ("running", "")


def test_what_dnsmasq_does_not_accept_is_not_used(served, monkeypatch):
    ensure(served)
    before, text = pids(served), read(served, "conf")
    build = config.build
    broken = lambda service: dataclasses.replace(build(service), conf="no-such-option\n")  # noqa: E731
    monkeypatch.setattr(config, "build", broken)
    task = ensure(served)
    assert task.status == "failed" and "the old ones stay" in task.error and "line 1" in task.error
    assert state()[0] == "failed" and "the old ones stay" in state()[1]
    assert pids(served) == before and read(served, "conf") == text
    assert served.host.listdir(parts.FOLDER) == ["nat.conf", "nat.hosts", "nat.names"]


def test_what_does_not_start_gives_way_to_what_did(served):
    ensure(served)
    text = read(served, "conf")
    AddressPool.objects.update(last="10.77.0.150")
    word = f"--pid-file={parts.pid_path('nat')}"
    served.fault(command=f"dnsmasq {word}", do="fail", text="dnsmasq: bad luck", nth=1)
    task = ensure(served)
    assert task.status == "failed" and "bad luck" in task.error
    assert read(served, "conf") == text and len(pids(served)) == 1
    served.clear_faults()
    assert ensure(served).status == "succeeded"
    assert "10.77.0.150" in read(served, "conf") and state() == ("running", "")


def test_a_port_that_another_has_is_told_of(served):
    taken = "dnsmasq: failed to create listening socket for 10.77.0.1: Address already in use"
    served.fault(command=f"dnsmasq --pid-file={parts.pid_path('nat')}", do="fail", code=2, text=taken)
    assert "local_unbound" in ensure(served).error


def test_where_dnsmasq_is_not_installed_the_page_says_how(served):
    served.host.unlink(dnsmasq.PROGRAM)
    assert "pkg install dnsmasq" in ensure(served).error
    assert sweep(served) == [] and state() == ("failed", operations.INSTALL)
    (item,) = observe.checklist(Switch.objects.get().host)
    assert not item.is_done and "pkg install" in item.advice


def test_one_switch_that_cannot_be_served_stops_no_other(served):
    other = Switch.objects.create(
        host=Switch.objects.get().host,
        name="alpha",
        kind="nat",
        address="10.9.0.1/24",
        has_dhcp=True,
        domain="a b",
    )
    make_interface(served, "sw-alpha", "10.9.0.1/24")
    task = ensure(served)
    assert task.status == "failed" and "alpha" in task.error
    other.refresh_from_db()
    assert other.dhcp_state == "failed" and state() == ("running", "")


def test_it_goes_with_the_switch(served):
    ensure(served)
    served.host.write_text(parts.leases_path("nat"), "")
    Switch.objects.all().delete()
    assert len(sweep(served)) == 1
    assert pids(served) == [] and served.host.listdir(parts.FOLDER) == []
    assert not served.host.exists(parts.leases_path("nat"))


def test_the_dnsmasq_of_somebody_else_is_left_alone(served):
    """A pid file that names another's process, such as after a reboot, leads to no signal."""
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        served.host.makedirs(parts.RUN)
        served.host.write_text(parts.pid_path("nat"), f"{bystander.pid}\n")
        ensure(served)
        Switch.objects.update(has_dhcp=False, has_dns=False)
        ensure(served)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


class Killed(BaseException):
    """As SIGKILL: nothing of the worker's own hears it."""


def kill_at(monkeypatch, lab: Lab, nth: int) -> bool:
    """Run the operation until the ``nth`` thing that it does to the host; whether there was one."""
    steps = itertools.count(1)

    def dying(function):
        def step(*args, **options):
            if next(steps) == nth:
                raise Killed
            return function(*args, **options)

        return step

    owners = ((LocalHost, "write_text"), (LocalHost, "unlink"), (LocalHost, "run"), (operations, "_signal"))
    with monkeypatch.context() as patch:
        for owner, name in owners:
            patch.setattr(owner, name, dying(getattr(owner, name)))
        operations.ensure.ask({}, None)
        try:
            lab.run_tasks()
        except Killed:
            lab.interrupt()
            return True
    return False


def test_a_kill_at_any_step_leaves_the_old_or_the_new(served, web, monkeypatch):
    ensure(served)
    nth, ends = 0, itertools.cycle(["10.77.0.150", "10.77.0.199"])
    was_killed, old = True, "10.77.0.199"
    while was_killed:
        nth, new = nth + 1, next(ends)
        AddressPool.objects.update(last=new)
        web["name"] = f"web{nth}"
        was_killed = kill_at(monkeypatch, served, nth)
        assert old in read(served, "conf") or new in read(served, "conf")
        assert ensure(served).status == "succeeded"
        assert new in read(served, "conf") and read(served, "hosts") == f"58:9c:fc:00:00:05,web{nth}\n"
        assert served.host.listdir(parts.FOLDER) == ["nat.conf", "nat.hosts", "nat.names"]
        found = operations.running(served.host, "nat", served.host.query(ps.processes()))
        assert pids(served) == [found.pid] and set(found.noted) == {"pid", "conf", "names"}
        old = new
    assert nth > 8


def test_leases_become_rows_and_go_again(served):
    ensure(served)
    switch = Switch.objects.get()
    later = int(time.time()) + 3600
    text = (
        f"{later} 58:9c:fc:00:00:05 10.77.0.100 web1 01:58:9c:fc:00:00:05\n"
        f"0 58:9c:fc:00:00:06 10.77.0.101 * *\n"
        f"duid 00:01:00:01:2c:3f:1c:8a:58:9c:fc:00:00:01\n"
        f"{later} 123456 fd77::105 web1 00:01:00:01:2c:3f:1c:8a:58:9c:fc:00:00:05\n"
        f"1000 58:9c:fc:00:00:07 10.77.0.102 old *\n"
    )
    path = parts.leases_path("nat")
    served.host.write_text(path, text)
    look(served)
    rows_ = {row.address: (row.mac, row.hostname, row.expires_at is None) for row in switch.leases.all()}
    assert rows_ == {
        "10.77.0.100": ("58:9c:fc:00:00:05", "web1", False),
        "10.77.0.101": ("58:9c:fc:00:00:06", "", True),
        "fd77::105": ("58:9c:fc:00:00:05", "web1", False),
    }
    served.host.write_text(path, "half a li")
    assert look(served, 1).problems == []
    # It stays so: nobody is writing it.
    os.utime(served.host.path(path), (1, 1))
    (problem,) = look(served, 2).problems
    assert "leases of nat" in problem and switch.leases.count() == 3
    served.host.write_text(path, f"{later} 58:9c:fc:00:00:05 10.77.0.100 web1 *\n")
    look(served, 3)
    assert [row.address for row in switch.leases.all()] == ["10.77.0.100"]


def test_a_lease_of_dhcpv6_gets_its_name_from_the_hosts_neighbours(served, web):
    """FreeBSD's dnsmasq cannot tell the MAC address of a DHCPv6 client, see docs/dhcp-and-names.md."""
    switch = Switch.objects.get()
    Switch.objects.update(address6="fd77::1/64", ipv6="dhcp")
    served.commands("/sbin/ifconfig", "sw-nat", "inet6", "fd77::1", "prefixlen", "64")
    for number in (5, 6):
        Lease.objects.create(
            switch=switch, address=f"fd77::{number}", mac=web["mac"], client_id="what it says"
        )
    seen = timezone.now()
    row = {"host": switch.host, "interface": "sw-nat", "seen_at": seen}
    Neighbour.objects.create(address="fd77::5", mac=web["mac"], **row)
    Neighbour.objects.create(address="fd77::6", mac="58:9c:fc:00:00:66", **row)
    ensure(served)
    assert read(served, "names") == "fd77::5 web1.nat.internal\n"


def test_a_switch_that_is_not_there_yet_is_no_failure(served):
    served.commands("/sbin/ifconfig", "sw-nat", "destroy")
    assert sweep(served) == [] and state()[0] == "failed"
    assert ensure(served).status == "succeeded"
    make_interface(served)
    assert len(sweep(served)) == 1 and state() == ("running", "")


def test_a_lease_that_is_taken_back_is_known_no_more(served):
    ensure(served)
    before = pids(served)
    later = int(time.time()) + 3600
    lines = [f"{later} 58:9c:fc:00:00:0{n} 10.77.0.10{n} web{n} *\n" for n in (1, 2)]
    served.host.write_text(parts.leases_path("nat"), "".join(lines))
    look(served)
    switch = Switch.objects.get()
    operations.release.ask({"switch_id": switch.pk, "address": "10.77.0.101"}, None)
    assert served.run_tasks()[-1].status == "succeeded"
    assert served.host.read_text(parts.leases_path("nat")) == lines[1]
    assert [row.address for row in switch.leases.all()] == ["10.77.0.102"]
    assert len(pids(served)) == 1 and pids(served) != before


def test_a_sweep_asks_a_constant_number_of_questions(served, web, django_assert_max_num_queries):
    host = Switch.objects.get().host
    for number in range(5):
        Switch.objects.create(
            host=host, name=f"s{number}", kind="private", address=f"10.2{number}.0.1/24", has_dns=True
        )
    found = []
    with django_assert_max_num_queries(8):
        found = wanted.of(host)
    assert len(found) == 6
