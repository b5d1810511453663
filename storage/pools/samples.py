"""What pools and the ARC were at each minute: written by the observer, thinned out as it gets old."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction

from bhype.freebsd import arcstats, zpool_iostat
from bhype.freebsd.arcstats import ArcStats
from bhype.freebsd.command import ParseError
from bhype.freebsd.zpool_iostat import PoolIo
from bhype.host import CommandError, LocalHost
from bhype.hosts.observer import Sweep
from bhype.live import publish
from storage.models import ArcSample, Pool, PoolSample

from . import capacity

# One sample a minute; zpool-iostat(8) measures nearly all of it beside the sweeps.
PERIOD = timedelta(seconds=60)
MEASURED = 50
# In sweeps. The first ones after a start have more important things to do.
FIRST = 15
THIN_EVERY = 1800
POOL_VALUES = ("size", "allocated", "reads", "writes", "bytes_read", "bytes_written")
ARC_VALUES = ("size", "target", "hits", "misses")


class Measuring(threading.Thread):
    """One run of zpool-iostat(8), which takes as long as it measures. found: None until it is done, or failed."""

    def __init__(self, seconds: int = MEASURED) -> None:
        super().__init__(name="zpool iostat", daemon=True)
        self.found: list[PoolIo] | None = None
        self._seconds = seconds

    def run(self) -> None:
        # A host of its own: its command dies with this process.
        host = LocalHost(settings.BHYPE_ROOT, leashed=True)
        try:
            self.found = host.query(zpool_iostat.over(self._seconds))
        except (CommandError, ParseError, OSError):
            self.found = None


@dataclass(slots=True)
class Last:
    """What is known of the sample before. arc: the figures, and when they were read, in seconds of time.monotonic()."""

    at: datetime | None = None
    measuring: Measuring | None = None
    arc: tuple[float, ArcStats] | None = None


def observe(sweep: Sweep) -> bool:
    """Write a sample of each pool and of the ARC once a minute. False when it was not the time."""
    last = sweep.memory(Last)
    if sweep.number < FIRST or (last.at and sweep.now - last.at < PERIOD):
        return False
    last.at = sweep.now
    measured, last.measuring = last.measuring, Measuring()
    last.measuring.start()
    write(sweep, last, (measured.found or []) if measured else [])
    if sweep.every(THIN_EVERY):
        thin(sweep.now)
    return True


def write(sweep: Sweep, last: Last, measured: Sequence[PoolIo]) -> None:
    """One sample of each pool, and of the ARC."""
    done = {one.name: one for one in measured}
    samples = []
    for pool in Pool.objects.filter(host=sweep.row, size__gt=0).exclude(health="UNAVAIL"):
        one = done.get(pool.name)
        samples.append(
            PoolSample(
                pool=pool, at=sweep.now, size=pool.size, allocated=pool.allocated,
                reads=one.reads if one else 0, writes=one.writes if one else 0,
                bytes_read=one.bytes_read if one else 0, bytes_written=one.bytes_written if one else 0,
            )
        )  # fmt: skip
    stats, before = sweep.ask(arcstats.read()), last.arc
    now = time.monotonic()
    last.arc = now, stats
    with transaction.atomic():
        PoolSample.objects.bulk_create(samples)
        if before and stats.size and now > before[0]:
            seconds = now - before[0]
            ArcSample.objects.create(
                host=sweep.row, at=sweep.now, size=stats.size, target=stats.target,
                hits=max(0, stats.hits - before[1].hits) / seconds,
                misses=max(0, stats.misses - before[1].misses) / seconds,
            )  # fmt: skip
        publish("pool-samples")


def thin(now: datetime) -> None:
    """Make one sample of several old ones, with their mean values; drop what is too old."""
    for pool in Pool.objects.all():
        _thin(PoolSample, {"pool": pool}, POOL_VALUES, now)
    for host in {
        sample.host_id for sample in ArcSample.objects.only("host_id").order_by("host_id").distinct()
    }:
        _thin(ArcSample, {"host_id": host}, ARC_VALUES, now)


def _thin(
    model: type[PoolSample] | type[ArcSample], of: dict[str, Any], columns: Sequence[str], now: datetime
) -> None:
    rows: dict[int, Any] = {row.pk: row for row in model._default_manager.filter(**of)}
    groups, gone = capacity.buckets([(key, row.at) for key, row in rows.items()], now)
    kept: list[Any] = []
    for keys in groups:
        first = rows[keys[0]]
        for column in columns:
            mean = sum(getattr(rows[key], column) for key in keys) / len(keys)
            setattr(first, column, int(mean) if column in {"size", "allocated", "target"} else mean)
        kept.append(first)
        gone += keys[1:]
    with transaction.atomic():
        model._default_manager.bulk_update(kept, columns, batch_size=200)
        for start in range(0, len(gone), 500):
            model._default_manager.filter(pk__in=gone[start : start + 500]).delete()
