"""The rows of snapshots: brought up to date where something has changed, a constant number of commands at a time.

OpenZFS 2.2 tells of each dataset when a snapshot of it came or went last (snapshots_changed): one command for a pool
says which are to be looked at, a second one looks. Sizes and holds change without that: those that were looked at
longest ago are looked at in turn. Before 2.2 (FreeBSD 13) the turn is all there is.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction

from bhype.freebsd import zfs_snapshots
from bhype.freebsd.zfs_snapshots import SnapshotDetail
from bhype.host import CommandFailed, LocalHost
from bhype.hosts.observer import Sweep
from bhype.live import publish
from storage import owners
from storage.models import Dataset, Pool, Snapshot

# In sweeps; as storage itself.
EVERY = 5
# Datasets that are looked at in turn, and snapshots that one look reads.
IN_TURN, MOST = 20, 5000
# A second may see two changes: what changed just now is looked at once more.
SETTLED = 3
COLUMNS = (
    "guid", "txg", "created_at", "used", "referenced", "written", "holds", "clones", "is_deferred", "bhype_id", "kind",
    "note", "is_common",
)  # fmt: skip
CHUNK = 500


@dataclass(slots=True)
class _Seen:
    """mark: the snapshots_changed at the last look; at: of time.monotonic(); count: of snapshots."""

    mark: int = -1
    at: float = 0.0
    count: int = 0


@dataclass(slots=True)
class Memory:
    """seen: by number of the dataset's row; silent: pools whose OpenZFS does not tell when snapshots changed."""

    seen: dict[int, _Seen] = field(default_factory=dict)
    silent: set[int] = field(default_factory=set)


def observe(sweep: Sweep) -> bool:
    """Write the Snapshot rows of what has changed. False when it did not look."""
    if not sweep.every(EVERY):
        return False
    usable = Pool.objects.filter(host=sweep.row, is_adopted=True)
    for pool in usable.exclude(health__in=("FAULTED", "UNAVAIL", "SUSPENDED")):
        _look(sweep, pool)
    return True


def _look(sweep: Sweep, pool: Pool) -> None:
    memory = sweep.memory(Memory)
    rows = {row.name: row for row in pool.datasets.only("name", "bhype_id", "pool_id")}
    marks = _marks(sweep, pool)
    chosen = _due(memory, list(rows.values()), marks)
    if not chosen:
        return
    try:
        found = sweep.ask(zfs_snapshots.details(*(row.name for row in chosen)))
    except CommandFailed as error:
        if "does not exist" in error.result.stderr:  # destroyed since it was listed
            return
        raise
    counts: dict[str, int] = {}
    for each in found:
        counts[each.dataset] = counts.get(each.dataset, 0) + 1
    write(pool, chosen, found)
    now = int(time.time())
    for row in chosen:
        mark = marks.get(row.name, 0) if marks is not None else 0
        settled = mark if now - mark >= SETTLED else -1
        memory.seen[row.pk] = _Seen(settled, time.monotonic(), counts.get(row.name, 0))


def _marks(sweep: Sweep, pool: Pool) -> dict[str, int] | None:
    silent = sweep.memory(Memory).silent
    if pool.pk in silent:
        return None
    try:
        return sweep.ask(zfs_snapshots.changes(pool.home))
    except CommandFailed as error:
        if error.result.code != 2:
            raise
        silent.add(pool.pk)
        return None


def _due(memory: Memory, rows: list[Dataset], marks: dict[str, int] | None) -> list[Dataset]:
    """Those to look at: what has changed first, then those that were looked at longest ago."""
    changed, others = [], []
    for row in rows:
        seen = memory.seen.get(row.pk) or _Seen()
        mark = None if marks is None else marks.get(row.name, 0)
        if mark is None or (mark != seen.mark and (mark or seen.count)):
            changed.append((seen.at, row.pk, row))
        elif seen.count:
            others.append((seen.at, row.pk, row))
    ordered = [row for _, _, row in sorted(changed)] + [row for _, _, row in sorted(others)[:IN_TURN]]
    chosen: list[Dataset] = []
    count = 0
    for row in ordered[: zfs_snapshots.MOST_DATASETS]:
        count += (memory.seen.get(row.pk) or _Seen()).count
        if chosen and count > MOST:
            break
        chosen.append(row)
    return chosen


