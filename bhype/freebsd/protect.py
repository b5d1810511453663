"""protect(1): which processes the kernel does not kill when swap space is exhausted."""

from __future__ import annotations

from bhype.freebsd.command import Command
from bhype.freebsd.names import BadName

PROGRAM = "/usr/bin/protect"


def protect(pid: int, *, on: bool = True) -> Command:
    """Protect a running process, or take its protection away (-c)."""
    if pid <= 0:
        raise BadName(f"{pid} is not a process.")
    return Command((PROGRAM, *(() if on else ("-c",)), "-p", str(pid)), timeout=10.0)
