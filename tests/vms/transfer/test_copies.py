"""Full and linked copies of VMs, whole or not at all, and the source as it was."""

from __future__ import annotations

import json
import os

import pytest

from bhype.accounts.models import User
from bhype.freebsd.zfs import DatasetInfo
from bhype.tasks import Refused, ask
from bhype.tasks.models import Task
from bhype.tasks.run import Run
from tests.conftest import make_user
from tests.vms.test_operations import Killed, finish, new_vm
from vms import plan, wanted
from vms.life import guard
from vms.models import VM, Disk
from vms.transfer import copies
from vms.wanted import WantedError

MIB = 2**20


@pytest.fixture
def admin(db) -> User:
    return make_user("root1", "admin")


@pytest.fixture
def source(ready, admin):
    """A stopped VM with two disks, of which the first has something on it."""
    from vms.forms import VMForm

    switch = VMForm(user=admin).fields["switch"].queryset.get()
    vm, _ = new_vm(admin, switch=str(switch.pk))
    assert finish(ready).status == "succeeded"
    write(ready, "web1/disk0", 3 * MIB, b"hello")
    return VM.objects.get(pk=vm.pk)


def write(lab, disk, at, data):
    with open(lab.root / "dev/zvol/tank/bhype/vms" / disk, "r+b") as file:
        os.pwrite(file.fileno(), data, at)


def read(lab, disk, at, count):
    with open(lab.root / "dev/zvol/tank/bhype/vms" / disk, "rb") as file:
        return os.pread(file.fileno(), count, at)


def snapshots(lab):
    return lab.commands("/sbin/zfs", "list", "-H", "-o", "name", "-t", "snapshot", "-r", "tank").split()


def origins(lab):
    lines = lab.commands("/sbin/zfs", "list", "-H", "-o", "name,origin", "-r", "tank/bhype/vms").splitlines()
    return {name: origin for name, origin in (line.split("\t") for line in lines) if origin != "-"}


def test_a_full_copy_has_data_and_an_identity_of_its_own(ready, source, admin):
    copy, _ = copies.make(source, "web2", admin)
    task = finish(ready)
    assert task.status == "succeeded", task.error
    copy.refresh_from_db()
    assert copy.state == "stopped"
    assert read(ready, "web2/disk0", 3 * MIB, 5) == b"hello"
    write(ready, "web2/disk0", 3 * MIB, b"other")
    assert read(ready, "web1/disk0", 3 * MIB, 5) == b"hello"
    ours, theirs = copy.nics.get(), source.nics.get()
    assert (ours.switch, ours.mac != theirs.mac) == (theirs.switch, True)
    assert copy.uuid != source.uuid
    assert (copy.vnc_port, copy.vnc_password) != (source.vnc_port, source.vnc_password)
    document = json.loads((ready.root / "tank/bhype/vms/web2/vm.json").read_text())
    assert (document["name"], document["uuid"]) == ("web2", str(copy.uuid))
    assert [entry["path"] for entry in document["emulations"] if entry["device"] == "virtio-blk"] == [
        f"/dev/zvol/tank/bhype/vms/web2/disk{index}" for index in (0, 1)
    ]
    assert "web1" not in json.dumps(document)
    marks = ready.commands("/sbin/zfs", "get", "-H", "-r", "-o", "value,source", "org.bhype:id", copy.dataset)
    assert marks == f"{copy.uuid}\tlocal\n" * 3
    assert (ready.root / "tank/bhype/vms/web2/uefi-vars.fd").stat().st_size > 0
    assert snapshots(ready) == []
    assert origins(ready) == {}


def test_a_linked_copy_shares_until_it_is_promoted(ready, source, admin):
    copy, _ = copies.make(source, "web2", admin, linked=True)
    assert finish(ready).status == "succeeded"
    assert read(ready, "web2/disk0", 3 * MIB, 5) == b"hello"
    assert set(origins(ready)) == {"tank/bhype/vms/web2", *(f"tank/bhype/vms/web2/disk{n}" for n in (0, 1))}
    marks = ready.commands(
        "/sbin/zfs", "get", "-H", "-o", "value", "volmode,org.bhype:id", "tank/bhype/vms/web2/disk0"
    )
    assert marks.split() == ["dev", str(copy.uuid)]
    ask("vms.delete", {"vm_id": source.pk}, admin)
    task = finish(ready)
    assert (task.status, "web2" in task.error) == ("failed", True), task.error
    VM.objects.filter(pk=source.pk).update(state="stopped")
    ask("vms.promote", {"vm_id": copy.pk}, admin)
    task = finish(ready)
    assert task.status == "succeeded", task.error
    assert {name.rpartition("/web")[2][0] for name in origins(ready)} == {"1"}
    ask("vms.delete", {"vm_id": source.pk}, admin)
    task = finish(ready)
    assert task.status == "succeeded", task.error
    assert read(ready, "web2/disk0", 3 * MIB, 5) == b"hello"
    ask("vms.delete", {"vm_id": copy.pk}, admin)
    assert finish(ready).status == "succeeded"
    assert ready.datasets() == set()
    assert snapshots(ready) == []


