"""The API of pools and physical disks: all that their pages can do. Sizes are bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from ninja import Query, Router, Schema
from ninja.responses import Status
from pydantic import Field

from bhype.accounts.access import lookup, require, signed_in
from bhype.accounts.errors import ApiError
from bhype.hosts.models import Host
from bhype.tasks.api import TaskOut
from bhype.tasks.models import Task
from bhype.tasks.requested import by_api
from storage.models import PhysicalDisk, Pool

from . import layouts, pages
from .forms import plain, pool_name
from .operations import GroupParams

router = Router()


class PoolOut(Schema):
    """health, status and properties as zpool(8) tells them; level: of 80, 85, 90 and 95 percent the highest that is
    reached, 0 below; advice: what to do, as sentences; forecast: in words, "" where nothing is known yet."""

    name: str
    host: str
    guid: str
    is_adopted: bool
    health: str
    size: int
    allocated: int
    free: int
    fragmentation: int
    level: int
    advice: list[str]
    forecast: str = ""
    full_in_days: float | None = None
    status: dict[str, Any]
    properties: dict[str, Any]
    seen_at: datetime | None


def out(card: pages.Card) -> dict[str, Any]:
    own = ("name", "guid", "is_adopted", "health", "size", "allocated", "free", "fragmentation", "status", "properties",
           "seen_at")  # fmt: skip
    return {name: getattr(card.pool, name) for name in own} | {
        "host": card.pool.host.name,
        "level": card.level,
        "advice": card.advice,
        "forecast": card.forecast.words if card.forecast else "",
        "full_in_days": card.forecast.days if card.forecast else None,
    }


def _asked(request: HttpRequest, operation: str, params: Mapping[str, Any], what: str) -> Status[Task]:
    return by_api(request, what, operation, **params)


def _pool(request: HttpRequest, name: str) -> Pool:
    return lookup(signed_in(request), Pool, "storage.change", name=name)


def _do(
    request: HttpRequest, name: str, operation: str, params: Mapping[str, Any] | None = None
) -> Status[Task]:
    pool = _pool(request, name)
    return _asked(request, operation, {"pool_id": pool.pk, **(params or {})}, f"pool {pool.name}")


@router.get("/pools", response=list[PoolOut], summary="ZFS pools, those that are not well first")
def list_pools(request: HttpRequest) -> list[dict[str, Any]]:
    require(request, "storage.view")
    return [out(card) for card in pages.cards()]


@router.get("/pools/{name}", response=PoolOut, summary="One pool")
def get_pool(request: HttpRequest, name: str) -> dict[str, Any]:
    pool = lookup(signed_in(request), Pool, "storage.view", name=name)
    return out(pages.card(pool, pages.samples_of(pool)))


class PoolSampleOut(Schema):
    """reads, writes and bytes are per second."""

    at: datetime
    size: int
    allocated: int
    reads: float
    writes: float
    bytes_read: float
    bytes_written: float


class PoolRangeIn(Schema):
    range: Literal["hour", "day", "week", "month"] = "day"


@router.get("/pools/{name}/samples", response=list[PoolSampleOut], summary="What a pool held and did")
def list_samples(request: HttpRequest, name: str, query: Query[PoolRangeIn]) -> Any:
    pool = lookup(signed_in(request), Pool, "storage.view", name=name)
    return pages.since(pool.samples.all(), query.range)


class ArcOut(Schema):
    """hits and misses are per second."""

    at: datetime
    size: int
    target: int
    hits: float
    misses: float


@router.get("/arc", response=list[ArcOut], summary="What the ARC of this host was")
def list_arc(request: HttpRequest, query: Query[PoolRangeIn]) -> Any:
    require(request, "storage.view")
    return pages.since(Host.objects.this().arc_samples.all(), query.range)


# New pools.


class LayoutsIn(Schema):
    """Names of free disks for each role."""

    data: list[str] = Field(default=[], max_length=64)


class LayoutOut(Schema):
    """usable: as zfs-list(8) will say; for_volumes: how much of VMs' disks fits in; survives: so many lost disks,
    whichever they are; groups: as POST /pools takes them."""

    name: str
    is_advised: bool
    raw: int
    usable: int
    for_volumes: int
    survives: int
    survival: str
    groups: list[dict[str, Any]]


@router.get(
    "/pool-layouts", response=list[LayoutOut], summary="How disks could be arranged, and what that gives"
)
def list_layouts(request: HttpRequest, query: Query[LayoutsIn]) -> list[dict[str, Any]]:
    require(request, "storage.change")
    rows = _free(query.data)
    disks = [plain(row) for row in rows]
    return [
        {
            "name": one.name, "is_advised": one.is_advised, "raw": one.figures.raw, "usable": one.figures.usable,
            "for_volumes": one.figures.for_volumes, "survives": one.figures.survives,
            "survival": one.figures.survival,
            "groups": [
                {"role": group.role, "kind": group.kind, "disks": list(group.disks)}
                for group in layouts.arrange(one.kind, one.width, disks)
            ],
        }
        for one in layouts.layouts(disks)
    ]  # fmt: skip


def _free(names: Iterable[str], erase: Iterable[str] | None = None) -> list[PhysicalDisk]:
    """The rows of free disks. Raises ApiError for others, and for what is left on one that may not be erased."""
    free = {row.name: row for row in pages.free_disks(Host.objects.this())}
    found = []
    for name in names:
        if name not in free:
            raise ApiError(422, "invalid", f"{name[:40]} is no free disk of this host.", "disks")
        row = free[name]
        if erase is not None and row.leftover and name not in erase:
            raise ApiError(422, "invalid", f"{name} is {row.leftover}: name it in erase.", "erase")
        found.append(row)
    return found


class GroupsIn(Schema):
    """erase: the disks on which an exported or destroyed pool may be erased for good."""

    groups: list[GroupParams] = Field(min_length=1, max_length=64)
    erase: list[str] = Field(default=[], max_length=64)

    def checked(self) -> list[PhysicalDisk]:
        return _free([name for group in self.groups for name in group.disks], self.erase)

    def params(self) -> dict[str, Any]:
        return {"groups": [group.model_dump() for group in self.groups], "erase": self.erase}


class StoragePoolIn(GroupsIn):
    name: str = Field(max_length=80)
    compression: Literal["lz4", "zstd", "on", "off"] = "lz4"
    autotrim: bool = False


@router.post("/pools", response={202: TaskOut}, summary="Make a pool of free disks")
def create_pool(request: HttpRequest, body: StoragePoolIn) -> Status[Task]:
    require(request, "storage.change")
    if problem := pool_name_problem(body.name):
        raise ApiError(422, "invalid", problem, "name")
    ashift = layouts.ashift_of([plain(row) for row in body.checked()])
    params = body.params() | {"name": body.name, "compression": body.compression, "autotrim": body.autotrim}
    return _asked(request, "storage.create_pool", params | {"ashift": ashift}, f"pool {body.name}")


def pool_name_problem(name: str) -> str:
    """Why a new pool cannot be called so; "" when it can."""
    try:
        pool_name(name)
    except ValidationError as error:
        return str(error.messages[0])
    return f"There is a pool called {name} already." if Pool.objects.filter(name=name).exists() else ""


@router.get("/importable-pools", response=list[dict[str, Any]], summary="Pools that were found on the disks")
def list_importable(request: HttpRequest) -> list[dict[str, Any]]:
    """As POST /importable-pools/look has last found them."""
    task = pages.found_pools(require(request, "storage.change"))
    return list((task.result or {}).get("pools", [])) if task else []


@router.post("/importable-pools/look", response={202: TaskOut}, summary="Look for pools on the disks")
def look_for_pools(request: HttpRequest) -> Status[Task]:
    require(request, "storage.change")
    return _asked(request, "storage.find_pools", {}, f"host {Host.objects.this().name}")


class ImportPoolIn(Schema):
    """As POST /importable-pools/look lists it; name: what it is called here."""

    guid: str = Field(pattern=r"^[0-9]{1,20}$")
    name: str = Field(max_length=80)
    force: bool = False
    mount: bool = False
    readonly: bool = False


@router.post("/importable-pools/import", response={202: TaskOut}, summary="Import a pool")
def import_pool(request: HttpRequest, body: ImportPoolIn) -> Status[Task]:
    require(request, "storage.change")
    return _asked(request, "storage.import_pool", body.model_dump(), f"pool {body.name}")


# What is done to one.


class ActionIn(Schema):
    action: Literal["start", "pause", "stop"] = "start"


@router.post("/pools/{name}/adopt", response={202: TaskOut}, summary="Let bHype use a pool")
def adopt_pool(request: HttpRequest, name: str) -> Status[Task]:
    return _do(request, name, "storage.adopt")


@router.post("/pools/{name}/scrub", response={202: TaskOut}, summary="Start, pause or stop a scrub")
def scrub_pool(request: HttpRequest, name: str, body: ActionIn) -> Status[Task]:
    return _do(request, name, "storage.scrub", {"action": body.action})


@router.post("/pools/{name}/trim", response={202: TaskOut}, summary="Start, pause or stop a trim")
def trim_pool(request: HttpRequest, name: str, body: ActionIn) -> Status[Task]:
    return _do(request, name, "storage.trim", {"action": body.action})


@router.post("/pools/{name}/clear", response={202: TaskOut}, summary="Clear a pool's errors")
def clear_pool(request: HttpRequest, name: str) -> Status[Task]:
    return _do(request, name, "storage.clear_errors")


@router.post("/pools/{name}/export", response={202: TaskOut}, summary="Export a pool")
def export_pool(request: HttpRequest, name: str) -> Status[Task]:
    return _do(request, name, "storage.export_pool")


class ConfirmPoolIn(Schema):
    """confirm: the pool's name."""

    confirm: str = Field(max_length=200)


