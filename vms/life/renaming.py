"""Another name for a VM: its row, its dataset, its vm.json, its lines and its run directory.

The row goes first, as its unique name keeps others from taking it; whatever still has the old name is found by the
VM's UUID. So a rename that was broken off anywhere is finished by `settle`, and every step can be repeated.
"""

from __future__ import annotations

import shutil

from django.db import IntegrityError, transaction
from pydantic import Field

from bhype.freebsd import bhyvectl, names, zfs
from bhype.host import CommandError
from bhype.tasks import OperationFailed, Run, schedules
from bhype.vmrun import client
from storage.datasets import operations as datasets
from storage.models import Dataset
from vms import edited, parts, place, plan
from vms.forms import RESERVED
from vms.models import VM
from vms.operating import State, VmParams, changed, require_off, row_of, vm_of, vm_operation

from . import power


class RenameParams(VmParams):
    name: str = Field(max_length=names.VM_NAME_MAX)


def problem_of(vm: VM, name: str) -> str:
    """Why ``vm`` cannot be called ``name``, as a sentence; "" when it can. Reads rows only."""
    try:
        names.vm_name(name)
    except names.BadName as error:
        return str(error)
    if name in RESERVED:
        return f"{name!r} is a word of the panel; choose another name."
    if name == vm.name:
        return f"It is called {name} already."
    if VM.objects.filter(host=vm.host, name=name).exists():
        return "There is already a VM of this name."
    return ""


@vm_operation("vms.rename", "Rename {vm} to {name}", right="vms.change", recover="vms.settle")
def rename(run: Run, params: RenameParams) -> None:
    """Give a VM that is off another name. Its disks keep their serial numbers, its ports their addresses."""
    vm = vm_of(params)
    require_off(run, vm)
    if problem := problem_of(vm, params.name):
        raise OperationFailed(problem)
    place.check(run.host, vm)
    edited.require_answered(run.host, vm)
    old = vm.name
    if vm.dataset not in parts.datasets(run, vm):
        raise OperationFailed(f"The dataset {vm.dataset} of {vm.name} is not there.")
    if parts.listed(run, f"{vm.pool.home}/vms/{params.name}", depth=0):
        raise OperationFailed(f"The pool already has a dataset {vm.pool.home}/vms/{params.name}.")
    run.host.run(bhyvectl.destroy(old))
    _write_row(vm, old, params.name)
    try:
        _move_dataset(run, vm)
    except CommandError:
        if not parts.listed(run, vm.dataset, depth=0):
            # zfs(8) has refused: all is as it was.
            _write_row(vm, params.name, old)
        raise
    _finish(run, vm)


@vm_operation("vms.settle", "Finish renaming {vm}", right=None)
def settle(run: Run, params: VmParams) -> None:
    """Let dataset, run directory and vm.json follow the name that the row has."""
    vm = row_of(params)
    if vm is None or vm.state in {State.CREATING, State.DELETING} or power.is_on(run.host, vm.name):
        run.log("There is nothing to settle.")
        return
    place.check(run.host, vm)
    _move_dataset(run, vm)
    _finish(run, vm)


def _write_row(vm: VM, old: str, name: str) -> None:
    """The row, and what in it names the VM's own sockets and lines."""
    try:
        with transaction.atomic():
            changed(vm, name=name, settings=plan.renamed(vm.settings, old, name))
            for device in vm.devices.all():
                device.options = plan.renamed(device.options, old, name)
                device.save(update_fields=["options"])
            schedules.retitle(vm.subject)
    except IntegrityError as error:
        raise OperationFailed(f"There is already a VM called {name}.") from error


def _move_dataset(run: Run, vm: VM) -> None:
    """Rename the dataset with the VM's UUID to the one that the row has; none has to be moved when that is there."""
    home = f"{vm.pool.home}/vms"
    found = parts.listed(run, home, depth=1)
    mine = [
        name for name, info in found.items() if info.bhype_id == str(vm.uuid) and parts.is_marked(run, name)
    ]
    if vm.dataset in found or not mine:
        return
    if len(mine) > 1:
        raise OperationFailed(f"Several datasets carry the mark of {vm.name}: {', '.join(mine)}.")
    run.stage("Renaming the dataset", percent=40)
    run.host.run(zfs.rename(mine[0], vm.dataset))
    # The old name is free at once, not with the observer's next look.
    if row := Dataset.objects.filter(pool=vm.pool, name=mine[0]).first():
        datasets.moved(row, vm.dataset)


def _finish(run: Run, vm: VM) -> None:
    run.stage("Writing the configuration", percent=80)
    for name, state in client.read_states(run.host).items():
        if name != vm.name and state.get("uuid") == str(vm.uuid) and not state["supervised"]:
            _move_folder(run, vm, name)
    if parts.listed(run, vm.dataset, depth=0):
        parts.write_config(run, vm)


def _move_folder(run: Run, vm: VM, old: str) -> None:
    """Give the run directory, with its logs, the VM's name. What a VM of that name has left goes; what this one has
    there already is newer, and stays."""
    there, here = run.host.path(power.run_folder(old)), run.host.path(power.run_folder(vm.name))
    state = client.read_state(run.host, vm.name)
    if state is not None and state.get("uuid") == str(vm.uuid):
        shutil.rmtree(there, ignore_errors=True)
        return
    shutil.rmtree(here, ignore_errors=True)
    shutil.move(there, here)
