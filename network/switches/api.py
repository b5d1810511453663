"""The API of switches and of what they lead through."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from ninja import Router, Schema, Status
from pydantic import ConfigDict, Field

from bhype.accounts import audit
from bhype.accounts.access import lookup, require, signed_in
from bhype.accounts.errors import ApiError, invalid
from bhype.hosts.models import Host
from bhype.tasks.api import TaskOut
from bhype.tasks.models import Task
from bhype.tasks.requested import by_api
from bhype.ui.pages import STALE
from network.models import HostInterface, Switch

from . import pages, removing
from .forms import COLUMNS, SwitchForm

router = Router()
interfaces_router = Router()


class SwitchOut(Schema):
    """interface: the host's own on it; addresses: all of the host there; members: what is plugged in now; problems:
    what is not as it is wanted, as sentences; revision: to be sent along with a change."""

    name: str
    host: str
    uuid: str
    kind: str
    technology: str
    note: str
    adopted: str
    interface: str
    address: str
    address6: str
    addresses: list[str]
    uplink: str
    vlan: int | None
    vxlan: int | None
    vxlan_local: str
    vxlan_remote: str
    mtu: int
    is_isolated: bool
    is_guarded: bool
    has_vlans: bool
    nat_interface: str
    is_up: bool
    is_waiting: bool
    is_deleting: bool
    members: list[str]
    problems: list[str]
    revision: int
    seen_at: datetime | None

    @staticmethod
    def resolve_host(switch: Any) -> str:
        return str(switch.host.name)

    @staticmethod
    def resolve_uuid(switch: Any) -> str:
        return str(switch.uuid)


class SwitchIn(Schema):
    """What is left out has its usual value, such as a network that is free. kind: bridged, nat or private;
    technology: bridge, netgraph or vale; adopted: a bridge that somebody else has made."""

    model_config = ConfigDict(extra="forbid")
    name: str
    kind: str = "nat"
    technology: str = "bridge"
    note: str = ""
    adopted: str = ""
    address: str = ""
    address6: str = ""
    uplink: str = ""
    vlan: int | None = None
    vxlan: int | None = None
    vxlan_local: str = ""
    vxlan_remote: str = ""
    mtu: int | None = None
    is_isolated: bool = False
    is_guarded: bool = True
    has_vlans: bool = False
    nat_interface: str = ""


class SwitchPatch(Schema):
    """revision: the one that was looked at; without it the newest is changed."""

    model_config = ConfigDict(extra="forbid")
    kind: str | None = None
    technology: str | None = None
    note: str | None = None
    address: str | None = None
    address6: str | None = None
    uplink: str | None = None
    vlan: int | None = None
    vxlan: int | None = None
    vxlan_local: str | None = None
    vxlan_remote: str | None = None
    mtu: int | None = None
    is_isolated: bool | None = None
    is_guarded: bool | None = None
    has_vlans: bool | None = None
    nat_interface: str | None = None
    revision: int | None = None


class MoveHostAddressIn(Schema):
    """is_back: from the switch to its uplink; seconds: to confirm it in."""

    model_config = ConfigDict(extra="forbid")
    is_back: bool = False
    seconds: int = Field(90, ge=20, le=600)


class SwitchPortOut(Schema):
    """A guest's port. addresses: known of it; is_in: plugged in now."""

    guest: str
    kind: str
    is_on: bool
    mac: str
    interface: str
    addresses: list[str]
    is_in: bool
    is_linked: bool
    is_private: bool
    may_spoof: bool
    vlan: int | None
    tagged: str


class InterfaceOut(Schema):
    """One of the host's interfaces. kind: physical, or what it was cloned from; is_own: made by bHype; is_default: the
    way to the rest of the world."""

    name: str
    kind: str
    mac: str
    mtu: int
    is_up: bool
    status: str
    addresses: list[str]
    members: list[str]
    parent: str
    vlan: int | None
    is_own: bool
    is_default: bool


class ChangedOut(Schema):
    switch: SwitchOut
    task: TaskOut


