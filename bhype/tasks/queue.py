"""The table of tasks as a queue: which is next, who holds it, and what becomes of those whose worker died.

A claim is one conditional UPDATE. The unique constraint on running locks decides between two claims that
meet, so any number of brokers may run at once, on SQLite and on PostgreSQL.
"""

from __future__ import annotations

import contextlib
import secrets
from collections import Counter
from datetime import timedelta

from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.db.models import Min
from django.utils import timezone

from . import registry
from .asking import announce, ask
from .errors import Refused
from .models import Task, TaskLine
from .process import identity, is_gone

# Claims that lost against another broker before this one looks again at its next poll.
ROUNDS = 8
# A claimed task is handed to a process that waits for it; after this long the hand-over was lost.
CLAIM_SECONDS = 30
CLAIM = "claim:"
# An operation that was interrupted this often within the hour is not recovered any more by itself.
MOST_RECOVERIES = 3
# A recovery that fails is asked again after this, doubled with every failure of the last day.
REPEAT_AFTER = timedelta(seconds=60)
PRUNE_BATCH = 500

KEEP_DAYS = getattr(settings, "TASKS_KEEP_DAYS", 90)
KEEP_NUMBER = getattr(settings, "TASKS_KEEP_NUMBER", 200_000)


def claim(workers: int) -> tuple[int, str] | None:
    """Take the next task of this host whose lock is free, unless ``workers`` tasks run already.

    The oldest task of the user with the fewest running tasks goes first. Returns its key and the word that
    its runner must show, or None. The work is bound by the number of queued tasks, in one index; finished
    ones are not looked at.
    """
    for _ in range(ROUNDS):
        running = list(_mine(*Task.STARTED).only("user_id", "lock", "pool", "pool_size"))
        if len(running) >= workers:
            return None
        candidates = _candidates(running)
        if not candidates:
            return None
        for key in candidates:
            token = CLAIM + secrets.token_hex(12)
            if _take(key, token):
                return key, token
        # Each of them was taken by another broker meanwhile, or its lock was.
    return None


def _mine(*statuses: str) -> models.QuerySet[Task]:
    return Task.objects.filter(host=settings.HOST_NAME, status__in=statuses)


def _candidates(running: list[Task]) -> list[int]:
    """The next task of each user, in the order in which the users are served."""
    held = {task.lock for task in running if task.lock}
    busy = Counter(task.user_id for task in running)
    pools = Counter(task.pool for task in running if task.pool)
    full = {task.pool for task in running if task.pool and pools[task.pool] >= task.pool_size}
    queued = Task.objects.filter(host=settings.HOST_NAME, status=Task.Status.QUEUED).exclude(lock__in=held)
    if full:
        queued = queued.exclude(pool__in=full)
    oldest = list(queued.order_by().values_list("user_id").annotate(first=Min("id")))
    oldest.sort(key=lambda row: (busy[row[0]], row[1]))
    return list(dict.fromkeys(_first_of_its_lock(first) for _, first in oldest))


def _first_of_its_lock(key: int) -> int:
    """The task that must run before this one: the oldest queued with the same lock, maybe another user's.

    It runs even when its pool is full: somebody outside the pool waits for it.
    """
    row = Task.objects.filter(pk=key).values_list("lock", flat=True).first()
    if not row:
        return key
    waiting = Task.objects.filter(host=settings.HOST_NAME, status=Task.Status.QUEUED, lock=row)
    return waiting.order_by().aggregate(first=Min("id"))["first"] or key


def _take(key: int, token: str) -> bool:
    try:
        with transaction.atomic():
            return bool(
                Task.objects.filter(pk=key, status=Task.Status.QUEUED).update(
                    status=Task.Status.RUNNING, worker=token, started_at=timezone.now()
                )
            )
    except IntegrityError:
        # Its lock was taken between the look and the claim.
        return False


def take_over(key: int, token: str) -> Task | None:
    """The claimed task, now held by this process; None when it is not to be run (any more)."""
    with transaction.atomic():
        if not Task.objects.filter(pk=key, worker=token, status__in=Task.STARTED).update(
            worker=identity(), started_at=timezone.now()
        ):
            return None
        task = Task.objects.select_related("user").get(pk=key)
        announce(task)
    return task


def mark_interrupted(*, restarted: bool = False) -> list[Task]:
    """Mark this host's running tasks whose worker process is gone, and ask for what recovers from each.

    Called when the worker starts (``restarted``), by the worker from time to time, and by the observer.
    A task that was claimed but never started goes back to the queue. Returns the interrupted ones.
    """
    interrupted = []
    now = timezone.now()
    for task in _mine(*Task.STARTED).select_related("user"):
        if task.worker.startswith(CLAIM):
            if (
                restarted
                or task.started_at is None
                or now - task.started_at > timedelta(seconds=CLAIM_SECONDS)
            ):
                _hand_back(task)
        elif is_gone(task.worker) and interrupt(task, "The worker process that ran this task has ended."):
            interrupted.append(task)
    return interrupted


