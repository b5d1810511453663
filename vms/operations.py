"""What the worker does to VMs. Every step can be repeated, and a worker may die between any two of them.

A row in state "creating" or "deleting" belongs to its task; when that ends badly, ``vms.recover`` removes what is
there. In every other state the VM is whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from django.db import IntegrityError, transaction
from django.db.models import Sum
from pydantic import BaseModel, Field

from bhype.freebsd import bhyvectl, ifconfig, ps
from bhype.host import CommandError, CommandFailed, CommandStopped, CommandTimeout
from bhype.hosts.models import Host
from bhype.live import publish
from bhype.tasks import Cancelled, Operation, OperationFailed, Refused, Run, ask, operation
from bhype.vmrun import client

from . import parts, place, plan, power
from .models import VM

State = VM.State
P = TypeVar("P", bound=BaseModel)
STOP_SECONDS = 120
POWEROFF_SECONDS = 30.0


class VmParams(BaseModel):
    vm_id: int


class Nothing(BaseModel):
    """No parameters."""


class CreateParams(VmParams):
    start: bool = False


class StopParams(VmParams):
    timeout: int = Field(STOP_SECONDS, ge=1, le=3600)


class CleanUpParams(BaseModel):
    taps: list[str] = []
    nodes: list[str] = []


def _row(params: VmParams) -> VM | None:
    return VM.objects.select_related("host", "pool").filter(pk=params.vm_id).first()


def _vm(params: VmParams) -> VM:
    vm = _row(params)
    if vm is None:
        raise OperationFailed("The VM does not exist any more.")
    return vm


def _words(params: VmParams) -> dict[str, str]:
    vm = _row(params)
    return {"vm": vm.name if vm else f"VM {params.vm_id}"}


def _operation(
    name: str, title: str, right: str | None = "vms.operate", recover: str | None = None
) -> Callable[[Callable[[Run, P], None]], Operation[P]]:
    """An operation on one VM: its owner may, and one runs at a time."""
    return operation(
        name,
        title=title,
        right=right,
        lock="vm:{vm_id}",
        subject="vm:{vm_id}",
        target=_row,
        describe=_words,
        recover=recover,
    )


def mark(vm: VM, state: str, reason: str = "") -> None:
    """Write what an operation knows before the observer can see it."""
    with transaction.atomic():
        VM.objects.filter(pk=vm.pk).update(state=state, reason=reason)
        publish(vm.subject, "vms")
    vm.state, vm.reason = state, reason


# Making and changing.


@_operation("vms.create", "Create {vm}", right="vms.create", recover="vms.recover")
def create(run: Run, params: CreateParams) -> None:
    """Make the VM's dataset, disks, UEFI variables and vm.json; then start it if asked. Undone when it fails."""
    vm = _vm(params)
    if vm.state != State.CREATING:
        raise OperationFailed(f"{vm.name} has been created already.")
    run.redact(vm.vnc_password)
    try:
        parts.make(run, vm)
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


@_operation("vms.configure", "Write the configuration of {vm}", right="vms.change")
def configure(run: Run, params: VmParams) -> None:
    """Write vm.json as the row now wants it. It applies at the VM's next start."""
    vm = _vm(params)
    if vm.state in {State.CREATING, State.DELETING}:
        raise OperationFailed(f"{vm.name} is being {'created' if vm.state == State.CREATING else 'deleted'}.")
    place.check(run.host, vm)
    parts.write_config(run, vm)
    publish(vm.subject)


# Power.


@_operation("vms.start", "Start {vm}")
def start(run: Run, params: VmParams) -> None:
    """Start the VM's supervisor and wait until the guest runs. What keeps it from running is the task's error."""
    vm = _vm(params)
    run.redact(vm.vnc_password)
    _start(run, vm)


def _start(run: Run, vm: VM) -> None:
    if vm.state in {State.CREATING, State.DELETING}:
        raise OperationFailed(f"{vm.name} is being {'created' if vm.state == State.CREATING else 'deleted'}.")
    if power.is_on(run.host, vm.name):
        raise OperationFailed(f"{vm.name} is on already.")
    on = VM.objects.filter(host=vm.host, state__in=plan.ON).exclude(pk=vm.pk)
    committed = on.aggregate(sum=Sum("memory"))["sum"] or 0
    if problem := plan.memory_problem(vm.memory, vm.host.memory, committed):
        raise OperationFailed(f"{vm.name} was not started. {problem}")
    place.check(run.host, vm)
    _settle_port(run, vm)
    parts.write_config(run, vm)
    mark(vm, State.STARTING)
    run.stage("Waiting for the guest to run", percent=30)
    try:
        power.supervise(run, vm)
    except (CommandFailed, CommandTimeout) as error:
        mark(vm, State.FAILED, _explanation(error))
        raise OperationFailed(vm.reason) from error
    _mark_seen(run, vm)


def _mark_seen(run: Run, vm: VM) -> None:
    """Write the state that the supervisor tells now."""
    seen = client.read_state(run.host, vm.name) or {}
    mark(vm, str(seen.get("state") or State.STOPPED), str(seen.get("reason") or ""))


def _explanation(error: CommandError) -> str:
    """The supervisor's tree of what is missing, else the error's own sentence."""
    return error.result.stderr.strip() or error.result.stdout.strip() or str(error)


