"""The API of what consoles leave: recordings and serial logs, below /api/v1/vms/{name}."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from ninja import Query, Router, Schema
from ninja.responses import Status
from pydantic import Field

from bhype.accounts import audit
from bhype.accounts.access import lookup, signed_in
from bhype.accounts.errors import ApiError
from bhype.console import gate, plain, recordings, subjects
from bhype.console.models import Recording
from vms.models import VM
from vms.operating import changed

router = Router()
# A supervisor keeps two files of 1 MiB of each line.
LOG_MAX = 4 * 1024 * 1024
KEPT = 500


class RecordingOut(Schema):
    """kind: "vnc", or "serial" to "serial4"; bytes: of its file so far; ended_at: null while it goes on."""

    id: int
    kind: str
    user: str
    started_at: datetime
    ended_at: datetime | None
    bytes: int

    @staticmethod
    def resolve_user(row: Recording) -> str:
        return row.username

    @staticmethod
    def resolve_bytes(row: Recording) -> int:
        return row.bytes or recordings.size(row)


class RecordingIn(Schema):
    """on: whether console sessions are recorded from now on."""

    on: bool


class RecordingNow(Schema):
    on: bool


class ConsoleLogQuery(Schema):
    """line: com1 is "serial"; bytes: at most so many of its end; q: only lines with this text, the newest first."""

    line: Literal["serial", "serial2", "serial3", "serial4"] = "serial"
    bytes: int = Field(65536, ge=1, le=LOG_MAX)
    q: str = Field("", max_length=200)


def _visible(request: HttpRequest, name: str) -> VM:
    return lookup(signed_in(request), VM, "vms.console", name=name)


def _one(request: HttpRequest, name: str, pk: int) -> Recording:
    _visible(request, name)
    row = recordings.visible(signed_in(request), "vm", name).filter(pk=min(pk, 2**63 - 1)).first()
    if row is None:
        raise Http404
    return row


@router.get("/{name}/recordings", response=list[RecordingOut], summary="List recorded console sessions")
def list_recordings(request: HttpRequest, name: str) -> list[Recording]:
    """All of the VM for those who may change it, else one's own; the newest first."""
    vm = _visible(request, name)
    return list(recordings.visible(signed_in(request), "vm", vm.name)[:KEPT])


@router.put("/{name}/recordings", response=RecordingNow, summary="Record console sessions, or do not")
def set_recording(request: HttpRequest, name: str, payload: RecordingIn) -> dict[str, bool]:
    vm = lookup(signed_in(request), VM, "vms.change", name=name)
    if vm.has_recording != payload.on:
        changed(vm, has_recording=payload.on)
        audit.record(request, "vms.change", f"vm {name}", {"has_recording": payload.on})
    return {"on": payload.on}


@router.post("/{name}/recordings/{int:pk}/download", summary="Get a recording")
def get_recording(request: HttpRequest, name: str, pk: int) -> HttpResponseBase:
    """The file: asciicast v2 of a serial line, bHype's own of a screen. By POST, as it is on record who took it."""
    row = _one(request, name, pk)
    response = recordings.download(row, name)
    if response is None:
        raise Http404
    audit.record(request, "recording.download", f"vm {name}", {"recording": row.pk, "of": row.username})
    return response


@router.delete("/{name}/recordings/{int:pk}", response={204: None}, summary="Delete a recording")
def delete_recording(request: HttpRequest, name: str, pk: int) -> Status[None]:
    row = _one(request, name, pk)
    if not subjects.may_change(signed_in(request), "vm", name):
        raise Http404
    audit.record(request, "recording.delete", f"vm {name}", {"recording": row.pk, "of": row.username})
    recordings.delete(row)
    return Status(204, None)


@router.get("/{name}/log", summary="What a serial line has said")
def get_log(request: HttpRequest, name: str, query: Query[ConsoleLogQuery]) -> HttpResponse:
    """Plain text without colours and other control sequences; with ``q`` each hit as "NUMBER:LINE"."""
    vm = lookup(signed_in(request), VM, "vms.watch", name=name)
    subject = subjects.find(signed_in(request), "vm", vm.name)
    if subject is None or query.line not in subject.kinds:
        raise ApiError(404, "no_console", f"{vm.name} has no such line.", "line")
    words = query.q.replace("\0", "")
    tail = LOG_MAX if words else query.bytes
    try:
        log = plain.text(gate.fetch(vm.name, f"log{query.line.removeprefix('serial')}", tail=tail))
    except gate.NoAnswer as error:
        raise ApiError(409, "no_log", f"There is no log of {vm.name}: it has not run yet.") from error
    if words:
        hits, _ = plain.find(log, words)
        log = "".join(f"{hit.number}:{''.join(part for part, _ in hit.parts)}\n" for hit in hits)
    return HttpResponse(log, content_type="text/plain; charset=utf-8")