def refresh(host: LocalHost, pool: Pool, root: str) -> None:
    """Write the rows of ``root`` and of all below it now: after an operation. Datasets without a row come later."""
    rows = Dataset.objects.filter(pool=pool, name__startswith=f"{root}/")
    datasets = [*rows, *Dataset.objects.filter(pool=pool, name=root)]
    if not datasets:
        return
    try:
        found = host.query(zfs_snapshots.details(root, recursive=True))
    except CommandFailed as error:
        if "does not exist" in error.result.stderr:
            return
        raise
    write(pool, datasets, found)


def write(pool: Pool, datasets: Collection[Dataset], found: Iterable[SnapshotDetail]) -> bool:
    """Bring the rows of these datasets to what was found; True when something has changed."""
    by_name = {row.name: row for row in datasets}
    old = {
        (row.dataset_id, row.name): row
        for row in Snapshot.objects.filter(dataset__in=[row.pk for row in datasets])
    }
    new, changed, moved = [], [], set()
    for each in found:
        dataset = by_name.get(each.dataset)
        if dataset is None:
            continue
        values = _values(each)
        row = old.pop((dataset.pk, each.tail), None)
        if row is None:
            new.append(Snapshot(dataset=dataset, name=each.tail, **values))
            moved.add(each.txg)
        elif any(getattr(row, column) != value for column, value in values.items()):
            moved |= {row.txg, each.txg} if row.txg != each.txg else set()
            for column, value in values.items():
                setattr(row, column, value)
            changed.append(row)
    gone = [row.pk for row in old.values()]
    moved |= {row.txg for row in old.values()}
    if not (new or changed or gone):
        return False
    with transaction.atomic():
        Snapshot.objects.bulk_create(new, batch_size=CHUNK, ignore_conflicts=True)
        Snapshot.objects.bulk_update(changed, COLUMNS, batch_size=100)
        for start in range(0, len(gone), CHUNK):
            Snapshot.objects.filter(pk__in=gone[start : start + CHUNK]).delete()
        _mark_roots(pool, sorted(moved))
        _tell(datasets)
    return True


def _values(each: SnapshotDetail) -> dict[str, Any]:
    return {
        "guid": each.guid[:24],
        "txg": each.txg,
        "created_at": each.created,
        "used": each.used,
        "referenced": each.referenced,
        "written": each.written,
        "holds": each.holds,
        "clones": len(each.clones),
        "is_deferred": each.is_deferred,
        "bhype_id": each.bhype_id[:64],
        "kind": each.kind,
        "note": each.note,
        "is_common": each.is_common,
    }


def _mark_roots(pool: Pool, txgs: list[int]) -> None:
    """Of the snapshots of these transaction groups mark those that have none of their name above them."""
    for start in range(0, len(txgs), CHUNK):
        rows = Snapshot.objects.filter(txg__in=txgs[start : start + CHUNK], dataset__pool=pool)
        seen = list(rows.values_list("pk", "dataset__name", "name", "txg", "is_root"))
        places = {(dataset, name, txg) for _, dataset, name, txg, _ in seen}
        wrong: dict[bool, list[int]] = {True: [], False: []}
        for key, dataset, name, txg, is_root in seen:
            ought = (dataset.rpartition("/")[0], name, txg) not in places
            if ought != is_root:
                wrong[ought].append(key)
        for ought, keys in wrong.items():
            for first in range(0, len(keys), CHUNK):
                Snapshot.objects.filter(pk__in=keys[first : first + CHUNK]).update(is_root=ought)


def _tell(datasets: Iterable[Dataset]) -> None:
    """Tell the pages of whoever owns the datasets, and the list of all."""
    found = owners.find({row.bhype_id for row in datasets})
    publish("snapshots", *(f"{owner.kind}-snapshots:{owner.key}" for owner in found))


__all__ = ["observe", "refresh", "write"]