def _settle_port(run: Run, vm: VM) -> None:
    """Move the VM's screen to another port when some other program listens on its own."""
    if not vm.has_screen:
        return
    for _ in range(8):
        used = VM.objects.filter(host=vm.host).exclude(pk=vm.pk).values_list("vnc_port", flat=True)
        port = power.free_port(vm.vnc_port, used)
        if port == vm.vnc_port:
            return
        run.log(f"Port {vm.vnc_port} is used by another program; the screen moves to port {port}.")
        try:
            with transaction.atomic():
                VM.objects.filter(pk=vm.pk).update(vnc_port=port)
        except IntegrityError:
            # A VM that is being created took it in this moment.
            continue
        vm.vnc_port = port
        return
    raise OperationFailed("No port for the VM's screen could be had; try again.")


@_operation("vms.stop", "Stop {vm}")
def stop(run: Run, params: StopParams) -> None:
    """Press the ACPI power button and wait until the guest has powered off."""
    _stop(run, _vm(params), params.timeout)


def _stop(run: Run, vm: VM, timeout: int) -> None:
    if not power.is_on(run.host, vm.name):
        run.log(f"{vm.name} is off.")
        return
    power.request(run, vm, "stop")
    mark(vm, State.STOPPING)
    reached = power.wait_for(run, vm, power.ENDED, timeout, "Waiting for the guest to power off")
    if reached is None:
        raise OperationFailed(
            f"The guest of {vm.name} did not react to the power button within {timeout} s: use Power off."
        )
    mark(vm, reached["state"], str(reached.get("reason") or ""))


@_operation("vms.poweroff", "Power off {vm}")
def poweroff(run: Run, params: VmParams) -> None:
    """Pull the plug. The guest may lose what it has not written."""
    vm = _vm(params)
    if not power.is_on(run.host, vm.name):
        run.log(f"{vm.name} is off.")
        return
    power.request(run, vm, "poweroff")
    reached = power.wait_for(run, vm, power.ENDED, POWEROFF_SECONDS, "Waiting for bhyve to end")
    if reached is None:
        raise OperationFailed(f"bhyve did not end within {POWEROFF_SECONDS:.0f} s.")
    mark(vm, reached["state"], str(reached.get("reason") or ""))


@_operation("vms.reset", "Reset {vm}")
def reset(run: Run, params: VmParams) -> None:
    """Press the reset button: the guest begins anew, without shutting down."""
    vm = _vm(params)
    if not power.is_on(run.host, vm.name):
        raise OperationFailed(f"{vm.name} is off.")
    power.request(run, vm, "reset")


@_operation("vms.restart", "Restart {vm}")
def restart(run: Run, params: StopParams) -> None:
    """Shut the guest down and start the VM again, with its configuration as it is now."""
    vm = _vm(params)
    run.redact(vm.vnc_password)
    _stop(run, vm, params.timeout)
    _start(run, vm)


# Deleting, and what is left after accidents.


@_operation("vms.delete", "Delete {vm}", right="vms.delete", recover="vms.recover")
def delete(run: Run, params: VmParams) -> None:
    """Destroy the VM's disks and dataset, which carry its UUID, and forget it. Refused while it is on."""
    vm = _vm(params)
    if power.is_on(run.host, vm.name):
        raise OperationFailed(f"{vm.name} is on. Power it off first.")
    mark(vm, State.DELETING)
    _remove(run, vm)


@_operation("vms.recover", "Tidy up after {vm}", right=None)
def recover(run: Run, params: VmParams) -> None:
    """Remove a VM of which the creation or deletion was broken off. Any other VM is left as it is."""
    vm = _row(params)
    if vm is None or vm.state not in {State.CREATING, State.DELETING}:
        run.log("There is nothing to tidy up.")
        return
    _remove(run, vm)


def _remove(run: Run, vm: VM) -> None:
    """Destroy everything of the VM and its row. Where that fails, the row stays, with the reason, to try again."""
    try:
        if power.is_on(run.host, vm.name):
            raise OperationFailed(f"{vm.name} is on. Power it off first.")
        parts.remove(run, vm)
    except (CommandError, OperationFailed, Cancelled, OSError) as error:
        # When only the worker ends, the row still says what has to be finished.
        if run.cancelled or not isinstance(error, Cancelled | CommandStopped):
            mark(vm, State.FAILED, f"It could not be removed: {error}")
        raise
    with transaction.atomic():
        subject = vm.subject
        vm.delete()
        publish(subject, "vms")


@_operation("vms.adopt", "Watch over {vm} again", right=None)
def adopt(run: Run, params: VmParams) -> None:
    """Start a successor for a supervisor that died while its guest goes on."""
    vm = _vm(params)
    if not power.has_process(run.host, vm.name):
        run.log(f"{vm.name} is off by now.")
        return
    power.request(run, vm, "status")
    _mark_seen(run, vm)


@operation("vms.autostart", title="Start the VMs that start with the host", right=None, lock="vms.autostart")
def autostart(run: Run, _params: Nothing) -> None:
    """After a boot: ask for the start of each VM that wants it and is off, in the order of their names."""
    on = {process.vm for process in run.host.query(ps.processes())}
    for vm in VM.objects.filter(host=Host.objects.this(), autostart=True).order_by("name"):
        if vm.name not in on and vm.state not in {State.CREATING, State.DELETING}:
            run.log(f"Starting {vm.name}")
            ask("vms.start", {"vm_id": vm.pk}, None)


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
