"""The parts of a start: the claim on the host's memory, the port of the screen, the supervisor."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction

from bhype.host import CommandError, CommandFailed, CommandTimeout
from bhype.hosts.models import Host
from bhype.tasks import OperationFailed, Run
from vms.models import VM
from vms.operating import State, mark, mark_seen

from . import guard, power


def claim_memory(run: Run, vm: VM, *, force: bool) -> None:
    """Mark the VM as starting if the host has the memory: of two starts at once the second counts the first."""
    if force and run.user is not None and not run.user.can("hosts.change"):
        raise OperationFailed(f"Only an admin of {vm.host.name} may start a VM that it has no memory for.")
    memory = guard.look(run.host)
    with transaction.atomic():
        Host.objects.select_for_update(no_key=True).get(pk=vm.host_id)
        problem = guard.problem(vm, memory, guard.committed(vm.host, besides=vm))
        if problem and not force:
            raise OperationFailed(f"{vm.name} was not started. {problem}")
        if why := guard.twin(vm):
            raise OperationFailed(f"{vm.name} was not started. {why}")
        mark(vm, State.STARTING)
    if problem:
        run.log(f"Started by force. {problem}")


def settle_port(run: Run, vm: VM) -> None:
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


def launch(run: Run, vm: VM, running: dict[str, Any], target: str = "") -> None:
    """Start the VM's supervisor with the vm.json that is written, and wait until the guest runs.

    running: what it says, without secrets; later changes are told against it. Raises OperationFailed with what keeps
    the guest from running.
    """
    run.stage("Waiting for the guest to run", percent=30)
    try:
        power.supervise(run, vm, target or None)
    except (CommandFailed, CommandTimeout) as error:
        mark(vm, State.FAILED, _explanation(error))
        raise OperationFailed(vm.reason) from error
    VM.objects.filter(pk=vm.pk).update(running=running)
    mark_seen(run, vm)


def _explanation(error: CommandError) -> str:
    """The supervisor's tree of what is missing, else the error's own sentence."""
    return error.result.stderr.strip() or error.result.stdout.strip() or str(error)
