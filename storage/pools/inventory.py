"""Which disks this host has, and what has each of them: asked by the observer, and again by the worker before a disk
is taken."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from bhype.freebsd import geom, zpool_status
from bhype.freebsd.command import Query
from bhype.freebsd.geom import DiskInfo, Table
from bhype.freebsd.zpool_status import PoolStatus

Ask = Callable[[Query[Any]], Any]
# Optical drives are disks to geom(8).
_OPTICAL = re.compile(r"a?cd[0-9]+")
# What may follow a disk's name in that of its part: ada0p3, ada0s1a, da1.eli.
_PART = re.compile(r"(p[0-9]+|s[0-9]+[a-h]?)?(\.[a-z]+)*")


@dataclass(frozen=True, slots=True)
class FoundDisk:
    """used_by: what has it, as a sentence's end ("in the pool zroot"); "" for a free one."""

    info: DiskInfo
    used_by: str


def look(ask: Ask) -> list[FoundDisk]:
    """All disks of the host, free or not."""
    disks: list[DiskInfo] = ask(geom.list_disks())
    tables: list[Table] = ask(geom.list_partitions())
    pools: list[PoolStatus] = ask(zpool_status.status())
    return [
        FoundDisk(disk, used_by(disk, tables, pools)) for disk in disks if not _OPTICAL.fullmatch(disk.name)
    ]


def used_by(disk: DiskInfo, tables: Iterable[Table], pools: Iterable[PoolStatus]) -> str:
    """What has a disk: a pool, its partitions, or whatever holds it open; "" when nothing has."""
    parts = [kind for table in tables if is_on(table.name, disk.name) for _, kind in table.parts]
    schemes = [table.scheme for table in tables if is_on(table.name, disk.name)]
    members = sorted({pool.name for pool in pools for leaf in pool.leaves() if is_on(leaf.name, disk.name)})
    said = [f"in the pool {', '.join(members)}"] if members else []
    if parts:
        said.append(f"holds partitions: {', '.join(dict.fromkeys(parts))}")
    elif schemes:
        said.append(f"holds an empty table of partitions ({schemes[0]})")
    elif disk.is_open and not members:
        said.append("is used by the host")
    elif not disk.size:
        said.append("has no medium")
    return "; ".join(said)[:300]


def is_on(name: str, disk: str) -> bool:
    """Whether a member of a pool, or the place of a table, is the disk or a part of it."""
    word = name.removeprefix("/dev/")
    return word.startswith(disk) and bool(_PART.fullmatch(word[len(disk) :]))


def left_on(disk: str, pools: Iterable[PoolStatus]) -> str:
    """What pools that are not imported have left on a disk, as a sentence; "" for nothing."""
    found = [pool for pool in pools if any(is_on(leaf.name, disk) for leaf in pool.leaves())]
    said = [f"of the {'destroyed' if pool.is_destroyed else 'exported'} pool {pool.name}" for pool in found]
    return ", ".join(said)[:300]
