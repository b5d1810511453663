"""The networks of a host as a graph, for the picture, and as a tree, for everybody who does not look at pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.urls import reverse

from bhype.hosts.models import Host
from network import guests
from network.addresses import known
from network.addresses.known import Known
from network.guests import Guest, Port
from network.models import HostInterface, Mesh, Switch

from .layout import Graph, Group, Node

# Guests of a switch in the picture and in the tree; of one that was opened.
FOLDED, OPENED = 12, 240
# Letters that fit into a box.
LONGEST = 21


@dataclass(frozen=True, slots=True)
class Leaf:
    """A guest's port on a switch."""

    guest: Guest
    port: Port
    addresses: tuple[str, ...]

    @property
    def address(self) -> str:
        return self.addresses[0] if self.addresses else ""


@dataclass(frozen=True, slots=True)
class Branch:
    """A switch with its guests. ways: how it goes on from there, in words; rest: guests that are not shown."""

    switch: Switch
    ways: tuple[str, ...]
    leaves: tuple[Leaf, ...]
    rest: int
    on: int
    state: str

    @property
    def total(self) -> int:
        return len(self.leaves) + self.rest


@dataclass(frozen=True, slots=True)
class World:
    """All there is on a host. way_out: the interface of the default route, None where it is not known."""

    host: Host
    branches: tuple[Branch, ...]
    interfaces: dict[str, HostInterface]
    meshes: tuple[Mesh, ...]

    @property
    def way_out(self) -> HostInterface | None:
        return next((one for one in self.interfaces.values() if one.is_default), None)


def world(host: Host, opened: str = "") -> World:
    """In a constant number of queries. opened: the name of a switch whose guests are all shown."""
    switches = list(host.switches.all())
    there = guests.find(host_id=host.pk)
    addresses = known.of(host, there)
    by_switch: dict[int, list[tuple[Guest, Port]]] = {}
    for guest in there:
        for port in guest.ports:
            if port.switch_id is not None:
                by_switch.setdefault(port.switch_id, []).append((guest, port))
    return World(
        host=host,
        branches=tuple(
            _branch(switch, by_switch.get(switch.pk, []), addresses, is_open=switch.name == opened)
            for switch in switches
        ),
        interfaces={one.name: one for one in host.interfaces.all()},
        meshes=tuple(Mesh.objects.filter(peers__host=host).prefetch_related("peers")),
    )


def _branch(
    switch: Switch, ports: list[tuple[Guest, Port]], addresses: dict[str, list[Known]], *, is_open: bool
) -> Branch:
    ports.sort(key=lambda one: (not one[0].is_on, one[0].name, one[1].index))
    most = OPENED if is_open else FOLDED
    # Nobody unfolds a switch to see one more.
    shown = ports if len(ports) <= most + 1 else ports[:most]
    leaves = tuple(
        Leaf(guest, port, tuple(one.address for one in addresses.get(port.key, []))) for guest, port in shown
    )
    return Branch(
        switch=switch,
        ways=tuple(_ways(switch)),
        leaves=leaves,
        rest=len(ports) - len(leaves),
        on=sum(guest.is_on for guest, _ in ports),
        state="down" if switch.problems or not switch.is_up else "up",
    )


def _ways(switch: Switch) -> Iterable[str]:
    if switch.uplink:
        vlan = f", VLAN {switch.vlan}" if switch.vlan else ""
        yield f"uplink {switch.uplink}{vlan}"
    if switch.vxlan:
        yield f"VXLAN {switch.vxlan} to {switch.vxlan_remote}"
    if switch.kind == Switch.Kind.NAT:
        yield f"NAT by the host at {switch.address}" if switch.address else "NAT by the host"
    elif switch.addresses:
        yield f"the host at {', '.join(switch.addresses)}"
    if switch.adopted:
        yield f"the bridge {switch.adopted}, which somebody else has made"
    elif switch.is_waiting:
        yield "waits for somebody to choose its uplink"
    elif not switch.uplink and not switch.vxlan and not switch.addresses:
        yield "nowhere: its guests reach each other alone"


