"""Snapshots of a VM as one unit: taken, destroyed, held, looked into, and gone back to, also when killed on the way."""

from __future__ import annotations

import json

import pytest

from bhype.accounts.models import User
from bhype.tasks import Refused, ask
from bhype.tasks.models import Task
from storage.models import Snapshot
from tests.conftest import make_user
from tests.vms.test_copies import MIB, read, snapshots, write
from tests.vms.test_operations import finish, new_vm
from vms import plan, wanted
from vms.models import VM


@pytest.fixture
def alice(db) -> User:
    return make_user("alice", "operator")


@pytest.fixture
def vm(ready, alice):
    """A stopped VM of alice with two disks, of which the first has something on it, and rows of its datasets."""
    from vms.forms import VMForm

    switch = VMForm(user=alice).fields["switch"].queryset.get()
    made, _ = new_vm(alice, switch=str(switch.pk))
    assert finish(ready).status == "succeeded"
    write(ready, "web1/disk0", 3 * MIB, b"hello")
    ready.sweep()
    return VM.objects.get(pk=made.pk)


def do(lab, operation, user, vm, **params) -> Task:
    ask(operation, {"vm_id": vm.pk, **params}, user)
    return finish(lab)


def take(lab, vm, name, user=None, note=""):
    task = do(lab, "vms.take_snapshot", user, vm, name=name, note=note)
    assert task.status == "succeeded", task.error
    return task


def config(lab, name="web1"):
    return json.loads((lab.root / f"tank/bhype/vms/{name}/vm.json").read_text())


def tails(lab):
    return {name.partition("@")[2] for name in snapshots(lab) if "/vms/" in name}


def test_a_snapshot_is_of_all_disks_and_the_configuration_at_one_moment(ready, vm, alice):
    take(ready, vm, "before", alice, note="before the update: 100% sure")
    assert snapshots(ready) == [f"tank/bhype/vms/web1{part}@before" for part in ("", "/disk0", "/disk1")]
    rows = Snapshot.objects.filter(name="before")
    assert {row.is_root for row in rows} == {True, False} and len({row.txg for row in rows}) == 1
    root = rows.get(is_root=True)
    assert (root.dataset.name, root.kind, root.bhype_id) == (vm.dataset, "manual", str(vm.uuid))
    assert root.note == "before the update: 100 percent sure"
    assert (ready.root / "tank/bhype/vms/web1/.zfs/snapshot/before/vm.json").exists()


def test_a_name_that_is_taken_or_that_zfs_does_not_take_is_refused(ready, vm, alice):
    take(ready, vm, "one")
    assert "has a snapshot called one already" in do(ready, "vms.take_snapshot", alice, vm, name="one").error
    assert "snapshot name" in do(ready, "vms.take_snapshot", alice, vm, name="a b").error
    with pytest.raises(Refused):
        do(ready, "vms.take_snapshot", alice, vm, name="x" * 201)
    assert tails(ready) == {"one"}


def test_going_back_brings_disks_and_configuration_back(ready, vm, alice):
    take(ready, vm, "good", alice)
    before = config(ready)
    write(ready, "web1/disk0", 3 * MIB, b"worse")
    document = plan.document(wanted.load(vm.pk))
    wanted.save(vm, {**document, "mem": "2G"}, alice)
    assert finish(ready).status == "succeeded"
    take(ready, vm, "later", alice)
    preview = do(ready, "vms.preview_rollback", alice, vm, name="good")
    assert preview.status == "succeeded", preview.error
    told = preview.result
    assert [one["name"] for one in told["goes"]] == [
        f"{vm.dataset}{part}@later" for part in ("", "/disk0", "/disk1")
    ]
    assert told["blocked"] == told["faults"] == []
    assert [(one["label"], one["before"], one["after"]) for one in told["changes"]] == [
        ("Memory", "2 GiB", "256 MiB")
    ]
    assert tails(ready) == {"good", "later"} and VM.objects.get().memory == 2 << 30
    task = do(ready, "vms.rollback", alice, vm, name="good", goes=[one["name"] for one in told["goes"]])
    assert task.status == "succeeded", task.error
    assert read(ready, "web1/disk0", 3 * MIB, 5) == b"hello"
    vm.refresh_from_db()
    assert (vm.memory, vm.rolling_back_to, vm.edited) == (256 * MIB, "", None)
    after = config(ready)
    assert {key: value for key, value in after.items() if key != "bhype"} == {
        key: value for key, value in before.items() if key != "bhype"
    }
    assert tails(ready) == {"good"} == set(Snapshot.objects.values_list("name", flat=True))


