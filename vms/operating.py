"""What every operation on a VM is made of: its parameters, its row, its lock, and the states that it writes."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import F
from pydantic import BaseModel

from bhype.live import publish
from bhype.tasks import OperationFailed, Run, operation
from bhype.tasks.errors import not_found
from bhype.tasks.models import Schedule
from bhype.vmrun import client

from . import wanted
from .life import power
from .models import VM

State = VM.State


class VmParams(BaseModel):
    vm_id: int


class Nothing(BaseModel):
    """No parameters."""


def row_of(params: VmParams) -> VM | None:
    """The VM that the parameters name; None when it is gone."""
    return find(params.vm_id)


def find(pk: int) -> VM | None:
    return VM.objects.select_related("host", "pool").filter(pk=pk).first()


def vm_of(params: VmParams) -> VM:
    """As `row_of`. Raises OperationFailed when it is gone."""
    vm = row_of(params)
    if vm is None:
        raise OperationFailed("The VM does not exist any more.")
    return vm


def words_of(params: VmParams) -> dict[str, str]:
    vm = row_of(params)
    return {"vm": vm.name if vm else f"VM {params.vm_id}"}


# An operation on one VM: its owner may, and one runs at a time.
vm_operation = partial(
    operation, right="vms.operate", lock="vm:{vm_id}", subject="vm:{vm_id}", target=row_of, describe=words_of
)


def mark(vm: VM, state: str, reason: str = "") -> None:
    """Write what an operation knows before the observer can see it."""
    with transaction.atomic():
        VM.objects.filter(pk=vm.pk).update(state=state, reason=reason)
        publish(vm.subject, "vms")
    vm.state, vm.reason = state, reason


def mark_seen(run: Run, vm: VM) -> None:
    """Write the state that the supervisor tells now."""
    seen = client.read_state(run.host, vm.name) or {}
    mark(vm, str(seen.get("state") or State.STOPPED), str(seen.get("reason") or ""))


def changed(vm: VM, **columns: Any) -> None:
    """Write wanted columns, and tell open pages and forms that the VM has changed. Raises Refused (404) when it is
    gone."""
    with transaction.atomic():
        if not VM.objects.filter(pk=vm.pk).update(revision=F("revision") + 1, **columns):
            raise not_found()
        publish(vm.subject, "vms")
    vm.refresh_from_db()


def forget_row(vm: VM) -> None:
    """Delete the row of a VM that the host has no more, with what was to be done to it."""
    with transaction.atomic():
        wanted.lock(vm.pk)
        subject = vm.subject
        Schedule.objects.filter(subject=subject).delete()
        vm.delete()
        publish(subject, "vms")


def require_whole(vm: VM) -> None:
    """Raise OperationFailed for a VM that is being created, deleted or rolled back."""
    if vm.state in {State.CREATING, State.DELETING}:
        raise OperationFailed(f"{vm.name} is being {'created' if vm.state == State.CREATING else 'deleted'}.")
    if vm.rolling_back_to:
        raise OperationFailed(
            f"{vm.name} is only half rolled back to {vm.rolling_back_to}: its Snapshots page finishes it."
        )


def require_off(run: Run, vm: VM) -> None:
    """Raise OperationFailed unless the VM is whole and off."""
    require_whole(vm)
    if power.is_on(run.host, vm.name):
        raise OperationFailed(f"{vm.name} is on. Stop it first.")
