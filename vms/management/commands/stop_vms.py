"""Stop all VMs of this host in order, as a shutdown of the host does; ends when they are off.

For rc.d(8): docs/shutdown.md. While a worker runs, it does it; else this process does.
"""

from __future__ import annotations

import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from bhype.tasks import ask
from bhype.tasks.models import Task
from bhype.tasks.runner import run_queued
from vms.life import bulk

# A worker that is there takes a task within its poll interval.
TAKEN_SECONDS = 5.0
POLL = 0.2


class Command(BaseCommand):
    help = "Stop all VMs of this host in order; each guest has its time, then it is powered off."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--parallel", type=int, default=bulk.PARALLEL, help="of one order at a time")

    def handle(self, *_args: Any, parallel: int, **_options: Any) -> None:
        task = ask("vms.stop_all", {"parallel": max(1, min(parallel, bulk.PARALLEL_MAX))}, None)
        row = Task.objects.filter(pk=task.pk)
        began = time.monotonic()
        while row.unfinished().exists():
            waits = row.filter(status=Task.Status.QUEUED).exists()
            if waits and time.monotonic() - began > TAKEN_SECONDS and not self._is_worked():
                run_queued()
            time.sleep(POLL)
        task.refresh_from_db()
        if task.status != Task.Status.SUCCEEDED:
            raise CommandError(task.error or f"It was {task.status}.")
        self.stdout.write(f"VMs stopped: {task.result.get('stopped', 0)}")

    def _is_worked(self) -> bool:
        """Whether this host's tasks are being run: one that has begun belongs to a worker that lives."""
        return Task.objects.filter(host=settings.HOST_NAME, status__in=Task.STARTED).exists()
