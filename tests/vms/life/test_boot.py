"""Starting with the host and stopping with it: order, delay, health, time-outs; and the guard of its memory."""

from __future__ import annotations

import threading
import time

import pytest
from django.db import OperationalError, connection

from bhype.tasks import Run, ask
from bhype.tasks.models import Task
from vms.life import boot, guard, health, power, starting
from vms.life import operations as life_operations
from vms.models import VM

GIB, MIB = 2**30, 2**20


@pytest.fixture
def host_of_vms(ready, monkeypatch) -> list[str]:
    """A lab in which starting and stopping is only noted: what bhyve does is tested elsewhere."""
    done: list[str] = []
    on: set[str] = set()

    def supervise(run, vm, target=None, **more):
        if vm.name == "bad":
            raise life_operations.OperationFailed("bad does not start.")
        done.append(f"start {vm.name}")
        on.add(vm.name)

    def request(run, vm, verb, **more):
        done.append(f"{verb} {vm.name}")
        if verb == "poweroff" or not vm.name.startswith("deaf"):
            on.discard(vm.name)
        return {}

    def wait_for(run, vm, states, seconds, stage):
        return None if vm.name in on else {"state": "stopped"}

    monkeypatch.setattr(power, "supervise", supervise)
    monkeypatch.setattr(power, "request", request)
    monkeypatch.setattr(power, "wait_for", wait_for)
    monkeypatch.setattr(power, "is_on", lambda host, name: name in on)
    monkeypatch.setattr(life_operations.place, "check", lambda host, vm: None)
    monkeypatch.setattr(life_operations.parts, "write_config", lambda run, vm, document=None: None)
    for module in (life_operations, starting):
        monkeypatch.setattr(module, "mark_seen", lambda run, vm: life_operations.mark(vm, "running"))
    return done


def make(ready, name: str, **columns) -> VM:
    from bhype.hosts.models import Host

    host = Host.objects.get()
    defaults = {"memory": 64 * MIB, "autostart": True, "state": "stopped", "vnc_password": "x"}
    port = 6000 + VM.objects.count()
    return VM.objects.create(host=host, pool=host.pools.get(), name=name, vnc_port=port, **defaults | columns)


def test_vms_start_in_order_and_a_failure_holds_up_no_other(ready, host_of_vms):
    make(ready, "web", start_order=30)
    make(ready, "db", start_order=10)
    make(ready, "bad", start_order=20)
    make(ready, "app", start_order=20)
    make(ready, "manual", autostart=False)
    task = ask("vms.autostart", {}, None)
    ready.run_tasks()
    task.refresh_from_db()
    assert task.status == "succeeded", task.error
    assert host_of_vms == ["start db", "start app", "start web"]
    assert "bad does not start" in task.result["started"]["bad"]
    assert task.result["started"]["web"] == "Started."


def test_the_next_waits_for_health_and_delay_and_no_longer_than_it_may(ready, host_of_vms, monkeypatch):
    make(ready, "first", start_order=1, health="serial:up", health_seconds=1, start_delay=7)
    make(ready, "second", start_order=2, health="serial:up", health_seconds=600, start_delay=9)
    make(ready, "third", start_order=3, health="tcp:web1:22")
    answers = iter([False, True])
    monkeypatch.setattr(health, "POLL", 0.01)
    monkeypatch.setattr(health.Watch, "is_healthy", lambda self: self._name == "second" and next(answers))
    pauses = []
    monkeypatch.setattr(boot, "_pause", lambda run, seconds: pauses.append(seconds))
    task = ask("vms.autostart", {}, None)
    ready.run_tasks()
    task.refresh_from_db()
    said = task.result["started"]
    assert "did not come within 1 s" in said["first"]
    assert "healthy after" in said["second"]
    assert "Not started" in said["third"]
    assert pauses == [7, 9]


def test_a_broken_off_start_goes_on_and_a_cancelled_one_does_not(ready, host_of_vms):
    make(ready, "web")
    task = ask("vms.autostart", {}, None)
    Task.objects.filter(pk=task.pk).update(status="running", worker="1:never")
    ready.interrupt()
    ready.run_tasks()
    done = list(Task.objects.order_by("pk").values_list("operation", "status"))[-4:]
    assert done == [
        ("vms.autostart", "interrupted"), ("vms.resume_autostart", "succeeded"),
        ("vms.autostart", "succeeded"), ("vms.start", "succeeded"),
    ]  # fmt: skip
    assert host_of_vms == ["start web"]
    Task.objects.filter(operation="vms.autostart").update(status="cancelled")
    ask("vms.resume_autostart", {}, None)
    assert [done.operation for done in ready.run_tasks()] == ["vms.resume_autostart"]