def test_a_snapshot_nobody_has_seen_to_be_lost_stops_a_rollback(ready, vm, alice):
    take(ready, vm, "good")
    take(ready, vm, "surprise")
    task = do(ready, "vms.rollback", alice, vm, name="good", goes=[])
    assert task.status == "failed" and "Look again" in task.error
    assert tails(ready) == {"good", "surprise"} and not VM.objects.get().rolling_back_to


@pytest.mark.parametrize(("nth", "when"), [(1, "before"), (1, "after"), (2, "before"), (3, "after")])
def test_a_rollback_killed_between_two_disks_is_finished_by_itself(ready, vm, alice, nth, when):
    take(ready, vm, "good")
    for disk in ("disk0", "disk1"):
        write(ready, f"web1/{disk}", 5 * MIB, b"worse")
    ready.fault(command="zfs rollback", do="kill", nth=nth, when=when)
    ask("vms.rollback", {"vm_id": vm.pk, "name": "good"}, alice)
    broken, finished = ready.run_tasks()
    assert (broken.status, finished.operation, finished.by_system) == ("failed", "vms.finish_rollback", True)
    assert finished.status == "succeeded", finished.error
    assert [read(ready, f"web1/{disk}", 5 * MIB, 5) for disk in ("disk0", "disk1")] == [bytes(5)] * 2
    assert VM.objects.get().rolling_back_to == ""


def test_a_vm_that_is_half_rolled_back_neither_starts_nor_changes(ready, vm, alice):
    take(ready, vm, "good")
    ready.fault(command="zfs rollback", do="fail", text="cannot rollback: I/O error", nth=2)
    VM.objects.filter(pk=vm.pk).update(rolling_back_to="good")
    for operation in ("vms.start", "vms.configure", "vms.take_snapshot", "vms.rollback"):
        params = {"name": "good"} if operation == "vms.rollback" else {}
        assert "half rolled back" in do(ready, operation, alice, vm, **params).error
    assert do(ready, "vms.finish_rollback", alice, vm, name="good").status == "failed"
    assert VM.objects.get().rolling_back_to == "good"
    ready.clear_faults()
    assert do(ready, "vms.finish_rollback", alice, vm, name="good").status == "succeeded"
    assert VM.objects.get().rolling_back_to == ""


def test_a_rollback_that_zfs_refuses_changes_nothing(ready, vm, alice):
    take(ready, vm, "good")
    ready.fault(command="zfs rollback", do="full")
    task = do(ready, "vms.rollback", alice, vm, name="good")
    assert task.status == "failed" and "out of space" in task.error
    assert VM.objects.get().rolling_back_to == ""


def test_what_equals_root_does_not_come_back_by_a_rollback(ready, vm, alice, settings):
    settings.ALLOW = ["raw"]
    admin = make_user("root1", "admin")
    document = plan.document(wanted.load(vm.pk))
    raw = {"device": "raw", "value": "virtio-rnd", "slot": "0:20:0"}
    wanted.save(vm, {**document, "emulations": [*document["emulations"], raw]}, admin)
    assert finish(ready).status == "succeeded"
    take(ready, vm, "with-raw")
    wanted.save(vm, document, admin)
    assert finish(ready).status == "succeeded"
    task = do(ready, "vms.rollback", alice, vm, name="with-raw")
    assert task.status == "failed" and "vms.root" in task.error
    assert not VM.objects.get().devices.filter(kind="raw").exists()
    only_disks = do(ready, "vms.rollback", alice, vm, name="with-raw", keep_config=True)
    assert only_disks.status == "succeeded", only_disks.error
    assert not VM.objects.get().devices.filter(kind="raw").exists()
    assert "raw" not in {entry["device"] for entry in config(ready)["emulations"]}
    assert do(ready, "vms.rollback", admin, vm, name="with-raw").status == "succeeded"
    assert VM.objects.get().devices.filter(kind="raw").exists()
