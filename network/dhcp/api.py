"""The API of DHCP and names: settings of a switch's service, leases, records. All that their pages can do."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest, QueryDict
from ninja import Query, Router, Schema
from ninja.responses import Status
from pydantic import ConfigDict, Field

from bhype.accounts import audit
from bhype.accounts.access import lookup, require, signed_in
from bhype.accounts.errors import ApiError, invalid
from bhype.live import publish
from bhype.tasks import ask
from bhype.tasks.api import TaskOut
from bhype.tasks.models import Task
from bhype.tasks.requested import by_api
from bhype.ui.pages import STALE
from network.addresses.ranges import Unfit
from network.models import DnsRecord, Lease, Switch

from . import forms, pages, wanted
from .forms import RecordForm, SettingsForm
from .observe import OPERATION

router = Router()
VIEW, CHANGE = "network.view", "network.change"


class DhcpOut(Schema):
    """state: off, running or failed, and reason says why; lease_seconds: how long a lease lasts; gateway: the router
    that guests are told of, null for the default of the switch's kind; ipv6: off, slaac or dhcp; upstreams: who is
    asked for other names, ``9.9.9.9`` or for a domain ``/corp.example/10.0.0.53``, [] for those of the host."""

    state: str
    reason: str
    has_dhcp: bool
    lease_seconds: int
    gateway: str | None
    router: str
    ipv6: str
    has_dns: bool
    domain: str
    upstreams: list[str]
    revision: int


class DhcpIn(Schema):
    """What is left out stays. revision: of the switch as it was read; another one by now is answered 409."""

    model_config = ConfigDict(extra="forbid")
    has_dhcp: bool | None = None
    lease_seconds: int | None = Field(None, ge=120, le=366 * 86400)
    gateway: str | None = Field(None, max_length=45)
    ipv6: Switch.Ipv6 | None = None
    has_dns: bool | None = None
    domain: str | None = Field(None, max_length=100)
    upstreams: list[str] | None = Field(None, max_length=50)
    revision: int | None = Field(None, ge=0, lt=2**31)


class LeaseOut(Schema):
    """guest: who has it, as rules name guests (vm:UUID), "" for nobody that is known; expires_at: null for never."""

    id: int
    switch: str
    address: str
    mac: str
    hostname: str
    client_id: str
    expires_at: datetime | None
    guest: str
    guest_name: str
    is_static: bool


class LeaseFilters(Schema):
    """q: a part of an address, name or MAC address; sort: address, name, mac, switch, expires; with "-" backwards."""

    q: str = Field("", max_length=100)
    sort: str = Field("address", max_length=20)
    switch: str = Field("", max_length=12)
    page: int = Field(1, ge=1, le=100_000)
    size: int = Field(100, ge=1, le=1000)


class StaticOut(Schema):
    """The address that is given for good: port of a guest ("nic:12"), or a MAC address."""

    address: str
    port: str
    mac: str


class RecordIn(Schema):
    """name: below the switch's domain, "@" for it, or whole with a dot at its end. value: an address, a name,
    ``10 mail`` (MX), ``0 5 389 ldap`` (SRV), a text."""

    model_config = ConfigDict(extra="forbid")
    kind: DnsRecord.Kind
    name: str = Field(max_length=253)
    value: str = Field(max_length=500)


class RecordOut(RecordIn):
    id: int


def _switch(request: HttpRequest, name: str, right: str = VIEW) -> Switch:
    return lookup(signed_in(request), Switch, right, name=name)


def _apply(request: HttpRequest, what: str, action: str, detail: dict[str, Any] | None = None) -> Task:
    task = ask(OPERATION, {}, signed_in(request))
    audit.record(request, action, what, detail, task=task)
    return task


def _dhcp(switch: Switch) -> dict[str, Any]:
    columns = {column: getattr(switch, column) for column in (*forms.COLUMNS, "router", "revision")}
    state = switch.dhcp_state if wanted.is_served(switch) else "off"
    own = {"domain": switch.guest_domain, "state": state, "reason": switch.dhcp_reason}
    return columns | own


@router.get("/switches/{name}/dhcp", response=DhcpOut, summary="DHCP and names of a switch")
def get_dhcp(request: HttpRequest, name: str) -> dict[str, Any]:
    return _dhcp(_switch(request, name))


@router.patch("/switches/{name}/dhcp", response=DhcpOut, summary="Change DHCP and names of a switch")
def change_dhcp(request: HttpRequest, name: str, payload: DhcpIn) -> dict[str, Any]:
    switch = _switch(request, name, CHANGE)
    given = payload.model_dump(exclude_none=True, mode="json")
    values = {column: getattr(switch, column) for column in forms.COLUMNS} | given
    data = QueryDict(mutable=True)
    for column, value in values.items():
        if isinstance(value, bool):
            data.update({column: "on"} if value else {})
        elif isinstance(value, list):
            data[column] = "\n".join(map(str, value))
        elif value is not None:
            data[column] = str(value)
    # Also one that no choice of the page has.
    length = int(values["lease_seconds"])
    form = SettingsForm(data, switch=switch, more_leases=(length,))
    if not form.is_valid():
        raise invalid(form)
    try:
        form.save()
    except forms.Stale as error:
        raise ApiError(409, "stale", STALE, "revision") from error
    _apply(request, f"switch {switch.name}", "network.dhcp", given)
    return _dhcp(switch)


@router.post("/switches/{name}/dhcp/apply", response={202: TaskOut}, summary="Apply DHCP and names once more")
def apply_dhcp(request: HttpRequest, name: str) -> Status[Task]:
    switch = _switch(request, name, CHANGE)
    return Status(202, _apply(request, f"switch {switch.name}", OPERATION))


@router.get("/leases", response=list[LeaseOut], summary="Leases of all switches")
def list_leases(request: HttpRequest, filters: Query[LeaseFilters]) -> list[dict[str, Any]]:
    require(request, VIEW)
    rows = Lease.objects.filter(switch__name=filters.switch) if filters.switch else Lease.objects.all()
    begin = (filters.page - 1) * filters.size
    keys = pages.search(rows, filters.q, filters.sort)[begin : begin + filters.size]
    found = Lease.objects.select_related("switch").in_bulk(keys)
    return [_lease_out(row) for row in pages.rows(found[key] for key in keys if key in found)]


def _lease_out(row: pages.Row) -> dict[str, Any]:
    names = ("address", "mac", "hostname", "client_id", "expires_at")
    columns = {name: getattr(row.lease, name) for name in names}
    guest = row.guest.guest if row.guest else None
    return columns | {
        "id": row.lease.pk,
        "switch": row.lease.switch.name,
        "is_static": row.is_static,
        "guest": guest.endpoint if guest else "",
        "guest_name": guest.name if guest else "",
    }


@router.post("/leases/{int:pk}/static", response=StaticOut, summary="Make a lease static")
def make_static(request: HttpRequest, pk: int) -> dict[str, Any]:
    lease = lookup(signed_in(request), Lease, CHANGE, pk=pk)
    try:
        given = pages.make_static(lease)
    except Unfit as error:
        raise ApiError(409, "conflict", str(error)) from error
    detail = {"port": given.port, "mac": given.mac}
    _apply(request, f"lease {lease.address} on {lease.switch.name}", "network.static_lease", detail)
    return detail | {"address": str(given.address)}


@router.delete("/leases/{int:pk}", response={202: TaskOut}, summary="Take a lease back")
def release_lease(request: HttpRequest, pk: int) -> Status[Task]:
    lease = lookup(signed_in(request), Lease, CHANGE, pk=pk)
    return by_api(
        request, f"lease {lease.address} on {lease.switch.name}", "network.release_lease",
        switch_id=lease.switch_id, address=lease.address,
    )  # fmt: skip


@router.get("/switches/{name}/records", response=list[RecordOut], summary="Records of a switch")
def list_records(request: HttpRequest, name: str) -> Any:
    return _switch(request, name).records.all()


@router.post("/switches/{name}/records", response={201: RecordOut}, summary="Add a record")
def add_record(request: HttpRequest, name: str, payload: RecordIn) -> Status[DnsRecord]:
    switch = _switch(request, name, CHANGE)
    return Status(201, _save(request, RecordForm(payload.model_dump(mode="json"), switch=switch)))


@router.put("/records/{int:pk}", response=RecordOut, summary="Change a record")
def change_record(request: HttpRequest, pk: int, payload: RecordIn) -> DnsRecord:
    record = lookup(signed_in(request), DnsRecord, CHANGE, pk=pk)
    form = RecordForm(payload.model_dump(mode="json"), switch=record.switch, record=record)
    return _save(request, form)


def _save(request: HttpRequest, form: RecordForm) -> DnsRecord:
    saved = form.save() if form.is_valid() else None
    if saved is None:
        raise invalid(form)
    _apply(request, f"switch {form.switch.name}", "network.record", {"record": str(saved)})
    return saved


@router.delete("/records/{int:pk}", response={204: None}, summary="Remove a record")
def remove_record(request: HttpRequest, pk: int) -> Status[None]:
    record = lookup(signed_in(request), DnsRecord, CHANGE, pk=pk)
    switch, said = record.switch, str(record)
    record.delete()
    publish(switch.subject)
    _apply(request, f"switch {switch.name}", "network.record_delete", {"record": said})
    return Status(204, None)