@router.post("/pools/{name}/destroy", response={202: TaskOut}, summary="Destroy an empty pool")
def destroy_pool(request: HttpRequest, name: str, body: ConfirmPoolIn) -> Status[Task]:
    pool = _pool(request, name)
    if body.confirm != pool.name:
        raise ApiError(422, "invalid", f"Give {pool.name} as confirm.", "confirm")
    return _do(request, name, "storage.destroy_pool")


class PropertyIn(Schema):
    name: Literal["autotrim", "autoexpand", "autoreplace"]
    value: Literal["on", "off"]


@router.post("/pools/{name}/property", response={202: TaskOut}, summary="Set a property of a pool")
def set_pool_property(request: HttpRequest, name: str, body: PropertyIn) -> Status[Task]:
    return _do(request, name, "storage.set_pool_property", body.model_dump())


@router.post("/pools/{name}/disks", response={202: TaskOut}, summary="Add free disks to a pool for good")
def add_disks(request: HttpRequest, name: str, body: GroupsIn) -> Status[Task]:
    _pool(request, name)
    body.checked()
    return _do(request, name, "storage.add_disks", body.params())


class NewDiskIn(Schema):
    """member: as the pool's status names it; disk: a free one; erase: what an earlier pool left on it may go."""

    member: str = Field(max_length=255)
    disk: str = Field(max_length=32)
    erase: bool = False


