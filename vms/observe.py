"""What this host's VMs are doing: their supervisors' state files, ps(1), /dev/vmm and the taps, once for all VMs."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.db import transaction

from bhype.freebsd import ifconfig, ps
from bhype.freebsd.ps import Process
from bhype.host import CommandError
from bhype.hosts.models import Host
from bhype.hosts.observer import Sweep, ask_once
from bhype.live import publish
from bhype.tasks import OperationFailed, ask
from bhype.tasks.models import Task
from bhype.vmrun import client

from . import edited, place, plan
from .keys import locking
from .models import VM

State = VM.State
# What a sweep has no use for, but of the few VMs that it looks at closely.
UNREAD = ("notes", "settings", "running")
METRICS = ("cpu_percent", "memory_used")


@dataclass(slots=True)
class Memory:
    """suspects: what seemed left behind; it is removed when two sweeps have seen it, for a supervisor that ends tidies
    up itself. files: by VM, its vm.json (mtime, size) as it was when it was last read."""

    suspects: set[str] = field(default_factory=set)
    files: dict[int, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Seen:
    """What one sweep knows of one VM. file: its state file; is_supervised: its supervisor lives; operation: the
    unfinished task about it, such as "vms.start"; is_there: its folder with vm.json exists; is_locked: what it lies in
    waits for its passphrase."""

    file: dict[str, Any] | None
    process: Process | None
    is_supervised: bool
    operation: str
    is_there: bool = True
    is_locked: bool = False


def observe(sweep: Sweep) -> None:
    """Write the observed columns of this host's VMs, and have tidied up what accidents left."""
    processes = {process.vm: process for process in sweep.ask(ps.processes()) if process.vm}
    files = client.read_states(sweep.host)
    operations = _operations(sweep.row)
    seen = {}
    locked = locking.locked(sweep.row)
    vms = list(VM.objects.filter(host=sweep.row).select_related("pool", "host").defer(*UNREAD))
    for vm in vms:
        file = files.get(vm.name)
        if file is not None and file.get("uuid") not in {None, str(vm.uuid)}:
            file = None
        seen[vm.pk] = Seen(
            file,
            processes.get(vm.name),
            bool(file and file.get("supervised")),
            operations.get(vm.subject, ""),
            _is_there(sweep, vm),
            vm.dataset in locked,
        )
    _write(sweep, vms, seen)
    _ask(sweep, vms, seen)
    if sweep.every(5):
        _look_for_edits(sweep, [vm for vm in vms if not seen[vm.pk].operation])


def _is_there(sweep: Sweep, vm: VM) -> bool:
    """Whether the VM's vm.json exists; of a VM that was there, looked at in one of five sweeps only."""
    if vm.state != State.LOST and not sweep.every(5):
        return True
    return sweep.host.exists(plan.config_path(vm))


def _operations(host: Host) -> dict[str, str]:
    """The unfinished operation by subject; a running one rather than one that waits for it."""
    rows = Task.objects.unfinished().filter(host=host.name, operation__startswith="vms.")
    return dict(rows.order_by("-started_at", "-id").values_list("subject", "operation"))


def state_of(vm: VM, seen: Seen) -> tuple[str, str]:
    """The state that ``vm`` is in, and why, as a sentence."""
    file_state = seen.file["state"] if seen.file else ""
    reason = str(seen.file.get("reason") or "") if seen.file else ""
    if vm.state in {State.CREATING, State.DELETING}:
        return vm.state, vm.reason
    if seen.process is not None:
        if file_state not in plan.ON:
            return State.RUNNING, ""
        is_known = vm.state == State.STOPPING and file_state == State.RUNNING and seen.operation in _STOPPING
        return (vm.state, vm.reason) if is_known else (file_state, reason)
    if file_state in plan.ON and seen.is_supervised:
        return file_state, reason
    if vm.state == State.STARTING and seen.operation in _STARTING:
        return vm.state, vm.reason
    if seen.is_locked:
        return State.LOCKED, locking.REASON
    if not seen.is_there and not (vm.state == State.FAILED and not file_state):
        # Of one that failed without ever running, why it failed says more.
        return (
            State.LOST,
            f"There is no {plan.config_path(vm)}: its dataset was destroyed, or is not mounted.",
        )
    if file_state in plan.ON:
        return State.CRASHED, "Its bhyve and its supervisor were killed."
    if file_state == State.STOPPED and (vm.state, vm.reason) == (State.CRASHED, reason):
        # What told a crash from an end of the guest's own, the kernel's VM, was cleaned up since.
        return vm.state, reason
    if file_state:
        return file_state, reason
    if vm.state in {State.FAILED, State.CRASHED, State.LOST}:
        return (State.STOPPED, "") if vm.state == State.LOST else (vm.state, vm.reason)
    return State.STOPPED, vm.reason if vm.state == State.STOPPED else ""


_STARTING = frozenset({"vms.start", "vms.restart"})
_STOPPING = frozenset({"vms.stop", "vms.restart"})


