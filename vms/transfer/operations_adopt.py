"""Operations on the VMs of other tools: finding them, taking them over, giving them back."""

from __future__ import annotations

from pydantic import BaseModel, Field

from bhype.hosts.models import Host
from bhype.tasks import Cancelled, OperationFailed, Run, ask, operation
from vms import parts, place
from vms.life import power
from vms.models import VM
from vms.operating import Nothing, State, VmParams, forget_row, mark, require_off, row_of, vm_of, vm_operation

from . import adoption

FAILURES = (*adoption.FAILURES, Cancelled)


class MoveParams(BaseModel):
    device: int = Field(ge=0, le=999)
    old: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    new: str = Field(pattern=r"^disk(0|[1-9][0-9]{0,2})(\.img)?$")
    is_volume: bool
    size: int = Field(ge=1)


class AdoptParams(VmParams):
    """vm_id: a row in state "creating"; source: the dataset; moves: what the row's disks are there."""

    source: str = Field(max_length=255)
    moves: list[MoveParams] = Field(max_length=64)

    def as_moves(self) -> list[adoption.Move]:
        return [adoption.Move(**move.model_dump()) for move in self.moves]


def homes() -> list[str]:
    return [pool.home for pool in Host.objects.this().pools.filter(is_adopted=True)]


@operation("vms.find_foreign", title="Look for VMs of other tools", right="vms.root", lock="vms.find_foreign")
def find_foreign(run: Run, _params: Nothing) -> None:
    """Keep in the task's result which VMs vm-bhyve and HosterCore have on this host. Changes nothing there."""
    found = adoption.candidates(run.host, homes())
    # Names are in the result alone: who may see that somebody looked may read the log.
    run.log(f"{len(found)} found.")
    run.result(vms=[one.as_json() for one in found])


@vm_operation("vms.adopt_foreign", "Take over {vm}", right="vms.root", recover="vms.recover_adoption")
def adopt_foreign(run: Run, params: AdoptParams) -> None:
    """Move the dataset of another tool's VM, which is off, to where bHype keeps its own. Undone when it fails."""
    vm = vm_of(params)
    if vm.state != State.CREATING:
        raise OperationFailed(f"{vm.name} has been created already.")
    run.redact(vm.vnc_password)
    try:
        place.check(run.host, vm)
        found = adoption.find(run.host, homes(), params.source)
        if set(found.moves) != set(params.as_moves()):
            raise OperationFailed(f"{params.source} has changed since it was looked at. Look again.")
        if power.has_process(run.host, found.name):
            raise OperationFailed(f"{found.name} is running. Stop it where it was started.")
        adoption.take(run, vm, found)
        parts.complete(run, vm)
    except FAILURES:
        ask("vms.recover_adoption", params, None)
        raise
    mark(vm, State.STOPPED)


@vm_operation("vms.recover_adoption", "Undo the take-over of {vm}", right=None)
def recover_adoption(run: Run, params: AdoptParams) -> None:
    """Give back a VM of which the take-over was broken off, and forget its row."""
    vm = row_of(params)
    if vm is None or vm.state != State.CREATING:
        run.log("There is nothing to undo.")
        return
    _return(run, vm, params)


@vm_operation("vms.return_foreign", "Give {vm} back", right="vms.root", recover="vms.finish_return")
def return_foreign(run: Run, params: AdoptParams) -> None:
    """Move the dataset of an adopted VM, which is off, back to where it was, with its own names and configuration."""
    vm = vm_of(params)
    require_off(run, vm)
    place.check(run.host, vm)
    parts.datasets(run, vm)
    if {disk.dataset.rpartition("/")[2] for disk in vm.disks.exclude(backing="path")} != {
        move.new.removesuffix(".img") for move in params.moves
    }:
        raise OperationFailed(
            f"{vm.name} has other disks than it came with: it cannot be given back as it was."
        )
    mark(vm, State.DELETING)
    _return(run, vm, params)


@vm_operation("vms.finish_return", "Finish giving {vm} back", right=None)
def finish_return(run: Run, params: AdoptParams) -> None:
    vm = row_of(params)
    if vm is None or vm.state != State.DELETING:
        run.log("There is nothing to finish.")
        return
    _return(run, vm, params)


def _return(run: Run, vm: VM, params: AdoptParams) -> None:
    try:
        adoption.give_back(run, vm, params.source, params.as_moves())
        parts.forget(run, vm)
    except FAILURES as error:
        if not isinstance(error, Cancelled):
            mark(vm, State.FAILED, f"It could not be given back: {error}")
        raise
    forget_row(vm)
