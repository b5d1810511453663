"""What the pages of meshes show, from rows alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.utils import timezone

from bhype.freebsd.names import BadName
from network.models import HostInterface, Mesh, MeshPeer

from . import plan
from .rules import Bad

# wg(8) shakes hands every two minutes while packets pass; after three the keys are no good any more.
ALIVE = timedelta(seconds=185)


@dataclass(frozen=True, slots=True)
class Connection:
    """From a host to one of its peers. at: of the last handshake, None for never; received, sent: bytes."""

    name: str
    at: datetime | None
    received: int
    sent: int
    is_alive: bool


@dataclass(frozen=True, slots=True)
class Line:
    """A peer on the page. state: a word of `ui.badge` with its label; config: what it is told, without private key;
    connections: of a host, as it sees them."""

    peer: MeshPeer
    state: str
    label: str
    config: str
    connections: tuple[Connection, ...]

    @property
    def alive(self) -> int:
        return sum(one.is_alive for one in self.connections)


def lines(mesh: Mesh) -> list[Line]:
    """The peers of a mesh with what is known of them; its peers and their hosts are loaded with it."""
    peers = list(mesh.peers.all())
    by_key = {peer.public_key: peer for peer in peers if peer.public_key}
    heard = _heard(peers)
    return [_line(mesh, peer, peers, by_key, heard) for peer in peers]


def _line(
    mesh: Mesh, peer: MeshPeer, peers: list[MeshPeer], by_key: dict[str, MeshPeer], heard: dict[str, datetime]
) -> Line:
    connections = []
    for key, link in peer.links.items():
        other = by_key.get(key)
        if other is not None:
            at = _moment(link.get("handshake"))
            connections.append(
                Connection(
                    other.name, at, int(link.get("received", 0)), int(link.get("sent", 0)), _is_alive(at)
                )
            )
    connections.sort(key=lambda one: one.name)
    state, label = _state(mesh, peer, heard.get(peer.public_key))
    return Line(peer, state, label, config(mesh, peer, peers), tuple(connections))


def _state(mesh: Mesh, peer: MeshPeer, heard: datetime | None) -> tuple[str, str]:
    if peer.is_leaving or mesh.is_deleting:
        return "deleting", "Leaving"
    if peer.host is None:
        if not peer.public_key:
            return "queued", "Has no key yet"
        return ("up", "Connected") if _is_alive(heard) else ("down", "Not heard of")
    if not peer.host.is_online:
        return "offline", "Host does not answer"
    if not peer.public_key or peer.applied == 0:
        return "making", "Being set up"
    if peer.problems:
        return "degraded", "Has problems"
    return ("up", "Up") if peer.is_up else ("down", "Down")


def _heard(peers: Iterable[MeshPeer]) -> dict[str, datetime]:
    """When anybody had last shaken hands with each key."""
    found: dict[str, datetime] = {}
    for peer in peers:
        for key, link in peer.links.items():
            at = _moment(link.get("handshake"))
            if at is not None:
                found[key] = max(at, found.get(key, at))
    return found


def _moment(seconds: object) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if isinstance(seconds, int) and seconds > 0 else None


def _is_alive(at: datetime | None) -> bool:
    return at is not None and timezone.now() - at < ALIVE


def config(mesh: Mesh, peer: MeshPeer, peers: Iterable[MeshPeer]) -> str:
    """The file of a peer without its private key; of one that makes no sense the reason, as a comment."""
    try:
        wanted = plan.wanted(mesh, peer, peers)
        return (
            plan.shown(wanted, f"stays on {peer.host.name}")
            if peer.host
            else plan.quick(wanted, "", peer.endpoint)
        )
    except (Bad, BadName) as error:
        return f"# {error}\n"


def unreachable(peers: Iterable[MeshPeer]) -> list[str]:
    """Peers of which several cannot be called: they do not find each other. The names, if there are two or more."""
    names = [peer.name for peer in peers if not peer.endpoint and not peer.is_leaving]
    return names if len(names) > 1 else []


def usual_address(host: str) -> str:
    """The address of the interface by which a host reaches the world, "" where it is not known. host: its number."""
    if not host.isascii() or not host.isdigit() or len(host) > 9:
        return ""
    found = HostInterface.objects.filter(host=int(host), is_default=True).first()
    addresses = found.addresses if found else []
    return next((one.partition("/")[0] for one in addresses if "%" not in one), "")