def test_all_stop_in_reverse_order_and_the_deaf_are_powered_off(ready, host_of_vms):
    for name, order in (("db", 1), ("app", 2), ("deaf1", 2), ("web", 3)):
        make(ready, name, start_order=order, stop_seconds=1)
    ask("vms.autostart", {}, None)
    ready.run_tasks()
    host_of_vms.clear()
    task = ask("vms.stop_all", {}, None)
    ready.run_tasks()
    task.refresh_from_db()
    assert task.status == "succeeded", task.error
    assert task.result == {"stopped": 4, "failed": {}}
    assert host_of_vms == ["stop web", "stop deaf1", "poweroff deaf1", "stop app", "stop db"]


def test_a_stop_takes_the_time_of_its_vm_and_only_says_so(ready, host_of_vms):
    vm = make(ready, "deaf1", stop_seconds=33)
    ask("vms.start", {"vm_id": vm.pk}, None)
    ask("vms.stop", {"vm_id": vm.pk}, None)
    *_, stop = ready.run_tasks()
    assert "within 33 s: use Power off" in stop.error
    assert "poweroff deaf1" not in host_of_vms


# The memory.


def memory(**changes: int) -> guard.Memory:
    values = {"total": 32 * GIB, "free": 20 * GIB, "arc": 4 * GIB, "arc_min": GIB, "arc_max": 16 * GIB}
    return guard.Memory(**values | changes)


@pytest.mark.parametrize(
    ("needs", "others", "wired", "seen", "words"),
    [
        (30, 0, False, memory(), None),
        (31, 0, False, memory(), "It needs 31 GiB, but the running VMs have 0 bytes of the 30 GiB"),
        (11, 20, False, memory(), "ARC, now 4 GiB of at most 16 GiB) never has less than 1 GiB"),
        (10, 20, False, memory(free=GIB), None),
        (10, 20, True, memory(free=GIB), "wired, so all 10 GiB must be there now: 1 GiB is free"),
        (10, 20, True, memory(free=8 * GIB), None),
        (20, 0, False, memory(arc_min=12 * GIB), "19 GiB that VMs can have"),
    ],
)
def test_a_vm_has_room_or_is_told_the_numbers_and_the_mend(needs, others, wired, seen, words):
    vm = VM(memory=needs * GIB, settings={"wire_guest_mem": True} if wired else {})
    problem = guard.problem(vm, seen, others * GIB)
    assert problem is None if words is None else words in problem
    if problem:
        assert "Stop another VM" in problem


def test_the_host_is_asked(ready):
    seen = guard.look(ready.host)
    assert seen.total == 32 * GIB
    assert 0 < seen.arc_min < seen.arc < seen.arc_max < seen.total
    assert 0 < seen.free < seen.total


def test_only_an_admin_forces_a_start(ready, host_of_vms, admin, operator):
    make(ready, "big", memory=28 * GIB, state="running")
    vm = make(ready, "more", memory=4 * GIB)
    for user, force, status in (
        (operator, False, "failed"),
        (operator, True, "failed"),
        (admin, True, "succeeded"),
    ):
        ask("vms.start", {"vm_id": vm.pk, "force": force}, user)
        *_, task = ready.run_tasks()
        assert task.status == status, task.error
        vm.refresh_from_db()
        assert vm.state == ("running" if status == "succeeded" else "stopped")


@pytest.mark.django_db(transaction=True)
def test_of_two_starts_at_one_moment_one_is_refused(ready, host_of_vms):
    vms = [make(ready, name, memory=20 * GIB) for name in ("one", "two")]
    barrier, outcomes = threading.Barrier(2), []

    def claim(vm, run):
        barrier.wait(60)
        while True:
            try:
                starting.claim_memory(run, vm, force=False)
                outcomes.append("started")
            except life_operations.OperationFailed as error:
                outcomes.append(str(error))
            except OperationalError:
                # Unlike the panel's own, the tests' database in memory does not wait for the other one's lock.
                time.sleep(0.01)
                continue
            finally:
                connection.close()
            return

    tasks = [ask("vms.start", {"vm_id": vm.pk}, None) for vm in vms]
    Task.objects.update(
        status=Task.Status.RUNNING
    )  # one that does not run is taken for cancelled before long
    runs = [Run(task) for task in tasks]
    threads = [threading.Thread(target=claim, args=pair) for pair in zip(vms, runs, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(outcome == "started" for outcome in outcomes) == [False, True]
    assert any("the running VMs have 20 GiB" in outcome for outcome in outcomes)


def test_a_shutdown_of_the_host_stops_all_also_without_a_worker(ready, host_of_vms, monkeypatch, capsys):
    from django.core.management import CommandError, call_command

    from vms.management.commands import stop_vms

    monkeypatch.setattr(stop_vms, "TAKEN_SECONDS", 0.1)
    vm = make(ready, "web")
    ask("vms.start", {"vm_id": vm.pk}, None)
    ready.run_tasks()
    call_command("stop_vms")
    assert "VMs stopped: 1" in capsys.readouterr().out
    monkeypatch.setattr(power, "request", lambda *words, **more: 1 / 0)
    VM.objects.update(state="running")
    monkeypatch.setattr(power, "is_on", lambda host, name: True)
    with pytest.raises(CommandError, match="Not stopped: web"):
        call_command("stop_vms")
