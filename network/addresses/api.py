"""The API of addresses: pools, what is given, and who has what."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Router, Schema
from ninja.responses import Status
from pydantic import ConfigDict, Field

from bhype.accounts import audit
from bhype.accounts.access import lookup, require, signed_in
from bhype.accounts.errors import ApiError
from network.models import AddressPool, Allocation, Switch

from . import pools
from .allocate import Taken, allocate, release
from .lines import Line, read, stale
from .ranges import Unfit

router = Router()
_STRICT = ConfigDict(extra="forbid")


class AddressPoolIn(Schema):
    """purpose: "dhcp", or "static" for addresses that bHype gives for good; both ends belong to the pool."""

    model_config = _STRICT
    purpose: AddressPool.Purpose
    first: str = Field(max_length=45)
    last: str = Field(max_length=45)
    note: str = Field("", max_length=200)


class AddressPoolOut(Schema):
    id: int
    purpose: str
    first: str
    last: str
    note: str


class AllocationIn(Schema):
    """kind: "lease" (static), "static" (set in the guest) or "reserved"; port: a guest's, as "nic:12", or null for
    another machine, by mac; address: null for the next free one of the pools of ``family``."""

    model_config = _STRICT
    kind: Allocation.Kind
    port: str | None = Field(None, max_length=40, pattern=r"^[a-z]+:[0-9]+$")
    address: str | None = Field(None, max_length=45)
    family: int = 4
    mac: str = Field("", max_length=17)
    hostname: str = Field("", max_length=63)
    note: str = Field("", max_length=200)


class AllocationOut(Schema):
    id: int
    switch: str
    address: str
    kind: str
    port: str | None
    mac: str
    hostname: str
    note: str

    @staticmethod
    def resolve_switch(row: Allocation) -> str:
        return str(row.switch.name)

    @staticmethod
    def resolve_port(row: Allocation) -> str | None:
        return row.port or None


class AddressOut(Schema):
    """how: "host", "lease" (static lease), "static", "reserved", "guest" (told by cloud-init), "leased", "seen", the
    surest first; guest: as rules name it; other: another MAC address that was seen with it; allocation: its number."""

    switch: str
    address: str
    how: list[str]
    guest: str | None
    name: str
    port: str | None
    mac: str
    other: str
    allocation: int | None
    expires_at: datetime | None
    seen_at: datetime | None


def _switch(request: HttpRequest, name: str, right: str = "network.view") -> Switch:
    return lookup(signed_in(request), Switch, right, name=name)


def _refusal(unfit: Unfit) -> ApiError:
    taken = isinstance(unfit, Taken)
    return ApiError(409 if taken else 422, "conflict" if taken else "invalid", str(unfit), unfit.field)


def _shown(line: Line) -> dict[str, Any]:
    return {
        "switch": line.switch.name, "address": str(line.address), "how": line.how, "mac": line.mac,
        "guest": line.guest.endpoint if line.guest else None, "name": line.label, "other": line.other,
        "port": line.port.key if line.port else None, "expires_at": line.expires_at, "seen_at": line.seen_at,
        "allocation": line.allocation.pk if line.allocation else None,
    }  # fmt: skip


@router.get("/addresses", response=list[AddressOut], summary="Who has which address, on all switches")
def list_addresses(request: HttpRequest, q: str = "") -> list[dict[str, Any]]:
    require(request, "network.view")
    lines = read(Switch.objects.select_related("host")).lines
    return [_shown(line) for line in lines if line.matches(q)]


@router.get(
    "/switches/{name}/addresses", response=list[AddressOut], summary="Who has which address of a switch"
)
def list_switch_addresses(request: HttpRequest, name: str, q: str = "") -> list[dict[str, Any]]:
    return [_shown(line) for line in read([_switch(request, name)]).lines if line.matches(q)]


@router.get("/switches/{name}/pools", response=list[AddressPoolOut], summary="The pools of a switch")
def list_pools(request: HttpRequest, name: str) -> list[AddressPool]:
    return list(_switch(request, name).pools.all())


@router.post("/switches/{name}/pools", response={201: AddressPoolOut}, summary="Add a pool to a switch")
def add_pool(request: HttpRequest, name: str, payload: AddressPoolIn) -> Status[AddressPool]:
    pool = AddressPool(switch=_switch(request, name, "network.change"), **payload.model_dump())
    return Status(201, _save(request, pool, "add"))


@router.put("/switches/{name}/pools/{pool_id}", response=AddressPoolOut, summary="Change a pool")
def change_pool(request: HttpRequest, name: str, pool_id: int, payload: AddressPoolIn) -> AddressPool:
    pool = _pool(request, name, pool_id)
    for key, value in payload.model_dump().items():
        setattr(pool, key, value)
    return _save(request, pool, "change")


@router.delete(
    "/switches/{name}/pools/{pool_id}", response={204: None},
    summary="Remove a pool; what was given of it stays given",
)  # fmt: skip
def remove_pool(request: HttpRequest, name: str, pool_id: int) -> Status[None]:
    pool = _pool(request, name, pool_id)
    shown = str(pool)
    pools.remove(pool)
    audit.record(request, "network.pool_remove", f"switch {name}", {"pool": shown})
    return Status(204, None)


def _pool(request: HttpRequest, name: str, pool_id: int) -> AddressPool:
    return get_object_or_404(_switch(request, name, "network.change").pools, pk=pool_id)


def _save(request: HttpRequest, pool: AddressPool, verb: str) -> AddressPool:
    try:
        pools.save(pool)
    except Unfit as unfit:
        raise _refusal(unfit) from unfit
    audit.record(request, f"network.pool_{verb}", f"switch {pool.switch.name}", {"pool": str(pool)})
    return pool


@router.get("/switches/{name}/allocations", response=list[AllocationOut], summary="Addresses given for good")
def list_allocations(request: HttpRequest, name: str) -> list[Allocation]:
    return list(_switch(request, name).allocations.select_related("switch"))


@router.post(
    "/switches/{name}/allocations", response={201: AllocationOut}, summary="Give an address for good"
)
def give_address(request: HttpRequest, name: str, payload: AllocationIn) -> Status[Allocation]:
    switch = _switch(request, name, "network.change")
    said = payload.model_dump() | {"port": payload.port or "", "address": payload.address or ""}
    if payload.port and payload.port not in {
        line.key for guest in read([switch]).guests for line in guest.ports if line.switch_id == switch.pk
    }:
        raise ApiError(422, "invalid", f"No port {payload.port} is on {name}.", "port")
    try:
        row = allocate(switch, said.pop("port"), said.pop("kind"), said.pop("family"), **said)
    except Unfit as unfit:
        raise _refusal(unfit) from unfit
    detail = {"address": row.address, "kind": row.kind, "port": row.port, "mac": row.mac}
    audit.record(request, "network.address_give", f"switch {name}", detail)
    return Status(201, row)


@router.delete(
    "/switches/{name}/allocations/{allocation_id}", response={204: None}, summary="Release an address"
)
def release_address(request: HttpRequest, name: str, allocation_id: int) -> Status[None]:
    rows = _switch(request, name, "network.change").allocations.select_related("switch")
    row = get_object_or_404(rows, pk=allocation_id)
    release([row])
    audit.record(request, "network.address_release", f"switch {name}", {"addresses": row.address})
    return Status(204, None)


@router.post(
    "/switches/{name}/addresses/release-stale",
    response=list[str],
    summary="Release the addresses of ports that are gone",
)
def release_stale_addresses(request: HttpRequest, name: str) -> list[str]:
    """Answers the addresses that were released."""
    found = stale(_switch(request, name, "network.change"))
    addresses = [row.address for row in found]
    release(found)
    released = ", ".join(map(str, found))
    audit.record(request, "network.address_release", f"switch {name}", {"addresses": released})
    return addresses
