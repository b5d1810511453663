"""What the worker does to this host's tunnels."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from django.db import transaction
from django.db.models import F
from pydantic import BaseModel

from bhype.freebsd import ifconfig, netstat, wg
from bhype.freebsd.names import BadName
from bhype.host import CommandError
from bhype.hosts.models import Host
from bhype.live import publish
from bhype.tasks import OperationFailed, Run, operation
from network.models import Mesh, MeshPeer

from . import plan
from .plan import Conflict, Wanted
from .rules import Bad, address_of


class MeshParams(BaseModel):
    """wanted: what it was asked for; another is not asked for too soon after the first, see `observe`."""

    wanted: str = ""


@operation(
    "network.ensure_mesh",
    title="Set up the WireGuard meshes",
    right="network.change",
    lock="network",
    subject="meshes:{wanted}",
)
def ensure_mesh(run: Run, _params: MeshParams) -> None:
    """Make every mesh of this host as it is wanted. May be repeated; one that cannot be made stops no other."""
    failures = []
    mine = (
        MeshPeer.objects.filter(host=Host.objects.this())
        .select_related("mesh")
        .prefetch_related("mesh__peers")
    )
    for me in mine:
        try:
            if me.is_leaving or me.mesh.is_deleting:
                run.stage(f"Leaving {me.mesh.name}")
                _leave(run, me)
            else:
                run.stage(f"Setting up {me.mesh.name}")
                _ensure(run, me)
        except (Bad, BadName, Conflict, CommandError) as error:
            failures.append(f"{me.mesh.name}: {error}")
            _save(me, problems=[str(error)], is_up=False)
    if failures:
        raise OperationFailed(" ".join(failures))


def _ensure(run: Run, me: MeshPeer) -> None:
    """Each step can be repeated: a key that is there stays, and wg(8) is given the whole file."""
    # What is applied is what was read before: a change that comes meanwhile is seen by the observer.
    revision = me.mesh.revision
    private = _private_key(run, plan.key_path(me.mesh.name))
    public = run.host.query(wg.public_key(private))
    if public != me.public_key:
        _save(me, public_key=public)
        revision = _bump(me.mesh, revision)
    wanted = plan.wanted(me.mesh, me, me.mesh.peers.all(), plan.nearby(me.mesh, _interfaces(run)))
    told: list[str] = list(wanted.problems)
    text = plan.config(wanted, private, lambda end: _resolve(run, end, told))
    run.host.write_text(wanted.config_path, text)
    for command in plan.make(wanted, _interfaces(run)):
        run.host.run(command)
    run.host.run(wg.synchronise(wanted.interface, wanted.config_path))
    _dress(run, wanted)
    # ifconfig(8) only warns when it cannot set a name or an MTU: read back what has come of it.
    interfaces, routes = _interfaces(run), run.host.query(netstat.routes())
    if plan.make(wanted, interfaces) or plan.dress(wanted, interfaces, routes):
        raise Conflict(f"No command failed, but {wanted.interface} is not as it should be.")
    for sentence in told:
        run.log(sentence)
    _save(me, applied=revision, is_up=True, problems=told)


def _dress(run: Run, wanted: Wanted) -> None:
    routes = run.host.query(netstat.routes())
    for command in plan.dress(wanted, _interfaces(run), routes):
        run.host.run(command)


def _interfaces(run: Run) -> list[ifconfig.Interface]:
    return run.host.query(ifconfig.list_interfaces())


def _private_key(run: Run, path: str) -> str:
    """The key of this host in a mesh, made when there is none. It never leaves the host, nor stands in the log."""
    run.host.makedirs(plan.FOLDER, 0o700)
    if run.host.exists(path):
        with suppress(BadName):
            private = wg.key(run.host.read_text(path).strip())
            run.redact(private)
            return private
    private = wg.new_private_key(os.urandom(wg.KEY_BYTES))
    run.redact(private)
    run.host.write_text(path, private + "\n")
    return private


def _resolve(run: Run, end: str, told: list[str]) -> str:
    """An endpoint with an address for its name. The peer of one that is not found may still call this host."""
    if address_of(end):
        return end
    name, _, port = end.rpartition(":")
    run.stage(f"Looking for {name}")
    try:
        found = socket.getaddrinfo(name, int(port), type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        told.append(f"The name {name} was not found ({error}); this host waits to be called.")
        return ""
    address = str(found[0][4][0])
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _leave(run: Run, me: MeshPeer) -> None:
    """Take the interface and the files away, then the row, and the mesh with its last host."""
    mesh, description = me.mesh, plan.DESCRIPTION + me.mesh.name
    for interface in _interfaces(run):
        if interface.description == description and ifconfig.GROUP in interface.groups:
            run.host.run(ifconfig.destroy(interface.name))
    for path in (plan.key_path(mesh.name), f"{plan.FOLDER}/{mesh.name}.conf"):
        run.host.unlink(path)
    with transaction.atomic():
        me.delete()
        gone(mesh)


def gone(mesh: Mesh) -> None:
    """After one of its peers has gone: tell the others, or let the mesh go with its last host."""
    if mesh.is_deleting and not mesh.peers.filter(host__isnull=False).exists():
        mesh.delete()
    else:
        Mesh.objects.filter(pk=mesh.pk).update(revision=F("revision") + 1)
    publish(f"mesh:{mesh.pk}", "meshes")


def _bump(mesh: Mesh, revision: int) -> int:
    """Tell the other hosts of the mesh; returns what this one may note as applied when nobody else changes it."""
    Mesh.objects.filter(pk=mesh.pk).update(revision=F("revision") + 1)
    return revision + 1


def _save(me: MeshPeer, **columns: object) -> None:
    with transaction.atomic():
        MeshPeer.objects.filter(pk=me.pk).update(**columns)
        publish(f"mesh:{me.mesh_id}", "meshes")
