"""The API of bringing VMs in and out by their description."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Router, Schema
from ninja.responses import Status
from pydantic import ConfigDict, Field

from bhype.accounts import audit
from bhype.accounts.access import lookup, require, signed_in
from bhype.accounts.errors import ApiError
from bhype.foreign import FORMATS, Imported, Unreadable, detect, libvirt, read
from bhype.foreign.imported import TEXT_MAX
from bhype.tasks.api import TaskOut
from bhype.tasks.models import Task
from bhype.vmrun import changes
from bhype.vmrun.problems import Unfit
from vms import plan, wanted
from vms.models import VM

from . import importing
from .forms_import import ImportForm

router = Router()


class ImportVMIn(Schema):
    """format: "" finds it out; source_name, folder: where the text does not tell; name: of the new VM, by default
    that of the source; disk_size: of each disk, by default what it had; dry_run: make nothing."""

    model_config = ConfigDict(extra="forbid")
    text: str = Field(max_length=TEXT_MAX)
    format: str = Field("", max_length=20)
    source_name: str = Field("", max_length=100)
    folder: str = Field("", max_length=255)
    name: str | None = Field(None, max_length=64)
    pool: str | None = Field(None, max_length=64)
    disk_size: str | None = Field(None, max_length=20)
    switch: str | None = Field(None, max_length=64)
    new_macs: bool = False
    start: bool = False
    dry_run: bool = False


class FaultOut(Schema):
    where: str
    field: str
    message: str


class PreviewOut(Schema):
    """What the text becomes: a vm.json, what was left out or changed, and what has to be mended first."""

    format: str
    document: dict[str, Any]
    notes: list[str]
    problems: list[FaultOut]


class ExportOut(Schema):
    """text: in the format that was asked for, without the password of the screen; notes: what it does not say."""

    format: str
    text: str
    notes: list[str]


@router.post(
    "/import", response={200: PreviewOut, 202: TaskOut}, summary="Make a VM of a foreign description"
)
def import_vm(request: HttpRequest, payload: ImportVMIn) -> Status[Task] | dict[str, Any]:
    user = require(request, "vms.create")
    format, imported = _read(payload)
    form = ImportForm(
        _data(payload, imported, ImportForm(imported=imported, user=user)), imported=imported, user=user
    )
    if payload.dry_run:
        look = ImportForm(imported=imported, user=user)
        faults = look.look()
        problems = [{"where": one.where, "field": one.field, "message": one.message} for one in faults]
        shown = plan.without_secrets(imported.document)
        return {"format": format, "document": shown, "notes": list(imported.notes), "problems": problems}
    made = form.save(user) if form.is_valid() else None
    if made is None:
        raise _refusal(form)
    vm, task = made
    audit.record(request, "vms.import", f"vm {vm.name}", {"format": format}, task=task)
    return Status(202, task)


def _read(payload: ImportVMIn) -> tuple[str, Imported]:
    if payload.format and payload.format not in FORMATS:
        raise ApiError(422, "invalid", f"Known formats: {', '.join(FORMATS)}.", "format")
    try:
        format = payload.format or detect(payload.text)
        found = read(
            format,
            payload.text,
            name=payload.source_name,
            folder=payload.folder,
            dataset=payload.folder.strip("/"),
        )
    except Unreadable as error:
        raise ApiError(422, "invalid", str(error), "text") from error
    return format, importing.simple(found)


def _data(payload: ImportVMIn, imported: Imported, form: ImportForm) -> dict[str, Any]:
    """What the form would have been sent, with its defaults where the caller says nothing."""
    data: dict[str, Any] = {}
    for name, field in form.fields.items():
        value = form.get_initial_for_field(field, name)
        data[name] = getattr(value, "pk", value)
        if name.startswith("size_") and payload.disk_size is not None:
            data[name] = payload.disk_size
        if name.startswith("nic_") and payload.switch is not None:
            data[name] = _key(form.host.switches.all(), payload.switch, "switch")
    if payload.pool is not None:
        data["pool"] = _key(form.host.pools.filter(is_adopted=True), payload.pool, "pool")
    data["name"] = imported.document.get("name", "") if payload.name is None else payload.name
    return data | {"start": payload.start, "new_macs": payload.new_macs or data["new_macs"]}


def _key(rows: Any, name: str, field: str) -> int | None:
    found = None if "\0" in name else rows.filter(name=name).first()
    if name and found is None:
        raise ApiError(422, "invalid", f"There is no {field} {name!r}.", field)
    return found.pk if found else None


def _refusal(form: ImportForm) -> ApiError:
    for faults in form.device_faults.values():
        return ApiError(422, "invalid", faults[0], "text")
    field, errors = next(iter(form.errors.items()))
    known = {"name", "pool", "start", "new_macs"}
    place = field if field in known else "disk_size" if field.startswith("size_") else None
    return ApiError(422, "invalid", str(errors[0]), place)


@router.get("/{name}/export", response=ExportOut, summary="Describe a VM for another tool")
def export_vm(request: HttpRequest, name: str, format: str = "vm.json", download: bool = False) -> Any:  # noqa: FBT001, FBT002 - a query
    vm = lookup(signed_in(request), VM, "vms.change", name=name)
    text, notes = described(vm, format)
    if not download:
        return {"format": format, "text": text, "notes": notes}
    kind, ending = ("application/xml", "xml") if format == "libvirt" else ("application/json", "json")
    headers = {"Content-Disposition": f'attachment; filename="{vm.name}.{ending}"'}
    return HttpResponse(text, content_type=kind, headers=headers)


def described(vm: VM, format: str) -> tuple[str, list[str]]:
    """The VM in one of the formats, and what that does not say. Raises ApiError for a format that is none."""
    # Who reads it need not be who may open the screen.
    document = changes.without_secrets(plan.document(wanted.load(vm.pk)))
    if format == "vm.json":
        return json.dumps(document, indent=1) + "\n", []
    if format != "libvirt":
        raise ApiError(422, "invalid", "Known formats: libvirt, vm.json.", "format")
    try:
        text, notes = libvirt.write(document)
    except Unfit as error:
        raise ApiError(409, "unfit", str(error)) from error
    return text, list(notes)
