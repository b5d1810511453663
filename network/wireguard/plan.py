"""One host's side of a mesh: what it is to be, as files and commands, and what differs. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from typing import TYPE_CHECKING

from bhype.freebsd import ifconfig, ifconfig_switch, route, wg
from bhype.freebsd.command import Command
from bhype.freebsd.ifconfig import Interface
from bhype.freebsd.netstat import Route

from . import rules
from .rules import Bad

if TYPE_CHECKING:
    from network.models import Mesh, MeshPeer

FOLDER = "/usr/local/etc/bhype/wireguard"
DESCRIPTION = "bhype/mesh/"


@dataclass(frozen=True, slots=True)
class Other:
    """A peer as this host is told of it. allowed: the networks that it may send from; endpoint: "" for one that
    calls."""

    name: str
    public_key: str
    allowed: tuple[str, ...]
    endpoint: str
    keepalive: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """A host's side of a mesh. address: with the mesh's prefix length; routes: networks behind others; problems: peers
    that cannot be told of, as sentences."""

    name: str
    interface: str
    address: str
    port: int
    mtu: int
    others: tuple[Other, ...]
    routes: tuple[str, ...]
    problems: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        return DESCRIPTION + self.name

    @property
    def config_path(self) -> str:
        return f"{FOLDER}/{self.name}.conf"


def key_path(name: str) -> str:
    """Where the private key of this host in a mesh lies."""
    return f"{FOLDER}/{rules.name(name)}.key"


def nearby(mesh: Mesh, interfaces: Iterable[Interface]) -> list[rules.Used]:
    """The networks that this host is in itself, but for the mesh's: what leads to them never goes into a tunnel."""
    return [
        rules.Used(ip_interface(word).network, f"the host's interface {one.name}")
        for one in interfaces
        if one.name != mesh.interface
        for word in _addresses(one)
    ]


def wanted(mesh: Mesh, me: MeshPeer, peers: Iterable[MeshPeer], near: Sequence[rules.Used] = ()) -> Wanted:
    """What rows say. near: as `nearby`. Raises Bad when the mesh or ``me`` makes no sense; peers that make none are
    left out and told."""
    net = rules.network(mesh.network)
    rules.no_overlap(net, near)
    others, told = [], []
    # What nobody else may send from.
    used = [*near, rules.Used(ip_network(rules.inside(me.address, net)), "this host")]
    for peer in sorted(peers, key=lambda one: one.name):
        if peer.pk == me.pk or peer.is_leaving:
            continue
        if not peer.public_key:
            told.append(f"{peer.name} is not connected: its key is not known yet.")
            continue
        try:
            one = _other(mesh, peer, net, used)
        except Bad as error:
            told.append(f"{peer.name[:64]!r} is left out. {error}")
            continue
        others.append(one)
        used += [rules.Used(ip_network(network), one.name) for network in one.allowed]
    return Wanted(
        name=rules.name(mesh.name),
        interface=mesh.interface,
        address=f"{rules.inside(me.address, net)}/{net.prefixlen}",
        port=rules.port(mesh.port),
        mtu=mesh.mtu,
        others=tuple(others),
        routes=tuple(
            sorted(
                {network for one in others for network in one.allowed if not _is_in(network, mesh.network)}
            )
        ),
        problems=tuple(told),
    )


def _other(mesh: Mesh, peer: MeshPeer, net: rules.Network, used: Sequence[rules.Used]) -> Other:
    address = ip_network(rules.inside(peer.address, net))
    routes = [rules.route(str(word)) for word in peer.routes]
    for one in (address, *routes):
        rules.no_overlap(one, used)
    end = rules.endpoint(peer.endpoint, mesh.port)
    rules.no_loop(routes, net, [(peer.name, end)])
    return Other(
        rules.peer_name(peer.name),
        rules.key(peer.public_key),
        tuple(sorted({str(one) for one in (address, *routes)})),
        end,
        min(max(0, mesh.keepalive), 65535),
    )


def _is_in(network: str, mesh: str) -> bool:
    one, whole = ip_network(network), ip_network(mesh)
    return one.version == whole.version and one.subnet_of(whole)  # type: ignore[arg-type]


def config(wanted: Wanted, private_key: str, resolve: Callable[[str], str]) -> str:
    """The file for `wg syncconf`. resolve: gives an endpoint with an address instead of a name, "" where the name is
    not found: one such would keep wg(8) from taking all others."""
    lines = ["[Interface]", f"PrivateKey = {wg.key(private_key)}", f"ListenPort = {wanted.port}"]
    for one in wanted.others:
        lines += ["", *peer_lines(one, resolve(one.endpoint) if one.endpoint else "")]
    return "\n".join(lines) + "\n"


def shown(wanted: Wanted, note: str) -> str:
    """The file for `wg syncconf` as a page may show it: note stands for the private key."""
    lines = ["[Interface]", f"# PrivateKey {note}", f"ListenPort = {wanted.port}"]
    for one in wanted.others:
        lines += ["", *peer_lines(one, one.endpoint)]
    return "\n".join(lines) + "\n"


