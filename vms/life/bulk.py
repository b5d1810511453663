"""One action on many VMs: each gets its own task or its own reason why not, and only so many run at a time."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from django.db import transaction
from django.db.models import F
from pydantic import BaseModel, Field, field_validator

from bhype.accounts.models import User
from bhype.tasks import OperationFailed, Refused, Run, ask, operation
from bhype.tasks.models import Task
from vms.models import VM, Tag
from vms.operating import changed
from vms.pages import POWER, Row, rows_of

LIMIT = 1000
# One of the host's four workers stays free for what somebody clicks meanwhile.
PARALLEL, PARALLEL_MAX = 3, 64
LABELS = {name: action.label for name, action in POWER.items()} | {
    "tag": "Tag",
    "untag": "Untag",
    "mark": "In production",
    "unmark": "Not in production",
}


@dataclass(frozen=True)
class Outcome:
    """What became of one VM: a task, or ``error``, or neither when it was done at once."""

    vm: VM
    task: Task | None = None
    error: str = ""


def act(
    action: str, vms: Iterable[VM], user: User, *, parallel: int = PARALLEL, **params: object
) -> list[Outcome]:
    """Ask for the power action for each VM. One that is refused does not hold up the others.

    parallel: how many of them run at a time. params: further ones of the operation.
    """
    rows = rows_of(vms, user)
    pool = (f"bulk:{secrets.token_hex(8)}", parallel) if len(rows) > 1 else ("", 0)
    return [_one(action, row, pool, params) for row in rows]


def _one(action: str, row: Row, pool: tuple[str, int], params: dict[str, object]) -> Outcome:
    reason = row.refusals.get(action)
    if reason:
        return Outcome(row.vm, error=reason)
    try:
        with transaction.atomic():
            task = ask(POWER[action].operation, {"vm_id": row.vm.pk, **params}, row.user, pool=pool)
            return Outcome(row.vm, task)
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


def mark_production(vms: Iterable[VM], user: User, *, remove: bool = False) -> list[Outcome]:
    """Mark each VM that the user may change as one in production, or take the mark away."""
    outcomes = []
    for vm in vms:
        if not user.can("vms.change", owner_id=vm.owner_id):
            outcomes.append(Outcome(vm, error="You may not change this VM."))
            continue
        changed(vm, is_production=not remove)
        outcomes.append(Outcome(vm))
    return outcomes


class BulkParams(BaseModel):
    """Of vm_ids, or of all with the tag, those that the user may operate when it runs."""

    action: str
    vm_ids: list[int] = Field([], max_length=LIMIT)
    tag: str = Field("", max_length=32)
    parallel: int = Field(PARALLEL, ge=1, le=PARALLEL_MAX)

    @field_validator("action")
    @classmethod
    def _known(cls, action: str) -> str:
        if action not in POWER:
            raise ValueError(f"Actions are {', '.join(POWER)}.")
        return action


def _describe(params: BulkParams) -> dict[str, str]:
    many = f"{len(params.vm_ids)} VM{'s' if len(params.vm_ids) != 1 else ''}"
    return {
        "label": LABELS[params.action],
        "which": f"the VMs tagged {params.tag}" if params.tag else many,
        "about": f"tag:{params.tag}" if params.tag else "",
    }


@operation("vms.bulk", title="{label} {which}", right="self", subject="{about}", describe=_describe)
def bulk(run: Run, params: BulkParams) -> None:
    """Ask for the action for each VM, ``parallel`` at a time. The result names each one's task, or why not."""
    if run.user is None:
        raise OperationFailed("Only a person may ask for this.")
    rows = VM.objects.visible_to(run.user, "vms.operate")
    rows = rows.filter(tags__name=params.tag) if params.tag else rows.filter(pk__in=params.vm_ids)
    chosen = rows.select_related("host", "owner").order_by("name")[:LIMIT]
    outcomes = act(params.action, chosen, run.user, parallel=params.parallel)
    for outcome in outcomes:
        run.log(f"{outcome.vm.name}: {outcome.error or f'task {outcome.task.pk if outcome.task else None}'}")
    run.result(
        tasks={outcome.vm.name: outcome.task.pk for outcome in outcomes if outcome.task},
        refused={outcome.vm.name: outcome.error for outcome in outcomes if outcome.error},
    )
