"""The table of tasks as django-q2's broker, in the process that hands tasks to the workers."""

from __future__ import annotations

import logging
import os
import time
from typing import Any

from django.db import DatabaseError, InterfaceError, connection
from django_q.brokers import Broker
from django_q.conf import Conf
from django_q.signing import SignedPackage

from bhype.live.pruning import prune as prune_events

from . import queue
from .models import Task
from .wake import Bell

logger = logging.getLogger(__name__)
LOOK_SECONDS = 5.0
PRUNE_SECONDS = 60.0


class TaskBroker(Broker):  # type: ignore[misc]
    """Claims tasks for the workers of one cluster.

    bell: the wake socket, where there is one; it is made before the processes are forked. Only ``dequeue`` is
    used: asking is inserting a row, and what becomes of a task is written by its runner.
    """

    def __init__(self, list_key: str | None = None, bell: Bell | None = None) -> None:
        super().__init__(list_key)
        self._bell = bell
        self._looked_at = self._pruned_at = time.monotonic()

    def dequeue(self) -> list[tuple[int, str]] | None:
        """The next task as django-q2 wants it, or None after at most one poll interval."""
        try:
            claimed = queue.claim(Conf.WORKERS)
            if claimed is None:
                self._tidy()
                self._wait(Conf.POLL)
                claimed = queue.claim(Conf.WORKERS)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("The worker waits for the database: %s", error)
            connection.close()
            time.sleep(1)
            return None
        return [(claimed[0], _hand_over(*claimed))] if claimed else None

    def _wait(self, seconds: float) -> None:
        if self._bell is None:
            time.sleep(seconds)
        else:
            self._bell.wait(seconds)

    def _tidy(self) -> None:
        now = time.monotonic()
        if now - self._looked_at > LOOK_SECONDS:
            self._looked_at = now
            queue.mark_interrupted()
        if now - self._pruned_at > PRUNE_SECONDS:
            self._pruned_at = now
            queue.prune()
            prune_events()

    def enqueue(self, task: Any) -> int:
        """Refused: a task is asked for with bhype.tasks.ask, and nothing else is ever run."""
        raise NotImplementedError("ask for a task with bhype.tasks.ask")

    def queue_size(self) -> int:
        return Task.objects.filter(host=self.list_key, status=Task.Status.QUEUED).count()

    def lock_size(self) -> int:
        return Task.objects.filter(host=self.list_key, status__in=Task.STARTED).count()

    def ping(self) -> bool:
        return True

    def info(self) -> str:
        return f"table of tasks, process {os.getpid()}"


def _hand_over(key: int, token: str) -> str:
    """The package for a worker. Signed with the key that only this cluster's processes know; nothing that the
    web process wrote is in it but the number of the row."""
    package: str = SignedPackage.dumps(
        {"id": token, "name": str(key), "func": "bhype.tasks.runner.run", "args": (key, token), "kwargs": {}}
    )
    return package
