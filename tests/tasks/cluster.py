"""A whole worker with a database of its own, driven from outside: what pytest's own database cannot show.

Run as ``python -m tests.tasks.cluster``: prints one JSON object, scenario -> what was seen.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from itertools import pairwise
from pathlib import Path

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.tasks.cluster_settings"

import django

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django_q.conf import Conf  # noqa: E402

from bhype.accounts.models import User  # noqa: E402
from bhype.tasks import ask, cancel, queue  # noqa: E402
from bhype.tasks.models import Task  # noqa: E402
from bhype.tasks.process import started_at  # noqa: E402
from bhype.tasks.queue import mark_interrupted  # noqa: E402

WORKERS = Conf.WORKERS
BASE = Path(__file__).resolve().parents[2]


class Worker:
    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "worker"], cwd=BASE, stdout=subprocess.PIPE, text=True
        )
        for line in self.process.stdout:
            if line.startswith("The worker of"):
                return
        raise RuntimeError("the worker did not start")

    @property
    def children(self) -> list[int]:
        pids = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == self.process.pid and fields[0] not in "ZX":
                    pids.append(int(folder.name))
        return sorted(pids)

    def end(self, number=signal.SIGTERM) -> float:
        """Seconds that it took."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(60)
        self.process.stdout.close()
        return time.monotonic() - began


def until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise TimeoutError("it did not come about")


def ended(*tasks):
    """The tasks, once all of them have ended."""
    rows = Task.objects.filter(pk__in=[task.pk for task in tasks])
    until(lambda: not rows.unfinished().exists())
    return list(rows.order_by("pk"))


def running(task):
    """The task, once a worker has it; a short one may have ended before anybody looks."""

    def look():
        task.refresh_from_db()
        return task.status != "queued" and task.worker[:1].isdigit()

    until(look)
    return task


def group_of(task):
    """Process group and child of a running sample.family."""
    lines = task.lines.filter(text__startswith="group ")
    return [int(number) for number in re.findall(r"\d+", until(lines.first).text)]


