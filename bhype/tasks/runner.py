"""Running a task: in a worker process, or here and now."""

from __future__ import annotations

import json
import logging
import time
import traceback
from typing import Any

from django.db import DatabaseError, InterfaceError, connection, transaction
from django.utils import timezone
from django_q.exceptions import TimeoutException

from bhype.host import CommandError, CommandStopped

from . import queue, registry
from .asking import announce
from .errors import Cancelled, OperationFailed, Refused
from .models import Task
from .registry import Operation
from .run import Run, Stop
from .wake import knock

logger = logging.getLogger(__name__)
# How long the end of a task may wait for the database before its worker gives up and is replaced.
PATIENCE = 60.0


def run(key: int, token: str) -> None:
    """What a worker process calls for a claimed task (bhype.tasks.broker)."""
    Stop.is_running = True
    try:
        task = queue.take_over(key, token)
        if task is not None:
            _execute(task, Run(task), threaded=True)
    finally:
        Stop.is_running = False
        # The lock is free, and so is this worker.
        knock()
    if Stop.worker_ends:
        raise SystemExit(0)


def run_queued(limit: int = 1000) -> list[Task]:
    """Run this host's queued tasks in this process, one after the other, until none is left.

    For ``manage.py worker --once`` and for tests; works inside a transaction. Returns them as they ended.
    """
    done: list[Task] = []
    while len(done) < limit:
        claimed = queue.claim(workers=1_000)
        task = queue.take_over(*claimed) if claimed else None
        if task is None:
            break
        _execute(task, Run(task), threaded=False)
        task.refresh_from_db()
        done.append(task)
    return done


def _execute(task: Task, run: Run, *, threaded: bool) -> None:
    status, error, is_broken_off = Task.Status.FAILED, "", False
    if threaded:
        run.tick_by_thread()
    try:
        operation, params = _checked(task)
        run.check_cancelled()
        operation(run, params)
        status = Task.Status.SUCCEEDED
    except (Cancelled, CommandStopped):
        status = Task.Status.CANCELLED if run.cancelled or not Stop.worker_ends else Task.Status.INTERRUPTED
    except (OperationFailed, Refused, CommandError) as failure:
        error = str(failure)
    except TimeoutException:
        error, is_broken_off = "It ran longer than a task may and was stopped.", True
    except Exception as failure:
        # An error in the operation itself must end the task, not the worker.
        logger.exception("Task %s (%s) failed", task.pk, task.operation)
        run.tell("error", traceback.format_exc().rstrip())
        error, is_broken_off = f"Unexpected error: {type(failure).__name__}: {failure}", True
    if status == Task.Status.FAILED and (run.cancelled or Stop.worker_ends):
        # What is told to stop fails in all kinds of ways.
        status = Task.Status.CANCELLED if run.cancelled else Task.Status.INTERRUPTED
    _end(task, run, status, error, is_broken_off=is_broken_off)


def _checked(task: Task) -> tuple[Operation[Any], Any]:
    """What to run, checked anew: between asking and running the user or the object may have changed."""
    operation = registry.find(task.operation)
    if operation is None:
        raise OperationFailed("This operation does not exist any more.")
    params = operation.validate(task.params)
    if not task.by_system:
        if task.user is None or not task.user.is_active:
            raise OperationFailed("The user who asked for this is gone or may not sign in any more.")
        target = operation.find_target(params)
        if operation.target and target is None:
            raise OperationFailed("What this task was about does not exist any more.")
        if not operation.may(task.user, target):
            raise OperationFailed(f"{task.user.username} has no right to do this any more.")
    return operation, params


def _end(task: Task, run: Run, status: str, error: str, *, is_broken_off: bool) -> None:
    """is_broken_off: it failed where its operation could do nothing about it."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            run.close()
            _write_end(task, run, status, error, is_broken_off=is_broken_off)
        except (DatabaseError, InterfaceError):
            if time.monotonic() > deadline or connection.in_atomic_block:
                # The row says "running" still; once this process has ended it is marked as interrupted.
                logger.exception("Task %s ended as %s, which could not be written", task.pk, status)
                raise SystemExit(1) from None
            connection.close()
            time.sleep(0.5)
        else:
            return


def _write_end(task: Task, run: Run, status: str, error: str, *, is_broken_off: bool) -> None:
    if status == Task.Status.INTERRUPTED:
        queue.interrupt(task, "The worker was stopped before this task was done.")
        return
    values: dict[str, Any] = {"status": status, "finished_at": timezone.now(), "error": run.clean(error)}
    try:
        values["result"] = json.loads(json.dumps(run.values, default=str).replace("\\u0000", ""))
    except ValueError as problem:
        values |= {"status": Task.Status.FAILED, "error": f"Its result is no JSON: {problem}"}
    if values["status"] == Task.Status.SUCCEEDED:
        values["percent"] = 100
    with transaction.atomic():
        if Task.objects.filter(pk=task.pk, worker=task.worker, status__in=Task.STARTED).update(**values):
            announce(task)
            if status == Task.Status.CANCELLED or (is_broken_off and not _recovers_itself(task)):
                # It stopped half-way, just as an interrupted one does.
                queue.ask_recovery(task)


def _recovers_itself(task: Task) -> bool:
    """Whether it would be asked again and again: the observer does that, and not at once (repeat_recoveries)."""
    found = registry.find(task.operation)
    return found is not None and found.recover == found.name
