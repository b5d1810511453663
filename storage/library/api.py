"""The API of the library: install media, images and the catalogue. Sizes are bytes."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from ninja import Query, Router, Schema
from ninja.responses import Status
from pydantic import ConfigDict, Field

from bhype.accounts import audit
from bhype.accounts.access import lookup, require, signed_in
from bhype.accounts.errors import ApiError, invalid
from bhype.tasks import ask
from bhype.tasks.api import TaskOut
from bhype.tasks.models import Task
from storage.models import CatalogueEntry, Image, Iso, Pool

from . import adding, catalogue, pages
from .forms import EntryForm, FactsForm, FetchImageForm, FetchIsoForm, RenameIsoForm

isos = Router()
images = Router()
entries = Router()


class SourceIn(Schema):
    """url: http or https; checksum: SHA-256 or SHA-512, or the URL of a list of them; signature_url: of an OpenPGP
    signature, by signing_key (armored); name: by default that of the file; pool: by default the roomiest."""

    model_config = ConfigDict(extra="forbid")
    url: str = Field(max_length=1000)
    name: str = Field("", max_length=128)
    pool: str | None = Field(None, max_length=200)
    checksum: str = Field("", max_length=1000)
    signature_url: str = Field("", max_length=1000)
    signing_key: str = Field("", max_length=100_000)


class FactsIn(Schema):
    """What is in an image. cloud_init: "", "cloud-init" or "nuageinit"; firmware: "uefi" or "csm"."""

    model_config = ConfigDict(extra="forbid")
    os: str = Field("", max_length=40)
    version: str = Field("", max_length=60)
    firmware: str = Field("uefi", max_length=12)
    cloud_init: str = Field("", max_length=12)
    login: str = Field("", max_length=64)
    notes: str = Field("", max_length=10_000)


class ImageIn(SourceIn, FactsIn):
    model_config = ConfigDict(extra="forbid")


class IsoOut(Schema):
    """size: 0 when the file is gone but a VM still wants it; sha256, verified: of one that bHype has put there."""

    id: int
    name: str
    pool: str
    path: str
    size: int
    source: str
    sha256: str
    verified: str
    vms: list[str]


class Paging(Schema):
    limit: int = Field(1000, ge=1, le=10_000)
    offset: int = Field(0, ge=0, le=10**9)


class RenameImageIn(Schema):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=128)


class ImageOut(Schema):
    """state: making, ready, failed or deleting; verified: what was checked; used_by: what lives on its data."""

    id: int
    uuid: UUID
    name: str
    pool: str
    state: str
    reason: str
    os: str
    version: str
    size: int
    firmware: str
    cloud_init: str
    login: str
    source: str
    sha256: str
    verified: str
    notes: str
    created_at: datetime
    used_by: list[str]


class CatalogueEntryIn(Schema):
    """url and checksum_url may have {name}, the newest name of the index; state: ready, compatible or not ready."""

    model_config = ConfigDict(extra="forbid")
    os: str = Field(max_length=40)
    title: str = Field(max_length=100)
    family: str = Field("", max_length=40)
    state: str = Field("ready", max_length=10)
    url: str = Field("", max_length=1000)
    index_url: str = Field("", max_length=1000)
    index_pattern: str = Field("", max_length=200)
    checksum_url: str = Field("", max_length=1000)
    signature_url: str = Field("", max_length=1000)
    signing_key: str = Field("", max_length=100_000)
    firmware: str = Field("uefi", max_length=12)
    cloud_init: str = Field("", max_length=12)
    login: str = Field("", max_length=64)
    minimum_disk: int = Field(0, ge=0, le=2**62)
    notes: str = Field("", max_length=10_000)
    is_enabled: bool = True


class CatalogueEntryOut(CatalogueEntryIn):
    """is_own: changed here, so that bHype's next version leaves it alone."""

    model_config = ConfigDict(extra="ignore")
    id: int
    is_own: bool