def test_a_full_copy_of_a_linked_one_depends_on_nobody(ready, source, admin):
    linked, _ = copies.make(source, "web2", admin, linked=True)
    finish(ready)
    copies.make(VM.objects.get(pk=linked.pk), "web3", admin)
    assert finish(ready).status == "succeeded"
    assert not any("web3" in name for name in origins(ready))
    assert read(ready, "web3/disk0", 3 * MIB, 5) == b"hello"


def test_only_who_may_change_the_source_may_copy_it(ready, source, admin):
    other = make_user("other", "operator")
    with pytest.raises(Refused):
        copies.make(source, "web2", other)
    VM.objects.filter(pk=source.pk).update(owner=other)
    copy, _ = copies.make(source, "web2", other)
    assert copy.owner == other
    VM.objects.filter(pk=source.pk).update(owner=admin)
    task = next(task for task in ready.run_tasks() if task.operation == "vms.clone")
    assert (task.status, "not yours" in task.error) == ("failed", True)
    assert not VM.objects.filter(name="web2").exists()


def test_names_that_are_taken_or_wrong_are_refused(ready, source, admin):
    for name in ("web1", "Web", "a/b"):
        with pytest.raises(WantedError):
            copies.make(source, name, admin)
    VM.objects.filter(pk=source.pk).update(state="deleting")
    with pytest.raises(Refused, match="being deleted"):
        copies.make(source, "web2", admin)


# The first three sends only ask for sizes.
COMMANDS = [
    (False, "zfs send", 4),
    (False, "zfs receive", 2),
    (True, "zfs snapshot", 1),
    (True, "zfs clone", 2),
]


@pytest.mark.parametrize(("linked", "command", "nth"), COMMANDS)
def test_nothing_is_left_of_a_copy_whose_command_failed(ready, source, admin, linked, command, nth):
    copies.make(source, "web2", admin, linked=linked)
    ready.fault(command=command, do="kill", nth=nth)
    first, *others = ready.run_tasks()
    assert first.status == "failed", first.error
    assert [(task.operation, task.status) for task in others] == [("vms.recover_clone", "succeeded")]
    assert_as_before(ready)


def assert_as_before(lab):
    assert lab.datasets() == {"tank/bhype/vms/web1", *(f"tank/bhype/vms/web1/disk{n}" for n in (0, 1))}
    assert snapshots(lab) == []
    assert [vm.name for vm in VM.objects.all()] == ["web1"]
    assert read(lab, "web1/disk0", 3 * MIB, 5) == b"hello"


def die_at(monkeypatch, number: int) -> dict[str, int]:
    """Let the worker die just before its command, or pipe, ``number``."""
    count = {"calls": 0}
    plain = Run.__init__

    def init(self, task):
        plain(self, task)

        def before(work):
            def dying(*arguments, **options):
                count["calls"] += 1
                if count["calls"] == number:
                    raise Killed
                return work(*arguments, **options)

            return dying

        self.host._run, self.host.pipe = before(self.host._run), before(self.host.pipe)

    monkeypatch.setattr(Run, "__init__", init)
    return count


def last_command(ready, source, admin, monkeypatch, linked) -> int:
    copies.make(source, "count", admin, linked=linked)
    with monkeypatch.context() as patch:
        count = die_at(patch, 0)
        assert finish(ready).status == "succeeded"
    ask("vms.delete", {"vm_id": VM.objects.get(name="count").pk}, None)
    assert finish(ready).status == "succeeded"
    for name in snapshots(ready):
        ready.commands("/sbin/zfs", "destroy", name)
    return count["calls"]


