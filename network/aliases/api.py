"""The API of aliases."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Router, Schema
from ninja.responses import Status
from pydantic import ConfigDict, Field

from bhype.accounts import audit
from bhype.accounts.access import lookup, require, signed_in
from bhype.accounts.errors import ApiError, invalid
from bhype.hosts.models import Host
from network.firewall import pages as firewall
from network.firewall.api import fields_of
from network.firewall.views import changed
from network.firewall.wording import naming
from network.models import Alias

from . import pages
from .forms import AliasForm

router = Router()


class AliasIn(Schema):
    """entries: addresses, networks, names of guests, "tag NAME", "switch NAME" or other aliases; of ports: ports."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=31)
    kind: Alias.Kind
    entries: list[str] = Field(default_factory=list, max_length=1000)
    note: str = Field("", max_length=200)


class AliasOut(Schema):
    """entries: as words of rules; used_by: where it is used, in words."""

    id: int
    name: str
    kind: str
    entries: list[str]
    note: str
    used_by: list[str]


def _out(line: pages.Line) -> dict[str, Any]:
    columns = {name: getattr(line.row, name) for name in ("name", "kind", "entries", "note")}
    return {"id": line.row.pk, **columns, "used_by": [use.text for use in line.uses]}


def _one(request: HttpRequest, row: Alias) -> dict[str, Any]:
    user = signed_in(request)
    return _out(pages.Line(row, [], pages.uses(row, naming(row.host, [], user))))


def _find(request: HttpRequest, pk: int, right: str = "network.change") -> Alias:
    return lookup(signed_in(request), Alias, right, pk=pk)


def _save(request: HttpRequest, payload: AliasIn, alias: Alias | None) -> dict[str, Any]:
    user = signed_in(request)
    host = alias.host if alias else Host.objects.this()
    values = payload.model_dump() | {"entries": "\n".join(payload.entries)}
    names, world = naming(host, None, user), firewall.world_now(host)
    form = AliasForm(fields_of(values), host=host, names=names, world=world, alias=alias)
    saved = form.save() if form.is_valid() else None
    if saved is None:
        raise invalid(form)
    detail = {"kind": saved.kind, "entries": saved.entries}
    audit.record(request, f"aliases.{'change' if alias else 'add'}", f"alias {saved.name}", detail)
    changed("aliases")
    return _one(request, saved)


@router.get("/aliases", response=list[AliasOut], summary="Aliases of hosts, networks and ports")
def list_aliases(request: HttpRequest) -> list[dict[str, Any]]:
    user = require(request, "network.view")
    return [_out(line) for line in pages.lines(Host.objects.this(), user)]


@router.post("/aliases", response={201: AliasOut}, summary="Make an alias")
def add_alias(request: HttpRequest, payload: AliasIn) -> Status[dict[str, Any]]:
    require(request, "network.change")
    return Status(201, _save(request, payload, None))


@router.get("/aliases/{int:pk}", response=AliasOut, summary="One alias")
def get_alias(request: HttpRequest, pk: int) -> dict[str, Any]:
    return _one(request, _find(request, pk, "network.view"))


@router.put("/aliases/{int:pk}", response=AliasOut, summary="Change an alias: what is left out goes")
def change_alias(request: HttpRequest, pk: int, payload: AliasIn) -> dict[str, Any]:
    return _save(request, payload, _find(request, pk))


@router.delete("/aliases/{int:pk}", response={204: None}, summary="Delete an alias that nobody uses")
def delete_alias(request: HttpRequest, pk: int) -> Status[None]:
    row = _find(request, pk)
    found = pages.uses(row, naming(row.host, [], signed_in(request)))
    if found:
        raise ApiError(
            409, "conflict", f"{row.name} is in use by {', '.join(use.text for use in found[:5])}."
        )
    audit.record(request, "aliases.delete", f"alias {row.name}", {"entries": row.entries})
    row.delete()
    changed("aliases")
    return Status(204, None)
