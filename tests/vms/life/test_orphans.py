"""The disks of a deleted VM go to another, whole, also with a worker that dies at any step."""

from __future__ import annotations

import pytest

from bhype.accounts.models import User
from bhype.hosts.models import Host
from bhype.tasks import ask
from storage.models import Dataset
from tests.conftest import make_user
from tests.vms.hardware.test_operations_disks import config, killed_everywhere, made, mark, run
from tests.vms.transfer.test_copies import read, write
from vms.life.orphans import disks_of, orphans
from vms.models import VM, Disk

MIB = 2**20
HOME = "tank/bhype/vms"


@pytest.fixture
def maker(db) -> User:
    return make_user("maker", "admin")


@pytest.fixture(autouse=True)
def _many_recoveries(monkeypatch) -> None:
    monkeypatch.setattr("bhype.tasks.queue.MOST_RECOVERIES", 1000)


@pytest.fixture
def vm(ready, maker) -> VM:
    """A VM with a disk, beside what was kept of another with two."""
    old = made(ready, maker, "old", ("4M", "8M"))
    write(ready, "old/disk1", MIB, b"kept")
    run(ready, "vms.delete", vm_id=old.pk, keep_disks=True, user=maker)
    vm = made(ready, maker)
    ready.sweep()
    return vm


def kept(name: str) -> Dataset:
    return Dataset.objects.get(name=f"{HOME}/old/{name}")


def test_a_disk_of_a_deleted_vm_is_given_to_another(ready, vm, maker, as_user):
    (orphan,) = orphans(Host.objects.get(name="lab"))
    assert [disk.name for disk in disks_of(orphan)] == [f"{HOME}/old/disk0", f"{HOME}/old/disk1"]
    client = as_user(maker)
    assert "disk1 (8 MiB)" in client.get(f"/vms/_orphans/{orphan.pk}/").content.decode()
    address = f"/vms/_orphans/{orphan.pk}/give/"
    assert client.post(address, {"disk": kept("disk1").pk, "vm": 10**6}).status_code == 422
    assert client.post(address, {"disk": orphan.pk, "vm": vm.pk}).status_code == 422
    assert client.post(address, {"disk": kept("disk1").pk, "vm": vm.pk}).status_code == 302
    run(ready)
    disk = vm.disks.get(index=1)
    assert (disk.size, disk.is_attached, disk.backing) == (8 * MIB, False, "volume")
    assert read(ready, "web1/disk1", MIB, 4) == b"kept"
    assert mark(ready, f"{HOME}/web1/disk1") == str(vm.uuid)
    assert ready.datasets() == {
        f"{HOME}/old", f"{HOME}/old/disk0", *(f"{HOME}/web1{end}" for end in ("", "/disk0", "/disk1"))
    }  # fmt: skip
    run(ready, "vms.delete", vm_id=vm.pk, user=maker)
    assert ready.datasets() == {f"{HOME}/old", f"{HOME}/old/disk0"}


def test_the_api_gives_only_a_kept_disk_of_the_same_pool(ready, vm, maker, as_user):
    client, address = as_user(maker), f"/api/v1/vms/{vm.name}/disks/give"
    own = Dataset.objects.get(name=f"{vm.dataset}/disk0")
    for wrong in (own.pk, 10**6, -1):
        answer = client.post(address, {"disk": wrong}, content_type="application/json")
        assert answer.status_code == 422 and answer.json()["field"] == "disk"
    answer = client.post(address, {"disk": kept("disk1").pk}, content_type="application/json")
    assert answer.status_code == 202
    run(ready)
    assert vm.disks.get(index=1).size == 8 * MIB
    owner = make_user("owner", "operator")
    VM.objects.filter(pk=vm.pk).update(owner=owner)
    answer = as_user(owner).post(address, {"disk": kept("disk0").pk}, content_type="application/json")
    assert answer.status_code == 404


def test_only_an_orphan_s_disk_is_given_by_who_may_change_both(ready, vm, maker):
    mine = Dataset.objects.get(name=f"{HOME}/web1/disk0")
    task = run(ready, "vms.give_disk", "failed", vm_id=vm.pk, dataset_id=mine.pk, user=maker)
    assert "belongs to a VM" in task.error
    owner = make_user("owner", "operator")
    VM.objects.filter(pk=vm.pk).update(owner=owner)
    task = run(ready, "vms.give_disk", "failed", vm_id=vm.pk, dataset_id=kept("disk0").pk, user=owner)
    assert "not yours" in task.error
    top = Dataset.objects.get(name=f"{HOME}/old")
    assert "no such disk" in run(ready, "vms.give_disk", "failed", vm_id=vm.pk, dataset_id=top.pk).error


def test_a_worker_that_dies_on_the_way_leaves_the_disk_in_one_place(ready, vm):
    def give(number):
        rows = set(Disk.objects.filter(vm=vm).values_list("index", flat=True))
        there = {f"{HOME}/web1/disk{index}" for index in rows}
        assert there == {name for name in ready.datasets() if name.startswith(f"{HOME}/web1/")}
        assert all(mark(ready, name) == str(vm.uuid) for name in there)
        assert config(ready, vm)["name"] == "web1"
        if number is not None:
            return None
        for index in rows - {0}:
            ready.commands("/sbin/zfs", "rename", f"{HOME}/web1/disk{index}", f"{HOME}/old/disk0")
            ready.commands("/sbin/zfs", "set", f"org.bhype:id={kept('disk0').bhype_id}", f"{HOME}/old/disk0")
            vm.disks.filter(index=index).delete()
        return ask("vms.give_disk", {"vm_id": vm.pk, "dataset_id": kept("disk0").pk}, None)

    assert killed_everywhere(ready, give) > 8
    assert Disk.objects.filter(vm=vm).count() == 2
