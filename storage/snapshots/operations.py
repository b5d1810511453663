"""What the worker does to snapshots of any dataset of bHype, for those who may change storage."""

from __future__ import annotations

from functools import partial

from django.utils import timezone
from pydantic import BaseModel, Field

from bhype.freebsd import names, zfs_snapshots
from bhype.tasks import OperationFailed, Run, operation
from storage import owners
from storage.models import Dataset, Snapshot

from . import files, moments, observe

# Of one task: all that match a filter are more than one asks for at once.
MOST = 5000
KEPT, OWN_TAGS = "kept", "bhype"


class TakeParams(BaseModel):
    """name: "" for one by the moment; note: one line."""

    dataset_id: int
    name: str = Field("", max_length=200)
    note: str = Field("", max_length=zfs_snapshots.NOTE_MAX)


class ManyParams(BaseModel):
    """snapshot_ids: of the rows; what was taken together goes together."""

    snapshot_ids: list[int] = Field(min_length=1, max_length=MOST)


class SnapshotParams(BaseModel):
    snapshot_id: int


class HoldParams(SnapshotParams):
    """tag: who keeps it, in a word; "": KEPT, and of a release all that are people's. Those that begin with "bhype" are
    bHype's own."""

    tag: str = Field("", max_length=64)


class NoteParams(SnapshotParams):
    note: str = Field("", max_length=zfs_snapshots.NOTE_MAX)


class LookParams(SnapshotParams):
    """path: below the filesystem, "" for its top."""

    path: str = Field("", max_length=1000)


class DiffParams(SnapshotParams):
    """until: a later snapshot of the same filesystem, by name; "" for as it is now."""

    until: str = Field("", max_length=200)


def _dataset(params: TakeParams) -> Dataset | None:
    return Dataset.objects.select_related("pool__host").filter(pk=params.dataset_id).first()


def _snapshot(params: SnapshotParams) -> Snapshot | None:
    return Snapshot.objects.select_related("dataset__pool__host").filter(pk=params.snapshot_id).first()


def lock_of(dataset: Dataset) -> str:
    """Of what belongs to a thing one task runs at a time, whoever asks: that thing's lock."""
    owner = owners.of(dataset.bhype_id)
    return f"{owner.kind}:{owner.key}" if owner else f"dataset:{dataset.pk}"


def _take_words(params: TakeParams) -> dict[str, str]:
    row = _dataset(params)
    return (
        {"where": row.name, "of": lock_of(row)}
        if row
        else {"where": f"dataset {params.dataset_id}", "of": ""}
    )


def _words(params: SnapshotParams) -> dict[str, str]:
    row = _snapshot(params)
    return {"which": str(row), "of": lock_of(row.dataset)} if row else {"which": "a snapshot", "of": ""}


def _many_words(params: ManyParams) -> dict[str, str]:
    count = len(params.snapshot_ids)
    return {"which": f"{count} snapshot{'s' if count != 1 else ''}"}


# An operation on one snapshot.
_operation = partial(
    operation, right="storage.change", lock="{of}", subject="{of}", target=_snapshot, describe=_words
)


def require_whole(uuid: str) -> None:
    """Raise OperationFailed while the thing with this UUID, if there is one, is being made, removed or rolled back."""
    owner = owners.of(uuid)
    if owner is not None and not owner.is_whole:
        raise OperationFailed(f"{owner.name} is being made, removed or rolled back.")


@operation(
    "storage.take_snapshot",
    title="Snapshot of {where}",
    right="storage.change",
    lock="{of}",
    subject="{of}",
    target=_dataset,
    describe=_take_words,
)
def take_snapshot(run: Run, params: TakeParams) -> None:
    """Take a snapshot of a dataset and of all below it, at one moment."""
    row = _dataset(params)
    if row is None:
        raise OperationFailed("The dataset does not exist any more.")
    require_whole(row.bhype_id)
    moments.require_ours(run, row.pool, row.name)
    name = params.name or moments.automatic_name(timezone.now())
    if not moments.take(run, row.pool, row.name, name, note=params.note):
        raise OperationFailed(f"{row.name} has a snapshot called {name} already.")
    run.result(snapshot=f"{row.name}@{name}")


