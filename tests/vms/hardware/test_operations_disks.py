"""Disks that come, grow, move and go, names that change, and a worker that dies at any step of it."""

from __future__ import annotations

import contextlib
import json

import pytest

from bhype.accounts.models import User
from bhype.hosts.models import Host
from bhype.tasks import ask, schedules
from bhype.tasks.models import Task
from storage.datasets.observe import refresh
from storage.models import Dataset
from tests.conftest import make_user
from tests.vms.life.test_lifecycle import dying
from vms import plan, wanted
from vms.forms import VMForm
from vms.life import starting
from vms.life.orphans import orphans
from vms.models import VM, Device, Disk

GIB, MIB = 2**30, 2**20
HOME = "tank/bhype/vms"


@pytest.fixture
def maker(db) -> User:
    return make_user("maker", "admin")


@pytest.fixture(autouse=True)
def _many_recoveries(monkeypatch) -> None:
    """A worker that dies at every step dies more often than one may in an hour."""
    monkeypatch.setattr("bhype.tasks.queue.MOST_RECOVERIES", 1000)


def made(ready, maker, name: str = "web1", disks: tuple[str, ...] = ("4M",), **data: object) -> VM:
    form = VMForm(
        {"name": name, "cpus": "1", "memory": "64M", "disk_size": list(disks), "has_serial": "on", **data},
        user=maker,
    )
    assert form.is_valid(), form.errors
    vm, _ = form.save(maker)
    run(ready)
    return vm


def run(
    ready, operation: str = "", status: str = "succeeded", user: User | None = None, **params: object
) -> Task:
    if operation:
        ask(operation, params, user)
    task, *_ = ready.run_tasks()
    assert task.status == status, task.error
    return task


def volsize(ready, name: str) -> int:
    return int(ready.commands("/sbin/zfs", "get", "-Hp", "-o", "value", "volsize", name))


def mark(ready, name: str) -> str:
    return ready.commands("/sbin/zfs", "get", "-Hp", "-o", "value", "org.bhype:id", name).strip()


def config(ready, vm: VM) -> dict:
    return json.loads((ready.root / vm.dataset / "vm.json").read_text())


def paths(ready, vm: VM) -> list[str]:
    return [entry["path"] for entry in config(ready, vm)["emulations"] if "path" in entry]


def test_a_configuration_makes_what_is_missing(ready, maker):
    vm = made(ready, maker)
    Disk.objects.create(vm=vm, index=1, slot="0:5:0", size=8 * MIB)
    Disk.objects.create(vm=vm, index=2, slot="0:6:0", size=3 * MIB, backing="file", bus="nvme")
    Disk.objects.create(vm=vm, index=3, slot="0:7:0", size=MIB, is_attached=False)
    run(ready, "vms.configure", vm_id=vm.pk)
    assert volsize(ready, f"{vm.dataset}/disk1") == 8 * MIB
    assert mark(ready, f"{vm.dataset}/disk1") == str(vm.uuid)
    image = ready.root / vm.dataset / "disk2.img"
    assert (image.stat().st_size, image.stat().st_mode & 0o777) == (3 * MIB, 0o600)
    assert image.stat().st_blocks == 0
    assert f"{vm.dataset}/disk3" in ready.datasets()
    assert len(paths(ready, vm)) == 3
    # What is there is kept, also when it is asked for again.
    image.write_bytes(b"data" + bytes(3 * MIB - 4))
    run(ready, "vms.configure", vm_id=vm.pk)
    assert image.read_bytes()[:4] == b"data"


def test_a_start_makes_the_disk_that_was_added_after_it_was_asked_for(ready, maker, monkeypatch):
    vm = made(ready, maker)
    ask("vms.start", {"vm_id": vm.pk}, maker)
    document = plan.document(wanted.load(vm.pk))
    path = plan.new_disk_path(vm, "volume")
    document["emulations"].append({"device": "virtio-blk", "path": path})
    wanted.save(vm, document, maker, sizes={path: 4 * MIB})
    there = []
    monkeypatch.setattr(starting, "launch", lambda *words: there.append(ready.datasets()))
    assert [task.status for task in ready.run_tasks()] == ["succeeded", "succeeded"]
    assert f"{HOME}/web1/disk1" in there[0]


def test_nothing_empty_takes_the_place_of_a_lost_dataset(ready, maker):
    vm = made(ready, maker)
    ready.commands("/sbin/zfs", "destroy", "-r", vm.dataset)
    assert "is not there" in run(ready, "vms.configure", "failed", vm_id=vm.pk).error
    assert ready.datasets() == set()


