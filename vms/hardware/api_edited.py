"""The API of a vm.json that somebody has edited by hand."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Router, Schema
from ninja.responses import Status
from pydantic import ConfigDict

from bhype.accounts import audit
from bhype.accounts.access import lookup, signed_in
from bhype.accounts.errors import ApiError
from bhype.tasks.api import TaskOut
from bhype.tasks.models import Task
from vms import edited
from vms.models import VM
from vms.wanted import WantedError

from . import pages
from .api import refusal

router = Router()


class EditOut(Schema):
    """document: what vm.json says, null where it cannot be read, for the reason in ``problem``."""

    document: dict[str, Any] | None
    problem: str


class AnswerIn(Schema):
    """take: take over what was written; otherwise it is overwritten. share_cpus: also where that pins the VM anew to
    CPUs that other VMs are pinned to, which is refused otherwise (409, "in_use")."""

    model_config = ConfigDict(extra="forbid")
    take: bool
    share_cpus: bool = False


@router.get("/{name}/edited", response=EditOut | None, summary="What was written into vm.json by hand")
def get_edit(request: HttpRequest, name: str) -> dict[str, Any] | None:
    """Null when nothing waits for an answer."""
    found: dict[str, Any] | None = lookup(signed_in(request), VM, "vms.view", name=name).edited
    return found


@router.post("/{name}/edited", response={202: TaskOut}, summary="Answer an edit of vm.json by hand")
def answer_edit(request: HttpRequest, name: str, payload: AnswerIn) -> Status[Task]:
    """Take it over, or have bHype's own written again; until then the VM is not started."""
    user = signed_in(request)
    vm = pages.load(lookup(user, VM, "vms.change", name=name))
    if payload.take and not payload.share_cpus and (taken := pages.edit_shares(vm, user)):
        raise ApiError(409, "in_use", f"Other VMs have these CPUs: {taken}.", "share_cpus")
    try:
        task = edited.take_over(vm, user)[1] if payload.take else edited.write_again(vm, user)
    except WantedError as error:
        raise refusal(error) from error
    except LookupError as error:
        raise ApiError(409, "conflict", f"No edit of the vm.json of {name} waits for an answer.") from error
    audit.record(request, "vms.change", f"vm {name}", {"vm.json": edited.WORDS[payload.take]}, task=task)
    return Status(202, task)
