"""Asking for tasks, cancelling them and asking for them again: everything a page may do to the queue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import transaction
from django.utils import timezone
from pydantic import BaseModel

from bhype import live

from . import registry
from .errors import Refused, not_found
from .registry import Operation
from .wake import knock

if TYPE_CHECKING:
    from bhype.accounts.models import User

    from .models import Task


def ask(
    operation: str | Operation[Any],
    params: BaseModel | Mapping[str, Any],
    user: User | None,
    *,
    retry_of: Task | None = None,
    pool: tuple[str, int] = ("", 0),
) -> Task:
    """Queue one run of an operation, in the caller's transaction; the worker starts it after the commit.

    user: who asks; None is the system itself, which may do everything. pool: a name, and how many of the tasks
    asked for with it run at a time. Asking twice for the same while the
    first still waits returns the first. Raises Refused, and LookupError for an unknown operation.
    """
    from .models import Task

    found = registry.get(operation) if isinstance(operation, str) else operation
    valid = found.validate(params)
    target = found.find_target(valid)
    if user is not None and ((found.target and target is None) or not found.may(user, target)):
        raise not_found()
    host = getattr(target, "host", None)
    row = Task(
        host=str(getattr(host, "name", "") or settings.HOST_NAME),
        operation=found.name,
        # What was not said is not stored: an operation can tell it from what was.
        params=valid.model_dump(mode="json", exclude_unset=True),
        user=user,
        by_system=user is None,
        retry_of=retry_of,
        pool=pool[0],
        pool_size=pool[1],
        **found.words(valid, target),
    )
    with transaction.atomic():
        if user is not None:
            # Two clicks at the same moment wait for each other here (SQLite: at the transaction's start).
            get_user_model().objects.select_for_update(no_key=True).filter(pk=user.pk).first()
        waiting = _equal_waiting(row)
        if waiting is not None:
            return waiting
        row.save()
        announce(row)
        transaction.on_commit(knock, robust=True)
    return row


def _equal_waiting(row: Task) -> Task | None:
    from .models import Task

    same = Task.objects.filter(
        host=row.host, status=Task.Status.QUEUED, operation=row.operation, user=row.user, lock=row.lock
    )
    if not row.user_id:
        same = same.filter(by_system=True)
    return next((task for task in same.filter(subject=row.subject)[:100] if task.params == row.params), None)


def announce(task: Task) -> None:
    """Tell open pages that a task has changed, in the caller's transaction."""
    live.publish(*topics(task))


def topics(task: Task) -> Iterable[str]:
    yield f"task:{task.pk}"
    yield "tasks"
    if task.subject:
        yield task.subject
    if task.user_id:
        yield f"tasks:{task.user_id}"


def may_change(user: User, task: Task) -> bool:
    """Whether ``user`` may cancel or repeat a task: one's own, while one holds the right of its operation."""
    if user.can("tasks.change_all"):
        return True
    found = registry.find(task.operation)
    return (
        not user.only_looks
        and found is not None
        and found.right is not None
        and task.user_id == user.pk
        and user.can(found.right, owner_id=user.pk)
    )


def may_read(user: User, task: Task) -> bool:
    """Whether ``user`` may read what came of a task, such as the names of files: one's own, and those of operations
    that one may do on everything. That a task was is seen by more."""
    found = registry.find(task.operation)
    return task.user_id == user.pk or found is None or found.right is None or user.can(found.right)


def cancel(task: Task, user: User) -> Task:
    """Take a waiting task from the queue, or have a running one stopped. Raises Refused when it is over."""
    from .models import Task

    if not may_change(user, task):
        raise not_found()
    status = Task.Status
    with transaction.atomic():
        row = Task.objects.filter(pk=task.pk)
        now = timezone.now()
        if not row.filter(status=status.QUEUED).update(
            status=status.CANCELLED, finished_at=now, error=f"Cancelled by {user.username} before it started."
        ) and not row.filter(status__in=Task.STARTED).update(status=status.CANCELLING):
            raise Refused("conflict", "This task is over already.", status=409)
        task.refresh_from_db()
        announce(task)
        transaction.on_commit(knock, robust=True)
    return task


def retry(task: Task, user: User) -> Task:
    """Ask again for what has failed, was cancelled or interrupted: a new task of ``user``. Raises Refused."""
    from .models import Task

    if not may_change(user, task):
        raise not_found()
    if task.status not in Task.REPEATABLE:
        raise Refused("conflict", "Only a task that did not succeed can be tried again.", status=409)
    if registry.find(task.operation) is None:
        raise Refused("conflict", "This operation does not exist any more.", status=409)
    return ask(task.operation, task.params, user, retry_of=task)