def _columns(vm: VM, seen: Seen) -> dict[str, Any]:
    state, reason = state_of(vm, seen)
    file = seen.file or {}
    is_on = state in plan.ON
    started = file.get("started_at") if is_on else None
    again = file.get("next_start") if state == State.STARTING else None
    return {
        "state": state,
        "reason": reason,
        "pid": (seen.process.pid if seen.process else file.get("pid")) if is_on else None,
        "started_at": datetime.fromtimestamp(started, UTC) if started else None,
        "exit_code": None if is_on else file.get("exit_code", vm.exit_code),
        "command": (file.get("command") or []) if is_on else [],
        "warnings": (file.get("warnings") or []) if is_on else [],
        "next_start": datetime.fromtimestamp(again, UTC) if again else None,
        # What it was started with says nothing about a VM that is off.
        **({} if is_on else {"running": None}),
    }


def _write(sweep: Sweep, vms: list[VM], seen: dict[int, Seen]) -> None:
    changed_metrics, topics = [], []
    for vm in vms:
        if vm.state in {State.CREATING, State.DELETING}:
            continue
        columns = _columns(vm, seen[vm.pk])
        if any(getattr(vm, name) != value for name, value in columns.items() if name != "running"):
            with transaction.atomic():
                # An operation that wrote a state since the rows were read knows better.
                if VM.objects.filter(pk=vm.pk, state=vm.state).update(seen_at=sweep.now, **columns):
                    publish(vm.subject, "vms")
            for name, value in columns.items():
                if name != "running":
                    setattr(vm, name, value)
        if _measure(vm, seen[vm.pk].process):
            changed_metrics.append(vm)
            topics.append(vm.subject)
    if changed_metrics:
        with transaction.atomic():
            VM.objects.bulk_update(changed_metrics, METRICS, batch_size=200)
            publish(*topics)


def _measure(vm: VM, process: Process | None) -> bool:
    """Set the metrics; True when they differ enough to be written and shown."""
    cpu, memory = (process.cpu_percent, process.rss) if process else (0.0, 0)
    if (
        abs(cpu - vm.cpu_percent) < 3
        and abs(memory - vm.memory_used) < max(vm.memory // 50, 1)
        and bool(process) == (vm.memory_used > 0)
    ):
        return False
    vm.cpu_percent, vm.memory_used = cpu, memory
    return True


def _ask(sweep: Sweep, vms: list[VM], seen: dict[int, Seen]) -> None:
    """Ask for what puts right: successors for dead supervisors, the end of what was broken off, a clean-up."""
    for vm in vms:
        if seen[vm.pk].operation:
            continue
        if vm.state in {State.CREATING, State.DELETING}:
            ask_once("vms.recover", {"vm_id": vm.pk}, vm.subject)
        elif seen[vm.pk].process is not None and not seen[vm.pk].is_supervised:
            ask_once("vms.adopt", {"vm_id": vm.pk}, vm.subject)
    idle = {
        vm.name: vm for vm in vms if vm.state not in {*plan.ON, State.CREATING} and not seen[vm.pk].operation
    }
    idle = {
        name: vm for name, vm in idle.items() if not seen[vm.pk].is_supervised and seen[vm.pk].process is None
    }
    busy = {str(vm.uuid) for vm in vms if vm.name not in idle}
    taps = [
        interface.name
        for interface in sweep.ask(ifconfig.list_interfaces())
        if interface.description.startswith("bhype/vm/")
        and interface.description.split("/")[2] not in busy
        and not interface.opened_by
    ]
    nodes = [name for name in sweep.host.listdir("/dev/vmm") if name in idle]
    left = {*(f"tap {name}" for name in taps), *(f"node {name}" for name in nodes)}
    memory = sweep.memory(Memory)
    if left & memory.suspects:
        ask_once("vms.clean_up", {"taps": taps, "nodes": nodes})
    memory.suspects = left


def _look_for_edits(sweep: Sweep, vms: list[VM]) -> None:
    """Read each vm.json that is not as it was at the last look, and note what somebody else has written there."""
    files = sweep.memory(Memory).files
    for vm in vms:
        try:
            found = os.lstat(sweep.host.path(plan.config_path(vm)))
        except (OSError, ValueError):
            continue
        mark = (found.st_mtime_ns, found.st_size)
        if files.get(vm.pk) == mark or vm.state in {State.CREATING, State.DELETING}:
            continue
        try:
            if edited.find(sweep.host, vm) != vm.edited:
                # An operation that began since the rows were read may have written it.
                vm.refresh_from_db()
                # Only what lies where bHype put it is shown to those who may see the VM.
                place.check(sweep.host, vm)
                edited.notice(sweep.host, vm)
        except (CommandError, OperationFailed, VM.DoesNotExist):
            continue
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            # Rows of which no document can be made: one VM's must not end the watch over all.
            sweep.problem(f"{vm.name}: its rows are not understood: {error}")
        files[vm.pk] = mark


def on_boot(host: Host) -> None:
    """The host has booted: let the VMs start that start with it."""
    if VM.objects.filter(host=host, autostart=True).exists():
        ask("vms.autostart", {}, None)
