"""The API of datasets. Sizes are bytes; a dataset is named by its number, as its name has slashes."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from django.http import HttpRequest
from ninja import Query, Router, Schema
from ninja.responses import Status
from pydantic import ConfigDict, Field

from bhype.accounts.access import lookup, require, signed_in
from bhype.accounts.errors import ApiError
from bhype.freebsd import names
from bhype.tasks.api import TaskOut
from bhype.tasks.models import Task
from bhype.tasks.requested import by_api
from storage.models import Dataset

from . import pages, passphrases, uses
from .uses import Use

router, orphans = Router(), Router()
STORED = r"^[^\x00]*$"


class OwnerOut(Schema):
    kind: str
    name: str


class DatasetOut(Schema):
    """use: "layout", "owned", "data" (made by an admin), "orphan", "stray" or "foreign"; owner: who has it;
    encryption_root: the dataset whose key it has, "" of what is not encrypted."""

    id: int
    name: str
    pool: str
    kind: str
    used: int
    available: int
    referenced: int
    volsize: int | None
    mountpoint: str
    origin: str
    bhype_id: str
    encryption: str
    encryption_root: str
    is_locked: bool
    use: str
    owner: OwnerOut | None


class PropertyOut(Schema):
    """value: as zfs(8) gives it with -p; source: "here", "default", or the dataset that it is inherited from."""

    name: str
    value: str
    source: str


class DatasetDetail(DatasetOut):
    """parts: what takes the space that it uses."""

    created_at: datetime | None
    parts: dict[str, int]
    properties: list[PropertyOut]


class DatasetQuery(Schema):
    q: str = Field("", max_length=200, pattern=STORED)
    pool: str = Field("", max_length=200, pattern=STORED)
    kind: Literal["", "filesystem", "volume"] = ""
    show: Literal["", "encrypted", "locked", "orphans"] = ""
    limit: int = Field(1000, ge=1, le=10_000)
    offset: int = Field(0, ge=0, le=10**9)


class DatasetIn(Schema):
    """size: of a volume; properties: as zfs(8) takes them, sizes in bytes; passphrase: encrypts it with a key of its
    own."""

    model_config = ConfigDict(extra="forbid")
    parent: int
    name: str = Field(max_length=uses.NAME_MAX)
    kind: Literal["filesystem", "volume"] = "filesystem"
    size: int = Field(0, ge=0, le=uses.SIZE_MAX)
    properties: dict[str, str] = Field({}, max_length=40)
    passphrase: str = Field("", max_length=512)


class DatasetChange(Schema):
    """properties: null has the parent's, or the default, again; size: a larger one of a volume; name, parent: where it
    moves to. One kind of change at a time."""

    model_config = ConfigDict(extra="forbid")
    properties: dict[str, str | None] | None = Field(None, max_length=40)
    size: int | None = Field(None, gt=0, le=uses.SIZE_MAX)
    name: str | None = Field(None, max_length=uses.NAME_MAX)
    parent: int | None = None
    keep: bool | None = None


class ConfirmDatasetIn(Schema):
    confirm: str = Field("", max_length=300)


class UnlockDatasetIn(Schema):
    """start: what starts with the host and waits for this."""

    passphrase: str = Field("", max_length=512)
    start: bool = True


class ChangeDatasetKeyIn(Schema):
    passphrase: str = Field(max_length=512)
    new_passphrase: str = Field(max_length=512)


def _find(request: HttpRequest, pk: int, right: str = "storage.change") -> Dataset:
    found = lookup(signed_in(request), Dataset, right, pk=pk)
    return Dataset.objects.select_related("pool__host").get(pk=found.pk)


def _out(use: Use) -> dict[str, Any]:
    row = use.dataset
    columns = ("used", "available", "referenced", "volsize", "mountpoint", "origin", "bhype_id", "encryption")
    return {
        "id": row.pk, "name": row.name, "pool": row.pool.name, "kind": row.kind, "use": use.kind,
        **{column: getattr(row, column) for column in columns}, "encryption_root": row.encryption_root,
        "is_locked": row.is_locked,
        "owner": {"kind": use.owner.kind, "name": use.owner.name} if use.owner else None,
    }  # fmt: skip


def _asked(request: HttpRequest, row: Dataset, operation: str, **params: Any) -> Status[Task]:
    return by_api(request, f"dataset {row.name}", operation, dataset_id=row.pk, **params)


def _sealed(text: str, field: str) -> str:
    try:
        return passphrases.seal(text) if text else ""
    except names.BadName as error:
        raise ApiError(422, "invalid", str(error), field) from error


@router.get("", response=list[DatasetOut], summary="Datasets of bHype, and who has them")
def list_datasets(request: HttpRequest, query: Query[DatasetQuery]) -> list[dict[str, Any]]:
    require(request, "storage.view")
    filters = pages.Filters(q=query.q, pool=query.pool, kind=query.kind, show=query.show)
    rows = filters.rows()[query.offset : query.offset + query.limit]
    return [_out(use) for use in uses.uses(rows)]


@router.post("", response={202: TaskOut}, summary="Make a filesystem or volume")
def create_dataset(request: HttpRequest, payload: DatasetIn) -> Status[Task]:
    parent = _find(request, payload.parent)
    secret = _sealed(payload.passphrase, "passphrase")
    params = payload.model_dump(exclude={"parent", "passphrase"})
    return _asked(request, parent, "storage.create_dataset", **params, secret=secret)


@router.get("/{int:id}", response=DatasetDetail, summary="One dataset with its properties")
def get_dataset(request: HttpRequest, id: int) -> dict[str, Any]:
    row = _find(request, id, "storage.view")
    return _out(uses.use_of(row)) | {
        "created_at": pages.created_at(row),
        "parts": {part.key.removeprefix("usedby"): part.size for part in pages.parts(row)},
        "properties": [
            {"name": line.setting.name, "value": line.raw, "source": line.source} for line in pages.lines(row)
        ],
    }


@router.patch("/{int:id}", response={202: TaskOut}, summary="Change, grow, rename or keep a dataset")
def change_dataset(request: HttpRequest, id: int, payload: DatasetChange) -> Status[Task]:
    row, said = _find(request, id), payload.model_dump(exclude_unset=True)
    kinds = {"properties"}, {"size"}, {"name"}, {"name", "parent"}, {"keep"}
    if set(said) not in kinds or any(value is None for value in said.values()):
        raise ApiError(422, "invalid", "Say one of: properties, size, name with or without parent, keep.")
    if "properties" in said:
        return _asked(request, row, "storage.set_properties", changes=said["properties"])
    if "size" in said:
        return _asked(request, row, "storage.resize_volume", size=said["size"])
    if "keep" in said:
        return _asked(request, row, "storage.keep_dataset", keep=said["keep"])
    more = {"parent_id": said["parent"]} if "parent" in said else {}
    return _asked(request, row, "storage.rename_dataset", name=said["name"], **more)


@router.post(
    "/{int:id}/preview", response={202: TaskOut}, summary="Ask the host what would go with a dataset"
)
def preview_destroy(request: HttpRequest, id: int) -> Status[Task]:
    """The task's result has ``goes``, the names in their order, and ``freed``, bytes."""
    return _asked(request, _find(request, id), "storage.preview_destroy")