def test_a_disk_grows_and_never_shrinks(ready, maker):
    vm = made(ready, maker, disks=("4M", "4M"))
    volume, file = vm.disks.all()
    Disk.objects.filter(pk=file.pk).update(backing="file")
    run(ready, "vms.configure", vm_id=vm.pk)
    for disk in (volume, file):
        task = run(ready, "vms.grow_disk", disk_id=disk.pk, size=16 * MIB, user=maker)
        assert task.result == {"size": 16 * MIB, "seen": "at once"}
        disk.refresh_from_db()
        assert disk.size == 16 * MIB
        assert "only grows" in run(ready, "vms.grow_disk", "failed", disk_id=disk.pk, size=8 * MIB).error
    assert volsize(ready, volume.dataset) == 16 * MIB
    assert (ready.root / vm.dataset / "disk1.img").stat().st_size == 16 * MIB
    assert "whole number" in run(ready, "vms.grow_disk", "failed", disk_id=volume.pk, size=16 * MIB + 1).error
    assert "cannot be larger" in run(ready, "vms.grow_disk", "failed", disk_id=volume.pk, size=2**45).error
    Disk.objects.filter(pk=volume.pk).update(backing="path", host_path="/images/a.img")
    assert "the host's" in run(ready, "vms.grow_disk", "failed", disk_id=volume.pk, size=32 * MIB).error


def test_a_growth_that_zfs_refuses_leaves_the_size_as_it_was(ready, maker):
    vm = made(ready, maker)
    disk = vm.disks.get()
    ready.fault(command="zfs set", do="fail", nth=1, text="out of space")
    run(ready, "vms.grow_disk", "failed", disk_id=disk.pk, size=16 * MIB)
    ready.clear_faults()
    disk.refresh_from_db()
    assert (disk.size, volsize(ready, disk.dataset)) == (4 * MIB, 4 * MIB)


def test_a_disk_goes_alone(ready, maker):
    vm = made(ready, maker, disks=("4M", "4M"))
    ready.commands("/sbin/zfs", "snapshot", f"{vm.dataset}/disk1@mine")
    run(ready, "vms.remove_disk", disk_id=vm.disks.get(index=1).pk, user=maker)
    assert ready.datasets() == {vm.dataset, f"{vm.dataset}/disk0"}
    assert Disk.objects.count() == 1
    assert paths(ready, vm) == [f"/dev/zvol/{vm.dataset}/disk0"]


def test_a_disk_that_others_live_on_or_that_is_protected_or_not_ours_stays(ready, maker):
    vm = made(ready, maker)
    disk = vm.disks.get()
    ready.commands("/sbin/zfs", "snapshot", f"{disk.dataset}@gold")
    ready.commands("/sbin/zfs", "clone", f"{disk.dataset}@gold", f"{HOME}/other")
    assert "Linked clones" in run(ready, "vms.remove_disk", "failed", disk_id=disk.pk).error
    assert "other" in run(ready, "vms.delete", "failed", vm_id=vm.pk).error
    vm.refresh_from_db()
    assert vm.state == "stopped"
    ready.commands("/sbin/zfs", "destroy", f"{HOME}/other")
    VM.objects.update(is_protected=True)
    assert "protected" in run(ready, "vms.remove_disk", "failed", disk_id=disk.pk).error
    assert "protected" in run(ready, "vms.delete", "failed", vm_id=vm.pk).error
    VM.objects.update(is_protected=False)
    ready.commands("/sbin/zfs", "inherit", "org.bhype:id", disk.dataset)
    assert "left alone" in run(ready, "vms.remove_disk", "failed", disk_id=disk.pk).error
    assert disk.dataset in ready.datasets()


def test_a_disk_of_the_host_is_only_forgotten(ready, maker):
    vm = made(ready, maker)
    image = ready.root / "precious.img"
    image.write_bytes(b"x")
    disk = Disk.objects.create(
        vm=vm, index=1, size=MIB, backing="path", host_path="/precious.img", is_attached=False
    )
    run(ready, "vms.remove_disk", disk_id=disk.pk)
    assert image.exists()
    assert vm.disks.count() == 1


