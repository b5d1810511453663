"""A lab host of its own for a test, driven through its real wrappers."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from bhype.lab import tree, wires
from bhype.lab.openzfs.store import changing
from tests import labfolder

ROOT = Path(__file__).resolve().parents[2]
PATHS = {path.rpartition("/")[2]: path for path in (*tree.PROGRAMS, "usr/local/bin/swtpm")}
GIB = 2**30


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


class Lab:
    """``lab("zfs", "list")`` runs a program; ``lab.ok(...)`` expects success and gives its stdout."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.root = Path(folder) / "root"

    def argv(self, program: str, *arguments: str) -> list[str]:
        return [str(self.root / PATHS[program]), *arguments]

    def __call__(self, program: str, *arguments: str, timeout: float = 60) -> Answer:
        done = subprocess.run(
            self.argv(program, *arguments),
            capture_output=True,
            text=True,
            timeout=timeout,
            env={"LC_ALL": "C", "TZ": "UTC", "PATH": "/bin:/usr/bin"},
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def ok(self, program: str, *arguments: str) -> str:
        answer = self(program, *arguments)
        assert (answer.code, answer.err) == (0, ""), (program, arguments, answer)
        return answer.out

    def fails(self, program: str, *arguments: str, code: int = 1) -> str:
        """The text of a failure; nothing must be on stdout."""
        answer = self(program, *arguments)
        assert (answer.code, answer.out) == (code, ""), (program, arguments, answer)
        return answer.err

    def admin(self, *arguments: str) -> Answer:
        """``python -m bhype.lab ...``."""
        done = subprocess.run(
            [sys.executable, "-m", "bhype.lab", *arguments],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
            timeout=60,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def fault(self, json: str) -> None:
        assert self.admin("fault", self.folder, json).code == 0

    def path(self, path: str) -> Path:
        return Path(f"{self.root}{path}")

    def wire(self) -> None:
        """Let frames move; needs root."""
        with named(self):
            wires.on()

    def inside(self, *argv: str, **options: object) -> subprocess.CompletedProcess[str]:
        """Run a program of this machine in the wired lab's network namespace."""
        with named(self):
            return wires.run(list(argv), **options)

    def outside(self, *argv: str, **options: object) -> subprocess.CompletedProcess[str]:
        """Run a program of this machine in the namespace that the lab's uplinks lead to."""
        with named(self):
            return wires.outside(list(argv), **options)


@contextlib.contextmanager
def named(lab: Lab):
    os.environ["BHYPE_LAB"] = lab.folder
    try:
        yield
    finally:
        del os.environ["BHYPE_LAB"]


@contextlib.contextmanager
def lab_store(lab: Lab):
    """The lab's datasets as its zfs(8) has them, to change."""
    with named(lab), changing() as store:
        yield store


def make_lab(**options: object) -> Lab:
    lab = Lab(tempfile.mkdtemp(prefix="bl-", dir="/tmp"))
    labfolder.make(lab.folder, **options)
    return lab


def drop_lab(lab: Lab) -> None:
    if os.path.exists(f"{lab.folder}/state/bhyve.json"):
        lab.admin("stop", "--grace", "0", lab.folder)
    with named(lab):
        wires.off()
    shutil.rmtree(lab.folder)


@pytest.fixture
def lab():
    lab = make_lab()
    yield lab
    drop_lab(lab)


@pytest.fixture
def wired():
    """A lab whose frames move."""
    lab = make_lab()
    lab.wire()
    yield lab
    drop_lab(lab)


@pytest.fixture(scope="module")
def still_lab():
    """For commands that are refused and so change nothing: one lab for a whole file."""
    lab = make_lab()
    yield lab
    drop_lab(lab)


@pytest.fixture
def small_lab():
    """A pool of 1 GiB, soon full."""
    lab = make_lab(size=GIB)
    yield lab
    drop_lab(lab)
