from __future__ import annotations

import json
import stat

import pytest

from bhype.accounts.models import User
from bhype.freebsd import zfs
from bhype.tasks import ask
from bhype.tasks.models import Task
from bhype.tasks.run import Run
from storage.datasets.observe import refresh
from tests.conftest import make_user
from vms.forms import VMForm
from vms.models import VM

DATA = {
    "name": "web1",
    "cpus": "1",
    "memory": "256M",
    "disk_size": ["64M", "32M"],
    "has_screen": "on",
    "has_serial": "on",
}


@pytest.fixture
def maker(db) -> User:
    return make_user("maker", "operator")


def new_vm(maker: User, **data: object) -> tuple[VM, Task]:
    form = VMForm({**DATA, **data}, user=maker)
    assert form.is_valid(), form.errors
    made = form.save(maker)
    assert made, form.errors
    return made


def finish(lab) -> Task:
    *_, task = lab.run_tasks()
    return task


def test_it_makes_dataset_disks_variables_and_configuration(ready, maker):
    switch = ready and maker and VMForm(user=maker).fields["switch"].queryset.get()
    vm, _ = new_vm(maker, switch=str(switch.pk))
    task = finish(ready)
    assert task.status == "succeeded", task.error
    vm.refresh_from_db()
    assert vm.state == "stopped"
    assert ready.datasets() == {
        "tank/bhype/vms/web1",
        "tank/bhype/vms/web1/disk0",
        "tank/bhype/vms/web1/disk1",
    }
    config = ready.root / "tank/bhype/vms/web1/vm.json"
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    document = json.loads(config.read_text())
    assert document["uuid"] == str(vm.uuid)
    assert [entry["device"] for entry in document["emulations"]] == ["virtio-blk", "virtio-blk", "virtio-net"]
    assert (ready.root / "tank/bhype/vms/web1/uefi-vars.fd").stat().st_size > 0
    marks = ready.commands("/sbin/zfs", "get", "-H", "-r", "-o", "value", "org.bhype:id", vm.dataset).split()
    assert set(marks) == {str(vm.uuid)}
    sparse = ready.commands(
        "/sbin/zfs", "get", "-Hp", "-o", "value", "refreservation,volmode", f"{vm.dataset}/disk0"
    )
    assert sparse.split() == ["0", "dev"]


def test_it_deletes_everything_it_made(ready, maker):
    vm, _ = new_vm(maker)
    finish(ready)
    refresh(ready.host, vm.pool)
    assert "name" in VMForm(DATA, user=maker).errors
    ask("vms.delete", {"vm_id": vm.pk}, maker)
    task = finish(ready)
    assert task.status == "succeeded", task.error
    assert not VM.objects.exists()
    assert ready.datasets() == set()
    assert not (ready.root / "tank/bhype/vms/web1").exists()
    # The next of this name need not wait until the observer has looked.
    assert not VMForm(DATA, user=maker).errors


def test_it_leaves_a_dataset_alone_that_it_did_not_make(ready, maker):
    ready.commands("/sbin/zfs", "create", "tank/bhype/vms/web1")
    new_vm(maker)
    first, *_ = ready.run_tasks()
    assert first.status == "failed"
    assert "was not made for web1" in first.error
    assert ready.datasets() == {"tank/bhype/vms/web1"}
    # The row stays, with the reason: what is there is somebody's.
    vm = VM.objects.get()
    assert vm.state == "failed"
    assert "could not be removed" in vm.reason


def test_it_does_not_destroy_what_others_put_into_a_vms_dataset(ready, maker):
    vm, _ = new_vm(maker)
    finish(ready)
    ready.commands("/sbin/zfs", "create", "tank/bhype/vms/web1/backup-of-my-own")
    ask("vms.delete", {"vm_id": vm.pk}, maker)
    task = finish(ready)
    assert task.status == "failed"
    assert "backup-of-my-own" in task.error
    assert len(ready.datasets()) == 4
    ready.commands("/sbin/zfs", "destroy", "tank/bhype/vms/web1/backup-of-my-own")
    ask("vms.delete", {"vm_id": vm.pk}, maker)
    assert finish(ready).status == "succeeded"
    assert ready.datasets() == set()


COMMANDS = ("zfs create", "zfs create -V", "zfs create tank/bhype/vms/web1/disk1")
FAULTS = [
    (command, do, when) for command in COMMANDS for do in ("fail", "kill") for when in ("before", "after")
]


