"""Snapshots of a dataset and all below it as one: a VM with its disks, a jail, a part of the library.

``zfs snapshot -r`` takes them at one moment: all its parts have one name and one transaction group. What the worker
does to them is here, for the operations of storage and of the rooms above.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bhype.freebsd import names, zfs, zfs_snapshots
from bhype.freebsd.zfs_snapshots import SnapshotDetail
from bhype.host import CommandFailed
from bhype.tasks import OperationFailed, Run
from storage.models import Dataset, Pool, Snapshot

from . import observe, retention
from .retention import Candidate

MANUAL = "manual"
# Destroyed by one command at most: argv has an end.
MOST_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Moment:
    """The snapshots of a dataset and of those below it that were taken together; the first is its own."""

    parts: tuple[SnapshotDetail, ...]
    # Of the same name, but of another moment: a destruction by name would take them, too.
    strays: tuple[str, ...] = ()

    @property
    def root(self) -> SnapshotDetail:
        return self.parts[0]

    @property
    def name(self) -> str:
        """What follows the @."""
        return self.root.tail

    @property
    def used(self) -> int:
        """Bytes that only its parts hold, each for itself: the least that comes free with it."""
        return sum(part.used for part in self.parts)

    @property
    def written(self) -> int:
        return sum(part.written for part in self.parts)

    @property
    def clones(self) -> list[str]:
        return sorted(clone for part in self.parts for clone in part.clones)

    @property
    def holds(self) -> int:
        return max(part.holds for part in self.parts)

    @property
    def is_common(self) -> bool:
        return any(part.is_common for part in self.parts)

    @property
    def is_deferred(self) -> bool:
        return any(part.is_deferred for part in self.parts)

    def candidate(self, *, is_ours: bool = True) -> Candidate:
        """As retention sees it."""
        return Candidate(
            name=self.name,
            kind=self.root.kind,
            txg=self.root.txg,
            holds=sum(part.holds for part in self.parts),
            clones=sum(len(part.clones) for part in self.parts),
            is_common=self.is_common,
            is_deferred=self.is_deferred,
            is_ours=is_ours and not self.strays,
        )


# Pure.


def moments(root: str, found: Iterable[SnapshotDetail]) -> list[Moment]:
    """The snapshots of ``root`` with what was taken with them below it, the oldest first."""
    by_tail: dict[str, list[SnapshotDetail]] = {}
    for each in found:
        by_tail.setdefault(each.tail, []).append(each)
    made = []
    for parts in by_tail.values():
        own = next((part for part in parts if part.dataset == root), None)
        if own is None:
            continue
        others = sorted((part for part in parts if part is not own), key=lambda part: part.name)
        together = (own, *(part for part in others if part.txg == own.txg))
        made.append(Moment(together, tuple(part.name for part in others if part.txg != own.txg)))
    return sorted(made, key=lambda moment: (moment.root.txg, moment.name))


def obstacle(moment: Moment) -> str:
    """Why a snapshot cannot be destroyed by bHype, as a sentence's end; "" when it can."""
    if not moment.root.kind:
        return "bHype did not take it"
    if moment.strays:
        return f"{moment.strays[0]} has its name and is of another moment"
    return retention.needed(moment.candidate())


def automatic_name(now: datetime, kind: str = MANUAL) -> str:
    """What a snapshot is called when nobody names it."""
    return f"{kind}-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def check_name(dataset: str, name: str, below: Collection[str] = ()) -> str:
    """``name`` if a snapshot of the dataset and of those below it can be called so. Raises BadName."""
    for each in (dataset, *below):
        if len(f"{each}@{name}") > 255:
            raise names.BadName(f"{each}@{name} is longer than the 255 characters that ZFS allows.")
        names.snapshot(f"{each}@{name}")
    return name


# Rows.


def details_of(rows: Iterable[Snapshot], clones: dict[str, list[str]] | None = None) -> list[SnapshotDetail]:
    """Rows, with their datasets, as zfs(8) would list them. clones: the datasets by the snapshot they live on."""
    known = clones or {}
    return [
        SnapshotDetail(
            name=str(row),
            guid=row.guid,
            txg=row.txg,
            created=row.created_at,
            used=row.used,
            referenced=row.referenced,
            written=row.written,
            holds=row.holds,
            is_deferred=row.is_deferred,
            clones=tuple(known.get(str(row)) or ("",) * row.clones),
            bhype_id=row.bhype_id,
            kind=row.kind,
            is_common=row.is_common,
            note=row.note,
        )
        for row in rows
    ]


def below(pool: Pool, root: str) -> list[Dataset]:
    """The rows of ``root`` and of all datasets below it, ``root`` first."""
    inside = Dataset.objects.filter(pool=pool, name__startswith=f"{root}/").order_by("name")
    return [*Dataset.objects.filter(pool=pool, name=root), *inside]


