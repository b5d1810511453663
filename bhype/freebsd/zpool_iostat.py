"""zpool-iostat(8): what pools read and write."""

from __future__ import annotations

from dataclasses import dataclass

from bhype.freebsd.command import Command, Query
from bhype.freebsd.rows import number, rows

PROGRAM = "/sbin/zpool"


@dataclass(frozen=True, slots=True)
class PoolIo:
    """allocated and free in bytes; operations and bytes per second, averages over the interval."""

    name: str
    allocated: int
    free: int
    reads: int
    writes: int
    bytes_read: int
    bytes_written: int


def over(seconds: int) -> Query[list[PoolIo]]:
    """What all pools do in the coming ``seconds``: the command takes as long (-y leaves out the time since boot)."""
    if not 1 <= seconds <= 3600:
        raise ValueError("an interval is between a second and an hour")
    argv = (PROGRAM, "iostat", "-Hpy", str(seconds), "1")
    return Query(Command(argv, timeout=seconds + 30.0), _pools)


def _pools(text: str) -> list[PoolIo]:
    return [PoolIo(row[0], *(number(word, row) for word in row[1:])) for row in rows(text, 7)]
