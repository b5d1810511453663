"""Switches that are nodes of netgraph(4), ng_bridge(4), and those of VALE, vale(4). Pure; see `plan`.

    guest - link1012 [ng_bridge "sw-lan"] link0 - ether EIFACE, the interface sw-lan
                                          link1 - lower em0
                                          link2 - upper em0, so that the host goes on using it

Packets between guests pass neither pf(4) nor the host: they cannot be filtered or kept apart.
"""

from __future__ import annotations

from bhype.freebsd import ifconfig, kld, ngctl, valectl
from bhype.freebsd.command import Command
from bhype.freebsd.ifconfig import Interface
from bhype.freebsd.ngctl import Hook

from . import plan_parts
from .wanted import Conflict, Seen, Wanted

MODULES = ("ng_ether", "ng_bridge", "ng_eiface")
HOST, LOWER, UPPER = "link0", "link1", "link2"


def commands(wanted: Wanted, seen: Seen) -> list[Command]:
    """What makes the node as it is wanted. Raises Conflict."""
    if seen.nodes is None:
        raise Conflict("The kernel of this host has no netgraph.")
    node = wanted.interface
    hooks = {hook.name: hook for hook in seen.hooks.get(node, ())}
    is_there = node in seen.nodes
    if is_there:
        _check_own(wanted, seen, hooks)
    if wanted.is_deleting:
        return _unmake(wanted, seen, hooks, is_there=is_there)
    if wanted.is_waiting and not is_there:
        return []
    uplink = plan_parts.uplink(wanted, seen)
    steps = []
    if not is_there:
        steps += [kld.load(module) for module in MODULES]
        steps.append(ngctl.make_named("bridge", HOST, node, "setpersistent"))
    if HOST not in hooks and wanted.end in seen.nodes:
        steps.append(ngctl.connect(f"{node}:", f"{wanted.end}:", HOST, "ether"))
    elif HOST not in hooks:
        steps.append(ngctl.make_peer(f"{node}:", "eiface", HOST, "ether"))
    steps += _host(wanted, seen, hooks)
    steps += plan_parts.make(wanted, seen)
    way_out = wanted.way_out if uplink is not None else ""
    steps += _let_go(wanted, seen, hooks, way_out)
    if way_out:
        steps += _uplink(wanted, seen, hooks, way_out)
    return [*steps, *plan_parts.unmake(wanted, seen)]


def _check_own(wanted: Wanted, seen: Seen, hooks: dict[str, Hook]) -> None:
    """Raise Conflict when the node is somebody else's: bHype's own has its interface at the first link, if any."""
    interface = seen.get(wanted.interface)
    is_described = interface is not None and interface.description == wanted.description
    is_bare = HOST not in hooks and not {LOWER, UPPER}.intersection(hooks)
    is_fresh = HOST in hooks and hooks[HOST].kind == "eiface"
    if (seen.nodes or {}).get(wanted.interface) != "bridge" or not (is_described or is_bare or is_fresh):
        raise Conflict(
            f"The netgraph node {wanted.interface} is there already and was not made by bHype. Rename or end it."
        )


def _host(wanted: Wanted, seen: Seen, hooks: dict[str, Hook]) -> list[Command]:
    """The host's own interface at the switch: named, up, with its addresses."""
    name, found = wanted.interface, seen.get(wanted.interface)
    if found is not None and found.description != wanted.description:
        raise Conflict(
            f"The interface {name} is there already and was not made by bHype. Rename or destroy it."
        )
    if found is None:
        fresh = hooks[HOST].peer if HOST in hooks else ""
        if seen.get(fresh) is None:
            return []
        return [ifconfig.dress(fresh, name, description=wanted.description)]
    steps = [] if found.is_up else [ifconfig.up(name)]
    if HOST in hooks and hooks[HOST].peer != wanted.end:
        # By which it is found again when the switch's node has gone.
        steps.append(ngctl.set_name(f"{name}:{HOST}", wanted.end))
    if found.mtu != wanted.mtu:
        steps.append(ifconfig.set_mtu(name, wanted.mtu))
    return [*steps, *plan_parts.addresses(wanted, found)]