def peer_lines(one: Other, endpoint: str) -> list[str]:
    """The part of a peer, as wg(8) and wg-quick(8) read it."""
    lines = [
        "[Peer]",
        f"# {one.name}",
        f"PublicKey = {one.public_key}",
        f"AllowedIPs = {', '.join(one.allowed)}",
    ]
    if endpoint:
        lines.append(f"Endpoint = {endpoint}")
    if one.keepalive:
        lines.append(f"PersistentKeepalive = {one.keepalive}")
    return lines


def quick(wanted: Wanted, private_key: str, own_endpoint: str) -> str:
    """The file for wg-quick(8) of a machine that bHype does not run on. private_key: "" for a place to fill in."""
    key = wg.key(private_key) if private_key else "(the private key of this machine)"
    lines = ["[Interface]", f"PrivateKey = {key}", f"Address = {wanted.address}", f"MTU = {wanted.mtu}"]
    if own_endpoint:
        lines.append(f"ListenPort = {own_endpoint.rpartition(':')[2]}")
    for one in wanted.others:
        lines += ["", *peer_lines(one, one.endpoint)]
    return "\n".join(lines) + "\n"


class Conflict(Exception):
    """The host has something else in the way. A sentence."""


def make(wanted: Wanted, interfaces: Sequence[Interface]) -> list[Command]:
    """What makes the interface. Raises Conflict; one that a crash has left unnamed is replaced."""
    steps = [
        ifconfig.destroy(stray.name)
        for stray in interfaces
        if stray.description == wanted.description and stray.name != wanted.interface
    ]
    found = _find(wanted, interfaces)
    if found is None:
        return [*steps, wg.create(wanted.interface, wanted.description)]
    if found.description != wanted.description:
        raise Conflict(
            f"The interface {found.name} is there already and was not made by bHype. Rename or destroy it."
        )
    return steps


def dress(wanted: Wanted, interfaces: Sequence[Interface], routes: Sequence[Route]) -> list[Command]:
    """What gives an interface that is there its address, MTU and routes."""
    found = _find(wanted, interfaces)
    has = set(_addresses(found)) if found else set()
    interface = wanted.interface
    steps = [ifconfig.remove_address(interface, one) for one in sorted(has - {wanted.address})]
    if ":" in wanted.address and (found is None or "IFDISABLED" in found.nd6):
        steps.append(ifconfig_switch.enable_ipv6(interface))
    if wanted.address not in has:
        steps.append(ifconfig.set_address(interface, wanted.address))
    if found is None or found.mtu != wanted.mtu:
        steps.append(ifconfig.set_mtu(interface, wanted.mtu))
    if found is None or not found.is_up:
        steps.append(ifconfig.up(interface))
    there = _networks(wanted, routes)
    steps += [route.delete(one, interface) for one in sorted(there - {*wanted.routes})]
    return steps + [route.add(one, interface) for one in wanted.routes if one not in there]


def differences(
    wanted: Wanted, interfaces: Sequence[Interface], devices: Sequence[wg.Device], routes: Sequence[Route]
) -> list[str]:
    """What is not as it should be on the host, as sentences; none when all is."""
    found = _find(wanted, interfaces)
    if found is None or found.description != wanted.description:
        return [f"The interface {wanted.interface} is missing."]
    told = []
    if dress(wanted, interfaces, routes):
        told.append(f"{wanted.interface} has not the address, MTU or routes that it should have.")
    device = next((one for one in devices if one.name == wanted.interface), None)
    if device is None or not device.public_key:
        return [*told, f"{wanted.interface} has no key."]
    if device.port != wanted.port:
        told.append(f"{wanted.interface} listens on port {device.port} instead of {wanted.port}.")
    has = {(one.public_key, tuple(sorted(one.allowed)), one.keepalive) for one in device.links}
    if has != {(one.public_key, one.allowed, one.keepalive) for one in wanted.others}:
        told.append(f"{wanted.interface} does not know the peers that it should know.")
    return told


def strays(names: Iterable[str], interfaces: Sequence[Interface]) -> list[str]:
    """Interfaces of meshes that this host is in no more. names: of those it is in."""
    known = {DESCRIPTION + name for name in names}
    return [
        one.name
        for one in interfaces
        if one.description.startswith(DESCRIPTION) and one.description not in known
    ]


def _find(wanted: Wanted, interfaces: Sequence[Interface]) -> Interface | None:
    return next((one for one in interfaces if one.name == wanted.interface), None)


def _addresses(interface: Interface) -> list[str]:
    """Those that somebody has set."""
    return [str(ip_interface(one)) for one in interface.addresses if "%" not in one and "/" in one]


def _networks(wanted: Wanted, routes: Sequence[Route]) -> set[str]:
    """The networks that are routed into the mesh, but for the mesh's own."""
    found = set()
    own = ip_interface(wanted.address)
    for one in routes:
        # Those of the interface's own address come with it; flag H: a single address.
        if one.interface != wanted.interface or "%" in one.destination or one.destination == "default":
            continue
        try:
            network = ip_network(one.destination)
        except ValueError:
            continue
        is_own = network == own.network or ip_address(own.ip) == network.network_address
        if not is_own and not network.is_link_local and not network.is_multicast:
            found.add(str(network))
    return found
