"""A host on which "the rules" are a word in a file, and a program that sets it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bhype import commit
from bhype.commit import clock, record
from bhype.freebsd.command import Command
from bhype.host import LocalHost

BASE_DIR = Path(__file__).resolve().parent.parent.parent

SET = """#!/bin/sh
[ -e "$1.fail" ] && { echo "set: no device" >&2; exit 1; }
mv "$1.slow" "$1.at-work" 2>/dev/null && sleep 0.5
printf %s "$2" > "$1"
"""


class World:
    """rules: what is in force."""

    def __init__(self, folder: Path) -> None:
        self.host = LocalHost(str(folder))
        self.folder = folder
        self.file = folder / "rules"
        program = folder / "sbin" / "set"
        program.parent.mkdir()
        program.write_text(SET)
        program.chmod(0o755)
        self.set("old")

    @property
    def rules(self) -> str:
        return self.file.read_text()

    def command(self, word: str) -> Command:
        return Command(("/sbin/set", str(self.file), word))

    def set(self, word: str) -> None:
        self.host.run(self.command(word))

    def begin(self, seconds: int = 60, **options: object) -> None:
        commit.begin(self.host, "firewall", [self.command("old")], seconds, **options)
        with commit.changing(self.host, "firewall"):
            self.set("new")

    def state(self) -> str:
        change = commit.look(self.host, "firewall")
        return change.state if change else ""

    def edit(self, **values: object) -> None:
        """As if it had been begun otherwise."""
        with record.locked(self.host, "firewall"):
            change = commit.look(self.host, "firewall")
            assert change is not None
            record.write(self.host, change, **values)

    def guards(self) -> list[int]:
        return guards(self.host)

    def kill_guard(self) -> None:
        kill_guards(self.host)

    def expire(self, seconds: float = 0.0) -> None:
        """As if it had been begun so long ago that only ``seconds`` are left."""
        self.edit(deadline=clock.now() + seconds)

    def wait(self, state: str, seconds: float = 60) -> None:
        until(lambda: self.state() == state, seconds)

    def script(self, text: str) -> subprocess.Popen[str]:
        """Another process, such as the panel's worker; it says "ready" when it has got there."""
        lines = f"from bhype import commit\nfrom tests.commit.conftest import again\nw = again({str(self.folder)!r})\n"
        process = subprocess.Popen(
            [sys.executable, "-c", lines + text], cwd=BASE_DIR, stdout=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process


def again(folder: str) -> World:
    """The same host, for another process."""
    world = World.__new__(World)
    world.host, world.folder, world.file = LocalHost(folder), Path(folder), Path(folder) / "rules"
    return world


def guards(host: LocalHost) -> list[int]:
    """The processes that guard changes of this host."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"guard" in words and host.root.encode() in words:
                found.append(int(entry.name))
    return found


def kill_guards(host: LocalHost) -> None:
    """And wait for their end, by which their locks are free: their words are gone from /proc before that."""
    for pid in guards(host):
        try:
            ending = os.pidfd_open(pid)
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:  # it has ended by itself
            continue
        assert select.select([ending], [], [], 60)[0]
        os.close(ending)


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


@pytest.fixture
def world(tmp_path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.kill_guard()
