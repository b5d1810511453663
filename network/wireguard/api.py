"""The API of WireGuard meshes. Private keys are in no answer, but in that of a new file for a machine without bHype."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from ninja import Router, Schema
from ninja.responses import Status
from pydantic import ConfigDict, Field

from bhype.accounts.access import lookup, require, signed_in
from bhype.accounts.errors import ApiError, invalid
from bhype.hosts.models import Host
from bhype.tasks.api import TaskOut
from bhype.tasks.models import Task
from network.models import Mesh, MeshPeer

from . import changes, pages
from .forms import MeshForm, PeerForm, seen
from .rules import Bad

router = Router()


class ConnectionOut(Schema):
    """From a host to a peer. at: of the last handshake; received, sent: bytes."""

    name: str
    at: datetime | None
    received: int
    sent: int
    is_alive: bool


class PeerOut(Schema):
    """host: null for a machine without bHype; config: what it is told, without private key; endpoint: "" for one that
    only calls; routes: networks behind it."""

    id: int
    name: str
    host: str | None
    address: str
    endpoint: str
    public_key: str
    routes: list[str]
    state: str
    problems: list[str]
    config: str
    connections: list[ConnectionOut]


class MeshOut(Schema):
    name: str
    interface: str
    network: str
    port: int
    mtu: int
    keepalive: int
    is_deleting: bool
    peers: list[PeerOut]


class MeshIn(Schema):
    """network: such as 10.99.0.0/24; port: UDP; mtu: bytes; keepalive: seconds, 0 for none."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=40)
    network: str = Field(max_length=60)
    port: int = 51820
    mtu: int = 1420
    keepalive: int = 25


class MeshChange(Schema):
    model_config = ConfigDict(extra="forbid")
    port: int | None = None
    mtu: int | None = None
    keepalive: int | None = None


class PeerChange(Schema):
    """What is left out stays. public_key, name: of a machine without bHype; address: "" for the next free one."""

    model_config = ConfigDict(extra="forbid")
    name: str | None = Field(None, max_length=64)
    public_key: str | None = Field(None, max_length=64)
    endpoint: str | None = Field(None, max_length=260)
    address: str | None = Field(None, max_length=60)
    routes: list[str] | None = Field(None, max_length=64)


class PeerIn(PeerChange):
    """host: its name; null for a machine without bHype, which needs a name."""

    host: str | None = None


class MeshFileOut(Schema):
    """file: for wg-quick(8), with a private key that is kept nowhere else."""

    file: str


def _mesh(request: HttpRequest, name: str, right: str = "network.change") -> Mesh:
    return lookup(signed_in(request), Mesh, right, name=name)


def _peer(request: HttpRequest, name: str, number: int) -> MeshPeer:
    return lookup(signed_in(request), MeshPeer, "network.change", mesh__name=name, pk=number)


def _out(mesh: Mesh) -> dict[str, Any]:
    columns = ("name", "interface", "network", "port", "mtu", "keepalive", "is_deleting")
    peers = [
        {
            "id": line.peer.pk, "name": line.peer.name, "host": line.peer.host.name if line.peer.host else None,
            "address": line.peer.address, "endpoint": line.peer.endpoint, "public_key": line.peer.public_key,
            "routes": line.peer.routes, "state": line.label, "problems": line.peer.problems, "config": line.config,
            "connections": line.connections,
        }
        for line in pages.lines(mesh)
    ]  # fmt: skip
    return {column: getattr(mesh, column) for column in columns} | {"peers": peers}


def _loaded() -> QuerySet[Mesh]:
    return Mesh.objects.prefetch_related("peers__host")


@router.get("/meshes", response=list[MeshOut], summary="WireGuard meshes")
def list_meshes(request: HttpRequest) -> list[dict[str, Any]]:
    require(request, "network.view")
    return [_out(mesh) for mesh in _loaded()]


@router.get("/meshes/{name}", response=MeshOut, summary="One mesh with its peers")
def get_mesh(request: HttpRequest, name: str) -> dict[str, Any]:
    return _out(_loaded().get(pk=_mesh(request, name, "network.view").pk))


@router.post("/meshes", response={201: MeshOut}, summary="Make a mesh")
def create_mesh(request: HttpRequest, body: MeshIn) -> Status[dict[str, Any]]:
    require(request, "network.change")
    form = MeshForm(body.model_dump())
    mesh = form.save() if form.is_valid() else None
    if mesh is None:
        raise invalid(form)
    changes.apply(request, "wireguard.create", f"mesh {mesh.name}", body.model_dump())
    return Status(201, _out(mesh))


