"""Starting with the host and stopping with it: one after the other, in the order that each VM has."""

from __future__ import annotations

import time
from itertools import groupby

from django.db.models import F
from pydantic import BaseModel, Field

from bhype.freebsd import ps
from bhype.hosts.models import Host
from bhype.tasks import OperationFailed, Refused, Run, ask, operation
from bhype.tasks.models import Task
from network.firewall import ready as firewall
from network.switches import ready as network
from vms import plan
from vms.keys import locking
from vms.models import VM
from vms.operating import Nothing, State, mark

from . import bulk, health

POLL = 0.5


class StopAllParams(BaseModel):
    """parallel: how many VMs of the same order are stopped at a time."""

    parallel: int = Field(bulk.PARALLEL, ge=1, le=bulk.PARALLEL_MAX)


@operation(
    "vms.autostart",
    title="Start the VMs that start with the host",
    right="hosts.change",
    lock="vms.autostart",
    recover="vms.resume_autostart",
)
def autostart(run: Run, _params: Nothing) -> None:
    """Start each VM that wants it and is off, in order. After each, wait until it is healthy, as long as it may take,
    and for its delay. One that fails holds up no other."""
    if problem := network.make(run):
        run.log(f"The switches are not all as they should be: {problem}")
    if problem := firewall.make(run):
        run.log(f"The packet filter does not have its rules: {problem}")
    on = {process.vm for process in run.host.query(ps.processes())}
    wanted = VM.objects.filter(host=Host.objects.this(), autostart=True)
    busy = (State.CREATING, State.DELETING)
    vms = [vm for vm in wanted.exclude(state__in=busy).order_by("start_order", "name") if vm.name not in on]
    outcomes = {}
    for number, vm in enumerate(vms):
        run.check_cancelled()
        run.stage(f"Starting {vm.name}", percent=100 * number / len(vms))
        outcomes[vm.name] = said = _start(run, vm)
        run.log(f"{vm.name}: {said}")
        if vm.start_delay and vm is not vms[-1]:
            _pause(run, vm.start_delay)
    run.result(started=outcomes)


def _start(run: Run, vm: VM) -> str:
    """How the start of one VM went, as a sentence."""
    if locking.is_locked(run, vm):
        mark(vm, State.LOCKED, locking.REASON)
        return "It waits: it is locked, and starts when somebody gives its passphrase."
    try:
        watch = health.Watch(run.host, vm)
    except health.BadHealth as error:
        return f"Not started: {error}"
    try:
        (task,) = run.wait(ask("vms.start", {"vm_id": vm.pk}, None)) or (None,)
    except Refused as refused:
        return f"Not started: {refused}"
    if task is None or task.status != Task.Status.SUCCEEDED:
        return f"Not started: {task.error if task else 'its task is gone.'}"
    if watch.check is None:
        return "Started."
    began = time.monotonic()
    if watch.wait(run, vm, vm.health_seconds):
        return f"Started, and healthy after {time.monotonic() - began:.0f} s."
    return f"Started, but {vm.health} did not come within {vm.health_seconds} s."


def _pause(run: Run, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        run.check_cancelled()
        time.sleep(min(POLL, max(0.0, end - time.monotonic())))


@operation(
    "vms.resume_autostart", title="Go on starting the VMs that start with the host", lock="vms.autostart"
)
def resume_autostart(run: Run, _params: Nothing) -> None:
    """Go on where a worker died; not where somebody has cancelled."""
    last = Task.objects.filter(host=run.task.host, operation="vms.autostart").order_by("-id").first()
    if last is None or last.status != Task.Status.INTERRUPTED:
        run.log("It was cancelled.")
        return
    ask("vms.autostart", {}, None)


@operation("vms.stop_all", title="Stop all VMs", right="hosts.change", lock="vms.stop_all")
def stop_all(run: Run, params: StopAllParams) -> None:
    """Stop every VM of this host, last started first: those of one order together. Each guest has the time of its VM;
    then it is powered off. Raises OperationFailed when some still run."""
    rows = VM.objects.filter(host=Host.objects.this(), state__in=plan.ON)
    vms = list(rows.order_by(F("start_order").desc(), F("name").desc()))
    failed = {}
    done = 0
    for order, group in groupby(vms, key=lambda vm: vm.start_order):
        members = list(group)
        run.stage(f"Stopping order {order}: {len(members)}", percent=100 * done / len(vms))
        pool = (f"stop_all:{run.task.pk}", params.parallel)
        asked = [
            ask(
                "vms.stop",
                {"vm_id": vm.pk, "timeout": vm.stop_seconds, "then_poweroff": True},
                None,
                pool=pool,
            )
            for vm in members
        ]
        for vm, task in zip(members, run.wait(*asked), strict=False):
            run.log(f"{vm.name}: {task.status} {task.error}")
            if task.status != Task.Status.SUCCEEDED:
                failed[vm.name] = task.error or task.status
        done += len(members)
    run.result(stopped=len(vms) - len(failed), failed=failed)
    if failed:
        raise OperationFailed("Not stopped: " + "; ".join(f"{name}: {why}" for name, why in failed.items()))
