"""The API of snapshots. Sizes are bytes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest, QueryDict, StreamingHttpResponse
from ninja import Query, Router, Schema
from ninja.responses import Status
from pydantic import Field

from bhype.accounts import audit
from bhype.accounts.access import lookup, signed_in
from bhype.accounts.models import User
from bhype.freebsd.zfs_snapshots import NOTE_MAX
from bhype.tasks.api import TaskOut
from bhype.tasks.errors import not_found
from bhype.tasks.models import Task
from bhype.tasks.requested import by_api
from bhype.ui.respond import attachment
from storage.models import Dataset, Snapshot

from . import pages
from .operations import MOST
from .views import file_of

router = Router()


class SnapshotOut(Schema):
    """A snapshot with all that was taken with it. parts: how many datasets; used: what only they hold."""

    id: int
    name: str
    dataset: str
    kind: str
    note: str
    created_at: datetime
    guid: str
    used: int
    parts: int
    holds: int
    clones: int
    is_common: bool


class SnapshotsOut(Schema):
    """before: what `before` of the next page is, "" on the last one."""

    snapshots: list[SnapshotOut]
    before: str


class SnapshotFilters(Schema):
    """q: part of a dataset's or snapshot's name; kind: manual, frequent, hourly ... or other."""

    q: str = Field("", max_length=100)
    kind: str = Field("", max_length=16)
    held: bool = False
    before: str = Field("", max_length=64)


class TakeSnapshotIn(Schema):
    """dataset: its name; name: "" for one by the time."""

    dataset: str = Field(max_length=255)
    name: str = Field("", max_length=200)
    note: str = Field("", max_length=NOTE_MAX)


class ManyIn(Schema):
    ids: list[int] = Field(min_length=1, max_length=MOST)


class SnapshotNoteIn(Schema):
    note: str = Field("", max_length=NOTE_MAX)


class SnapshotTagIn(Schema):
    """tag: who keeps it, in a word; "" for the usual one, and of a release for all that are people's."""

    tag: str = Field("", max_length=64)


class SnapshotPathIn(Schema):
    """path: below the filesystem."""

    path: str = Field("", max_length=1000)


class SnapshotUntilIn(Schema):
    """until: a later snapshot, by name; "" for now."""

    until: str = Field("", max_length=200)


def viewer(request: HttpRequest, right: str = "storage.view") -> User:
    user = signed_in(request)
    if not user.can(right):
        raise not_found()
    return user


def _out(line: pages.Line) -> dict[str, Any]:
    row = line.row
    return {
        "id": row.pk, "name": row.name, "dataset": row.dataset.name, "kind": row.kind, "note": row.note,
        "created_at": row.created_at, "guid": row.guid, "used": line.used, "parts": line.parts, "holds": row.holds,
        "clones": row.clones, "is_common": row.is_common,
    }  # fmt: skip


@router.get("", response=SnapshotsOut, summary="Snapshots, the newest first")
def list_snapshots(request: HttpRequest, query: Query[SnapshotFilters]) -> dict[str, Any]:
    viewer(request)
    data = QueryDict(mutable=True)
    data.update({"q": query.q, "kind": query.kind, "before": query.before, "held": "1" if query.held else ""})
    filters = pages.Filters.read(data)
    found = pages.listing(filters, pages.all_roots())
    return {"snapshots": [_out(line) for line in found.lines], "before": found.before}


@router.post("", response={202: TaskOut}, summary="Take a snapshot of a dataset and all below it")
def take_snapshot(request: HttpRequest, payload: TakeSnapshotIn) -> Status[Task]:
    row = lookup(signed_in(request), Dataset, "storage.change", name=payload.dataset)
    said = payload.model_dump(include={"name", "note"}, exclude_defaults=True)
    return by_api(request, f"dataset {row.name}", "storage.take_snapshot", dataset_id=row.pk, **said)


@router.post("/all", response={202: TaskOut}, summary="Take a snapshot of everything in production")
def snapshot_all(request: HttpRequest, payload: SnapshotNoteIn) -> Status[Task]:
    viewer(request, "storage.change")
    return by_api(request, "all in production", "storage.snapshot_all", note=payload.note)


