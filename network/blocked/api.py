"""The API of logged packets."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from django.http import HttpRequest
from ninja import Query, Router, Schema

from bhype.accounts.access import require
from bhype.hosts.models import Host

from . import pages

router = Router()


class FilterIn(Schema):
    """q: part of a name or address, or a port, interface or protocol."""

    q: str = ""
    action: Literal["", "block", "pass"] = ""


class PacketOut(Schema):
    """rule: what decided about it, in words."""

    at: datetime
    action: str
    direction: str
    interface: str
    protocol: str
    source: str
    source_port: int | None
    target: str
    target_port: int | None
    rule: str


@router.get(
    "/firewall/packets", response=list[PacketOut], summary="The newest packets that rules have logged"
)
def list_packets(request: HttpRequest, query: Query[FilterIn]) -> list[dict[str, Any]]:
    user = require(request, "network.view")
    filters = pages.Filters(query.q.strip()[:100], query.action)
    columns = [name for name in PacketOut.model_fields if name != "rule"]
    return [
        {"rule": line.rule, **{name: getattr(line.row, name) for name in columns}}
        for line in pages.lines(Host.objects.this(), user, filters)
    ]