def latency(worker, user):
    tasks = []
    for number in range(30):
        tasks.append(ask("sample.free", {"name": f"l{number}"}, user))
        time.sleep(0.03 + number % 7 / 100)
    waits = sorted((task.started_at - task.created_at).total_seconds() * 1000 for task in ended(*tasks))
    statuses = set(Task.objects.values_list("status", flat=True))
    return {"statuses": sorted(statuses), "median": waits[len(waits) // 2]}


def locks(worker, user):
    wanted = [{"name": name, "seconds": 0.05, "note": str(n)} for n in range(5) for name in "ab"]
    rows = ended(*[ask("sample.sleep", params, user) for params in wanted])
    overlaps = 0
    for name in "ab":
        mine = [row for row in rows if row.lock == name]
        overlaps += sum(after.started_at < before.finished_at for before, after in pairwise(mine))
    return {"statuses": sorted({row.status for row in rows}), "overlaps": overlaps}


def cancelled_group(worker, user):
    task = running(ask("sample.family", {"name": "family"}, user))
    pids = group_of(task)
    was_alive = [bool(started_at(pid)) for pid in pids]
    cancel(task, user)
    [task] = ended(task)
    return {"status": task.status, "was_alive": was_alive, "alive": [bool(started_at(pid)) for pid in pids]}


def killed_while_running(worker, user):
    task = running(ask("sample.sleep", {"name": "killed", "seconds": 60}, user))
    os.kill(int(task.worker.partition(":")[0]), signal.SIGKILL)
    return interrupted_and_recovered(task, look=True)


def died_by_itself(worker, user):
    return interrupted_and_recovered(ask("sample.die", {"name": "dead"}, user))


def interrupted_and_recovered(task, look=False):
    # The observer looks as well as the worker itself.
    row = Task.objects.filter(pk=task.pk, status="interrupted")
    until(lambda: (look and mark_interrupted()) or row.exists())
    recovery = until(lambda: Task.objects.filter(operation="sample.recover", subject=task.subject).first())
    [recovery] = ended(recovery)
    return {"recovery": recovery.status, "by_system": recovery.by_system, "params": recovery.params["name"]}


def idle_killed(worker, user):
    before = until(lambda: len(worker.children) == WORKERS + 1 and worker.children)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(worker.children) == len(before) and not set(before) & set(worker.children))
    tasks = [ask("sample.free", {"name": f"i{number}"}, user) for number in range(8)]
    return {"statuses": sorted({row.status for row in ended(*tasks)}), "processes": len(before)}


def second_worker(worker, user):
    command = [sys.executable, "manage.py", "worker"]
    other = subprocess.run(command, check=False, cwd=BASE, capture_output=True, text=True, timeout=60)
    return {"code": other.returncode, "said": other.stderr.strip()}


def socket_mode(worker, user):
    from django.conf import settings

    status = (settings.RUN_DIR / "worker.sock").stat()
    return {"mode": oct(status.st_mode & 0o777), "group": status.st_gid == settings.RUN_DIR.stat().st_gid}


def guard_killed(worker, user):
    children = worker.children
    task = running(ask("sample.sleep", {"name": "orphan", "seconds": 0.5}, user))
    worker.end(signal.SIGKILL)
    until(lambda: not any(started_at(pid) for pid in children))
    [task] = ended(task)
    worker.__init__()
    [other] = ended(ask("sample.free", {"name": "after"}, user))
    return {"orphan": task.status, "after": other.status}


def terminated(worker, user):
    quick = running(ask("sample.sleep", {"name": "quick", "seconds": 0.7}, user))
    long = running(ask("sample.sleep", {"name": "long", "seconds": 60}, user))
    worker.process.send_signal(signal.SIGTERM)
    [quick] = ended(quick)
    children = worker.children
    seconds = worker.end()
    long.refresh_from_db()
    recovery = Task.objects.filter(operation="sample.recover", subject=long.subject)
    return {
        "quick": quick.status,
        "long": long.status,
        "seconds": seconds,
        "recovery": [row.status for row in recovery],
        "left": [pid for pid in children if started_at(pid)],
    }


def racing_brokers(user):
    """Four brokers empty one queue, each in a thread with a connection of its own."""
    for number in range(80):
        ask("sample.sleep", {"name": f"r{number % 7}", "note": str(number)}, user)
    claimed, held, faults = [], Counter(), []

    def broker():
        idle = 0
        while idle < 40:
            found = queue.claim(1_000)
            if found is None:
                idle += 1
                time.sleep(0.01)
                continue
            idle = 0
            lock = Task.objects.values_list("lock", flat=True).get(pk=found[0])
            held[lock] += 1
            if held[lock] > 1:
                faults.append(lock)
            claimed.append(found[0])
            time.sleep(0.001)
            held[lock] -= 1
            Task.objects.filter(pk=found[0], worker=found[1]).update(status="succeeded")
        connection.close()

    threads = [threading.Thread(target=broker) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    left = Task.objects.exclude(status="succeeded").count()
    Task.objects.all().delete()
    return {
        "claimed": len(claimed),
        "twice": len(claimed) - len(set(claimed)),
        "faults": faults,
        "left": left,
    }


SCENARIOS = [
    latency, locks, cancelled_group, killed_while_running, died_by_itself, idle_killed, second_worker,
    socket_mode, guard_killed, terminated,
]  # fmt: skip


def main() -> None:
    call_command("migrate", run_syncdb=True, verbosity=0)
    user = User.objects.create_user("alice", role="admin", source="panel")
    seen = {"racing_brokers": racing_brokers(user)}
    worker = Worker()
    try:
        for scenario in SCENARIOS:
            began = time.monotonic()
            try:
                seen[scenario.__name__] = scenario(worker, user)
            except Exception:
                seen[scenario.__name__] = {"error": traceback.format_exc()}
            sys.stderr.write(f"{scenario.__name__} {time.monotonic() - began:.1f} s\n")
    finally:
        if worker.process.poll() is None:
            worker.end()
        connection.close()
    sys.stdout.write(json.dumps(seen))


if __name__ == "__main__":
    main()
