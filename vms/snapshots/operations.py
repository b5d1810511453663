"""What the worker does to the snapshots of a VM, for its owner: all its disks and its vm.json as one."""

from __future__ import annotations

from django.utils import timezone
from pydantic import Field

from bhype.freebsd import zfs_snapshots
from bhype.host import CommandFailed, CommandTimeout
from bhype.tasks import OperationFailed, Run, ask
from storage.models import Snapshot
from storage.snapshots import files as snapshots_files
from storage.snapshots import moments
from storage.snapshots import operations as snapshots_operations
from vms import parts
from vms.models import VM
from vms.operating import VmParams, require_whole, row_of, vm_of, vm_operation

from . import rollback as snapshots_rollback

MOST = 1000


class TakeParams(VmParams):
    """name: "" for one by the moment; note: one line."""

    name: str = Field("", max_length=200)
    note: str = Field("", max_length=zfs_snapshots.NOTE_MAX)


class ManyParams(VmParams):
    names: list[str] = Field(min_length=1, max_length=MOST)


class OneParams(VmParams):
    """name: what follows the @."""

    name: str = Field(max_length=200)


class RollbackParams(OneParams):
    """goes: the newer snapshots that the person has seen to be lost, by full name; left out: whatever there is.
    keep_config: only the disks go back."""

    goes: list[str] | None = Field(None, max_length=100_000)
    keep_config: bool = False


class HoldParams(OneParams):
    tag: str = Field("", max_length=64)


class NoteParams(OneParams):
    note: str = Field("", max_length=zfs_snapshots.NOTE_MAX)


class LookParams(OneParams):
    path: str = Field("", max_length=1000)


class DiffParams(OneParams):
    until: str = Field("", max_length=200)


def _words(params: VmParams) -> dict[str, str]:
    vm = row_of(params)
    return {"vm": vm.name if vm else f"VM {params.vm_id}", "which": getattr(params, "name", "")}


def _many_words(params: ManyParams) -> dict[str, str]:
    count = len(params.names)
    return {**_words(params), "which": params.names[0] if count == 1 else f"{count} snapshots"}


def _ours(run: Run, vm: VM) -> None:
    """Raise OperationFailed unless the VM is there, whole, and its dataset its own."""
    require_whole(vm)
    if vm.dataset not in parts.datasets(run, vm):
        raise OperationFailed(f"The dataset {vm.dataset} of {vm.name} is not there.")


def _snapshot(run: Run, params: OneParams) -> tuple[VM, Snapshot]:
    vm = vm_of(params)
    _ours(run, vm)
    rows = Snapshot.objects.select_related("dataset__pool").filter(dataset__pool=vm.pool)
    row = rows.filter(dataset__name=vm.dataset, name=params.name).first()
    if row is None:
        raise OperationFailed(f"{vm.name} has no snapshot called {params.name}.")
    return vm, row


@vm_operation("vms.take_snapshot", "Snapshot of {vm}", right="vms.change")
def take_snapshot(run: Run, params: TakeParams) -> None:
    """Take a snapshot of all disks and vm.json at one moment, also while the guest runs."""
    vm = vm_of(params)
    _ours(run, vm)
    name = params.name or moments.automatic_name(timezone.now())
    if not moments.take(run, vm.pool, vm.dataset, name, note=params.note):
        raise OperationFailed(f"{vm.name} has a snapshot called {name} already.")
    run.result(snapshot=name)


@vm_operation("vms.delete_snapshots", "Delete {which} of {vm}", right="vms.change", describe=_many_words)
def delete_snapshots(run: Run, params: ManyParams) -> None:
    """Destroy snapshots of the VM that nothing needs. Those that a policy took are for who may change storage."""
    vm = vm_of(params)
    choice = _chosen(run, vm, params)
    if choice.goes:
        moments.drop(run, vm.pool, choice)
    run.result(**moments.told([choice]))
    for name, why in choice.stays.items():
        run.log(f"{name} stays: {why}.")
    if not choice.goes:
        raise OperationFailed(f"No snapshot was destroyed: {next(iter(choice.stays.values()))}.")


@vm_operation(
    "vms.preview_deletion", "What goes with {which} of {vm}", right="vms.change", describe=_many_words
)
def preview_deletion(run: Run, params: ManyParams) -> None:
    """Tell what would be destroyed, and the bytes that would come free. Changes nothing."""
    choice = _chosen(run, vm_of(params), params)
    run.result(**moments.told([choice], moments.loss(run, choice) if choice.goes else 0))