@router.delete("/{int:id}", response={202: TaskOut}, summary="Destroy a dataset that nobody has")
def destroy_dataset(
    request: HttpRequest, id: int, payload: ConfirmDatasetIn | None = None, confirm: str = ""
) -> Status[Task]:
    """Needs its name: ``{"confirm": NAME}`` in the body, or ``?confirm=``."""
    row = _find(request, id)
    if row.name not in {confirm, payload.confirm if payload else ""}:
        raise ApiError(422, "invalid", f"Say the dataset's name to destroy it: {row.name}.", "confirm")
    return _asked(request, row, "storage.destroy_dataset")


@router.post("/{int:id}/unlock", response={202: TaskOut}, summary="Unlock an encryption root")
def unlock_dataset(request: HttpRequest, id: int, payload: UnlockDatasetIn) -> Status[Task]:
    row = _find(request, id)
    secret = _sealed(payload.passphrase, "passphrase")
    return _asked(request, row, "storage.unlock", secret=secret, start=payload.start)


@router.post("/{int:id}/lock", response={202: TaskOut}, summary="Lock an encryption root")
def lock_dataset(request: HttpRequest, id: int) -> Status[Task]:
    return _asked(request, _find(request, id), "storage.lock")


@router.post("/{int:id}/key", response={202: TaskOut}, summary="Change the passphrase of an encryption root")
def change_key(request: HttpRequest, id: int, payload: ChangeDatasetKeyIn) -> Status[Task]:
    row = _find(request, id)
    old = _sealed(payload.passphrase, "passphrase")
    new = _sealed(payload.new_passphrase, "new_passphrase")
    return _asked(request, row, "storage.change_key", secret=old, new_secret=new)


@orphans.get("", response=list[DatasetOut], summary="Datasets that nobody has any more")
def list_orphans(request: HttpRequest) -> list[dict[str, Any]]:
    require(request, "storage.view")
    return [_out(use) for use in uses.left()]