def graph(found: World) -> Graph:
    """The picture's nodes and lines."""
    way_out = found.way_out
    uplinks = sorted({branch.switch.uplink for branch in found.branches if branch.switch.uplink})
    outer: list[Node] = []
    joined: list[tuple[str, str]] = []
    middle = [_host(found.host, way_out)]
    if way_out is not None or uplinks:
        outer.append(Node("internet", "internet", "Outside", said="The world outside of this host"))
    if way_out is not None:
        joined.append(("internet", "host"))
    for name in uplinks:
        middle.append(_uplink(name, found.interfaces.get(name)))
        joined.append(("internet", f"uplink:{name}"))
    for mesh in found.meshes:
        outer.append(_mesh(mesh))
        joined.append((f"mesh:{mesh.pk}", "host"))
    middle += [_tunnel(branch.switch) for branch in found.branches if branch.switch.vxlan]
    return Graph(
        tuple(outer), tuple(middle), tuple(_group(branch) for branch in found.branches), tuple(joined)
    )


def _host(host: Host, way_out: HostInterface | None) -> Node:
    detail = f"{way_out.name} {_bare(way_out.addresses)}" if way_out else ""
    said = f"The host {host.name}" + (f", out by {detail}" if detail else "")
    state = "on" if host.is_online else "off"
    return Node(
        "host",
        "host",
        _clip(host.name),
        _clip(detail),
        state,
        reverse("hosts:detail", args=[host.name]),
        said,
    )


def _uplink(name: str, interface: HostInterface | None) -> Node:
    if interface is None:
        return Node(f"uplink:{name}", "uplink", name, "missing", "off", said=f"The uplink {name} is missing")
    is_on = interface.is_up and interface.status != "no carrier"
    detail = interface.status or ("up" if interface.is_up else "down")
    said = f"The uplink {name}: {detail}"
    return Node(f"uplink:{name}", "uplink", _clip(name), _clip(detail), "on" if is_on else "off", said=said)


def _tunnel(switch: Switch) -> Node:
    detail = f"to {switch.vxlan_remote}"
    said = f"A tunnel of {switch.name} {detail}"
    return Node(f"tunnel:{switch.pk}", "tunnel", f"VXLAN {switch.vxlan}", _clip(detail), said=said)


def _mesh(mesh: Mesh) -> Node:
    others = max(0, len(mesh.peers.all()) - 1)
    detail = f"{others} other{'' if others == 1 else 's'}"
    href = reverse("network:mesh", args=[mesh.name])
    return Node(
        f"mesh:{mesh.pk}",
        "mesh",
        _clip(mesh.interface, 15),
        detail,
        href=href,
        said=f"The mesh {mesh.name}, {detail}",
    )


def _group(branch: Branch) -> Group:
    switch = branch.switch
    to: list[tuple[str, str]] = []
    if switch.kind == Switch.Kind.NAT or switch.addresses:
        to.append(("host", "NAT" if switch.kind == Switch.Kind.NAT else ""))
    if switch.uplink:
        to.append((f"uplink:{switch.uplink}", f"VLAN {switch.vlan}" if switch.vlan else ""))
    if switch.vxlan:
        to.append((f"tunnel:{switch.pk}", ""))
    detail = switch.address or switch.get_kind_display()
    said = f"The switch {switch.name}, {branch.state}, {branch.total} guests, {branch.on} on"
    href = reverse("network:detail", args=[switch.name])
    state = "on" if branch.state == "up" else "off"
    node = Node(f"switch:{switch.pk}", "switch", _clip(switch.name), _clip(detail), state, href, said)
    nodes = [_guest(leaf) for leaf in branch.leaves]
    if branch.rest:
        more = f"{reverse('network:topology')}?host={switch.host.name}&open={switch.name}"
        more = href if len(branch.leaves) >= OPENED else more
        nodes.append(
            Node(
                f"more:{switch.pk}",
                "more",
                f"and {branch.rest} more",
                href=more,
                said=f"{branch.rest} more guests of {switch.name}",
            )
        )
    return Group(node, tuple(nodes), tuple(to))


def _guest(leaf: Leaf) -> Node:
    state = "on" if leaf.guest.is_on else "off"
    detail = leaf.address if leaf.port.is_linked else "cable unplugged"
    said = f"{leaf.guest.name}, {state}" + (f", {detail}" if detail else "")
    return Node(
        f"port:{leaf.port.key}", "guest", _clip(leaf.guest.name), _clip(detail), state, leaf.guest.url, said
    )


def _bare(addresses: Sequence[str]) -> str:
    return next((one.partition("/")[0] for one in addresses if "%" not in one), "")


def _clip(text: str, most: int = LONGEST) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