@router.post(
    "/preview", response={202: TaskOut}, summary="What goes with snapshots, and the bytes that come free"
)
def preview_deletion(request: HttpRequest, payload: ManyIn) -> Status[Task]:
    """The task's result has ``goes``, ``stays`` with the reasons, and ``bytes``."""
    viewer(request, "storage.change")
    what = f"{len(payload.ids)} snapshots"
    return by_api(request, what, "storage.preview_deletion", snapshot_ids=payload.ids)


@router.post("/delete", response={202: TaskOut}, summary="Destroy snapshots that nothing needs")
def delete_snapshots(request: HttpRequest, payload: ManyIn) -> Status[Task]:
    viewer(request, "storage.change")
    what = f"{len(payload.ids)} snapshots"
    return by_api(request, what, "storage.delete_snapshots", snapshot_ids=payload.ids)


@router.get("/{int:pk}", response=SnapshotOut, summary="One snapshot")
def get_snapshot(request: HttpRequest, pk: int) -> dict[str, Any]:
    row = lookup(viewer(request), Snapshot, "storage.view", pk=pk)
    found = pages.listing(pages.Filters(), Snapshot.objects.filter(pk=row.pk))
    return _out(found.lines[0])


def _one(request: HttpRequest, pk: int, operation: str, payload: Schema) -> Status[Task]:
    row = lookup(signed_in(request), Snapshot, "storage.change", pk=pk)
    return by_api(request, str(row), f"storage.{operation}", snapshot_id=row.pk, **payload.model_dump())


@router.post("/{int:pk}/hold", response={202: TaskOut}, summary="Keep a snapshot from being destroyed")
def hold_snapshot(request: HttpRequest, pk: int, payload: SnapshotTagIn) -> Status[Task]:
    return _one(request, pk, "hold_snapshot", payload)


@router.post("/{int:pk}/release", response={202: TaskOut}, summary="Take a hold back")
def release_snapshot(request: HttpRequest, pk: int, payload: SnapshotTagIn) -> Status[Task]:
    return _one(request, pk, "release_snapshot", payload)


@router.post("/{int:pk}/holds", response={202: TaskOut}, summary="By which tags a snapshot is held")
def list_holds(request: HttpRequest, pk: int) -> Status[Task]:
    """The task's result has ``holds``, each with ``tag`` and ``is_own``: bHype's, which nobody may release."""
    return _one(request, pk, "list_holds", Schema())


@router.post("/{int:pk}/note", response={202: TaskOut}, summary="Give a snapshot another note")
def annotate_snapshot(request: HttpRequest, pk: int, payload: SnapshotNoteIn) -> Status[Task]:
    return _one(request, pk, "annotate_snapshot", payload)


@router.post("/{int:pk}/diff", response={202: TaskOut}, summary="Which files have changed since")
def diff_snapshot(request: HttpRequest, pk: int, payload: SnapshotUntilIn) -> Status[Task]:
    return _one(request, pk, "diff_snapshot", payload)


@router.post("/{int:pk}/list", response={202: TaskOut}, summary="What lies in a folder of a snapshot")
def list_files(request: HttpRequest, pk: int, payload: SnapshotPathIn) -> Status[Task]:
    return _one(request, pk, "list_snapshot", payload)


@router.post(
    "/{int:pk}/fetch", response={202: TaskOut}, summary="Copy a file out of a snapshot, to download it"
)
def fetch_file(request: HttpRequest, pk: int, payload: SnapshotPathIn) -> Status[Task]:
    """Once the task has succeeded, POST /snapshots/files/TASK gives the file to whoever asked."""
    return _one(request, pk, "fetch_from_snapshot", payload)


@router.post("/files/{int:task}", summary="The file that a task of one's own has fetched")
def download_file(request: HttpRequest, task: int) -> StreamingHttpResponse:
    found = file_of(signed_in(request), task)
    if found is None:
        raise not_found()
    row, opened, name = found
    audit.record(request, "snapshots.download", row.title, {"file": name, "path": row.params.get("path", "")})
    return attachment(opened, name)
