"""A lab host for tests: FreeBSD's commands with their state in a folder of its own, and the faults it can have."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bhype.host import LocalHost
from bhype.hosts.models import Host
from bhype.hosts.observer import Observer
from bhype.tasks import ask, queue, runner
from bhype.tasks.models import Task
from network.models import Switch
from storage.models import Pool

GIB = 2**30


class Lab:
    """One lab. ``run_tasks`` is its worker, ``sweep`` its observer, both in this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.call("create", "--cpus", "8", "--memory", str(32 * GIB), "--size", str(100 * GIB))
        self.host = LocalHost(str(self.root))

    def call(self, verb: str, *words: str) -> None:
        subprocess.run([sys.executable, "-m", "bhype.lab", verb, *words, str(self.folder)], check=True)

    def fault(self, **fault: object) -> None:
        """As bhype.lab.core.fault: ``command="zfs create", do="fail", nth=2``."""
        (self.folder / "faults.json").write_text(json.dumps([fault]))

    def clear_faults(self) -> None:
        (self.folder / "faults.json").unlink(missing_ok=True)

    def commands(self, *words: str) -> str:
        """What a command of the host prints."""
        return subprocess.run(
            [str(self.root) + words[0], *words[1:]], check=True, capture_output=True, text=True
        ).stdout

    def datasets(self) -> set[str]:
        lines = self.commands("/sbin/zfs", "list", "-H", "-o", "name", "-t", "filesystem,volume").splitlines()
        return {line for line in lines if "/vms/" in line}

    def taps(self) -> set[str]:
        return {name for name in self.commands("/sbin/ifconfig", "-l").split() if name.startswith("tap")}

    def nodes(self) -> set[str]:
        folder = self.root / "dev" / "vmm"
        return {path.name for path in folder.iterdir()} if folder.exists() else set()

    def run_folders(self) -> set[str]:
        folder = self.root / "var/run/bhype/vms"
        return {path.name for path in folder.iterdir()} if folder.exists() else set()

    def run_tasks(self) -> list[Task]:
        return runner.run_queued()

    def sweep(self) -> None:
        Observer(self.host).sweep()

    def interrupt(self) -> list[Task]:
        """As if the worker of all running tasks had been killed; returns the interrupted tasks."""
        Task.objects.filter(status__in=Task.STARTED).update(worker="1:never")
        return queue.mark_interrupted()

    def end(self) -> None:
        self.call("stop", "--grace", "0")
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def lab(settings, db) -> Iterator[Lab]:
    """A lab without any rows: as a fresh host is."""
    made = Lab(Path(tempfile.mkdtemp(prefix="bhl-", dir="/tmp")))
    settings.BHYPE_ROOT = str(made.root)
    yield made
    made.end()


def prepare(lab: Lab) -> None:
    """Adopt the pool and set up a switch, as the observer has it done on the first start."""
    host = Host.objects.create(name="lab", cpus=8, memory=32 * GIB)
    pool = Pool.objects.create(host=host, name="tank", size=100 * GIB, free=100 * GIB)
    Switch.objects.create(host=host, name="nat", kind="nat", address="10.77.0.1/24")
    ask("hosts.prepare", {}, None)
    ask("storage.adopt", {"pool_id": pool.pk}, None)
    ask("network.ensure", {}, None)
    for task in lab.run_tasks():
        assert task.status == "succeeded", task.error


@pytest.fixture
def ready(lab: Lab) -> Lab:
    """A lab whose pool is adopted and whose switches are up."""
    prepare(lab)
    return lab
