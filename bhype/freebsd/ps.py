"""ps(1): what runs, with one command for all VMs."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from bhype.freebsd.command import Command, ParseError, Query

# setproctitle(3) in bhyve makes "bhyve: NAME", to which ps adds the real name of the program.
_TITLE = re.compile(r"bhyve: (\S+)(?: \(bhyve\))?")


@dataclass(frozen=True, slots=True)
class Process:
    """cpu_percent: of one CPU, so up to 100 for each; rss: resident bytes; elapsed: seconds since its start, 0 where
    the kernel does not say; command: its title or argv."""

    pid: int
    cpu_percent: float
    rss: int
    elapsed: int
    command: str

    @property
    def vm(self) -> str | None:
        """The name of the VM, if this is a bhyve that has come past its initialisation."""
        match = _TITLE.fullmatch(self.command.strip())
        return match[1] if match else None


def processes() -> Query[list[Process]]:
    """All processes of the host."""
    argv = ("/bin/ps", "--libxo", "json", "-axo", "pid,pcpu,rss,etimes,command")
    return Query(Command(argv), _processes)


def _processes(text: str) -> list[Process]:
    try:
        found = json.loads(text)["process-information"]["process"]
        return [_process(row) for row in found]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ParseError(f"processes expected: {error}: {text[:200]!r}") from error


def _process(row: dict[str, Any]) -> Process:
    """libxo writes most numbers as strings, padded as in the table. Of a process that is swapped out (before FreeBSD
    15) the time is "-" (elapseds() in bin/ps/print.c)."""
    elapsed = str(row["elapsed-times"]).strip()
    return Process(
        pid=int(str(row["pid"])),
        cpu_percent=float(str(row["percent-cpu"])),
        rss=int(str(row["rss"])) * 1024,
        elapsed=0 if elapsed == "-" else int(elapsed),
        command=str(row["command"]),
    )