def _data(payload: SourceIn) -> dict[str, Any]:
    """As the forms have it."""
    data = payload.dict()
    if payload.pool is None:
        data["pool"] = adding.pool_for_library().pk
    else:
        pool = (
            Pool.objects.filter(name=payload.pool, is_adopted=True).first()
            if "\0" not in payload.pool
            else None
        )
        if pool is None:
            raise ApiError(422, "invalid", "There is no such pool of bHype's.", "pool")
        data["pool"] = pool.pk
    return data


@isos.get("", response=list[IsoOut], summary="Install media")
def list_isos(request: HttpRequest, query: Query[Paging]) -> list[dict[str, Any]]:
    user = require(request, "storage.view")
    rows = Iso.objects.select_related("pool").prefetch_related("drives__vm")[
        query.offset : query.offset + query.limit
    ]
    may_see_vms = user.can("vms.view")
    return [
        {
            "id": iso.pk,
            "name": iso.name,
            "pool": iso.pool.name,
            "source": iso.source,
            "sha256": iso.sha256,
            "verified": iso.verified,
            "path": iso.path,
            "size": iso.size,
            "vms": [drive.vm.name for drive in iso.drives.all()] if may_see_vms else [],
        }
        for iso in rows
    ]


@isos.post("", response={202: TaskOut}, summary="Fetch an install medium")
def fetch_iso(request: HttpRequest, payload: SourceIn) -> Status[Task]:
    user = require(request, "storage.change")
    form = FetchIsoForm(_data(payload))
    task = form.save(user) if form.is_valid() else None
    if task is None:
        raise invalid(form)
    audit.record(request, "storage.fetch_iso", task.title, task=task)
    return Status(202, task)


@isos.patch("/{int:iso}", response={202: TaskOut}, summary="Rename an install medium")
def rename_iso(request: HttpRequest, iso: int, payload: RenameImageIn) -> Status[Task]:
    user = signed_in(request)
    row = lookup(user, Iso, "storage.change", pk=iso)
    form = RenameIsoForm(payload.dict(), iso=row)
    task = form.save(user) if form.is_valid() else None
    if task is None:
        raise invalid(form)
    audit.record(request, "storage.rename_iso", f"medium {row.name}", task=task)
    return Status(202, task)


@isos.delete(
    "/{int:iso}", response={202: TaskOut}, summary="Delete an install medium that no VM has in a drive"
)
def delete_iso(request: HttpRequest, iso: int) -> Status[Task]:
    user = signed_in(request)
    row = lookup(user, Iso, "storage.change", pk=iso)
    task = ask("storage.delete_iso", {"iso_id": row.pk}, user)
    audit.record(request, "storage.delete_iso", f"medium {row.name}", task=task)
    return Status(202, task)


@images.get("", response=list[ImageOut], summary="Images")
def list_images(request: HttpRequest) -> list[dict[str, Any]]:
    user = require(request, "storage.view")
    return [_image_out(row) for row in pages.images(user)["rows"]]


def _image_out(row: pages.ImageRow) -> dict[str, Any]:
    columns = {
        field: getattr(row.image, field)
        for field in ImageOut.model_fields
        if field not in {"pool", "used_by"}
    }
    return columns | {"pool": row.image.pool.name, "used_by": [use.name for use in row.uses]}


@images.post("", response={202: TaskOut}, summary="Fetch an image")
def fetch_image(request: HttpRequest, payload: ImageIn) -> Status[Task]:
    user = require(request, "storage.change")
    data = _data(payload)
    form, facts = FetchImageForm(data), FactsForm(data)
    made = form.save(user, facts.facts()) if form.is_valid() and facts.is_valid() else None
    if made is None:
        raise invalid(form if form.errors else facts)
    image, task = made
    audit.record(request, "storage.fetch_image", f"image {image.name}", task=task)
    return Status(202, task)


