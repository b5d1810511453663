"""The API of port forwards."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Router, Schema
from ninja.responses import Status
from pydantic import ConfigDict, Field

from bhype.accounts import audit
from bhype.accounts.access import lookup, require, signed_in
from bhype.accounts.errors import invalid
from bhype.hosts.models import Host
from network.firewall import pages
from network.firewall.api import endpoint_fields, fields_of
from network.firewall.views import changed
from network.firewall.wording import Naming, naming, span
from network.models import Forward

from .forms import COLUMNS, ForwardForm

router = Router()
_NAMES = {"outside": "port", "inside": "target_port", "source_address": "source"}


class ForwardIn(Schema):
    """subject: "vm:UUID" or "jail:UUID"; port: of the host, and the count - 1 that follow; target_port: of the guest,
    the first one; source: who may use it, a word as rules have it; interface: empty for that of the default route."""

    model_config = ConfigDict(extra="forbid")
    subject: str = Field(max_length=80)
    protocol: Forward.Protocol = Forward.Protocol.TCP
    port: int = Field(ge=1, le=65535)
    target_port: int | None = Field(None, ge=1, le=65535)
    count: int = Field(1, ge=1, le=65535)
    source: str = Field("any", max_length=80)
    interface: str = Field("", max_length=15)
    is_logged: bool = False
    is_enabled: bool = True
    note: str = Field("", max_length=200)


class ForwardOut(Schema):
    """text: the forward as a sentence; packets, octets (bytes): met since it was loaded."""

    id: int
    text: str
    subject: str
    protocol: str
    port: int
    target_port: int
    count: int
    source: str
    interface: str
    is_logged: bool
    is_enabled: bool
    note: str
    packets: int
    octets: int


def _out(row: Forward, names: Naming) -> dict[str, Any]:
    columns = {name: getattr(row, name) for name in (*COLUMNS, "packets", "octets")}
    return {"id": row.pk, "text": names.forward(row), **columns}


def _find(request: HttpRequest, pk: int, right: str = "network.change") -> Forward:
    return lookup(signed_in(request), Forward, right, pk=pk)


def _save(request: HttpRequest, payload: ForwardIn, forward: Forward | None) -> dict[str, Any]:
    user = signed_in(request)
    host = forward.host if forward else Host.objects.this()
    names, world = naming(host, None, user), pages.world_now(host)
    values = payload.model_dump(exclude={"port", "target_port", "count"})
    inside = payload.target_port
    values |= {"outside": span(payload.port, payload.count), "inside": str(inside) if inside else ""}
    offered = ForwardForm(host=host, names=names, world=world, forward=forward)
    values |= endpoint_fields("source", payload.source, offered["source"].field.choices)  # type: ignore[attr-defined]
    form = ForwardForm(fields_of(values), host=host, names=names, world=world, forward=forward)
    saved = form.save() if form.is_valid() else None
    if saved is None:
        raise invalid(form, **_NAMES)
    detail = {"forward": names.forward(saved)}
    audit.record(request, f"forwards.{'change' if forward else 'add'}", f"forward {saved.pk}", detail)
    changed()
    return _out(saved, names)


@router.get("/forwards", response=list[ForwardOut], summary="The port forwards of the draft")
def list_forwards(request: HttpRequest) -> list[dict[str, Any]]:
    user, host = require(request, "network.view"), Host.objects.this()
    rows = list(Forward.objects.filter(host=host))
    names = naming(host, {word for row in rows for word in (row.subject, row.source)}, user)
    return [_out(row, names) for row in rows]


@router.post("/forwards", response={201: ForwardOut}, summary="Add a port forward to the draft")
def add_forward(request: HttpRequest, payload: ForwardIn) -> Status[dict[str, Any]]:
    require(request, "network.change")
    return Status(201, _save(request, payload, None))


@router.get("/forwards/{int:pk}", response=ForwardOut, summary="One port forward")
def get_forward(request: HttpRequest, pk: int) -> dict[str, Any]:
    row = _find(request, pk, "network.view")
    return _out(row, naming(row.host, [row.subject, row.source], signed_in(request)))


@router.put("/forwards/{int:pk}", response=ForwardOut, summary="Change a port forward of the draft")
def change_forward(request: HttpRequest, pk: int, payload: ForwardIn) -> dict[str, Any]:
    return _save(request, payload, _find(request, pk))


@router.delete("/forwards/{int:pk}", response={204: None}, summary="Take a port forward out of the draft")
def delete_forward(request: HttpRequest, pk: int) -> Status[None]:
    row = _find(request, pk)
    audit.record(request, "forwards.delete", f"forward {row.pk}")
    row.delete()
    changed()
    return Status(204, None)
