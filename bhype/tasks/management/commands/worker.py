"""``manage.py worker``: run this host's tasks, as root on FreeBSD, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import fcntl
import gc
import os
import secrets
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections
from django_q.conf import Conf

from bhype.tasks import queue
from bhype.tasks.broker import TaskBroker
from bhype.tasks.cluster import Guard
from bhype.tasks.runner import run_queued
from bhype.tasks.wake import Bell


class Command(BaseCommand):
    help = "Run the tasks of this host."
    # Checks would load every page and the whole API: 30 MiB that are never used here. The web process has them done.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="run what is queued, here and now, and end")

    def handle(self, *_: Any, once: bool, **options: Any) -> None:
        settings.RUN_DIR.mkdir(parents=True, exist_ok=True)
        lock = _only_one()
        # Hand-overs between our own processes are signed with a key that no other process can know.
        Conf.SECRET_KEY = secrets.token_urlsafe(50)
        for task in queue.mark_interrupted(restarted=True):
            self.stdout.write(f"Task {task.pk} was interrupted: {task.title}")
        if once:
            for task in run_queued():
                self.stdout.write(f"Task {task.pk} {task.status}: {task.title}")
            return
        bell = Bell(settings.RUN_DIR)
        guard = Guard(TaskBroker(bell=bell), in_child=lambda: os.close(lock))
        connections.close_all()
        # What is loaded by now is shared by the processes that are forked, as long as nobody touches it.
        gc.collect()
        gc.freeze()
        self.stdout.write(f"The worker of {settings.HOST_NAME} runs, with {Conf.WORKERS} processes.")
        self.stdout.flush()
        try:
            guard.start()
        finally:
            bell.close()


def _only_one() -> int:
    """Hold this host's worker lock until the process ends. Raises CommandError when another holds it."""
    lock = os.open(settings.RUN_DIR / "worker.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CommandError("Another worker of this host is running.") from None
    return lock
