"""The ARC, ZFS's cache in memory: kstat.zfs.misc.arcstats of sysctl(8). Sizes in bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bhype.freebsd import sysctl
from bhype.freebsd.command import Command, Query

_STATS = "kstat.zfs.misc.arcstats."
_KEYS = (
    "size",
    "c",
    "c_min",
    "c_max",
    "hits",
    "misses",
    "mfu_size",
    "mru_size",
    "l2_size",
    "l2_hits",
    "l2_misses",
)


@dataclass(frozen=True, slots=True)
class ArcStats:
    """size: now; target: what it would like to have; least and most: its bounds; mfu and mru: what was used often and
    lately; l2_size: in cache disks. hits, misses, l2_hits and l2_misses are counted since the host's boot."""

    size: int
    target: int
    least: int
    most: int
    hits: int
    misses: int
    mfu: int
    mru: int
    l2_size: int
    l2_hits: int
    l2_misses: int


def read() -> Query[ArcStats]:
    """What this kernel does not tell is 0."""
    query = sysctl.read(*(_STATS + key for key in _KEYS))
    return Query(
        Command(query.command.argv, ok_codes=query.command.ok_codes), lambda text: _stats(query.parse(text))
    )


def _stats(values: Mapping[str, str]) -> ArcStats:
    words = (values.get(_STATS + key, "") for key in _KEYS)
    return ArcStats(
        *(int(word) if word.isascii() and word.isdigit() and len(word) < 20 else 0 for word in words)
    )
