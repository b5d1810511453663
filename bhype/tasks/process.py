"""Which process runs a task: its number and its start, so that a number used again is not taken for it."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from bhype.freebsd.command import Command
from bhype.host import CommandError, LocalHost


def identity(pid: int | None = None) -> str:
    """The word "pid:start time" of a process, of this one without ``pid``; "" when there is none."""
    if pid is None:
        return _own(os.getpid())
    started = started_at(pid)
    return f"{pid}:{started}" if started else ""


@lru_cache(maxsize=2)
def _own(pid: int) -> str:
    return identity(pid)


def is_gone(worker: str) -> bool:
    """Whether the process with this identity has ended. A word that is no identity belongs to none."""
    number = worker.partition(":")[0]
    if not number.isdigit():
        return True
    try:
        return identity(int(number)) != worker
    except CommandError:
        # Not known is not gone.
        return False


def started_at(pid: int) -> str:
    """When a process started, as a word that two processes with one number do not share; "" when it is gone.

    From proc(5) on Linux: field 22, clock ticks after boot; else from ps(1). A zombie has ended.
    Raises CommandError when ps(1) cannot be asked.
    """
    if Path("/proc/self/stat").exists():
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return ""
        # The second field is the name in parentheses, which may hold spaces and parentheses.
        fields = stat.rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    return parse_ps(LocalHost().run(ps_command(pid)).stdout)


def ps_command(pid: int) -> Command:
    """Asks ps(1) for start and state; its status is 1 when there is no such process."""
    # One -o for each: FreeBSD takes what follows the first "=" as the header of that column.
    argv = ("/bin/ps", "-o", "lstart=", "-o", "state=", "-p", str(pid))
    return Command(argv, native=True, ok_codes=frozenset({0, 1}))


def parse_ps(text: str) -> str:
    """The line "Sat Nov 21 02:24:28 2026 S" as one word without the state; "" for no process or a zombie."""
    words = text.split()
    return "" if not words or words[-1].startswith("Z") else "-".join(words[:-1])