@pytest.mark.parametrize(("command", "do", "when"), [("zfs list", "fail", "before"), *FAULTS])
def test_nothing_is_left_of_a_creation_whose_command_failed(ready, maker, command, do, when):
    new_vm(maker)
    ready.fault(command=command, do=do, when=when, nth=1)
    create, *others = ready.run_tasks()
    assert create.status == "failed"
    assert create.error
    assert [task.operation for task in others] == ["vms.recover"]
    assert others[0].status == "succeeded", others[0].error
    assert ready.datasets() == set()
    assert not VM.objects.exists()


def test_a_hanging_command_is_killed_and_its_error_told(ready, maker, monkeypatch):
    create_volume = zfs.create_volume
    monkeypatch.setattr(zfs, "create_volume", lambda *words: create_volume(*words).with_timeout(1.0))
    new_vm(maker)
    ready.fault(command="zfs create -V", do="hang", nth=1)
    create, recover = ready.run_tasks()
    assert create.status == "failed"
    assert "did not end within 1 s" in create.error
    assert recover.status == "succeeded"
    assert ready.datasets() == set()


class Killed(BaseException):
    """Stands for SIGKILL of the worker: no handler of the operation sees it."""


def die_at(monkeypatch, number: int) -> dict[str, int]:
    """Let the worker die just before its command ``number``."""
    count = {"calls": 0}
    plain = Run.__init__

    def init(self, task):
        plain(self, task)
        run = self.host._run

        def dying(command, kept):
            count["calls"] += 1
            if count["calls"] == number:
                raise Killed
            return run(command, kept)

        self.host._run = dying

    monkeypatch.setattr(Run, "__init__", init)
    return count


@pytest.mark.parametrize("number", range(1, 5))
def test_nothing_is_left_of_a_creation_whose_worker_died(ready, maker, monkeypatch, number):
    new_vm(maker)
    with monkeypatch.context() as patch:
        die_at(patch, number)
        with pytest.raises(Killed):
            ready.run_tasks()
    assert [task.operation for task in ready.interrupt()] == ["vms.create"]
    assert [(task.operation, task.status) for task in ready.run_tasks()] == [("vms.recover", "succeeded")]
    assert ready.datasets() == set()
    assert not VM.objects.exists()


@pytest.mark.parametrize("number", range(1, 12))
def test_a_deletion_whose_worker_died_is_finished(ready, maker, monkeypatch, number):
    vm, _ = new_vm(maker)
    finish(ready)
    ask("vms.delete", {"vm_id": vm.pk}, maker)
    with monkeypatch.context() as patch:
        die_at(patch, number)
        with pytest.raises(Killed):
            ready.run_tasks()
    ready.interrupt()
    vm.refresh_from_db()
    if number <= 2:
        # It had not begun: the VM is whole, and stays.
        assert vm.state == "stopped"
        ask("vms.delete", {"vm_id": vm.pk}, maker)
    assert {task.status for task in ready.run_tasks()} == {"succeeded"}
    assert ready.datasets() == set()
    assert not VM.objects.exists()


def test_a_creation_that_was_cancelled_while_it_waited_is_taken_back(ready, maker):
    from bhype.tasks import cancel

    _, task = new_vm(maker)
    cancel(task, maker)
    ready.sweep()
    ready.run_tasks()
    assert not VM.objects.exists()


def test_it_does_not_start_more_than_the_host_can_hold(ready, maker):
    vm, _ = new_vm(maker)
    finish(ready)
    VM.objects.create(
        host=vm.host,
        pool=vm.pool,
        name="big",
        memory=31 * 2**30,
        vnc_port=5999,
        vnc_password="x",
        state="running",
    )
    ask("vms.start", {"vm_id": vm.pk}, maker)
    task = finish(ready)
    assert task.status == "failed"
    assert "Stop another VM or give this one less memory" in task.error
    vm.refresh_from_db()
    assert vm.state == "stopped"


def test_a_missing_medium_is_the_reason_why_it_does_not_start(ready, maker):
    from storage.models import Iso

    iso = Iso.objects.create(
        pool=ready and VMForm(user=maker).fields["pool"].queryset.get(), name="gone.iso", size=1
    )
    vm, _ = new_vm(maker, iso=str(iso.pk))
    finish(ready)
    ask("vms.start", {"vm_id": vm.pk}, maker)
    task = finish(ready)
    assert task.status == "failed"
    assert "gone.iso" in task.error
    vm.refresh_from_db()
    assert vm.state == "failed"
    assert "gone.iso" in vm.reason
    assert ready.taps() == ready.nodes() == set()


def test_the_secret_of_the_screen_stays_out_of_the_log(ready, maker):
    vm, task = new_vm(maker)
    ready.run_tasks()
    assert vm.vnc_password not in "\n".join(task.lines.values_list("text", flat=True))
