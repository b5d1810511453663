"""The API of hosts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from ninja import Router, Schema

from bhype.accounts.access import lookup, signed_in
from bhype.accounts.errors import ApiError

from .models import Host

router = Router()


class HostOut(Schema):
    """memory, memory_free and arc in bytes; problems are sentences."""

    name: str
    is_online: bool
    seen_at: datetime | None
    release: str
    cpus: int
    memory: int
    memory_free: int
    arc: int
    load: float
    cpu_percent: float
    booted_at: datetime | None
    features: dict[str, Any]
    problems: list[str]


@router.get("", response=list[HostOut], summary="Hosts")
def list_hosts(request: HttpRequest) -> QuerySet[Host]:
    if not signed_in(request).can("hosts.view"):
        raise ApiError(404, "not_found", "There is no such object, or it is not yours.")
    return Host.objects.all()


@router.get("/{name}", response=HostOut, summary="One host")
def get_host(request: HttpRequest, name: str) -> Host:
    return lookup(signed_in(request), Host, "hosts.view", name=name)
