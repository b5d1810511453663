"""One action on many VMs: each gets its own task or its own reason why not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db import transaction
from django.db.models import F

from bhype.accounts.models import User
from bhype.tasks import Refused, ask
from bhype.tasks.models import Task

from .models import VM, Tag
from .pages import POWER, Row, rows_of

LIMIT = 1000
LABELS = {name: action.label for name, action in POWER.items()} | {"tag": "Tag", "untag": "Untag"}


@dataclass(frozen=True)
class Outcome:
    """What became of one VM: a task, or ``error``, or neither when it was done at once."""

    vm: VM
    task: Task | None = None
    error: str = ""


def run(action: str, vms: Iterable[VM], user: User) -> list[Outcome]:
    """Ask for the power action for each VM. One that is refused does not hold up the others."""
    return [_one(action, row) for row in rows_of(vms, user)]


def _one(action: str, row: Row) -> Outcome:
    reason = row.refusals.get(action)
    if reason:
        return Outcome(row.vm, error=reason)
    try:
        with transaction.atomic():
            return Outcome(row.vm, ask(POWER[action].operation, {"vm_id": row.vm.pk}, row.user))
    except Refused as refused:
        return Outcome(row.vm, error=str(refused))


def tag(names: list[str], vms: Iterable[VM], user: User, *, remove: bool = False) -> list[Outcome]:
    """Put tags on each VM that the user may change, or take them off; tags do not reach the host."""
    if not remove:
        Tag.objects.bulk_create([Tag(name=name) for name in names], ignore_conflicts=True)
    tags = list(Tag.objects.filter(name__in=names))
    outcomes = []
    for vm in vms:
        if not user.can("vms.change", owner_id=vm.owner_id):
            outcomes.append(Outcome(vm, error="You may not change this VM."))
            continue
        with transaction.atomic():
            vm.tags.remove(*tags) if remove else vm.tags.add(*tags)
            VM.objects.filter(pk=vm.pk).update(revision=F("revision") + 1)
        outcomes.append(Outcome(vm))
    return outcomes