@router.post("/pools/{name}/replace", response={202: TaskOut}, summary="Replace a disk of a pool")
def replace_disk(request: HttpRequest, name: str, body: NewDiskIn) -> Status[Task]:
    return _enter(request, name, "storage.replace_disk", body)


@router.post(
    "/pools/{name}/attach", response={202: TaskOut}, summary="Attach a disk to another as its mirror"
)
def attach_disk(request: HttpRequest, name: str, body: NewDiskIn) -> Status[Task]:
    return _enter(request, name, "storage.attach_disk", body)


def _enter(request: HttpRequest, name: str, operation: str, body: NewDiskIn) -> Status[Task]:
    _pool(request, name)
    _free([body.disk], [body.disk] if body.erase else [])
    return _do(request, name, operation, body.model_dump())


class MemberIn(Schema):
    """remove: of a spare, cache or log."""

    member: str = Field(max_length=255)
    action: Literal["offline", "online", "detach", "remove", "clear"]


@router.post(
    "/pools/{name}/member", response={202: TaskOut}, summary="Offline, online, detach, remove or clear a disk"
)
def change_disk(request: HttpRequest, name: str, body: MemberIn) -> Status[Task]:
    return _do(request, name, "storage.change_disk", body.model_dump())


# Physical disks.


class HostDiskOut(Schema):
    """used_by: what has it, "" for a free one; leftover: what an earlier pool has left on it; health: as smartctl(8)
    tells it, {} where it does not."""

    id: int
    name: str
    host: str
    size: int
    sector_size: int
    description: str
    serial: str
    is_rotating: bool | None
    used_by: str
    leftover: str
    health: dict[str, Any]
    health_at: datetime | None
    seen_at: datetime

    @staticmethod
    def resolve_host(disk: Any) -> str:
        return str(disk.host.name)


@router.get("/disks", response=list[HostDiskOut], summary="Physical disks")
def list_disks(request: HttpRequest) -> QuerySet[PhysicalDisk]:
    require(request, "storage.view")
    return PhysicalDisk.objects.select_related("host")


class TestIn(Schema):
    kind: Literal["short", "long"] = "short"


@router.post("/disks/{int:id}/test", response={202: TaskOut}, summary="Let a disk test itself")
def test_disk(request: HttpRequest, id: int, body: TestIn) -> Status[Task]:
    disk = lookup(signed_in(request), PhysicalDisk, "storage.change", pk=id)
    return _asked(request, "storage.test_disk", {"disk_id": disk.pk, "kind": body.kind}, f"disk {disk.name}")
