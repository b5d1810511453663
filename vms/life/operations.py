"""What the worker does to VMs: making, power, deleting. Every step can be repeated, and a worker may die between any
two of them.

A row in state "creating" or "deleting" belongs to its task; when that ends badly, ``vms.recover`` removes what is
there. In every other state the VM is whole.
"""

from __future__ import annotations

from django.db import transaction
from pydantic import BaseModel, Field

from bhype.freebsd import bhyvectl, ifconfig, zfs
from bhype.host import CommandError, CommandStopped
from bhype.hosts.models import Host
from bhype.live import publish
from bhype.tasks import Cancelled, OperationFailed, Refused, Run, ask, operation
from bhype.tasks.models import Task
from storage import plan as storage
from storage.datasets.observe import refresh
from storage.datasets.operations_keys import taken
from storage.datasets.passphrases import Secret
from storage.models import Iso
from vms import parts, place, plan
from vms.cloud_init import seeds
from vms.models import VM
from vms.operating import (
    State,
    VmParams,
    forget_row,
    mark,
    mark_seen,
    require_off,
    require_whole,
    row_of,
    vm_of,
    vm_operation,
)

from . import once, power, starting

POWEROFF_SECONDS = 30.0


class CreateParams(VmParams):
    """secret: of the passphrase (storage.datasets.passphrases) of a VM that is to be encrypted."""

    start: bool = False
    secret: Secret = ""


class StartParams(VmParams):
    """iso_id: start from this medium, and from the disk after the guest's first reboot; target: one of the VM's own;
    force: start although the host's memory is short, for admins."""

    iso_id: int | None = None
    target: str = Field("", max_length=64)
    force: bool = False


class StopParams(VmParams):
    """timeout: the seconds that the guest has, by default those of the VM; then_poweroff: pull the plug after them."""

    timeout: int | None = Field(None, ge=1, le=3600)
    then_poweroff: bool = False


class RestartParams(StopParams):
    force: bool = False


class DeleteParams(VmParams):
    """keep_disks: the dataset with the disks and vm.json stays, and is listed as an orphan."""

    keep_disks: bool = False


class CleanUpParams(BaseModel):
    taps: list[str] = []
    nodes: list[str] = []


# Making and changing.


@vm_operation("vms.create", "Create {vm}", right="vms.create", recover="vms.recover")
def create(run: Run, params: CreateParams) -> None:
    """Make the VM's dataset, disks, UEFI variables and vm.json; then start it if asked. Undone when it fails."""
    vm = vm_of(params)
    if vm.state != State.CREATING:
        raise OperationFailed(f"{vm.name} has been created already.")
    run.redact(vm.vnc_password)
    try:
        parts.make(run, vm, taken(run, params.secret))
        if params.secret:
            # Its page knows at once that it has a key.
            refresh(run.host, vm.pool)
    except (CommandError, OperationFailed, Cancelled, OSError):
        ask("vms.recover", {"vm_id": vm.pk}, None)
        raise
    with transaction.atomic():
        mark(vm, State.STOPPED)
        if params.start:
            try:
                run.result(start_task=ask("vms.start", {"vm_id": vm.pk}, run.user).pk)
            except Refused as refused:
                run.log(f"It was created, but not started: {refused}")


@vm_operation(
    "vms.configure", "Write the configuration of {vm}", right="vms.change", recover="vms.reconfigure"
)
def configure(run: Run, params: VmParams) -> None:
    """Make the disks that the rows want and are missing, and write vm.json. It applies at the VM's next start."""
    vm = vm_of(params)
    require_whole(vm)
    run.redact(vm.vnc_password)
    parts.complete(run, vm)
    publish(vm.subject)


@vm_operation("vms.reconfigure", "Finish the configuration of {vm}", right=None)
def reconfigure(run: Run, params: VmParams) -> None:
    """Bring the host to what the rows want, after the worker has died half-way."""
    vm = row_of(params)
    if vm is None or vm.state in {State.CREATING, State.DELETING}:
        run.log("There is nothing to finish.")
        return
    run.redact(vm.vnc_password)
    parts.complete(run, vm)
    publish(vm.subject)


# Power.