@router.patch("/meshes/{name}", response=MeshOut, summary="Change a mesh on all its hosts")
def change_mesh(request: HttpRequest, name: str, body: MeshChange) -> dict[str, Any]:
    mesh = _mesh(request, name)
    given = body.model_dump(exclude_none=True)
    form = MeshForm({"port": mesh.port, "mtu": mesh.mtu, "keepalive": mesh.keepalive} | given, mesh=mesh)
    if not form.is_valid() or form.save() is None:
        raise invalid(form)
    changes.apply(request, "wireguard.change", f"mesh {name}", given)
    return _out(_loaded().get(pk=mesh.pk))


@router.delete("/meshes/{name}", response={202: MeshOut}, summary="Take a mesh down on all its hosts")
def delete_mesh(request: HttpRequest, name: str) -> Status[dict[str, Any]]:
    mesh = _mesh(request, name)
    shown = _out(_loaded().get(pk=mesh.pk))
    changes.delete(request, mesh)
    return Status(202, shown | {"is_deleting": True})


@router.post("/meshes/{name}/apply", response={202: TaskOut}, summary="Set up the meshes of this host")
def apply_mesh(request: HttpRequest, name: str) -> Status[Task]:
    mesh = _mesh(request, name)
    return Status(202, changes.apply(request, "wireguard.apply", f"mesh {mesh.name}"))


@router.post("/meshes/{name}/peers", response={201: MeshOut}, summary="Add a host or another machine")
def add_peer(request: HttpRequest, name: str, body: PeerIn) -> Status[dict[str, Any]]:
    mesh = _mesh(request, name)
    if mesh.is_deleting:
        raise ApiError(409, "conflict", "This mesh is being taken down.")
    host = Host.objects.filter(name=body.host).first() if body.host else None
    if body.host and host is None:
        raise ApiError(422, "invalid", "There is no such host.", "host")
    form = PeerForm(_words(body) | {"host": str(host.pk) if host else ""}, mesh=mesh)
    peer = form.save() if form.is_valid() else None
    if peer is None:
        raise invalid(form)
    changes.apply(request, "wireguard.add", f"mesh {name}", {"peer": peer.name})
    return Status(201, _out(_loaded().get(pk=mesh.pk)))


def _words(body: PeerChange, peer: MeshPeer | None = None) -> dict[str, Any]:
    """What a form takes: what is given, and what the peer has."""
    had = (
        {name: getattr(peer, name) for name in ("name", "public_key", "endpoint", "address", "routes")}
        if peer
        else {}
    )
    found = had | body.model_dump(exclude_none=True, exclude={"host"})
    return found | {"routes": "\n".join(found.get("routes") or [])} | ({"seen": seen(peer)} if peer else {})


@router.patch("/meshes/{name}/peers/{int:number}", response=MeshOut, summary="Change a peer")
def change_peer(request: HttpRequest, name: str, number: int, body: PeerChange) -> dict[str, Any]:
    peer = _peer(request, name, number)
    form = PeerForm(_words(body, peer), mesh=peer.mesh, peer=peer)
    if not form.is_valid() or form.save() is None:
        raise invalid(form)
    changes.apply(request, "wireguard.change_peer", f"mesh {name}", {"peer": peer.name})
    return _out(_loaded().get(pk=peer.mesh_id))


@router.delete(
    "/meshes/{name}/peers/{int:number}", response={204: None}, summary="Take a peer out of its mesh"
)
def remove_peer(request: HttpRequest, name: str, number: int) -> Status[None]:
    changes.remove(request, _peer(request, name, number))
    return Status(204, None)


@router.post(
    "/meshes/{name}/peers/{int:number}/file", response=MeshFileOut, summary="A file with a new key, once"
)
def give_file(request: HttpRequest, name: str, number: int) -> dict[str, str]:
    """For wg-quick(8) on a machine without bHype. Its key from before is good no more."""
    peer = _peer(request, name, number)
    if peer.host_id is not None:
        raise ApiError(409, "conflict", "A host makes its own key, which never leaves it.")
    try:
        return {"file": changes.give_file(request, peer)}
    except Bad as bad:
        raise ApiError(422, "invalid", str(bad)) from None
