"""/api/v1/tasks: how the things that were asked for went."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from django.http import HttpRequest
from ninja import Field, Query, Router, Schema
from ninja.responses import Status

from bhype.accounts import audit
from bhype.accounts.access import lookup, signed_in

from . import asking
from .forms import select
from .models import Task, TaskLine

router = Router()
MOST = 500
STORED = r"^[^\x00]*$"


class TaskOut(Schema):
    """percent: 0 to 100; error: a sentence, "" while all is well; subject: what it is about, "vm:12"; result: what came
    of it, for who asked and for those who may do the same everywhere."""

    id: int
    operation: str
    title: str
    status: str
    stage: str
    percent: int
    error: str
    result: dict[str, Any]
    user: str | None
    subject: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    retry_of: int | None = Field(None, alias="retry_of_id")

    @staticmethod
    def resolve_result(task: Task, context: dict[str, Any]) -> dict[str, Any]:
        return task.result if asking.may_read(signed_in(context["request"]), task) else {}

    @staticmethod
    def resolve_user(task: Task) -> str | None:
        return task.user.username if task.user else None


class TaskLineOut(Schema):
    id: int
    at: datetime
    kind: str
    text: str


class TaskQuery(Schema):
    """after: only what follows the task with this id in the list, which is newest first."""

    status: Literal[
        "", "unfinished", "queued", "running", "cancelling", "succeeded", "failed", "cancelled", "interrupted"
    ] = ""
    user: str = Field("", max_length=64, pattern=STORED)
    operation: str = Field("", max_length=64, pattern=STORED)
    subject: str = Field("", max_length=80, pattern=STORED)
    limit: int = Field(50, ge=1, le=MOST)
    after: int | None = Field(None, ge=1, lt=2**63)


class TaskLogQuery(Schema):
    """after: only the lines after the one with this id."""

    after: int = Field(0, ge=0, lt=2**63)
    limit: int = Field(MOST, ge=1, le=MOST)


@router.get("", response=list[TaskOut])
def list_tasks(request: HttpRequest, query: Query[TaskQuery]) -> list[Task]:
    """Your tasks, or all when you may see them; newest first."""
    rows = Task.objects.visible_to(signed_in(request))
    wanted = query.dict()
    limit, before = wanted.pop("limit"), wanted.pop("after")
    return list(select(rows, before=before, **wanted)[:limit])


@router.get("/{int:task_id}", response=TaskOut)
def get_task(request: HttpRequest, task_id: int) -> Task:
    return _task(request, task_id)


@router.get("/{int:task_id}/log", response=list[TaskLineOut])
def get_task_log(request: HttpRequest, task_id: int, query: Query[TaskLogQuery]) -> list[TaskLine]:
    lines = _task(request, task_id).lines.filter(pk__gt=query.after)
    return list(lines[: query.limit])


@router.post("/{int:task_id}/cancel", response={202: TaskOut})
def cancel_task(request: HttpRequest, task_id: int) -> Status[Task]:
    """Take it from the queue, or have it stopped."""
    task = asking.cancel(_task(request, task_id), signed_in(request))
    audit.record(request, "tasks.cancel", task.title, task=task)
    return Status(202, task)


@router.post("/{int:task_id}/retry", response={202: TaskOut})
def retry_task(request: HttpRequest, task_id: int) -> Status[Task]:
    """Ask for the same again; answers the new task."""
    again = asking.retry(_task(request, task_id), signed_in(request))
    audit.record(request, "tasks.retry", again.title, task=again)
    return Status(202, again)


def _task(request: HttpRequest, task_id: int) -> Task:
    return lookup(signed_in(request), Task, "self", pk=task_id)
