"""The API of storage: pools, their datasets, and install media. Sizes are bytes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from ninja import Query, Router, Schema
from ninja.responses import Status
from pydantic import Field

from bhype.accounts import audit
from bhype.accounts.access import lookup, signed_in
from bhype.accounts.errors import ApiError
from bhype.accounts.models import User
from bhype.tasks.api import TaskOut
from bhype.tasks.models import Task

from . import operations
from .models import Dataset, Iso, Pool

router = Router()


class PoolOut(Schema):
    name: str
    host: str
    is_adopted: bool
    health: str
    size: int
    allocated: int
    free: int
    fragmentation: int
    seen_at: datetime | None

    @staticmethod
    def resolve_host(pool: Any) -> str:
        return str(pool.host.name)


class DatasetOut(Schema):
    name: str
    pool: str
    kind: str
    used: int
    available: int
    referenced: int
    volsize: int | None
    mountpoint: str
    bhype_id: str

    @staticmethod
    def resolve_pool(dataset: Any) -> str:
        return str(dataset.pool.name)


class IsoOut(Schema):
    """size: 0 when the file is gone but a VM still wants it."""

    name: str
    pool: str
    path: str
    size: int
    vms: list[str]


class Paging(Schema):
    limit: int = Field(1000, ge=1, le=10_000)
    offset: int = Field(0, ge=0, le=10**9)


def _viewer(request: HttpRequest) -> User:
    user = signed_in(request)
    if not user.can("storage.view"):
        raise ApiError(404, "not_found", "There is no such object, or it is not yours.")
    return user


@router.get("/pools", response=list[PoolOut], summary="ZFS pools")
def list_pools(request: HttpRequest) -> QuerySet[Pool]:
    _viewer(request)
    return Pool.objects.select_related("host")


@router.get("/pools/{name}", response=PoolOut, summary="One pool")
def get_pool(request: HttpRequest, name: str) -> Pool:
    return lookup(signed_in(request), Pool, "storage.view", name=name)


@router.post("/pools/{name}/adopt", response={202: TaskOut}, summary="Let bHype use a pool")
def adopt_pool(request: HttpRequest, name: str) -> Status[Task]:
    user = signed_in(request)
    pool = lookup(user, Pool, "storage.change", name=name)
    task = operations.adopt.ask({"pool_id": pool.pk}, user)
    audit.record(request, "storage.adopt", f"pool {pool.name}", task=task)
    return Status(202, task)


@router.get("/datasets", response=list[DatasetOut], summary="Datasets of bHype")
def list_datasets(request: HttpRequest, query: Query[Paging]) -> QuerySet[Dataset]:
    _viewer(request)
    return Dataset.objects.select_related("pool")[query.offset : query.offset + query.limit]


@router.get("/isos", response=list[IsoOut], summary="Install media")
def list_isos(request: HttpRequest, query: Query[Paging]) -> list[dict[str, Any]]:
    user = _viewer(request)
    rows = Iso.objects.select_related("pool").prefetch_related("drives__vm")[
        query.offset : query.offset + query.limit
    ]
    may_see_vms = user.can("vms.view")
    return [
        {
            "name": iso.name,
            "pool": iso.pool.name,
            "path": iso.path,
            "size": iso.size,
            "vms": [drive.vm.name for drive in iso.drives.all()] if may_see_vms else [],
        }
        for iso in rows
    ]