def _chosen(run: Run, vm: VM, params: ManyParams) -> moments.Choice:
    _ours(run, vm)
    may_all = run.user is None or run.user.can("storage.change")
    kinds = None if may_all else {moments.MANUAL}
    return moments.choose(run, vm.dataset, set(params.names), kinds=kinds)


@vm_operation(
    "vms.preview_rollback", "What going back to {which} means for {vm}", right="vms.change", describe=_words
)
def preview_rollback(run: Run, params: OneParams) -> None:
    """Tell what `vms.rollback` would lose and change, and what stands in its way. Changes nothing."""
    vm = vm_of(params)
    _ours(run, vm)
    run.redact(vm.vnc_password)
    run.result(**snapshots_rollback.look(run, vm, params.name, run.user).told())


@vm_operation(
    "vms.rollback",
    "Roll {vm} back to {which}",
    right="vms.change",
    recover="vms.finish_rollback",
    describe=_words,
)
def rollback(run: Run, params: RollbackParams) -> None:
    """Bring a VM that is off back to a snapshot: all its disks, UEFI variables and vm.json. Newer ones are lost."""
    vm = vm_of(params)
    run.redact(vm.vnc_password)
    _ours(run, vm)
    try:
        snapshots_rollback.begin(run, vm, params.name, params.goes, keep_config=params.keep_config)
    except (CommandFailed, CommandTimeout, OperationFailed, OSError):
        if VM.objects.filter(pk=vm.pk).exclude(rolling_back_to="").exists():
            ask("vms.finish_rollback", params, None)
        raise


@vm_operation(
    "vms.finish_rollback",
    "Finish rolling {vm} back",
    right="vms.change",
    recover="vms.finish_rollback",
    describe=_words,
)
def finish_rollback(run: Run, params: RollbackParams) -> None:
    """Go on with a rollback that was broken off; without one there is nothing to do."""
    vm = vm_of(params)
    run.redact(vm.vnc_password)
    if not vm.rolling_back_to:
        run.log("There is nothing to finish.")
        return
    snapshots_rollback.finish(run, vm, keep_config=params.keep_config)


@vm_operation("vms.hold_snapshot", "Hold {which} of {vm}", right="vms.change", describe=_words)
def hold_snapshot(run: Run, params: HoldParams) -> None:
    """Keep a snapshot of the VM from being destroyed."""
    _, row = _snapshot(run, params)
    snapshots_operations.hold(run, row, params.tag, release=False)


@vm_operation("vms.release_snapshot", "Release {which} of {vm}", right="vms.change", describe=_words)
def release_snapshot(run: Run, params: HoldParams) -> None:
    """Take back a hold."""
    _, row = _snapshot(run, params)
    snapshots_operations.hold(run, row, params.tag, release=True)


@vm_operation("vms.annotate_snapshot", "Note on {which} of {vm}", right="vms.change", describe=_words)
def annotate_snapshot(run: Run, params: NoteParams) -> None:
    """Give a snapshot another note."""
    _, row = _snapshot(run, params)
    snapshots_operations.annotate(run, row, params.note)


@vm_operation(
    "vms.diff_snapshot", "What has changed in {vm} since {which}", right="vms.change", describe=_words
)
def diff_snapshot(run: Run, params: DiffParams) -> None:
    """Tell which files of the VM's dataset have changed; what is on its volumes only its guest can tell."""
    _, row = _snapshot(run, params)
    run.result(**snapshots_files.differences(run, row, params.until))


@vm_operation("vms.list_snapshot", "Files of {vm} in {which}", right="vms.change", describe=_words)
def list_snapshot(run: Run, params: LookParams) -> None:
    """Tell which files of the VM's dataset the snapshot has."""
    _, row = _snapshot(run, params)
    run.result(**snapshots_files.listing(run, row, params.path))


@vm_operation("vms.list_holds", "Who holds {which} of {vm}", right="vms.change", describe=_words)
def list_holds(run: Run, params: OneParams) -> None:
    """Tell the tags by which a snapshot of the VM is held."""
    _, row = _snapshot(run, params)
    snapshots_operations.tell_holds(run, row)


@vm_operation("vms.fetch_from_snapshot", "A file of {vm} from {which}", right="vms.change", describe=_words)
def fetch_from_snapshot(run: Run, params: LookParams) -> None:
    """Copy a file out of the snapshot, for whoever asked to take along."""
    _, row = _snapshot(run, params)
    snapshots_files.fetch(run, row, params.path)
