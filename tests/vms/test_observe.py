from __future__ import annotations

import json
import os
import uuid

import pytest

from bhype.freebsd import ngctl
from bhype.freebsd.ps import Process
from bhype.hosts.observer import Observer
from bhype.live.models import Event
from bhype.tasks.models import Task
from bhype.vmrun import nics
from vms.models import VM
from vms.observe import Seen, _columns, state_of

GIB = 2**30


def rows(pool, host, count: int) -> list[VM]:
    return VM.objects.bulk_create(
        VM(
            host=host,
            pool=pool,
            name=f"m{number}",
            memory=GIB,
            vnc_port=5900 + number,
            vnc_password="x",
            state="stopped",
        )
        for number in range(count)
    )


def write_state(lab, vm: VM, **values: object) -> None:
    folder = lab.root / "var/run/bhype/vms" / vm.name
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        "name": vm.name,
        "uuid": str(vm.uuid),
        "state": "stopped",
        "reason": "",
        "pid": None,
        "supervisor": None,
    }
    (folder / "state.json").write_text(json.dumps(state | values))


def make_home(lab, vm: VM) -> None:
    folder = lab.root / vm.dataset
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vm.json").write_text("{}")


def counted(lab, monkeypatch) -> list[tuple[str, ...]]:
    commands: list[tuple[str, ...]] = []
    run = lab.host._run
    monkeypatch.setattr(
        lab.host, "_run", lambda command, kept: commands.append(command.argv) or run(command, kept)
    )
    return commands


def test_a_sweep_runs_as_many_commands_for_100_vms_as_for_3(
    ready, monkeypatch, django_assert_max_num_queries
):
    from bhype.hosts.models import Host
    from storage.models import Pool

    pool, host = Pool.objects.get(), Host.objects.get()
    # Disks are asked for their health a few at a time, and not again for a while.
    for _ in range(3):
        Observer(ready.host).sweep()
    numbers = []
    for count in (3, 100):
        VM.objects.all().delete()
        for vm in rows(pool, host, count):
            make_home(ready, vm)
            write_state(ready, vm, state="stopped", reason="The guest powered off.", exit_code=1)
        Observer(ready.host).sweep()
        commands = counted(ready, monkeypatch)
        with django_assert_max_num_queries(64):
            Observer(ready.host).sweep()
        numbers.append(len(commands))
        monkeypatch.undo()
        monkeypatch.setattr("django.conf.settings.BHYPE_ROOT", str(ready.root))
    # The first sweep of an observer looks at all there is, disks, pools and networks included.
    assert numbers[0] == numbers[1] < 26


def test_a_crash_stays_one_when_its_node_was_cleaned_up():
    reason = "bhyve ended while nobody watched how."
    seen = Seen({"state": "stopped", "reason": reason}, None, is_supervised=False, operation="")
    assert state_of(VM(state="crashed", reason=reason), seen) == ("crashed", reason)
    assert state_of(VM(state="running"), seen) == ("stopped", reason)
    assert state_of(VM(state="crashed", reason="Killed."), seen) == ("stopped", reason)


def test_a_sweep_that_sees_nothing_new_tells_nothing(ready):
    from bhype.hosts.models import Host
    from storage.models import Pool

    (vm,) = rows(Pool.objects.get(), Host.objects.get(), 1)
    make_home(ready, vm)
    observer = Observer(ready.host)
    for _ in range(2):
        observer.sweep()
        ready.run_tasks()
    Event.objects.all().delete()
    observer.number = 1
    observer.sweep()
    assert not Event.objects.filter(topic__startswith="vm").exists()


def test_a_failing_command_is_a_problem_of_the_host_and_stops_no_other(ready, vm_row):
    from bhype.hosts.models import Host

    make_home(ready, vm_row)
    write_state(ready, vm_row, state="failed", reason="It said no.", exit_code=4)
    ready.fault(command="zpool list", do="fail", text="cannot open: pool I/O is currently suspended")
    ready.sweep()
    (problem,) = Host.objects.get().problems
    assert "suspended" in problem
    assert problem.startswith("storage:")
    vm_row.refresh_from_db()
    assert (vm_row.state, vm_row.reason, vm_row.exit_code) == ("failed", "It said no.", 4)
    ready.clear_faults()
    ready.sweep()
    assert Host.objects.get().problems == []


def test_a_hanging_command_is_not_asked_again_at_once(ready, vm_row, monkeypatch):
    monkeypatch.setattr("bhype.freebsd.zpool.TIMEOUT", 0.7)
    make_home(ready, vm_row)
    ready.fault(command="zpool list", do="hang")
    observer = Observer(ready.host)
    sweep = observer.sweep()
    assert any("did not end within" in problem for problem in sweep.problems)
    commands = counted(ready, monkeypatch)
    observer.number = 0
    sweep = observer.sweep()
    assert any("did not end within" in problem for problem in sweep.problems)
    assert not any(argv[:2] == ("/sbin/zpool", "list") for argv in commands)


@pytest.fixture
def vm_row(ready) -> VM:
    from bhype.hosts.models import Host
    from storage.models import Pool

    return rows(Pool.objects.get(), Host.objects.get(), 1)[0]


def test_a_vm_whose_dataset_is_gone_is_lost_until_it_is_back(ready, vm_row):
    ready.sweep()
    vm_row.refresh_from_db()
    assert vm_row.state == "lost"
    assert "tank/bhype/vms/m0" in vm_row.reason
    make_home(ready, vm_row)
    ready.sweep()
    vm_row.refresh_from_db()
    assert (vm_row.state, vm_row.reason) == ("stopped", "")


