"""The API of what goes out of a VM, and of linked copies, below /api/v1/vms/{name}."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from ninja import Router, Schema
from ninja.responses import Status
from pydantic import ConfigDict

from bhype.accounts import audit
from bhype.accounts.access import lookup, signed_in
from bhype.tasks.api import TaskOut
from bhype.tasks.models import Task
from bhype.tasks.requested import by_api
from vms.models import VM

from . import exports, lineage

router = Router()


class ExportIn(Schema):
    """kind: "ova", a package for other tools; "stream", the whole VM as one ZFS stream; "image", one disk.
    disk, format: of an image; by default the first disk as qcow2."""

    model_config = ConfigDict(extra="forbid")
    kind: Literal["ova", "stream", "image"]
    disk: int | None = None
    format: Literal["", "qcow2", "vmdk", "vhdx", "raw"] = ""


class ExportFileOut(Schema):
    """size: bytes."""

    name: str
    size: int
    made: datetime


class FamilyOut(Schema):
    """copy_of: the VMs on whose data this one lives; copies: those that live on its. Names that the caller may not
    know are left out."""

    copy_of: list[str]
    copies: list[str]


def _find(request: HttpRequest, name: str, right: str = "vms.change") -> VM:
    vm = lookup(signed_in(request), VM, right, name=name)
    return VM.objects.select_related("pool", "host").get(pk=vm.pk)


@router.get("/{name}/exports", response=list[ExportFileOut], summary="List exported files")
def list_exports(request: HttpRequest, name: str) -> list[exports.Export]:
    return exports.exports(_find(request, name))


@router.post("/{name}/exports", response={202: TaskOut}, summary="Export a VM or a disk")
def make_export(request: HttpRequest, name: str, payload: ExportIn) -> Status[Task]:
    """The task's result has the name of the ``file``. Packages and images are made of VMs that are off."""
    vm, user = _find(request, name), signed_in(request)
    task = exports.begin(vm, user, payload.kind, disk=payload.disk, format=payload.format)
    audit.record(request, task.operation, f"vm {name}", dict(task.params), task=task)
    return Status(202, task)


@router.post("/{name}/exports/{file}/download", summary="Get an exported file")
def get_export(request: HttpRequest, name: str, file: str) -> HttpResponseBase:
    """The file. By POST, as it is on record who took it."""
    response = exports.download(_find(request, name), file)
    if response is None:
        raise Http404
    audit.record(request, "vms.download", f"vm {name}", {"file": file})
    return response


@router.delete("/{name}/exports/{file}", response={202: TaskOut}, summary="Remove an exported file")
def remove_export(request: HttpRequest, name: str, file: str) -> Status[Task]:
    vm = _find(request, name)
    if file not in {one.name for one in exports.exports(vm)}:
        raise Http404
    return _asked(request, vm, "vms.remove_export", file=file)


@router.get("/{name}/family", response=FamilyOut, summary="Linked copies, and what it is one of")
def get_family(request: HttpRequest, name: str) -> dict[str, list[str]]:
    found = lineage.family(signed_in(request), _find(request, name, "vms.view"))
    return {
        "copy_of": [one.vm.name for one in found.origins if one.vm],
        "copies": [one.vm.name for one in found.dependants if one.vm],
    }


@router.post("/{name}/promote", response={202: TaskOut}, summary="Make a linked copy independent")
def promote(request: HttpRequest, name: str) -> Status[Task]:
    """It then owns what it shared, and what it was copied from depends on it."""
    return _asked(request, _find(request, name), "vms.promote")


def _asked(request: HttpRequest, vm: VM, operation: str, **params: Any) -> Status[Task]:
    return by_api(request, f"vm {vm.name}", operation, vm_id=vm.pk, **params)