@operation(
    "storage.delete_snapshots",
    title="Delete {which}",
    right="storage.change",
    lock="storage.delete_snapshots",
    subject="snapshots",
    describe=_many_words,
)
def delete_snapshots(run: Run, params: ManyParams) -> None:
    """Destroy snapshots that bHype took and nothing needs. The result names what went and why the rest stays."""
    chosen = _choose(run, params)
    for number, (row, choice) in enumerate(chosen):
        run.stage(f"Destroying snapshots of {choice.dataset}", percent=100 * number // len(chosen))
        require_whole(row.bhype_id)
        if choice.goes:
            moments.drop(run, row.pool, choice)
    _tell(run, [choice for _, choice in chosen])


@operation(
    "storage.preview_deletion",
    title="What goes with {which}",
    right="storage.change",
    subject="snapshots",
    describe=_many_words,
)
def preview_deletion(run: Run, params: ManyParams) -> None:
    """Tell what `delete_snapshots` would destroy, and the bytes that would come free. Changes nothing."""
    chosen = [choice for _, choice in _choose(run, params)]
    freed = sum(moments.loss(run, choice) for choice in chosen if choice.goes)
    run.result(**moments.told(chosen, freed))


def _choose(run: Run, params: ManyParams) -> list[tuple[Dataset, moments.Choice]]:
    wanted: dict[Dataset, list[Snapshot]] = {}
    rows = Snapshot.objects.filter(pk__in=params.snapshot_ids).select_related("dataset__pool")
    for row in rows.order_by("dataset__name", "txg"):
        wanted.setdefault(row.dataset, []).append(row)
    found = []
    for dataset, of_it in wanted.items():
        run.check_cancelled()
        moments.require_ours(run, dataset.pool, dataset.name)
        choice = moments.choose(run, dataset.name, {row.name for row in of_it}, {row.guid for row in of_it})
        found.append((dataset, choice))
    return found


def _tell(run: Run, chosen: list[moments.Choice]) -> None:
    result = moments.told(chosen)
    run.result(**result)
    for name, why in result["stays"].items():
        run.log(f"{name} stays: {why}.")
    if not result["goes"]:
        reason = next(iter(result["stays"].values()), "there are none any more")
        raise OperationFailed(f"No snapshot was destroyed: {reason}.")


# Of one snapshot.


def found_of(run: Run, params: SnapshotParams) -> Snapshot:
    """The row, of a dataset that is bHype's. Raises OperationFailed."""
    row = _snapshot(params)
    if row is None:
        raise OperationFailed("The snapshot does not exist any more.")
    moments.require_ours(run, row.dataset.pool, row.dataset.name)
    return row


@_operation("storage.hold_snapshot", "Hold {which}")
def hold_snapshot(run: Run, params: HoldParams) -> None:
    """Keep the snapshot, with all that was taken with it, from being destroyed."""
    row = found_of(run, params)
    hold(run, row, params.tag, release=False)


@_operation("storage.release_snapshot", "Release {which}")
def release_snapshot(run: Run, params: HoldParams) -> None:
    """Take back a hold."""
    row = found_of(run, params)
    hold(run, row, params.tag, release=True)


def hold(run: Run, row: Snapshot, tag: str, *, release: bool) -> None:
    """Hold or release what was taken together. Raises OperationFailed and CommandError."""
    if tag.startswith(OWN_TAGS):
        raise OperationFailed(f"Tags that begin with {OWN_TAGS} are bHype's own.")
    try:
        tags = [tag or KEPT] if not release else [tag] if tag else _held_by(run, row)
        build = zfs_snapshots.release if release else zfs_snapshots.hold
        commands = [build(each, str(row), recursive=True) for each in tags]
    except names.BadName as error:
        raise OperationFailed(str(error)) from error
    for command in commands:
        run.host.run(command)
    observe.refresh(run.host, row.dataset.pool, row.dataset.name)
    run.result(tags=tags)


@_operation("storage.list_holds", "Who holds {which}")
def list_holds(run: Run, params: SnapshotParams) -> None:
    """Tell the tags by which the snapshot is held."""
    tell_holds(run, found_of(run, params))


def tell_holds(run: Run, row: Snapshot) -> None:
    """Put into the result by which tags a snapshot is held, and which of them are bHype's own. Raises CommandError."""
    tags = sorted({one.tag for one in run.host.query(zfs_snapshots.holds(str(row)))})
    run.result(holds=[{"tag": tag, "is_own": tag.startswith(OWN_TAGS)} for tag in tags])


def _held_by(run: Run, row: Snapshot) -> list[str]:
    found = {one.tag for one in run.host.query(zfs_snapshots.holds(str(row)))}
    tags = sorted(tag for tag in found if not tag.startswith(OWN_TAGS))
    if not tags:
        raise OperationFailed(
            f"{row} is held by {', '.join(sorted(found))}: bHype needs it."
            if found
            else f"{row} is not held."
        )
    return tags


@_operation("storage.annotate_snapshot", "Note on {which}")
def annotate_snapshot(run: Run, params: NoteParams) -> None:
    """Give the snapshot another note."""
    row = found_of(run, params)
    annotate(run, row, params.note)


def annotate(run: Run, row: Snapshot, note: str) -> None:
    """Set the note of a snapshot that bHype took. Raises OperationFailed and CommandError."""
    if not row.kind:
        raise OperationFailed(f"bHype did not take {row}.")
    try:
        run.host.run(zfs_snapshots.annotate(str(row), note))
    except names.BadName as error:
        raise OperationFailed(str(error)) from error
    observe.refresh(run.host, row.dataset.pool, row.dataset.name)


@_operation("storage.diff_snapshot", "What has changed since {which}")
def diff_snapshot(run: Run, params: DiffParams) -> None:
    """Tell which files have come, gone and changed since."""
    row = found_of(run, params)
    run.result(**files.differences(run, row, params.until))


@_operation("storage.list_snapshot", "Files of {which}")
def list_snapshot(run: Run, params: LookParams) -> None:
    """Tell what lies in a folder of the snapshot."""
    row = found_of(run, params)
    run.result(**files.listing(run, row, params.path))


@_operation("storage.fetch_from_snapshot", "A file of {which}")
def fetch_from_snapshot(run: Run, params: LookParams) -> None:
    """Copy a file out of the snapshot, for whoever asked to take along."""
    files.fetch(run, found_of(run, params), params.path)