def known(pool: Pool, root: str) -> list[Moment]:
    """The snapshots of ``root`` as they were seen last, the oldest first."""
    datasets = below(pool, root)
    rows = Snapshot.objects.filter(dataset__in=datasets).select_related("dataset")
    clones: dict[str, list[str]] = {}
    origins = Dataset.objects.filter(pool=pool).exclude(origin="").filter(origin__startswith=root)
    for name, origin in origins.values_list("name", "origin"):
        clones.setdefault(origin, []).append(name)
    return moments(root, details_of(rows, clones))


# The host.


def require_ours(run: Run, pool: Pool, dataset: str) -> None:
    """Raise OperationFailed unless the dataset lies in the part of the pool that is bHype's and carries its mark."""
    try:
        names.pool(pool.name)
        names.dataset(dataset)
    except names.BadName as error:
        raise OperationFailed(str(error)) from error
    if not dataset.startswith(f"{pool.home}/"):
        raise OperationFailed(f"{dataset} is not in {pool.home}.")
    # Of one that is to be nobody's the mark may be empty.
    if not run.host.query(zfs.get_property(dataset, zfs.ID_PROPERTY)).value:
        raise OperationFailed(f"{dataset} was not made by bHype.")


def take(run: Run, pool: Pool, dataset: str, name: str, *, kind: str = MANUAL, note: str = "") -> bool:
    """Take a snapshot of the dataset and all below it. False when there is one of this name already."""
    try:
        check_name(dataset, name)
        command = zfs.snapshot(f"{dataset}@{name}", zfs_snapshots.properties(kind, note), recursive=True)
    except names.BadName as error:
        raise OperationFailed(str(error)) from error
    is_new = True
    try:
        run.host.run(command)
    except CommandFailed as error:
        is_new = "dataset already exists" not in error.result.stderr
        # The first line says what is wrong, the last one only that nothing was done.
        if is_new:
            raise OperationFailed(error.result.stderr.partition("\n")[0].strip() or str(error)) from error
    # Also of one that was there: whoever took it may have died before the rows knew.
    observe.refresh(run.host, pool, dataset)
    return is_new


def there(run: Run, dataset: str) -> list[Moment]:
    """The snapshots that the dataset has now, the oldest first."""
    found: list[SnapshotDetail] = run.host.query(zfs_snapshots.details(dataset, recursive=True))
    return moments(dataset, found)


@dataclass(frozen=True, slots=True)
class Choice:
    """What of the wanted snapshots of a dataset can go, and why the rest cannot. order: all it has, oldest first."""

    dataset: str
    goes: tuple[str, ...]
    stays: dict[str, str]
    order: tuple[str, ...]

    @property
    def spans(self) -> list[str]:
        return zfs_snapshots.pattern(self.goes, self.order)


def choose(
    run: Run,
    dataset: str,
    wanted: Collection[str],
    guids: Collection[str] = (),
    kinds: Collection[str] | None = None,
) -> Choice:
    """Look at the snapshots of the dataset that are to go.

    guids: those that are meant, where names are not enough. kinds: those that this person may destroy, None for all.
    """
    found = there(run, dataset)
    ours = run.host.query(zfs_snapshots.kinds(dataset))
    goes, stays = [], dict.fromkeys(wanted, "it is gone already")
    for moment in found:
        if moment.name not in wanted:
            continue
        why = obstacle(moment) if moment.root.name in ours else "bHype did not take it"
        if kinds is not None and moment.root.kind not in kinds:
            why = f"it is {moment.root.kind or 'somebody else'}'s: only who may change storage destroys it"
        if guids and moment.root.guid not in guids:
            why = "it was replaced by another one of the same name"
        stays.pop(moment.name)
        if why:
            stays[moment.name] = why
        else:
            goes.append(moment.name)
    return Choice(dataset, tuple(goes), stays, tuple(moment.name for moment in found))


def drop(run: Run, pool: Pool, choice: Choice) -> None:
    """Destroy what was chosen, with all that was taken with it. Each command takes all of its snapshots or none."""
    spans = choice.spans
    for start in range(0, len(spans), MOST_AT_ONCE):
        run.check_cancelled()
        part = spans[start : start + MOST_AT_ONCE]
        run.host.run(zfs_snapshots.destroy(choice.dataset, part, recursive=True))
    observe.refresh(run.host, pool, choice.dataset)


def loss(run: Run, choice: Choice) -> int:
    """The bytes that would come free."""
    spans = choice.spans
    parts = (spans[start : start + MOST_AT_ONCE] for start in range(0, len(spans), MOST_AT_ONCE))
    return sum(
        run.host.query(zfs_snapshots.loss(choice.dataset, part, recursive=True)).bytes for part in parts
    )


def told(choices: Sequence[Choice], bytes: int | None = None) -> dict[str, Any]:
    """What became, or would become, of snapshots, as a task's result."""
    found: dict[str, Any] = {
        "goes": [f"{one.dataset}@{name}" for one in choices for name in one.goes],
        "stays": {f"{one.dataset}@{name}": why for one in choices for name, why in one.stays.items()},
    }
    return found if bytes is None else {**found, "bytes": bytes}