def test_the_state_of_another_vm_of_that_name_is_not_taken(ready, vm_row):
    make_home(ready, vm_row)
    write_state(ready, vm_row, uuid=str(uuid.uuid4()), state="failed", reason="of the old one")
    ready.sweep()
    vm_row.refresh_from_db()
    assert vm_row.state == "stopped"


def test_a_vm_that_is_left_half_made_is_tidied_up(ready, vm_row):
    ready.commands("/sbin/zfs", "create", "-o", f"org.bhype:id={vm_row.uuid}", vm_row.dataset)
    VM.objects.update(state="creating")
    ready.sweep()
    ready.run_tasks()
    assert not VM.objects.exists()
    assert ready.datasets() == set()


def test_taps_that_were_left_behind_go_after_two_looks(ready, vm_row):
    make_home(ready, vm_row)
    foreign = ["create", "descr", "of somebody else"]
    for number, words in ((1, ["create", "descr", f"bhype/vm/{vm_row.uuid}/0"]), (2, foreign)):
        ready.commands("/sbin/ifconfig", f"tap{number}", *words)
    ready.sweep()
    assert not Task.objects.filter(operation="vms.clean_up").exists()
    ready.sweep()
    ready.run_tasks()
    assert ready.taps() == {"tap2"}


def test_what_limits_a_tap_goes_with_it(ready, vm_row):
    """ifconfig(8) destroys no interface of netgraph, and one without its tap would stay for ever."""
    make_home(ready, vm_row)
    description = f"bhype/vm/{vm_row.uuid}/0"
    ready.commands("/sbin/ifconfig", "tap1", "create", "descr", description, "group", "bhype")
    nics._insert(ready.host, "tap1", description, None)
    ready.sweep()
    ready.sweep()
    (task,) = ready.run_tasks()
    assert (task.operation, task.status) == ("vms.clean_up", "succeeded"), task.error
    assert "tap1" not in ready.commands("/sbin/ifconfig", "-l")
    assert not {"rtap1", "tap1_pipe"}.intersection(ready.host.query(ngctl.nodes()))


def test_vms_that_start_with_the_host_are_asked_for_once_after_a_boot(ready, vm_row, monkeypatch):
    from bhype.hosts.models import Host

    make_home(ready, vm_row)
    VM.objects.update(autostart=True)
    ready.sweep()
    assert Host.objects.get().booted_at
    Task.objects.all().delete()
    ready.sweep()
    assert not Task.objects.filter(operation="vms.autostart").exists()
    state = json.loads((ready.folder / "state/host.json").read_text())
    state["booted"] += 3600
    (ready.folder / "state/host.json").write_text(json.dumps(state))
    ready.sweep()
    ready.sweep()
    assert Task.objects.filter(operation="vms.autostart").count() == 1
    ready.run_tasks()
    assert Task.objects.filter(operation="vms.start", by_system=True).count() == 1


PROCESS = Process(pid=os.getpid(), cpu_percent=1.0, rss=1, elapsed=1, command="bhyve: m0")


@pytest.mark.parametrize(
    ("was", "file", "process", "supervised", "operation", "there", "now"),
    [
        ("stopped", None, None, False, "", True, "stopped"),
        ("failed", None, None, False, "", True, "failed"),
        ("running", None, None, False, "", True, "stopped"),
        ("running", None, PROCESS, False, "", True, "running"),
        ("stopped", None, PROCESS, False, "", True, "running"),
        ("stopped", "running", PROCESS, True, "", True, "running"),
        ("running", "stopping", PROCESS, True, "", True, "stopping"),
        ("stopping", "running", PROCESS, True, "vms.stop", True, "stopping"),
        ("stopping", "running", PROCESS, True, "", True, "running"),
        ("running", "starting", None, True, "", True, "starting"),
        ("starting", None, None, False, "vms.start", True, "starting"),
        ("starting", "stopped", None, False, "vms.start", True, "starting"),
        ("starting", "failed", None, False, "", True, "failed"),
        ("running", "running", None, False, "", True, "crashed"),
        ("running", "crashed", None, False, "", True, "crashed"),
        ("creating", "running", PROCESS, True, "", True, "creating"),
        ("deleting", None, None, False, "", False, "deleting"),
        ("stopped", None, None, False, "", False, "lost"),
        ("lost", None, None, False, "", True, "stopped"),
    ],
)
def test_what_is_seen_makes_the_state(was, file, process, supervised, operation, there, now):
    vm = VM(name="m0", state=was, uuid=uuid.uuid4())
    seen = Seen({"state": file, "reason": "r"} if file else None, process, supervised, operation, there)
    if not there:
        from bhype.hosts.models import Host
        from storage.models import Pool

        vm.pool = Pool(host=Host(name="lab"), name="tank")
    assert state_of(vm, seen)[0] == now


def test_a_vm_that_failed_before_it_ever_ran_keeps_its_reason(vm):
    gone = Seen(None, None, is_supervised=False, operation="", is_there=False)
    vm.state, vm.reason = "failed", "It could not be removed: zfs hangs."
    assert state_of(vm, gone) == ("failed", "It could not be removed: zfs hangs.")
    vm.state = "stopped"
    assert state_of(vm, gone)[0] == "lost"


def test_what_a_running_guest_has_not_got_is_kept_while_it_is_on(vm):
    file = {"state": "starting", "warnings": ["The limits are not applied."], "next_start": 2_000_000_000.0}
    found = _columns(vm, Seen(file, None, is_supervised=True, operation=""))
    assert found["warnings"] == ["The limits are not applied."]
    assert found["next_start"].year == 2033
    found = _columns(vm, Seen({**file, "state": "stopped"}, None, is_supervised=False, operation=""))
    assert (found["warnings"], found["next_start"]) == ([], None)