def test_a_disk_moves_to_another_vm_with_its_data(ready, maker):
    first, second = made(ready, maker, "web1", ("4M", "4M")), made(ready, maker, "web2")
    (ready.root / f"dev/zvol/{first.dataset}/disk1").write_bytes(b"payload" + bytes(4 * MIB - 7))
    disk = first.disks.get(index=1)
    task = run(ready, "vms.move_disk", disk_id=disk.pk, vm_id=second.pk, user=maker)
    assert task.result == {"vm": "web2", "index": 1}
    disk = Disk.objects.get(pk=disk.pk)
    assert (disk.vm, disk.index, disk.is_attached) == (second, 1, False)
    assert (ready.root / f"dev/zvol/{second.dataset}/disk1").read_bytes()[:7] == b"payload"
    assert mark(ready, f"{second.dataset}/disk1") == str(second.uuid)
    assert len(paths(ready, first)) == len(paths(ready, second)) == 1
    for vm in (first, second):
        run(ready, "vms.delete", vm_id=vm.pk)
    assert ready.datasets() == set()


def test_a_vm_that_a_disk_is_moved_to_is_not_deleted_meanwhile(ready, maker):
    first, second = made(ready, maker, "web1"), made(ready, maker, "web2")
    move = ask("vms.move_disk", {"disk_id": first.disks.get().pk, "vm_id": second.pk}, maker)
    Task.objects.filter(pk=move.pk).update(status="running", worker="1:now")
    assert "just being moved" in run(ready, "vms.delete", "failed", maker, vm_id=second.pk).error
    second.refresh_from_db()
    assert second.state == "stopped"
    # It may have set out between the look and the mark: so it is looked for again.
    VM.objects.filter(pk=second.pk).update(state="deleting")
    assert "just being moved" in run(ready, "vms.recover", "failed", vm_id=second.pk).error
    assert second.dataset in ready.datasets()
    Task.objects.filter(pk=move.pk).update(status="succeeded")
    run(ready, "vms.delete", user=maker, vm_id=second.pk)
    assert not VM.objects.filter(pk=second.pk).exists()


def test_a_disk_moves_only_where_one_may_change_both(ready, maker, alice):
    first, second = made(ready, maker, "web1"), made(ready, maker, "web2")
    VM.objects.filter(pk=first.pk).update(owner=alice)
    disk = first.disks.get()
    failed = run(ready, "vms.move_disk", "failed", alice, disk_id=disk.pk, vm_id=second.pk)
    assert "not yours" in failed.error
    VM.objects.filter(pk=second.pk).update(owner=alice, is_protected=True)
    assert "protected" in run(ready, "vms.move_disk", "failed", alice, disk_id=disk.pk, vm_id=second.pk).error


def true(ready, *vms: VM) -> bool:
    """Whether rows and volumes of the VMs agree, marks and vm.json included."""
    wanted = set()
    for vm in VM.objects.filter(pk__in=[vm.pk for vm in vms]).prefetch_related("disks"):
        wanted |= {vm.dataset, *(disk.dataset for disk in vm.disks.all())}
        assert {mark(ready, name) for name in ready.datasets() if name.startswith(f"{vm.dataset}")} == {
            str(vm.uuid)
        }
        assert paths(ready, vm) == [disk.path for disk in vm.disks.all() if disk.is_attached]
        for disk in vm.disks.all():
            assert volsize(ready, disk.dataset) == disk.size
    assert ready.datasets() == wanted
    return True


def killed_everywhere(ready, change) -> int:
    """Do ``change`` with a worker that dies at its first command, its second, ... until one survives; after each death
    a successor puts right what is half done. ``change`` asks for it, and checks when called with the outcome."""
    for number in range(1, 40):
        task = change(None)
        with dying(number):
            ready.run_tasks()
        task.refresh_from_db()
        if task.status == "succeeded":
            return number
        ready.interrupt()
        for other in ready.run_tasks():
            assert other.status == "succeeded", (number, other.title, other.error)
        change(number)
    raise AssertionError("it never ended")


def test_a_worker_that_dies_while_a_disk_moves_leaves_it_in_one_of_both(ready, maker):
    vms = [made(ready, maker, "web1", ("4M", "8M")), made(ready, maker, "web2")]
    disk = vms[0].disks.get(index=1)
    moves = []

    def change(number):
        row = Disk.objects.select_related("vm").get(pk=disk.pk)
        assert true(ready, *vms)
        other = next(vm for vm in vms if vm.pk != row.vm_id)
        moves.append(row.vm_id)
        return ask("vms.move_disk", {"disk_id": disk.pk, "vm_id": other.pk}, None) if number is None else None

    assert killed_everywhere(ready, change) > 10
    assert true(ready, *vms)
    assert len(set(moves)) == 2