@pytest.mark.parametrize("linked", [False, True])
def test_nothing_is_left_of_a_copy_whose_worker_died_anywhere(ready, source, admin, monkeypatch, linked):
    last = last_command(ready, source, admin, monkeypatch, linked)
    # Each takes seconds: some of many that are alike, and the last.
    for number in sorted({2, last, *range(5, last, 8)}):
        copies.make(source, "web2", admin, linked=linked)
        with monkeypatch.context() as patch:
            die_at(patch, number)
            with pytest.raises(Killed):
                ready.run_tasks()
        ready.interrupt()
        assert {(task.operation, task.status) for task in ready.run_tasks()} == {
            ("vms.recover_clone", "succeeded")
        }
        assert_as_before(ready)


def test_a_cancelled_copy_is_taken_back(ready, source, admin, monkeypatch):
    copies.make(source, "web2", admin)
    ready.fault(command="zfs receive", do="hang")
    from bhype.tasks import run as running

    monkeypatch.setattr(running, "CANCEL_SECONDS", 0.0)
    plain = Run.stage

    def stage(self, name, percent=None):
        plain(self, name, percent)
        Task.objects.filter(pk=self.task.pk).update(status="cancelling")

    monkeypatch.setattr(Run, "stage", stage)
    first, *_ = ready.run_tasks()
    assert first.status == "cancelled", first.error
    ready.clear_faults()
    monkeypatch.undo()
    ready.run_tasks()
    assert_as_before(ready)


def test_who_depends_on_whom_is_read_from_origins():
    def info(name, origin=None):
        return DatasetInfo(name, "volume", 0, 0, 0, 0, None, origin, None)

    found = [
        info("t/vms/a"), info("t/vms/a/disk0"), info("t/vms/a/disk1", "t/vms/a/disk0@x"),
        info("t/vms/b/disk0", "t/vms/a/disk0@x"), info("t/vms/ab", "t/vms/a@x"), info("t/vms/c", "t/vms/ab@x"),
    ]  # fmt: skip
    assert copies.clones_of(found, "t/vms/a") == ["t/vms/ab", "t/vms/b/disk0"]
    assert copies.origins_of(found, "t/vms/b") == {"t/vms/b/disk0": "t/vms/a/disk0@x"}
    assert copies.names_of(["t/vms/b/disk0", "t/vms/b", "t/vms/ab", "t/x"], "t/vms") == ["ab", "b"]


def test_a_disk_of_the_host_is_not_in_the_copy(ready, source):
    Disk.objects.create(vm=source, index=7, slot="0:9:0", backing="path", host_path="/dev/da9", size=MIB)
    from vms import wanted

    document = copies.document(wanted.load(source.pk), "web2")
    assert "/dev/da9" not in json.dumps(document)
    assert "web1" not in json.dumps(document)


def test_the_sockets_and_lines_of_a_copy_are_its_own(vm, admin):
    ports = [{"name": "a", "path": "/var/run/bhype/vms/web1/console-a.sock"}]
    VM.objects.filter(pk=vm.pk).update(settings={"pinning": {"0": [3]}, "nice": 5})
    vm.devices.create(kind="virtio-console", slot="0:21:0", options={"ports": ports})
    vm.devices.create(kind="uart", slot="0:22:0", options={"path": "/dev/nmdm-web1.5A"})
    copy, _ = copies.make(vm, "web2", admin)
    assert [one.options for one in copy.devices.order_by("slot")] == [
        {"ports": [{"name": "a", "path": "/var/run/bhype/vms/web2/console-a.sock"}]},
        {"path": "/dev/nmdm-web2.5A"},
    ]
    # Pins are of one VM: two share a CPU by request only.
    assert copy.settings == {"nice": 5}


def test_a_copy_may_keep_the_addresses_but_is_never_on_beside_its_original(vm, admin):
    vm.state = "running"
    vm.save()
    copy, _ = copies.make(vm, "web2", admin, keep_macs=True)
    ours, theirs = copy.nics.get(), vm.nics.get()
    assert (ours.mac, ours.shares_mac, theirs.shares_mac) == (theirs.mac, True, False)
    assert guard.twin(copy) == (
        f"web1 is on and has the MAC address {theirs.mac} on the same switch."
        " Stop it, or give one of the two another address."
    )
    VM.objects.filter(pk=vm.pk).update(state="stopped")
    assert guard.twin(copy) is None
    # A changed address is its own again, and has to be free.
    document = plan.document(wanted.load(copy.pk))
    document["emulations"][-1]["mac"] = "58:9c:fc:00:00:77"
    wanted.apply(copy, document, None)
    assert not copy.nics.get().shares_mac
