"""Datasets of VMs that are no more: what was kept when a VM was deleted, until somebody gives its disks to another VM
or destroys it."""

from __future__ import annotations

from django.db import transaction
from pydantic import BaseModel

from bhype.freebsd import names, zfs
from bhype.hosts.models import Host
from bhype.live import publish
from bhype.tasks import OperationFailed, Run, operation
from storage.models import Dataset

from . import edited, parts, place, plan, wanted
from .models import VM, Disk
from .operating import VmParams, changed, require_off, row_of, vm_of, vm_operation

# On a volume on its way to a VM: that VM's UUID, until its row is there.
GIVEN_PROPERTY = "org.bhype:given"


class OrphanParams(BaseModel):
    dataset_id: int


class GiveParams(VmParams):
    """dataset_id: the volume of an orphan; vm_id: the VM that gets it."""

    dataset_id: int


def orphans(host: Host) -> list[Dataset]:
    """The datasets POOL/bhype/vms/NAME on ``host`` that carry the UUID of no VM, by name."""
    known = {str(uuid) for uuid in VM.objects.values_list("uuid", flat=True)}
    rows = Dataset.objects.filter(pool__host=host, pool__is_adopted=True, kind="filesystem").select_related(
        "pool"
    )
    return [row for row in rows if _is_vms(row) and row.bhype_id not in known and len(row.bhype_id) == 36]


def _is_vms(row: Dataset) -> bool:
    folder, _, name = row.name.rpartition("/")
    return folder == f"{row.pool.home}/vms" and bool(name)


def _row(params: OrphanParams) -> Dataset | None:
    return Dataset.objects.select_related("pool__host").filter(pk=params.dataset_id).first()


def _words(params: OrphanParams) -> dict[str, str]:
    row = _row(params)
    return {"orphan": row.name if row else f"dataset {params.dataset_id}"}


@operation(
    "vms.destroy_orphan",
    title="Destroy {orphan}",
    right="storage.change",
    lock="dataset:{dataset_id}",
    target=_row,
    describe=_words,
)
def destroy_orphan(run: Run, params: OrphanParams) -> None:
    """Destroy what was kept of a VM, with its snapshots. What carries another mark, or none, is refused."""
    row = _row(params)
    if row is None or not _is_vms(row):
        raise OperationFailed("There is no such dataset of a VM.")
    names.dataset(row.name)
    found = parts.listed(run, row.name)
    if row.name not in found:
        raise OperationFailed(f"{row.name} is gone already.")
    mark = found[row.name].bhype_id
    if mark != row.bhype_id or VM.objects.filter(uuid=mark).exists():
        raise OperationFailed(f"{row.name} belongs to a VM, or was changed meanwhile.")
    for name, info in found.items():
        if info.bhype_id != mark or not parts.is_marked(run, name):
            raise OperationFailed(f"{name} was not made by bHype and is left alone. Move it away.")
    parts.require_no_clones(run, row.pool.home, row.name)
    for number, name in enumerate(sorted(found, reverse=True)):
        run.stage(f"Destroying {name}", percent=100 * number / len(found))
        parts.destroy(run, name, recursive=True)
    publish(f"pool:{row.pool_id}", "pools")


def disks_of(orphan: Dataset) -> list[Dataset]:
    """The volumes of an orphan."""
    rows = Dataset.objects.filter(pool=orphan.pool_id, kind=Dataset.Kind.VOLUME, bhype_id=orphan.bhype_id)
    return list(rows.filter(name__startswith=f"{orphan.name}/").order_by("name"))


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
