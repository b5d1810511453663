"""The API of storage: pools, their datasets, and install media. Sizes are bytes."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from ninja import Query, Router, Schema
from pydantic import Field

from bhype.accounts.access import signed_in
from bhype.accounts.errors import ApiError
from bhype.accounts.models import User

from .api_uploads import router as uploads_router
from .models import Dataset, Iso
from .pools.api import router as pools_router

router = Router()


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


router.add_router("/uploads", uploads_router)
router.add_router("", pools_router)