def test_a_worker_that_dies_while_a_disk_grows_or_goes_leaves_rows_and_volumes_alike(ready, maker):
    vm = made(ready, maker)

    def grow(number):
        assert true(ready, vm)
        disk = vm.disks.get()
        return (
            ask("vms.grow_disk", {"disk_id": disk.pk, "size": disk.size + MIB}, None)
            if number is None
            else None
        )

    assert killed_everywhere(ready, grow) > 3

    def remove(number):
        assert true(ready, vm)
        if number is not None:
            return None
        if not vm.disks.filter(index=1).exists():
            Disk.objects.create(vm=vm, index=1, slot="0:5:0", size=MIB)
            run(ready, "vms.configure", vm_id=vm.pk)
        return ask("vms.remove_disk", {"disk_id": vm.disks.get(index=1).pk}, None)

    assert killed_everywhere(ready, remove) > 5
    assert vm.disks.count() == 1


def test_a_configuration_whose_worker_died_is_finished(ready, maker):
    vm = made(ready, maker)
    slots = iter(range(1, 30))

    def change(number):
        if number is not None:
            assert true(ready, vm)
            return None
        index = next(slots)
        Disk.objects.create(vm=vm, index=index, slot=f"1:{index}:0", size=MIB)
        return ask("vms.configure", {"vm_id": vm.pk}, None)

    assert killed_everywhere(ready, change) > 2
    assert true(ready, vm)


def test_a_vm_gets_another_name_and_keeps_all_else(ready, maker):
    vm = made(ready, maker, disks=("4M", "4M"))
    serials = [disk.serial for disk in vm.disks.all()]
    folder = ready.root / "var/run/bhype/vms/web1"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(json.dumps({"uuid": str(vm.uuid), "state": "stopped"}))
    (folder / "serial1.log").write_text("hello")
    Device.objects.create(
        vm=vm, kind="virtio-console", slot="0:20:0",
        options={"ports": ["/var/run/bhype/vms/web1/console-agent.sock"]},
    )  # fmt: skip
    schedules.add("vms.start", {"vm_id": vm.pk}, "every day 08:00", maker)
    refresh(ready.host, vm.pool)
    seen = Dataset.objects.get(name=f"{HOME}/web1/disk1")
    run(ready, "vms.rename", vm_id=vm.pk, name="shop", user=maker)
    assert not Dataset.objects.filter(name=f"{HOME}/web1").exists()  # the name is free at once
    assert Dataset.objects.get(name=f"{HOME}/shop/disk1") == seen
    assert maker.schedules.get().title == "Start shop"
    vm = VM.objects.get(pk=vm.pk)
    assert vm.name == "shop"
    assert ready.datasets() == {f"{HOME}/shop", f"{HOME}/shop/disk0", f"{HOME}/shop/disk1"}
    assert [disk.serial for disk in vm.disks.all()] == serials
    document = config(ready, vm)
    assert (document["name"], document["uuid"], document["com1"]) == (
        "shop",
        str(vm.uuid),
        "/dev/nmdm-shop.1A",
    )
    assert "web1" not in json.dumps(document)
    assert ready.run_folders() == {"shop"}
    assert (ready.root / "var/run/bhype/vms/shop/serial1.log").read_text() == "hello"
    ready.sweep()
    vm.refresh_from_db()
    assert (vm.state, vm.edited) == ("stopped", None)


@pytest.mark.parametrize("name", ["web2", "web1", "New", "new", "a" * 41, "-x", "web 1", "../x"])
def test_a_name_that_is_taken_or_none_is_refused(ready, maker, name):
    vm = made(ready, maker)
    VM.objects.create(host=vm.host, pool=vm.pool, name="web2", memory=1, vnc_port=6000, vnc_password="x")
    with contextlib.suppress(Exception):  # what is no name is refused at asking, by its length
        ask("vms.rename", {"vm_id": vm.pk, "name": name}, maker)
    assert all(task.status == "failed" for task in ready.run_tasks())
    assert ready.datasets() == {vm.dataset, f"{vm.dataset}/disk0"}
    assert VM.objects.get(pk=vm.pk).name == "web1"


def test_a_dataset_of_the_wanted_name_keeps_the_old_one(ready, maker):
    vm = made(ready, maker)
    ready.commands("/sbin/zfs", "create", f"{HOME}/shop")
    assert "already has a dataset" in run(ready, "vms.rename", "failed", vm_id=vm.pk, name="shop").error
    ready.commands("/sbin/zfs", "destroy", f"{HOME}/shop")
    ready.fault(command="zfs rename", do="fail", nth=1, text="dataset is busy")
    assert "busy" in run(ready, "vms.rename", "failed", vm_id=vm.pk, name="shop").error
    ready.clear_faults()
    assert VM.objects.get().name == "web1"
    assert true(ready, vm)


