"""The API of templates and OS presets. Sizes are bytes; as input also text such as "2G"."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from django.db import transaction
from django.http import HttpRequest
from ninja import Router, Schema
from ninja.responses import Status
from pydantic import ConfigDict, Field

from bhype.accounts import audit
from bhype.accounts.access import lookup, require, signed_in
from bhype.accounts.errors import ApiError, invalid
from bhype.hosts.models import Host
from bhype.live import publish
from bhype.tasks import ask
from bhype.tasks.api import TaskOut
from bhype.tasks.models import Task
from storage.models import Image
from vms import sizes
from vms.deploy.forms import defaults
from vms.models import VM, OsPreset, Template

from . import presets
from . import rows as template_rows
from .forms import FromImageForm, FromVmForm, PresetForm, TemplateForm

router, preset_router = Router(), Router()
Size = int | str
_STRICT = ConfigDict(extra="forbid")


class TemplateOut(Schema):
    """disks: their sizes in bytes; users: how many volumes live on its data."""

    id: int
    name: str
    version: int
    state: str
    reason: str
    is_published: bool
    made_from: str
    preset: str | None
    pool: str
    cloud_init: str
    login: str
    cpus: int
    memory: int
    disks: list[int]
    notes: str
    users: int
    created_at: datetime

    @staticmethod
    def of(row: Template) -> dict[str, Any]:
        found = defaults(row)
        columns = (
            "id",
            "name",
            "version",
            "state",
            "reason",
            "is_published",
            "made_from",
            "login",
            "notes",
            "created_at",
        )
        return {key: getattr(row, key) for key in columns} | {
            "preset": row.preset.name if row.preset else None,
            "pool": row.pool.name,
            "cloud_init": row.cloud_init_kind,
            "cpus": found["cpus"],
            "memory": sizes.parse(str(found["memory"])),
            "disks": [int(disk["size"]) for disk in row.disks],
            "users": len(template_rows.users(row)),
        }


class TemplateIn(Schema):
    """Of an image of the library, or of a VM: one of both. snapshot: of the VM; linked: share the VM's data; keep_vars:
    the UEFI variables, too; size: of the disk, where it is to be larger than the image."""

    model_config = _STRICT
    name: str = Field(max_length=64)
    image: str | None = Field(None, max_length=128)
    vm: str | None = Field(None, max_length=64)
    snapshot: str = Field("", max_length=200)
    preset: str | None = Field(None, max_length=40)
    size: Size | None = None
    linked: bool = False
    keep_vars: bool = False
    is_published: bool = False
    notes: str = Field("", max_length=10_000)


class TemplateChange(Schema):
    """What is left out stays."""

    model_config = _STRICT
    is_published: bool | None = None
    cpus: int | None = None
    memory: Size | None = None
    login: str | None = Field(None, max_length=64)
    cloud_init: str | None = Field(None, max_length=12)
    preset: str | None = Field(None, max_length=40)
    user_data: str | None = Field(None, max_length=1 << 16)
    notes: str | None = Field(None, max_length=10_000)


class DeleteTemplateIn(Schema):
    """promote: where VMs are clones of it, the first of them takes the data over."""

    promote: bool = False


class PresetOut(Schema):
    """document: keys of a vm.json; sources: where the facts are from; is_own: changed by an admin."""

    name: str
    title: str
    family: str
    cpus: int
    memory: int
    disk_size: int
    login: str
    cloud_init: str
    document: dict[str, Any]
    notes: str
    is_own: bool
    sources: list[str]

    @staticmethod
    def resolve_sources(row: OsPreset) -> list[str]:
        return presets.sources(row)


class PresetIn(Schema):
    model_config = _STRICT
    title: str = Field(max_length=100)
    family: str = Field("", max_length=40)
    cpus: int = 1
    memory: Size = "1G"
    disk_size: Size = "10G"
    login: str = Field("", max_length=64)
    cloud_init: str = Field("", max_length=12)
    document: dict[str, Any] = {}
    notes: str = ""


def _template(request: HttpRequest, key: int, right: str = "vms.create") -> Template:
    found = lookup(signed_in(request), Template, right, pk=key)
    return Template.objects.select_related("pool", "host", "preset").get(pk=found.pk)


def key_of(rows: Any, field: str, column: str, value: str | None) -> Any:
    """The key of the row with this name, "" for none. Raises ApiError."""
    if not value:
        return ""
    found = None if "\0" in value else rows.filter(**{column: value}).first()
    if found is None:
        raise ApiError(422, "invalid", f"There is no {field} {value!r}.", field)
    return found.pk


# Templates.


@router.get("", response=list[TemplateOut], summary="List templates")
def list_templates(request: HttpRequest) -> list[dict[str, Any]]:
    rows = Template.objects.visible_to(signed_in(request)).select_related("pool", "preset")
    return [TemplateOut.of(row) for row in rows]


@router.post("", response={202: TaskOut}, summary="Make a template of an image or of a VM")
def create_template(request: HttpRequest, payload: TemplateIn) -> Status[Task]:
    user = require(request, "templates.change")
    if bool(payload.image) == bool(payload.vm):
        raise ApiError(422, "invalid", "Say one of image and vm.", "image")
    data = payload.model_dump(exclude={"image", "vm"}) | {
        "size": "" if payload.size is None else str(payload.size)
    }
    form: FromVmForm | FromImageForm
    if payload.vm:
        vm = lookup(user, VM, "vms.change", name=payload.vm)
        form = FromVmForm(
            data | {"preset": key_of(OsPreset.objects, "preset", "name", payload.preset)}, vm=vm
        )
    else:
        images = Image.objects.filter(pool__host=Host.objects.this(), state=Image.State.READY)
        data |= {"image": key_of(images, "image", "name", payload.image)}
        form = FromImageForm(data | {"preset": key_of(OsPreset.objects, "preset", "name", payload.preset)})
    made = form.save(user) if form.is_valid() else None
    if made is None:
        raise invalid(form, cloud_init_kind="cloud_init")
    audit.record(request, "templates.add", str(made[0]), task=made[1])
    return Status(202, made[1])


@router.get("/{template_id}", response=TemplateOut, summary="One template")
def get_template(request: HttpRequest, template_id: int) -> dict[str, Any]:
    return TemplateOut.of(_template(request, template_id))


@router.patch("/{template_id}", response=TemplateOut, summary="Change or publish a template")
def change_template(request: HttpRequest, template_id: int, payload: TemplateChange) -> dict[str, Any]:
    row = _template(request, template_id, "templates.change")
    said = payload.model_dump(exclude_unset=True)
    data: dict[str, Any] = {
        "is_published": row.is_published, "login": row.login, "cloud_init_kind": row.cloud_init_kind,
        "preset": row.preset_id or "", "notes": row.notes,
        "user_data": row.cloud_init.get("user_data", ""),
        **{key: defaults(row)[key] for key in ("cpus", "memory")},
    }  # fmt: skip
    if "preset" in said:
        said["preset"] = key_of(OsPreset.objects, "preset", "name", said["preset"])
    data |= {
        {"cloud_init": "cloud_init_kind"}.get(key, key): value
        for key, value in said.items()
        if value is not None
    }
    form = TemplateForm(data | {"memory": str(data["memory"])}, instance=row)
    if not form.is_valid():
        raise invalid(form, cloud_init_kind="cloud_init")
    form.save()
    audit.record(request, "templates.change", str(row), {"fields": sorted(said)})
    return TemplateOut.of(_template(request, template_id))


@router.delete("/{template_id}", response={202: TaskOut}, summary="Delete a template")
def delete_template(
    request: HttpRequest, template_id: int, payload: DeleteTemplateIn | None = None
) -> Status[Task]:
    row = _template(request, template_id, "templates.change")
    params = {"template_id": row.pk, "promote": bool(payload and payload.promote)}
    task = ask("vms.delete_template", params, signed_in(request))
    audit.record(request, "templates.delete", str(row), params, task=task)
    return Status(202, task)


# OS presets.


@preset_router.get("", response=list[PresetOut], summary="List OS presets")
def list_presets(request: HttpRequest) -> list[OsPreset]:
    require(request, "vms.create")
    return list(OsPreset.objects.all())


@preset_router.put("/{preset}", response=PresetOut, summary="Make or change an OS preset")
def put_preset(request: HttpRequest, preset: str, payload: PresetIn) -> OsPreset:
    require(request, "templates.change")
    row = OsPreset.objects.filter(name=preset).first() if "\0" not in preset else None
    data = payload.model_dump() | {"name": preset, "document": json.dumps(payload.document)}
    data |= {key: str(data[key]) for key in ("memory", "disk_size")}
    form = PresetForm(data, instance=row)
    if not form.is_valid():
        raise invalid(form, cloud_init_kind="cloud_init")
    made = form.save()
    audit.record(request, "presets.change" if row else "presets.add", made.name)
    return made


@preset_router.delete("/{preset}", response=dict[str, bool], summary="Remove or reset an OS preset")
def delete_preset(request: HttpRequest, preset: str) -> dict[str, bool]:
    """A shipped one is as it was shipped again; an admin's own is removed."""
    row = lookup(require(request, "templates.change"), OsPreset, "templates.change", name=preset)
    is_shipped = row.name in presets.shipped()
    with transaction.atomic():
        if is_shipped:
            presets.reset(row)
        else:
            row.delete()
        publish("templates")
    audit.record(request, f"presets.{'reset' if is_shipped else 'remove'}", preset)
    return {"removed": not is_shipped}
