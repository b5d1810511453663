"""How fast an asked task starts, with a real worker and a full table; what the worker's processes weigh."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# A state of its own, and tables made from the models.
os.environ["BHYPE_STATE"] = tempfile.mkdtemp(prefix="bht-", dir="/tmp")
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.tasks.cluster_settings"

import django

django.setup()

from django.conf import settings  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402

from bhype.accounts.models import User  # noqa: E402
from bhype.tasks import ask, queue  # noqa: E402
from bhype.tasks.models import Task  # noqa: E402
from tests.bench.memory import family, weigh  # noqa: E402
from tests.bench.report import show, spread  # noqa: E402

BASE = Path(__file__).resolve().parents[2]
FINISHED = 100_000
QUEUED = 5_000


def bench_latency(user: User, count: int = 100) -> list[float]:
    """Seconds from asking to the start in a worker process, of ``count`` tasks at uneven gaps."""
    tasks = []
    for number in range(count):
        tasks.append(ask("sample.free", {"name": str(number)}, user))
        time.sleep(0.02 + number * 7 % 11 / 100)
    rows = Task.objects.filter(pk__in=[task.pk for task in tasks])
    while rows.unfinished().exists():
        time.sleep(0.05)
    return [(task.started_at - task.created_at).total_seconds() for task in rows if task.started_at]


def start_worker() -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "manage.py", "worker"], cwd=BASE, stdout=subprocess.PIPE, text=True
    )
    for line in process.stdout or []:
        if line.startswith("The worker of"):
            return process
    raise SystemExit("the worker did not start")


def fill(status: str, count: int, user: User) -> None:
    rows = (
        Task(
            host=settings.HOST_NAME,
            operation="sample.free",
            title="Old",
            status=status,
            user=user,
            lock=f"l{n % 50}",
        )
        for n in range(count)
    )
    Task.objects.bulk_create(rows, batch_size=2_000)


def main() -> None:
    call_command("migrate", run_syncdb=True, verbosity=0)
    user = User.objects.create_user("bench", role="admin", source="panel")
    worker = start_worker()
    try:
        spread("task asked to started, empty table", bench_latency(user), "median at most 50 ms")
        fill("succeeded", FINISHED, user)
        spread(
            f"task asked to started, {FINISHED:,} finished tasks", bench_latency(user), "median at most 50 ms"
        )
        show(
            "worker: memory of all its processes",
            f"{sum(weigh(pid).pss for pid in family(worker.pid)) // 2**20} MiB",
            "of 350 MiB in all",
        )
    finally:
        worker.terminate()
        worker.wait(30)
    fill("queued", QUEUED, user)
    seconds = []
    for _ in range(20):
        began = time.monotonic()
        queue.claim(1_000)
        seconds.append(time.monotonic() - began)
    spread(f"one claim with {QUEUED:,} queued, {FINISHED:,} finished", seconds)
    connection.close()


if __name__ == "__main__":
    try:
        main()
    finally:
        shutil.rmtree(os.environ["BHYPE_STATE"], ignore_errors=True)
