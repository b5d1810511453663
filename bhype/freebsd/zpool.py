"""zpool(8): pools and their health. The exit status never tells health; the text does."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bhype.freebsd import names
from bhype.freebsd.command import Command, ParseError, Query
from bhype.freebsd.rows import number, rows

PROGRAM = "/sbin/zpool"
TIMEOUT = 60.0

HEALTHS = frozenset({"ONLINE", "DEGRADED", "FAULTED", "OFFLINE", "UNAVAIL", "REMOVED", "SUSPENDED"})
_LABEL = re.compile(r" *([a-z]+): ?(.*)")
_DONE = re.compile(r"([0-9]{1,3}(?:\.[0-9]+)?)% done")


@dataclass(frozen=True, slots=True)
class PoolInfo:
    """A pool as ``zpool list`` gives it. Sizes in bytes before redundancy (raidz parity included);
    fragmentation and capacity in percent. All numbers are 0 for a pool that cannot be opened."""

    name: str
    size: int
    allocated: int
    free: int
    fragmentation: int
    capacity: int
    health: str


@dataclass(frozen=True, slots=True)
class Device:
    """One row of the configuration. depth: 0 for the pool itself and for groups such as "logs"; counts of
    errors are as printed ("0", "1.2K"), empty for spares; note: what follows, such as "(resilvering)"."""

    name: str
    depth: int
    state: str
    read: str
    write: str
    checksum: str
    note: str


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """What ``zpool status`` says of one pool. status, action, scan and errors are its own sentences, each
    on one line; percent: how much of a running scrub or resilver is done, None when it does not say."""

    name: str
    state: str
    status: str
    action: str
    scan: str
    percent: float | None
    errors: str
    devices: tuple[Device, ...]


def list_pools() -> Query[list[PoolInfo]]:
    columns = "name,size,allocated,free,fragmentation,capacity,health"
    return Query(Command((PROGRAM, "list", "-Hp", "-o", columns), timeout=TIMEOUT), _pools)


def _pools(text: str) -> list[PoolInfo]:
    found = []
    for row in rows(text, 7):
        name, size, allocated, free, fragmentation, capacity, health = row
        if health not in HEALTHS:
            raise ParseError(f"unknown health {health!r}: {row!r}")
        found.append(
            PoolInfo(
                name=name,
                size=number(size, row),
                allocated=number(allocated, row),
                free=number(free, row),
                fragmentation=number(fragmentation, row),
                capacity=number(capacity, row),
                health=health,
            )
        )
    return found


def status(pool: str) -> Query[PoolStatus]:
    return Query(Command((PROGRAM, "status", names.dataset(pool)), timeout=TIMEOUT), _status)


def _status(text: str) -> PoolStatus:
    parts: dict[str, list[str]] = {}
    label = ""
    for line_number, line in enumerate(text.split("\n"), 1):
        match = _LABEL.fullmatch(line)
        # Labels are right-aligned to six characters; continuations and the configuration start with a TAB.
        if match and not line.startswith("\t"):
            label = match[1]
            parts[label] = [match[2]] if match[2] else []
        elif line.strip():
            if not label:
                raise ParseError(f"line {line_number}: a label expected: {line!r}")
            parts[label].append(line)
    for needed in ("pool", "state", "config"):
        if needed not in parts:
            raise ParseError(f"no line {needed!r} in: {text[:200]!r}")

    def sentence(key: str) -> str:
        return " ".join(line.strip() for line in parts.get(key, []))

    done = _DONE.search(sentence("scan"))
    return PoolStatus(
        name=sentence("pool"),
        state=sentence("state"),
        status=sentence("status"),
        action=sentence("action"),
        scan=sentence("scan"),
        percent=float(done[1]) if done else None,
        errors=sentence("errors"),
        devices=tuple(_device(line) for line in parts["config"] if line.split()[:2] != ["NAME", "STATE"]),
    )


def _device(line: str) -> Device:
    body = line.removeprefix("\t")
    # Rows of spares have only a state; groups such as "logs" have only a name.
    name, state, read, write, checksum, note = (*body.split(None, 5), "", "", "", "", "", "")[:6]
    return Device(name, (len(body) - len(body.lstrip(" "))) // 2, state, read, write, checksum, note)