@vm_operation("vms.start", "Start {vm}")
def start(run: Run, params: StartParams) -> None:
    """Start the VM's supervisor and wait until the guest runs. What keeps it from running is the task's error."""
    vm = vm_of(params)
    run.redact(vm.vnc_password)
    _start(run, vm, params.iso_id, params.target, force=params.force)


def _start(run: Run, vm: VM, iso_id: int | None = None, target: str = "", *, force: bool = False) -> None:
    require_whole(vm)
    if power.is_on(run.host, vm.name):
        raise OperationFailed(f"{vm.name} is on already.")
    before = vm.state, vm.reason
    starting.claim_memory(run, vm, force=force)
    try:
        place.check(run.host, vm)
        starting.settle_port(run, vm)
        seeds.settle(run.host, vm)
        document = plan.document(vm)
        if Task.objects.unfinished().filter(operation="vms.configure", subject=vm.subject).exists():
            # It waits for this start, and the document wants already what it would make.
            parts.complete(run, vm)
        running = plan.without_secrets(document)
        if iso_id is not None:
            document, target = once.with_iso(vm, document, _medium(run, vm, iso_id)), once.TARGET
        if target and target not in (document.get("targets") or {}):
            raise OperationFailed(f"{vm.name} has no target {target!r}.")
        parts.write_config(run, vm, document)
    except (CommandError, OperationFailed, Cancelled, OSError):
        # A refused start changes nothing.
        mark(vm, *before)
        raise
    starting.launch(run, vm, running, target)


def _medium(run: Run, vm: VM, iso_id: int) -> Iso:
    """The medium, from a library that bHype made. Raises OperationFailed."""
    iso = Iso.objects.select_related("pool").filter(pk=iso_id, pool__host=vm.host).first()
    if iso is None or not storage.is_medium(iso.name):
        raise OperationFailed("This install medium is not in the library any more.")
    name = f"{iso.pool.home}/isos"
    info = {info.name: info for info in run.host.query(zfs.list_datasets(iso.pool.home, depth=1))}.get(name)
    if info is None or info.bhype_id != storage.HOME_ID or info.mountpoint != f"/{name}":
        raise OperationFailed(f"{name} is not a dataset that bHype made, mounted on /{name}.")
    return iso


@vm_operation("vms.stop", "Stop {vm}")
def stop(run: Run, params: StopParams) -> None:
    """Press the ACPI power button and wait until the guest has powered off."""
    _stop(run, vm_of(params), params)


def _stop(run: Run, vm: VM, params: StopParams) -> None:
    if not power.is_on(run.host, vm.name):
        run.log(f"{vm.name} is off.")
        return
    timeout = params.timeout or vm.stop_seconds
    power.request(run, vm, "stop")
    mark(vm, State.STOPPING)
    reached = power.wait_for(run, vm, power.ENDED, timeout, "Waiting for the guest to power off")
    if reached is not None:
        mark(vm, reached["state"], str(reached.get("reason") or ""))
        return
    late = f"The guest of {vm.name} did not react to the power button within {timeout} s"
    if not params.then_poweroff:
        raise OperationFailed(f"{late}: use Power off.")
    run.log(f"{late}; it is powered off.")
    _poweroff(run, vm)


@vm_operation("vms.poweroff", "Power off {vm}")
def poweroff(run: Run, params: VmParams) -> None:
    """Pull the plug. The guest may lose what it has not written."""
    vm = vm_of(params)
    if not power.is_on(run.host, vm.name):
        run.log(f"{vm.name} is off.")
        return
    _poweroff(run, vm)


def _poweroff(run: Run, vm: VM) -> None:
    power.request(run, vm, "poweroff")
    reached = power.wait_for(run, vm, power.ENDED, POWEROFF_SECONDS, "Waiting for bhyve to end")
    if reached is None:
        raise OperationFailed(f"bhyve did not end within {POWEROFF_SECONDS:.0f} s.")
    mark(vm, reached["state"], str(reached.get("reason") or ""))


@vm_operation("vms.reset", "Reset {vm}")
def reset(run: Run, params: VmParams) -> None:
    """Press the reset button: the guest begins anew, without shutting down."""
    vm = vm_of(params)
    if not power.is_on(run.host, vm.name):
        raise OperationFailed(f"{vm.name} is off.")
    power.request(run, vm, "reset")


