"""The API of switches."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from ninja import Router, Schema

from bhype.accounts.access import lookup, signed_in
from bhype.accounts.errors import ApiError
from network.models import Switch

router = Router()


class SwitchOut(Schema):
    """interface: the bridge on the host; address: the host's own on it; members: the interfaces plugged in now."""

    name: str
    host: str
    kind: str
    interface: str
    address: str
    uplink: str
    mtu: int
    is_up: bool
    members: list[str]
    seen_at: datetime | None

    @staticmethod
    def resolve_host(switch: Any) -> str:
        return str(switch.host.name)


@router.get("", response=list[SwitchOut], summary="Switches")
def list_switches(request: HttpRequest) -> QuerySet[Switch]:
    if not signed_in(request).can("network.view"):
        raise ApiError(404, "not_found", "There is no such object, or it is not yours.")
    return Switch.objects.select_related("host")


@router.get("/{name}", response=SwitchOut, summary="One switch")
def get_switch(request: HttpRequest, name: str) -> Switch:
    return lookup(signed_in(request), Switch, "network.view", name=name)
