"""A lab host for tests: FreeBSD's commands with their state in a folder of its own, and the faults it can have."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.test import override_settings

from bhype.host import LocalHost
from bhype.hosts.models import Host
from bhype.hosts.observer import Observer, Sweep
from bhype.lab import tree, wires
from bhype.lab.openzfs import files
from bhype.tasks import ask, queue, runner
from bhype.tasks.models import Task
from network.models import Predefined, Switch
from storage.models import Pool
from tests import labfolder

GIB = 2**30


class Lab:
    """One lab. ``run_tasks`` is its worker, ``sweep`` its observer, both in this process."""

    def __init__(self, folder: Path, like: Path | None = None) -> None:
        """Make a lab in ``folder``, or a copy of the lab in ``like``."""
        self.folder = folder
        self.root = folder / "root"
        if like:
            no_firmware = shutil.ignore_patterns("*.fd")  # it is large, and linked
            # Its disks are sparse files, larger than this machine's.
            shutil.copytree(
                like, folder, symlinks=True, ignore=no_firmware, copy_function=files.copy, dirs_exist_ok=True
            )
        labfolder.make(folder)
        self.host = LocalHost(str(self.root))
        self.memories: dict[type, Any] = {}

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
        """One sweep in which everything is looked at; what observing functions remember is kept to the next."""
        observer = Observer(self.host)
        observer.memories = self.memories
        observer.sweep()

    def look(self, number: int = 0) -> Sweep:
        """A sweep for a test that calls an observing function itself."""
        return Sweep(self.host, Host.objects.this(), number, memories=self.memories)

    def interrupt(self) -> list[Task]:
        """As if the worker of all running tasks had been killed; returns the interrupted tasks."""
        Task.objects.filter(status__in=Task.STARTED).update(worker="1:never")
        return queue.mark_interrupted()

    def stop(self) -> None:
        """End all guests."""
        tree.stop(str(self.folder), grace=0)
        del os.environ["BHYPE_LAB"]

    def wire(self, what: str = "on") -> None:
        """Put the wires up: interfaces are real ones in network namespaces (docs/lab-network.md). Needs root."""
        with self._named():
            wires.on() if what == "on" else wires.off()

    def inside(self, *argv: str, **options: object) -> subprocess.CompletedProcess[str]:
        """Run a program of this machine in the network namespace of the wired lab."""
        with self._named():
            return wires.run(list(argv), **options)

    def outside(self, *argv: str, **options: object) -> subprocess.CompletedProcess[str]:
        """Run a program of this machine in the namespace that the lab's uplinks lead to."""
        with self._named():
            return wires.outside(list(argv), **options)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        os.environ["BHYPE_LAB"] = str(self.folder.resolve())
        try:
            yield
        finally:
            del os.environ["BHYPE_LAB"]

    def end(self) -> None:
        self.stop()
        if (self.folder / "state/wires.json").exists():
            self.wire("off")
        shutil.rmtree(self.folder, ignore_errors=True)


_templates: dict[str, Path] = {}


def template(kind: str) -> Path:
    """A lab to be copied: a "fresh" one, or one that is "ready". Making it leaves no rows."""
    if kind not in _templates:
        folder = Path(tempfile.mkdtemp(prefix="bhl-", dir="/tmp"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        lab = Lab(folder, None if kind == "fresh" else template("fresh"))
        if kind == "ready":
            with override_settings(BHYPE_ROOT=str(lab.root)), transaction.atomic():
                prepare(lab)
                transaction.set_rollback(True)
        _templates[kind] = folder
    return _templates[kind]


def fresh_lab() -> Lab:
    """A lab as a fresh host is; there are no rows."""
    return Lab(Path(tempfile.mkdtemp(prefix="bhl-", dir="/tmp")), template("fresh"))


def ready_lab() -> Lab:
    """A lab whose pool is adopted and whose switches are up, and its rows; the tasks that did it are forgotten."""
    made = Lab(Path(tempfile.mkdtemp(prefix="bhl-", dir="/tmp")), template("ready"))
    rows()
    Pool.objects.update(is_adopted=True)
    Switch.objects.update(is_up=True)
    return made


def rows() -> tuple[Host, Pool, Switch]:
    """What the panel knows of a lab before its first task."""
    host = Host.objects.create(name="lab", cpus=8, memory=32 * GIB)
    pool = Pool.objects.create(host=host, name="tank", size=100 * GIB, free=100 * GIB)
    # The one switch below is enough for tests: this host has had its first start.
    Predefined.objects.bulk_create(Predefined(host=host, name=name) for name in ("public", "nat", "private"))
    return host, pool, Switch.objects.create(host=host, name="nat", kind="nat", address="10.77.0.1/24")


def prepare(lab: Lab) -> None:
    """Adopt the pool and set up a switch, as the observer has it done on the first start."""
    _, pool, _ = rows()
    ask("hosts.prepare", {}, None)
    ask("storage.adopt", {"pool_id": pool.pk}, None)
    ask("network.ensure", {}, None)
    for task in lab.run_tasks():
        assert task.status == "succeeded", task.error


@pytest.fixture
def lab(settings, db) -> Iterator[Lab]:
    made = fresh_lab()
    settings.BHYPE_ROOT = str(made.root)
    yield made
    made.end()


@pytest.fixture
def ready(settings, db) -> Iterator[Lab]:
    made = ready_lab()
    settings.BHYPE_ROOT = str(made.root)
    yield made
    made.end()


@pytest.fixture
def wired(ready) -> Lab:
    """A prepared lab whose frames move: its switch is a real bridge, its uplink leads to a router outside."""
    ready.wire()
    return ready