def test_a_rename_whose_worker_died_ends_under_one_name(ready, maker):
    vm = made(ready, maker)
    seen = []

    def change(number):
        row = VM.objects.get(pk=vm.pk)
        assert true(ready, row)
        assert config(ready, row)["name"] == row.name
        seen.append(row.name)
        other = "web1" if row.name == "shop" else "shop"
        return ask("vms.rename", {"vm_id": vm.pk, "name": other}, None) if number is None else None

    assert killed_everywhere(ready, change) > 8
    assert true(ready, VM.objects.get(pk=vm.pk))
    assert set(seen) == {"web1", "shop"}


def test_a_deleted_vm_can_leave_its_disks(ready, maker):
    vm = made(ready, maker)
    run(ready, "vms.delete", vm_id=vm.pk, keep_disks=True, user=maker)
    assert not VM.objects.exists()
    assert ready.datasets() == {f"{HOME}/web1", f"{HOME}/web1/disk0"}
    assert mark(ready, f"{HOME}/web1") == str(vm.uuid)
    assert (ready.root / HOME / "web1/vm.json").exists()
    ready.sweep()
    (orphan,) = orphans(Host.objects.get(name="lab"))
    ready.commands("/sbin/zfs", "create", f"{HOME}/web1/somebodys")
    assert (
        "left alone"
        in run(ready, "storage.destroy_dataset", "failed", dataset_id=orphan.pk, user=maker).error
    )
    ready.commands("/sbin/zfs", "destroy", f"{HOME}/web1/somebodys")
    ready.commands("/sbin/zfs", "snapshot", "-r", f"{HOME}/web1@old")
    run(ready, "storage.destroy_dataset", dataset_id=orphan.pk, user=maker)
    assert ready.datasets() == set()


def test_the_dataset_of_a_vm_is_no_orphan(ready, maker):
    vm = made(ready, maker)
    ready.sweep()
    host = Host.objects.get(name="lab")
    assert orphans(host) == []
    mine = Dataset.objects.get(name=vm.dataset)
    assert (
        "belongs to virtual machine web1"
        in run(ready, "storage.destroy_dataset", "failed", dataset_id=mine.pk).error
    )
    assert (
        "bHype needs it where it is"
        in run(ready, "storage.destroy_dataset", "failed", dataset_id=Dataset.objects.get(name=HOME).pk).error
    )


def test_uefi_variables_are_reset_and_kept_aside(ready, maker):
    vm = made(ready, maker)
    variables = ready.root / vm.dataset / "uefi-vars.fd"
    fresh = variables.read_bytes()
    variables.write_bytes(b"boot entries")
    run(ready, "vms.reset_vars", vm_id=vm.pk, user=maker)
    assert variables.read_bytes() == fresh
    assert variables.with_suffix(".fd.bak").read_bytes() == b"boot entries"
    VM.objects.update(firmware="csm")
    assert "does not boot by UEFI" in run(ready, "vms.reset_vars", "failed", vm_id=vm.pk).error


def test_cables_and_limits_are_kept_for_the_next_start(ready, maker):
    switch = VMForm(user=maker).fields["switch"].queryset.get()
    vm = made(ready, maker, switch=str(switch.pk))
    nic = vm.nics.get()
    run(ready, "vms.set_link", nic_id=nic.pk, link="down", user=maker)
    run(
        ready, "vms.set_limits", vm_id=vm.pk, limits={"pcpu": 150, "readiops": 500}, nice=5, user=maker,
        rates={nic.mac: {"rate_in": "10M"}},
    )  # fmt: skip
    document = config(ready, vm)
    (port,) = [entry for entry in document["emulations"] if entry["device"] == "virtio-net"]
    assert (port["link"], port["rate_in"]) == ("down", "10M")
    assert (document["limits"], document["nice"]) == ({"pcpu": 150, "readiops": 500}, 5)
    run(ready, "vms.set_limits", vm_id=vm.pk, limits={"pcpu": None}, user=maker)
    assert (config(ready, vm)["limits"], config(ready, vm)["nice"]) == ({"readiops": 500}, 5)
    failed = run(ready, "vms.set_limits", "failed", vm_id=vm.pk, limits={"pcpu": -1}, user=maker)
    assert "pcpu" in failed.error