def _find(request: HttpRequest, name: str, right: str = "network.view") -> Switch:
    return lookup(signed_in(request), Switch, right, name=name)


@router.get("", response=list[SwitchOut], summary="Switches")
def list_switches(request: HttpRequest) -> QuerySet[Switch]:
    require(request, "network.view")
    return Switch.objects.select_related("host")


@router.post("", response={202: ChangedOut}, summary="Make a switch")
def create_switch(request: HttpRequest, payload: SwitchIn) -> Status[Any]:
    """Its name is enough: a NAT-ed switch with a free network, DHCP, names and a way out."""
    require(request, "network.change")
    data = payload.model_dump()
    form = SwitchForm(data, host=Host.objects.this(), kind=payload.kind, adopted=payload.adopted)
    return _saved(request, form, "network.create_switch")


@router.post("/ensure", response={202: TaskOut}, summary="Set all switches up now")
def ensure_switches(request: HttpRequest) -> Status[Task]:
    return by_api(request, "switches", "network.ensure")


@router.get("/{name}", response=SwitchOut, summary="One switch")
def get_switch(request: HttpRequest, name: str) -> Switch:
    return _find(request, name)


@router.patch("/{name}", response={202: ChangedOut}, summary="Change a switch")
def change_switch(request: HttpRequest, name: str, payload: SwitchPatch) -> Status[Any]:
    """What is absent stays, null empties."""
    switch = _find(request, name, "network.change")
    data = {column: getattr(switch, column) for column in COLUMNS} | payload.model_dump(exclude_unset=True)
    data.setdefault("revision", switch.revision)
    return _saved(request, SwitchForm(data, host=switch.host, switch=switch), "network.change_switch")


def _saved(request: HttpRequest, form: SwitchForm, action: str) -> Status[Any]:
    if not form.is_valid():
        raise invalid(form)
    try:
        row, task = form.save(signed_in(request))
    except ValidationError as error:
        stale = error.message == STALE
        raise ApiError(409 if stale else 422, "stale" if stale else "invalid", str(error.message)) from error
    audit.record(request, action, f"switch {row.name}", task=task)
    return Status(202, {"switch": row, "task": task})


@router.delete("/{name}", response={202: TaskOut}, summary="Take a switch away")
def delete_switch(request: HttpRequest, name: str) -> Status[Task]:
    """Refused while it has ports of guests."""
    switch = _find(request, name, "network.change")
    task = removing.remove(switch, signed_in(request))
    audit.record(request, "network.delete_switch", f"switch {switch.name}", task=task)
    return Status(202, task)


@router.get("/{name}/ports", response=list[SwitchPortOut], summary="What is plugged into a switch")
def list_ports(request: HttpRequest, name: str) -> list[dict[str, Any]]:
    """The first hundred ports of guests, by their names."""
    found = pages.ports(_find(request, name), signed_in(request), None)["ports"]
    return [
        {
            "guest": row.guest.name, "kind": row.guest.kind, "is_on": row.guest.is_on, "mac": row.port.mac,
            "interface": row.port.interface, "addresses": [one.address for one in row.addresses],
            "is_in": row.is_in, "is_linked": row.port.is_linked, "is_private": row.is_private,
            "may_spoof": row.port.may_spoof, "vlan": row.port.vlan, "tagged": row.port.tagged,
        }
        for row in found
    ]  # fmt: skip


@router.post("/{name}/host-address", response={202: TaskOut}, summary="Move the host's addresses")
def move_host_address(request: HttpRequest, name: str, payload: MoveHostAddressIn) -> Status[Task]:
    """From the uplink to the switch, or back. They go back by themselves without a confirmation (changes)."""
    switch = _find(request, name, "network.change")
    return by_api(
        request,
        f"switch {switch.name}",
        "network.move_host_address",
        switch_id=switch.pk,
        **payload.model_dump(),
    )


@interfaces_router.get(
    "", response=list[InterfaceOut], summary="The host's interfaces, those of guests left out"
)
def list_interfaces(request: HttpRequest) -> QuerySet[HostInterface]:
    require(request, "network.view")
    return HostInterface.objects.filter(host=Host.objects.this())