@vm_operation("vms.restart", "Restart {vm}")
def restart(run: Run, params: RestartParams) -> None:
    """Shut the guest down and start the VM again, with its configuration as it is now."""
    vm = vm_of(params)
    run.redact(vm.vnc_password)
    _stop(run, vm, params)
    vm.refresh_from_db()
    _start(run, vm, force=params.force)


# Deleting, and what is left after accidents.


@vm_operation("vms.delete", "Delete {vm}", right="vms.delete", recover="vms.recover")
def delete(run: Run, params: DeleteParams) -> None:
    """Destroy the VM's disks and dataset, which carry its UUID, and forget it; or forget it alone. Refused while it
    is on, protected, or linked clones live on its data."""
    vm = vm_of(params)
    if vm.is_protected:
        raise OperationFailed(f"{vm.name} is protected. Take its protection away first.")
    if params.keep_disks:
        require_off(run, vm)
        parts.forget(run, vm)
        run.log(f"{vm.dataset} stays, with its disks and vm.json.")
        forget_row(vm)
        return
    if power.is_on(run.host, vm.name):
        raise OperationFailed(f"{vm.name} is on. Power it off first.")
    parts.require_no_clones(run, vm.pool.home, vm.dataset)
    _require_no_arrivals(vm)
    mark(vm, State.DELETING)
    _remove(run, vm)


@vm_operation("vms.recover", "Tidy up after {vm}", right=None)
def recover(run: Run, params: VmParams) -> None:
    """Remove a VM of which the creation or deletion was broken off. Any other VM is left as it is."""
    vm = row_of(params)
    if vm is None or vm.state not in {State.CREATING, State.DELETING}:
        run.log("There is nothing to tidy up.")
        return
    _remove(run, vm)


def _remove(run: Run, vm: VM) -> None:
    """Destroy everything of the VM and its row. Where that fails, the row stays, with the reason, to try again."""
    try:
        if power.is_on(run.host, vm.name):
            raise OperationFailed(f"{vm.name} is on. Power it off first.")
        # Once more, now that the row says that the VM goes: a disk that sets out after this is refused there.
        _require_no_arrivals(vm)
        parts.remove(run, vm)
    except (CommandError, OperationFailed, Cancelled, OSError) as error:
        # When only the worker ends, the row still says what has to be finished.
        if run.cancelled or not isinstance(error, Cancelled | CommandStopped):
            mark(vm, State.FAILED, f"It could not be removed: {error}")
        raise
    forget_row(vm)


def _require_no_arrivals(vm: VM) -> None:
    """Raise OperationFailed while a disk of another VM is on its way here: it would be destroyed with this one."""
    moves = Task.objects.unfinished().filter(operation__in=("vms.move_disk", "vms.settle_disk"))
    if moves.filter(params__vm_id=vm.pk).exists():
        raise OperationFailed(f"A disk is just being moved to {vm.name}. Wait until it has arrived.")


@vm_operation("vms.adopt", "Watch over {vm} again", right=None)
def adopt(run: Run, params: VmParams) -> None:
    """Start a successor for a supervisor that died while its guest goes on."""
    vm = vm_of(params)
    if not power.has_process(run.host, vm.name):
        run.log(f"{vm.name} is off by now.")
        return
    power.request(run, vm, "status")
    mark_seen(run, vm)


@operation("vms.clean_up", title="Remove what VMs left behind", right=None, lock="vms.clean_up")
def clean_up(run: Run, params: CleanUpParams) -> None:
    """Destroy taps and /dev/vmm nodes of VMs that are off. Each is looked at again before it goes."""
    ours = set(VM.objects.filter(host=Host.objects.this()).values_list("name", flat=True))
    running = {vm.name for vm in VM.objects.filter(state__in=[*plan.ON, State.CREATING])}
    run.log(f"VMs that are on: {', '.join(sorted(running)) or 'none'}")
    for name in params.nodes:
        if name in ours - running and not power.is_on(run.host, name):
            run.host.run(bhyvectl.destroy(name))
    busy = {f"bhype/vm/{vm.uuid}/" for vm in VM.objects.filter(name__in=running)}
    interfaces = run.host.query(ifconfig.list_interfaces())
    idle = [i.name for i in interfaces if not any(i.description.startswith(prefix) for prefix in busy)]
    parts.remove_taps(run, [name for name in params.taps if name in idle])