def _hand_back(task: Task) -> None:
    over = task.status == Task.Status.CANCELLING
    with transaction.atomic():
        if Task.objects.filter(pk=task.pk, worker=task.worker).update(
            status=Task.Status.CANCELLED if over else Task.Status.QUEUED,
            finished_at=timezone.now() if over else None,
            started_at=None,
            worker="",
        ):
            announce(task)


def interrupt(task: Task, why: str) -> bool:
    """Mark a task that stopped half-way, and ask for its recovery. False when it was over already."""
    with transaction.atomic():
        if not Task.objects.filter(pk=task.pk, worker=task.worker, status__in=Task.STARTED).update(
            status=Task.Status.INTERRUPTED, finished_at=timezone.now(), error=why
        ):
            return False
        task.refresh_from_db()
        TaskLine.objects.create(task=task, kind=TaskLine.Kind.ERROR, text=why)
        announce(task)
        ask_recovery(task)
    return True


def ask_recovery(task: Task) -> None:
    """Ask for what puts right what a task left half-done, if its operation names something."""
    found = registry.find(task.operation)
    if found is None or found.recover is None:
        return
    recent = Task.objects.filter(
        operation=task.operation,
        subject=task.subject,
        status__in=(Task.Status.INTERRUPTED, Task.Status.CANCELLED),
        created_at__gt=timezone.now() - timedelta(hours=1),
    )
    if recent.count() > MOST_RECOVERIES:
        note = "It was stopped too often within an hour: its recovery is not asked any more."
        TaskLine.objects.create(task=task, kind=TaskLine.Kind.ERROR, text=note)
        return
    try:
        with transaction.atomic():
            recovery = ask(found.recover, task.params, None)
    except (Refused, LookupError) as error:
        TaskLine.objects.create(
            task=task, kind=TaskLine.Kind.ERROR, text=f"Its recovery was not asked: {error}"
        )
    else:
        TaskLine.objects.create(task=task, text=f"Asked for recovery: task {recovery.pk}.")


def repeat_recoveries() -> list[Task]:
    """Ask again for the recoveries of this host that failed, or were broken off themselves: what is half done stays
    so until one succeeds. Called by the observer; returns the new tasks."""
    now = timezone.now()
    mine = Task.objects.filter(
        host=settings.HOST_NAME,
        by_system=True,
        operation__in=registry.recoveries(),
        created_at__gt=now - timedelta(days=1),
    )
    broken = mine.filter(status__in=(Task.Status.FAILED, Task.Status.INTERRUPTED)).order_by("-id")[:200]
    newest: dict[tuple[str, str], list[Task]] = {}
    for task in broken:
        newest.setdefault((task.operation, task.subject), []).append(task)
    asked = []
    for (operation, subject), failures in newest.items():
        last = failures[0]
        if mine.filter(operation=operation, subject=subject, id__gt=last.pk).exists():
            continue
        pause = REPEAT_AFTER * 2 ** min(len(failures) - 1, 10)
        if last.finished_at is not None and now - last.finished_at >= pause:
            with contextlib.suppress(Refused):
                asked.append(ask(operation, last.params, None))
    return asked


def prune(days: int = KEEP_DAYS, number: int = KEEP_NUMBER, batches: int = 20) -> int:
    """Delete finished tasks, with their logs, that are older than ``days`` or beyond the newest ``number``.

    In small transactions, and at most ``batches`` of them in one call. Returns how many rows went.
    """
    finished = Task.objects.exclude(status__in=Task.UNFINISHED)
    newest = Task.objects.order_by("-id").values_list("id", flat=True)[number : number + 1]
    beyond = next(iter(newest), 0)
    since = timezone.now() - timedelta(days=days)
    gone = 0
    for _ in range(batches):
        # From the oldest on: the first that is kept ends it, so nothing is read in vain.
        oldest = list(finished.order_by("id").values_list("id", "created_at")[:PRUNE_BATCH])
        keys = [key for key, created_at in oldest if key <= beyond or created_at < since]
        if not keys:
            break
        with transaction.atomic():
            TaskLine.objects.filter(task_id__in=keys).delete()
            Task.objects.filter(pk__in=keys).delete()
        gone += len(keys)
        if len(keys) < PRUNE_BATCH:
            break
    return gone
