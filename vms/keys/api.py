"""The API of an encrypted VM's key, below /api/v1/vms. Passphrases go in, and never come out."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Router, Schema
from ninja.responses import Status
from pydantic import Field

from bhype.accounts import audit
from bhype.accounts.access import lookup, signed_in
from bhype.accounts.errors import ApiError
from bhype.freebsd import names
from bhype.tasks import ask
from bhype.tasks.api import TaskOut
from bhype.tasks.errors import not_found
from bhype.tasks.models import Task
from storage.datasets import passphrases
from vms.models import VM

from . import locking

router = Router()


class VMKeyOut(Schema):
    """root: the dataset of which it has the key; is_own: that is the VM's own; is_locked: it waits for its
    passphrase."""

    cipher: str
    root: str
    is_own: bool
    is_locked: bool


class UnlockVMIn(Schema):
    """start: the VM starts if it starts with the host."""

    passphrase: str = Field("", max_length=512)
    start: bool = True


class ChangeVMKeyIn(Schema):
    """passphrase: the one that it has; new_passphrase: the one that it is to have."""

    passphrase: str = Field(max_length=512)
    new_passphrase: str = Field(max_length=512)


def sealed(text: str, field: str) -> str:
    """One half of a passphrase, for a task; "" of none. Raises ApiError naming the field."""
    try:
        return passphrases.seal(text) if text else ""
    except names.BadName as error:
        raise ApiError(422, "invalid", str(error), field) from error


def _find(request: HttpRequest, name: str, right: str) -> VM:
    vm = lookup(signed_in(request), VM, right, name=name)
    if locking.key_of(vm) is None:
        raise not_found()
    return vm


def _asked(request: HttpRequest, vm: VM, operation: str, **params: Any) -> Status[Task]:
    task = ask(operation, {"vm_id": vm.pk, **params}, signed_in(request))
    audit.record(request, operation, f"vm {vm.name}", task=task)
    return Status(202, task)


@router.get("/{name}/key", response=VMKeyOut, summary="How a VM is encrypted")
def get_key(request: HttpRequest, name: str) -> locking.Key:
    """404 for a VM that is not."""
    found = locking.key_of(lookup(signed_in(request), VM, "vms.view", name=name))
    if found is None:
        raise not_found()
    return found


@router.post("/{name}/unlock", response={202: TaskOut}, summary="Unlock an encrypted VM")
def unlock(request: HttpRequest, name: str, payload: UnlockVMIn) -> Status[Task]:
    vm = _find(request, name, "vms.operate")
    secret = sealed(payload.passphrase, "passphrase")
    return _asked(request, vm, "vms.unlock", secret=secret, start=payload.start)


@router.post("/{name}/lock", response={202: TaskOut}, summary="Lock an encrypted VM that is off")
def lock(request: HttpRequest, name: str) -> Status[Task]:
    return _asked(request, _find(request, name, "vms.operate"), "vms.lock")


@router.post("/{name}/key", response={202: TaskOut}, summary="Change the passphrase of a VM")
def change_key(request: HttpRequest, name: str, payload: ChangeVMKeyIn) -> Status[Task]:
    vm = _find(request, name, "vms.change")
    old, new = (sealed(getattr(payload, field), field) for field in ("passphrase", "new_passphrase"))
    return _asked(request, vm, "vms.change_key", secret=old, new_secret=new)
