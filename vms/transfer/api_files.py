"""The API of bringing in what is a file already: uploaded packages, streams and images, and the VMs of other tools on
this host. Files are sent by tus first (/api/v1/uploads, with the purpose "file")."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from django.http import Http404, HttpRequest
from ninja import Router, Schema
from ninja.responses import Status
from pydantic import ConfigDict, Field

from bhype.accounts import audit
from bhype.accounts.access import lookup, require, signed_in
from bhype.accounts.errors import ApiError
from bhype.accounts.models import User
from bhype.tasks import ask
from bhype.tasks.api import TaskOut
from bhype.tasks.models import Task
from storage.uploads import store as uploads
from vms.models import VM

from . import ova, pages
from .adoption import Found
from .forms_files import FileForm, machine_of
from .forms_import import AdoptForm

router = Router()


class UploadedFileOut(Schema):
    """kind: "ova" and "zfs" become a VM, an "image" the content of a disk; size: bytes."""

    name: str
    kind: str
    size: int
    made: datetime


class FileIn(Schema):
    """name: of the new VM, by default that of the package; vm and disk: for an image, the disk to write over, by its
    VM's name and its number."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field("", max_length=64)
    vm: str = Field("", max_length=64)
    disk: int | None = None


class FoundOut(Schema):
    """obstacle: why its dataset cannot be moved, "" when it can; document: the vm.json that it becomes; notes: what
    is left out or changed."""

    format: str
    name: str
    folder: str
    dataset: str
    is_running: bool
    obstacle: str
    document: dict[str, Any]
    notes: list[str]


class SearchOut(Schema):
    """looked_at: when the last search ended, null before the first."""

    looked_at: datetime | None
    vms: list[FoundOut]


class AdoptIn(Schema):
    """name: of the VM, by default its own; how: move its dataset to bHype, or leave it and use its disks by their
    paths; switch: of its ports."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field("", max_length=64)
    how: Literal["", "move", "leave"] = ""
    switch: str = Field("", max_length=64)


def _file(user: User, name: str) -> uploads.File:
    found = uploads.find(user, name)
    if found is None:
        raise Http404
    return found


@router.get("/import/files", response=list[UploadedFileOut], summary="Your files that have arrived")
def list_import_files(request: HttpRequest) -> list[uploads.File]:
    return uploads.files(require(request, "vms.create"))


@router.post("/import/files/{file}", response={202: TaskOut}, summary="Make a VM of a file, or fill a disk")
def import_file(request: HttpRequest, file: str, payload: FileIn) -> Status[Task]:
    user = require(request, "vms.create")
    found = _file(user, file)
    name = payload.name
    if found.kind == "ova":
        try:
            name = name or machine_of(user, found).name
        except ova.BadOva as error:
            raise ApiError(422, "invalid", str(error), "file") from error
    form = FileForm(user=user, upload=found)
    data: dict[str, Any] = {"name": name}
    if "disk" in form.fields and payload.disk is not None and "\0" not in payload.vm:
        disks = form.fields["disk"].queryset  # type: ignore[attr-defined]
        disk = disks.filter(vm__name=payload.vm, index=min(max(payload.disk, -1), 999)).first()
        data["disk"] = disk.pk if disk else ""
    form = FileForm(data, user=user, upload=found)
    task = form.save() if form.is_valid() else None
    if task is None:
        raise _refusal(form)
    audit.record(request, task.operation, f"file {found.file}", task=task)
    return Status(202, task)


@router.delete("/import/files/{file}", response={204: None}, summary="Remove a file that has arrived")
def remove_import_file(request: HttpRequest, file: str) -> Status[None]:
    user = require(request, "vms.create")
    found = _file(user, file)
    uploads.remove(user, found.file)
    audit.record(request, "vms.remove_upload", f"file {found.file}")
    return Status(204, None)


@router.post("/import/found", response={202: TaskOut}, summary="Look for VMs of vm-bhyve and HosterCore")
def look_for_foreign_vms(request: HttpRequest) -> Status[Task]:
    task = ask("vms.find_foreign", {}, require(request, "vms.root"))
    audit.record(request, "vms.find_foreign", "host", task=task)
    return Status(202, task)


@router.get("/import/found", response=SearchOut, summary="What the last search has found")
def list_foreign_vms(request: HttpRequest) -> dict[str, Any]:
    require(request, "vms.root")
    search = pages.search()
    shown = [one.as_json() for one in search["found"]]
    return {"looked_at": search["search"].finished_at if search["search"] else None, "vms": shown}


@router.post("/import/found/{name}", response={202: TaskOut}, summary="Take over a VM that was found")
def adopt_vm(request: HttpRequest, name: str, payload: AdoptIn) -> Status[Task]:
    user = require(request, "vms.root")
    found: Found | None = next((one for one in pages.search()["found"] if one.name == name), None)
    if found is None:
        raise Http404
    form = AdoptForm(found=found, user=user)
    data = {field: form.get_initial_for_field(one, field) for field, one in form.fields.items()}
    data = {field: getattr(value, "pk", value) for field, value in data.items()}
    data |= {key: value for key in ("name", "how") if (value := getattr(payload, key))}
    if payload.switch:
        switch = None if "\0" in payload.switch else form.host.switches.filter(name=payload.switch).first()
        if switch is None:
            raise ApiError(422, "invalid", f"There is no switch {payload.switch!r}.", "switch")
        data |= {field: switch.pk for field in form.fields if field.startswith("nic_")}
    form = AdoptForm(data, found=found, user=user)
    made = form.save(user) if form.is_valid() else None
    if made is None:
        raise _refusal(form)
    vm, task = made
    audit.record(request, task.operation, f"vm {vm.name}", {"from": found.folder}, task=task)
    return Status(202, task)


@router.post("/{name}/give-back", response={202: TaskOut}, summary="Give a VM back that was taken over")
def give_back_vm(request: HttpRequest, name: str) -> Status[Task]:
    user = signed_in(request)
    vm = lookup(user, VM, "vms.root", name=name)
    params = pages.adoption_of(vm)
    if params is None:
        raise Http404
    task = ask("vms.return_foreign", params, user)
    audit.record(request, "vms.return_foreign", f"vm {vm.name}", task=task)
    return Status(202, task)


def _refusal(form: FileForm | AdoptForm) -> ApiError:
    for faults in getattr(form, "device_faults", {}).values():
        return ApiError(422, "invalid", faults[0], "name")
    field, errors = next(iter(form.errors.items()))
    return ApiError(422, "invalid", str(errors[0]), field if field in {"name", "how", "disk"} else None)
