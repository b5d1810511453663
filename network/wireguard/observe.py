"""Which tunnels of this host are up, and what its peers say. Has what is not as wanted mended."""

from __future__ import annotations

import hashlib
from typing import Any

from django.db import transaction

from bhype.freebsd import ifconfig, netstat, wg
from bhype.freebsd.names import BadName
from bhype.hosts.observer import Sweep, ask_once
from bhype.live import publish
from network.models import MeshPeer

from . import plan
from .rules import Bad

# In sweeps: ten seconds.
EVERY = 5


def observe(sweep: Sweep) -> bool:
    """Write is_up, links and problems of this host's peers. False when it was not the time."""
    if not sweep.every(EVERY):
        return False
    mine = list(
        MeshPeer.objects.filter(host=sweep.row).select_related("mesh").prefetch_related("mesh__peers")
    )
    interfaces = sweep.ask(ifconfig.list_interfaces())
    for stray in plan.strays([me.mesh.name for me in mine], interfaces):
        sweep.problem(
            f"The interface {stray} belongs to a WireGuard mesh that the panel does not know. If it is not needed any"
            f" more: ifconfig {stray} destroy"
        )
    if not mine:
        return True
    devices, routes = sweep.ask(wg.show_all()), sweep.ask(netstat.routes())
    told: dict[int, list[str]] = {}
    for me in mine:
        told[me.pk] = _differences(me, interfaces, devices, routes)
        _note(sweep, me, next((one for one in devices if one.name == me.mesh.interface), None))
    if any(told.values()):
        # The same is not asked for again and again; what has changed since is asked for at once.
        words = [[me.pk, me.mesh.revision, me.is_leaving, me.mesh.is_deleting, told[me.pk]] for me in mine]
        digest = hashlib.sha256(repr(words).encode()).hexdigest()[:12]
        ask_once("network.ensure_mesh", {"wanted": digest}, f"meshes:{digest}")
    return True


def _differences(
    me: MeshPeer,
    interfaces: list[ifconfig.Interface],
    devices: list[wg.Device],
    routes: list[netstat.Route],
) -> list[str]:
    if me.is_leaving or me.mesh.is_deleting:
        return ["It is to be taken down."]
    if me.applied != me.mesh.revision:
        return ["It was changed."]
    try:
        wanted = plan.wanted(me.mesh, me, me.mesh.peers.all(), plan.nearby(me.mesh, interfaces))
    except (Bad, BadName) as error:
        return [str(error)]
    told = plan.differences(wanted, interfaces, devices, routes)
    device = next((one for one in devices if one.name == wanted.interface), None)
    if device and device.public_key not in ("", me.public_key):
        told.append(f"{wanted.interface} has another key than it should have.")
    return told


def _note(sweep: Sweep, me: MeshPeer, device: wg.Device | None) -> None:
    links: dict[str, Any] = {
        link.public_key: {"handshake": link.handshake, "received": link.received, "sent": link.sent}
        for link in (device.links if device else ())
    }
    is_up = device is not None and bool(device.public_key)
    if (links, is_up) == (me.links, me.is_up) and me.seen_at is not None:
        return
    with transaction.atomic():
        MeshPeer.objects.filter(pk=me.pk).update(links=links, is_up=is_up, seen_at=sweep.now)
        publish(f"mesh:{me.mesh_id}")
