"""Datasets of VMs that are no more: what was kept when a VM was deleted, until somebody gives its disks to another VM
here, or destroys it (storage.destroy_dataset)."""

from __future__ import annotations

from django.db import transaction

from bhype.freebsd import names, zfs
from bhype.hosts.models import Host
from bhype.tasks import OperationFailed, Run
from storage.datasets import uses
from storage.models import Dataset
from vms import edited, parts, place, plan, wanted
from vms.models import VM, Disk
from vms.operating import VmParams, changed, require_off, row_of, vm_of, vm_operation

# On a volume on its way to a VM: that VM's UUID, until its row is there.
GIVEN_PROPERTY = "org.bhype:given"


class GiveParams(VmParams):
    """dataset_id: the volume of an orphan; vm_id: the VM that gets it."""

    dataset_id: int


def orphans(host: Host) -> list[Dataset]:
    """What was kept of VMs on ``host`` that are no more, by name: see `storage.datasets.uses.left`."""
    found = [use.dataset for use in uses.left() if use.kind == uses.ORPHAN]
    return [row for row in found if row.pool.host_id == host.pk and _is_vms(row)]


def _is_vms(row: Dataset) -> bool:
    folder, _, name = row.name.rpartition("/")
    return folder == f"{row.pool.home}/vms" and bool(name) and row.kind == Dataset.Kind.FILESYSTEM


def disks_of(orphan: Dataset) -> list[Dataset]:
    """The volumes of an orphan."""
    rows = Dataset.objects.filter(pool=orphan.pool_id, kind=Dataset.Kind.VOLUME, bhype_id=orphan.bhype_id)
    return list(rows.filter(name__startswith=f"{orphan.name}/").order_by("name"))


def kept_disks(host: Host) -> list[Dataset]:
    """The volumes of all orphans on ``host``."""
    return [disk for orphan in orphans(host) for disk in disks_of(orphan)]


@vm_operation(
    "vms.give_disk", "Give {vm} the disk of a deleted VM", right="vms.change", recover="vms.settle_given"
)
def give_disk(run: Run, params: GiveParams) -> None:
    """Move a volume of an orphan, with its data, to a VM of the same pool that is off. It is not plugged in there."""
    vm = vm_of(params)
    if run.user is not None and not run.user.can("storage.change"):
        raise OperationFailed("There is no such disk, or it is not yours.")
    volume = Dataset.objects.select_related("pool").filter(pk=params.dataset_id, kind="volume").first()
    home = f"{vm.pool.home}/vms/"
    if volume is None or not volume.name.startswith(home) or volume.name.count("/") != home.count("/") + 1:
        raise OperationFailed("There is no such disk of a deleted VM in the VM's pool.")
    require_off(run, vm)
    place.check(run.host, vm)
    edited.require_answered(run.host, vm)
    names.dataset(volume.name)
    found = parts.listed(run, volume.name.rpartition("/")[0])
    info = found.get(volume.name)
    if info is None or not info.volsize or not parts.is_marked(run, volume.name):
        raise OperationFailed(f"{volume.name} is no disk that bHype made, or it is gone.")
    if info.bhype_id != volume.bhype_id or VM.objects.filter(uuid=info.bhype_id).exists():
        raise OperationFailed(f"{volume.name} belongs to a VM, or was changed meanwhile.")
    if vm.dataset not in (theirs := parts.datasets(run, vm)):
        raise OperationFailed(f"The dataset {vm.dataset} of {vm.name} is not there.")
    taken = {f"{vm.dataset}/disk{index}" for index in vm.disks.values_list("index", flat=True)} | set(theirs)
    index = next(number for number in range(1000) if f"{vm.dataset}/disk{number}" not in taken)
    run.host.run(zfs.set_property(volume.name, GIVEN_PROPERTY, str(vm.uuid)))
    run.host.run(zfs.rename(volume.name, f"{vm.dataset}/disk{index}"))
    _settle(run, vm)
    run.result(index=index)


@vm_operation("vms.settle_given", "Finish giving {vm} a disk", right=None)
def settle_given(run: Run, params: GiveParams) -> None:
    """Bring row and volume together after the worker died. A volume that has not moved is an orphan's as before."""
    vm = row_of(params)
    if vm is not None:
        _settle(run, vm)


def _settle(run: Run, vm: VM) -> None:
    """Let row, mark and vm.json follow each volume that was given to the VM and has arrived."""
    for name, info in parts.listed(run, vm.dataset, depth=1).items():
        last = name.rpartition("/")[2]
        given = run.host.query(zfs.get_property(name, GIVEN_PROPERTY))
        if not (given.is_local and given.value == str(vm.uuid) and info.volsize and last[4:].isdigit()):
            continue
        if not vm.disks.filter(index=int(last[4:])).exists():
            slot = plan.free_slot(wanted.load(vm.pk), plan.DISK_SLOT)
            with transaction.atomic():
                Disk.objects.create(
                    vm=vm, index=int(last[4:]), slot=slot, size=info.volsize, is_attached=False
                )
                changed(vm)
        run.host.run(zfs.set_property(name, zfs.ID_PROPERTY, str(vm.uuid)))
        parts.write_config(run, wanted.load(vm.pk))
        run.host.run(zfs.inherit(name, GIVEN_PROPERTY))