def node_of(interface: str) -> str:
    """The ng_ether(4) node of an interface: dots part nodes in a path."""
    return interface.replace(".", "_")


def _let_go(wanted: Wanted, seen: Seen, hooks: dict[str, Hook], way_out: str) -> list[Command]:
    """Take out what was the uplink before."""
    old = {hooks[name].peer for name in (LOWER, UPPER) if name in hooks} - {node_of(way_out)}
    cut = [
        ngctl.remove_hook(f"{wanted.interface}:", name)
        for name in (LOWER, UPPER)
        if name in hooks and hooks[name].peer in old
    ]
    return [*cut, *(_give_back(peer) for peer in sorted(old) if peer in (seen.nodes or {}))]


def _give_back(node: str) -> Command:
    """Frames of an interface have its own address again."""
    return ngctl.message(f"{node}:", "setautosrc", "1")


def _uplink(wanted: Wanted, seen: Seen, hooks: dict[str, Hook], way_out: str) -> list[Command]:
    node, peer = f"{wanted.interface}:", f"{node_of(way_out)}:"
    is_joined = {name: name in hooks and hooks[name].peer == node_of(way_out) for name in (LOWER, UPPER)}
    interface = seen.get(way_out)
    steps = [ifconfig.up(way_out)] if interface is not None and not interface.is_up else []
    if all(is_joined.values()):
        return steps
    # Without its other half the host hears nothing by this interface: the two follow at once.
    steps += [ngctl.message(peer, "setpromisc", "1"), ngctl.message(peer, "setautosrc", "0")]
    for name, peer_hook in ((LOWER, "lower"), (UPPER, "upper")):
        if not is_joined[name]:
            steps.append(ngctl.connect(node, peer, name, peer_hook))
    return steps


def _unmake(wanted: Wanted, seen: Seen, hooks: dict[str, Hook], *, is_there: bool) -> list[Command]:
    found: Interface | None = seen.get(wanted.interface)
    steps = _let_go(wanted, seen, hooks, "")
    if HOST in hooks and hooks[HOST].kind == "eiface":
        steps.append(ngctl.shutdown(f"{wanted.interface}:{HOST}"))
    elif wanted.end in (seen.nodes or {}):
        steps.append(ngctl.shutdown(f"{wanted.end}:"))
    elif found is not None and found.description == wanted.description:
        raise Conflict(f"The interface {found.name} is left of the switch. End its netgraph node.")
    if is_there:
        steps.append(ngctl.shutdown(f"{wanted.interface}:"))
    return [*steps, *plan_parts.unmake(wanted, seen)]


def vale(wanted: Wanted, seen: Seen) -> list[Command]:
    """What plugs the uplink into a VALE switch; the rest comes with its guests. Raises Conflict."""
    if seen.vale_ports is None:
        raise Conflict("The kernel of this host has no netmap, which VALE is a part of.")
    uplink = None if wanted.is_deleting else plan_parts.uplink(wanted, seen)
    # bhyve's ports have numbers for names, and the host's own is that of the NIC with a "^" (netmap_bdg.c).
    plugged = [port.partition(":")[2] for port in seen.vale_ports if port.partition(":")[0] == wanted.vale]
    outer = [name for name in plugged if not name.isdecimal() and not name.endswith("^")]
    way_out = wanted.way_out if uplink is not None else ""
    steps = [valectl.detach(wanted.vale, name) for name in outer if name != way_out]
    if not wanted.is_deleting:
        steps += plan_parts.make(wanted, seen)
    if way_out and way_out not in outer:
        found = seen.get(way_out)
        if found is not None and not found.is_up:
            steps.append(ifconfig.up(way_out))
        steps.append(valectl.attach(wanted.vale, way_out))
    return [*steps, *plan_parts.unmake(wanted, seen)]
