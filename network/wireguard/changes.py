"""What people do to meshes, for pages and API: rows are changed, and this host's worker is asked. Other hosts see it
themselves."""

from __future__ import annotations

import os

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.db import transaction
from django.http import HttpRequest

from bhype.accounts import audit
from bhype.accounts.access import signed_in
from bhype.freebsd import wg
from bhype.live import publish
from bhype.tasks import ask
from bhype.tasks.models import Task
from network.models import Mesh, MeshPeer

from . import plan
from .forms import changed
from .operations import gone

OPERATION = "network.ensure_mesh"


def apply(request: HttpRequest, action: str, what: str, detail: dict[str, object] | None = None) -> Task:
    """Ask for the operation and note who wanted what."""
    task = ask(OPERATION, {}, signed_in(request))
    audit.record(request, action, what, detail, task=task)
    return task


def delete(request: HttpRequest, mesh: Mesh) -> None:
    """Have every host take its interface away; the mesh goes with the last. Asked again, it lets those go that do not
    answer: they tell of what they still have when they come back."""
    with transaction.atomic():
        if mesh.is_deleting:
            for peer in mesh.peers.select_related("host"):
                if peer.host is not None and not peer.host.is_online:
                    peer.delete()
        Mesh.objects.filter(pk=mesh.pk).update(is_deleting=True)
        mesh.is_deleting = True
        mesh.peers.filter(host=None).delete()
        gone(mesh)
        apply(request, "wireguard.delete", f"mesh {mesh.name}")


def remove(request: HttpRequest, peer: MeshPeer) -> None:
    """Take a peer out of its mesh: a host when it has taken its interface away, or does not answer; another machine at
    once."""
    with transaction.atomic():
        if peer.host is None or (peer.is_leaving and not peer.host.is_online):
            peer.delete()
            gone(peer.mesh)
        else:
            MeshPeer.objects.filter(pk=peer.pk).update(is_leaving=True)
            changed(peer.mesh)
        apply(request, "wireguard.remove", f"mesh {peer.mesh.name}", {"peer": peer.name})


def give_file(request: HttpRequest, peer: MeshPeer) -> str:
    """A file for wg-quick(8) with a new key for a machine without bHype. The key is in the answer alone: it is neither
    stored nor logged, and one from before is good no more. Raises Bad."""
    wanted = plan.wanted(peer.mesh, peer, peer.mesh.peers.all())
    private = wg.new_private_key(os.urandom(wg.KEY_BYTES))
    public = public_key(private)
    with transaction.atomic():
        MeshPeer.objects.filter(pk=peer.pk).update(public_key=public)
        changed(peer.mesh)
        apply(request, "wireguard.new_key", f"mesh {peer.mesh.name}", {"peer": peer.name})
        publish(peer.mesh.subject)
    return plan.quick(wanted, private, peer.endpoint)


def public_key(private: str) -> str:
    """What `wg pubkey` would print."""
    import base64

    key = X25519PrivateKey.from_private_bytes(base64.b64decode(private))
    return base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
