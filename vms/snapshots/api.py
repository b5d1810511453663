"""The API of a VM's snapshots, below /api/v1/vms. What takes time is a task; its result has what was asked for."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest
from ninja import Router, Schema
from ninja.responses import Status
from pydantic import ConfigDict, Field

from bhype.accounts.access import lookup, signed_in
from bhype.freebsd.zfs_snapshots import NOTE_MAX
from bhype.tasks.api import TaskOut
from bhype.tasks.models import Task
from bhype.tasks.requested import by_api
from vms.models import VM

from . import pages
from .operations import MOST

router = Router()


class VMSnapshotOut(Schema):
    """vms: those that live on it, as far as one may see them; parts: its datasets; why: it cannot be destroyed."""

    name: str
    kind: str
    note: str
    created_at: datetime
    used: int
    written: int
    holds: int
    parts: list[str]
    vms: list[str]
    why: str


class TakeVMSnapshotIn(Schema):
    """name: "" for one by the time."""

    name: str = Field("", max_length=200)
    note: str = Field("", max_length=NOTE_MAX)


class NamesIn(Schema):
    names: list[str] = Field(min_length=1, max_length=MOST)


class NameIn(Schema):
    name: str = Field(max_length=200)


class RollbackIn(NameIn):
    """goes: the newer snapshots that may be lost, by full name, as the preview lists them; left out: whatever there is.
    keep_config: only the disks go back."""

    model_config = ConfigDict(extra="forbid")
    goes: list[str] | None = None
    keep_config: bool = False


class VMSnapshotTagIn(NameIn):
    tag: str = Field("", max_length=64)


class VMSnapshotNoteIn(NameIn):
    note: str = Field("", max_length=NOTE_MAX)


class VMSnapshotPathIn(NameIn):
    path: str = Field("", max_length=1000)


class VMSnapshotUntilIn(NameIn):
    """until: a later snapshot; "" for now."""

    until: str = Field("", max_length=200)


def _find(request: HttpRequest, name: str, right: str = "vms.change") -> VM:
    vm = lookup(signed_in(request), VM, right, name=name)
    return VM.objects.select_related("host", "pool").get(pk=vm.pk)


def _ask(request: HttpRequest, name: str, operation: str, payload: Schema) -> Status[Task]:
    vm = _find(request, name)
    return by_api(
        request, f"vm {name}", f"vms.{operation}", vm_id=vm.pk, **payload.model_dump(exclude_unset=True)
    )


@router.get("/{name}/snapshots", response=list[VMSnapshotOut], summary="Snapshots of a VM, the newest first")
def list_snapshots(request: HttpRequest, name: str) -> list[dict[str, Any]]:
    vm = _find(request, name, "vms.view")
    found = pages.listing(vm, signed_in(request))
    return [
        {
            "name": line.moment.name, "kind": line.moment.root.kind, "note": line.moment.root.note,
            "created_at": line.moment.root.created, "used": line.moment.used, "written": line.moment.written,
            "holds": line.moment.holds, "parts": [part.dataset for part in line.moment.parts],
            "vms": [word for word in line.branches if word], "why": line.why,
        }
        for line in found.lines
    ]  # fmt: skip


@router.post("/{name}/snapshots", response={202: TaskOut}, summary="Take a snapshot of a VM")
def take_snapshot(request: HttpRequest, name: str, payload: TakeVMSnapshotIn) -> Status[Task]:
    return _ask(request, name, "take_snapshot", payload)


@router.post("/{name}/snapshots/preview", response={202: TaskOut}, summary="What goes with snapshots of a VM")
def preview_deletion(request: HttpRequest, name: str, payload: NamesIn) -> Status[Task]:
    return _ask(request, name, "preview_deletion", payload)


@router.post("/{name}/snapshots/delete", response={202: TaskOut}, summary="Destroy snapshots of a VM")
def delete_snapshots(request: HttpRequest, name: str, payload: NamesIn) -> Status[Task]:
    return _ask(request, name, "delete_snapshots", payload)


@router.post(
    "/{name}/snapshots/preview-rollback",
    response={202: TaskOut},
    summary="What going back to a snapshot means",
)
def preview_rollback(request: HttpRequest, name: str, payload: NameIn) -> Status[Task]:
    """The task's result has ``goes``, ``blocked``, ``warnings``, ``changes`` of the configuration, and ``faults``."""
    return _ask(request, name, "preview_rollback", payload)


@router.post("/{name}/snapshots/rollback", response={202: TaskOut}, summary="Go back to a snapshot")
def rollback(request: HttpRequest, name: str, payload: RollbackIn) -> Status[Task]:
    return _ask(request, name, "rollback", payload)


@router.post(
    "/{name}/snapshots/finish", response={202: TaskOut}, summary="Go on with a rollback that was broken off"
)
def finish(request: HttpRequest, name: str, payload: RollbackIn) -> Status[Task]:
    return _ask(request, name, "finish_rollback", payload)


@router.post(
    "/{name}/snapshots/hold", response={202: TaskOut}, summary="Keep a snapshot from being destroyed"
)
def hold_snapshot(request: HttpRequest, name: str, payload: VMSnapshotTagIn) -> Status[Task]:
    return _ask(request, name, "hold_snapshot", payload)


@router.post("/{name}/snapshots/release", response={202: TaskOut}, summary="Take a hold back")
def release_snapshot(request: HttpRequest, name: str, payload: VMSnapshotTagIn) -> Status[Task]:
    return _ask(request, name, "release_snapshot", payload)


@router.post("/{name}/snapshots/holds", response={202: TaskOut}, summary="By which tags a snapshot is held")
def list_holds(request: HttpRequest, name: str, payload: NameIn) -> Status[Task]:
    """The task's result has ``holds``, each with ``tag`` and ``is_own``: bHype's, which nobody may release."""
    return _ask(request, name, "list_holds", payload)


@router.post("/{name}/snapshots/note", response={202: TaskOut}, summary="Give a snapshot another note")
def annotate_snapshot(request: HttpRequest, name: str, payload: VMSnapshotNoteIn) -> Status[Task]:
    return _ask(request, name, "annotate_snapshot", payload)


@router.post("/{name}/snapshots/diff", response={202: TaskOut}, summary="Which files have changed since")
def diff_snapshot(request: HttpRequest, name: str, payload: VMSnapshotUntilIn) -> Status[Task]:
    return _ask(request, name, "diff_snapshot", payload)


@router.post("/{name}/snapshots/list", response={202: TaskOut}, summary="Which files a snapshot has")
def list_files(request: HttpRequest, name: str, payload: VMSnapshotPathIn) -> Status[Task]:
    return _ask(request, name, "list_snapshot", payload)


@router.post("/{name}/snapshots/fetch", response={202: TaskOut}, summary="Copy a file out of a snapshot")
def fetch_file(request: HttpRequest, name: str, payload: VMSnapshotPathIn) -> Status[Task]:
    """Once the task has succeeded, POST /snapshots/files/TASK gives the file to whoever asked."""
    return _ask(request, name, "fetch_from_snapshot", payload)