@images.get("/{int:image}", response=ImageOut, summary="One image")
def get_image(request: HttpRequest, image: int) -> dict[str, Any]:
    user = signed_in(request)
    return _image_out(pages.image(user, lookup(user, Image, "storage.view", pk=image))["row"])


@images.patch("/{int:image}", response=ImageOut, summary="Say what is in an image")
def edit_image(request: HttpRequest, image: int, payload: FactsIn) -> dict[str, Any]:
    user = signed_in(request)
    row = lookup(user, Image, "storage.change", pk=image)
    before = {field: getattr(row, field) for field in FactsIn.model_fields}
    form = FactsForm(before | payload.dict(exclude_unset=True), instance=row)
    if not form.is_valid():
        raise invalid(form)
    pages.write_facts(row, form.facts())
    audit.record(request, "storage.edit_image", f"image {row.name}")
    return _image_out(pages.image(user, row)["row"])


@images.post(
    "/{int:image}/again", response={202: TaskOut}, summary="Try once more to make an image that failed"
)
def try_image_again(request: HttpRequest, image: int) -> Status[Task]:
    user = signed_in(request)
    row = lookup(user, Image, "storage.change", pk=image)
    task = adding.again(user, row)
    audit.record(request, task.operation, f"image {row.name}", task=task)
    return Status(202, task)


@images.delete("/{int:image}", response={202: TaskOut}, summary="Delete an image that nothing lives on")
def delete_image(request: HttpRequest, image: int) -> Status[Task]:
    user = signed_in(request)
    row = lookup(user, Image, "storage.change", pk=image)
    task = ask("storage.delete_image", {"image_id": row.pk}, user)
    audit.record(request, "storage.delete_image", f"image {row.name}", task=task)
    return Status(202, task)


@entries.get("", response=list[CatalogueEntryOut], summary="The catalogue of images")
def list_entries(request: HttpRequest) -> Any:
    user = require(request, "storage.view")
    rows = CatalogueEntry.objects.all()
    return rows if user.can("storage.change") else rows.filter(is_enabled=True)


@entries.post("", response={201: CatalogueEntryOut}, summary="Add an entry to the catalogue")
def add_entry(request: HttpRequest, payload: CatalogueEntryIn) -> Status[CatalogueEntry]:
    require(request, "storage.change")
    return Status(201, _save(request, EntryForm(payload.dict())))


@entries.put("/{int:entry}", response=CatalogueEntryOut, summary="Change an entry of the catalogue")
def change_entry(request: HttpRequest, entry: int, payload: CatalogueEntryIn) -> CatalogueEntry:
    row = lookup(signed_in(request), CatalogueEntry, "storage.change", pk=entry)
    return _save(request, EntryForm(payload.dict(), instance=row))


def _save(request: HttpRequest, form: EntryForm) -> CatalogueEntry:
    if not form.is_valid():
        raise invalid(form)
    saved = form.save()
    audit.record(request, "storage.edit_catalogue", f"catalogue {saved.os}")
    return saved


@entries.post("/{int:entry}/fetch", response={202: TaskOut}, summary="Fetch the newest image of an entry")
def fetch_entry(request: HttpRequest, entry: int) -> Status[Task]:
    user = signed_in(request)
    row = lookup(user, CatalogueEntry, "storage.change", pk=entry)
    image, task = adding.add_from_catalogue(user, row)
    audit.record(request, "storage.fetch_image", f"image {image.name}", {"os": row.os}, task=task)
    return Status(202, task)


@entries.delete(
    "/{int:entry}", response={204: None}, summary="Take back what was changed in an entry, or remove it"
)
def reset_entry(request: HttpRequest, entry: int) -> Status[None]:
    """One that bHype comes with is as it comes again; any other goes."""
    row = lookup(signed_in(request), CatalogueEntry, "storage.change", pk=entry)
    catalogue.take_back(row)
    audit.record(request, "storage.reset_catalogue", f"catalogue {row.os}")
    return Status(204, None)
