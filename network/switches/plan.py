"""Wanted switches and what the host has in, what to do out. Pure.

A switch is made of what bHype alone makes: interfaces in the group "bhype" whose descriptions name the switch, and
netgraph nodes with its name. Their members, addresses and names are as wanted, and nothing else. Whatever else there is
on the host is taken into a switch or let go of, and never changed or destroyed.

What is made gets names that the host gives first (ngeth0, bridge0), so that one look and its commands may not be
enough: look again and ask again until nothing is left to do. Every command can be the last one that is run.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_interface, ip_network

from bhype.freebsd.command import Command
from bhype.freebsd.ifconfig import Interface
from bhype.freebsd.names import BadName

from . import plan_bridge, plan_netgraph
from .wanted import BRIDGE, NETGRAPH, VALE, Conflict, Port, Seen, Wanted

__all__ = [
    "ROUNDS", "Conflict", "Port", "Seen", "Wanted", "commands", "free_address", "is_right", "networks", "problem",
]  # fmt: skip

# After so many looks what is still not right never will be.
ROUNDS = 6


def commands(wanted: Wanted, seen: Seen) -> list[Command]:
    """What brings the switch nearer to what is wanted; nothing when it is that. Raises Conflict."""
    try:
        if wanted.technology == NETGRAPH:
            return plan_netgraph.commands(wanted, seen)
        if wanted.technology == VALE:
            return plan_netgraph.vale(wanted, seen)
        return plan_bridge.commands(wanted, seen)
    except (BadName, ValueError) as error:
        # Rows are written by a process that is not root: what cannot be a word of a command ends here.
        raise Conflict(f"The switch {wanted.name} cannot be set up: {error}") from error


def problem(wanted: Wanted, seen: Seen) -> str:
    """Why a switch is not as it is wanted, as a sentence; "" when it is."""
    try:
        steps = commands(wanted, seen)
    except Conflict as conflict:
        return str(conflict)
    return _difference(wanted, seen) if steps else ""


def _difference(wanted: Wanted, seen: Seen) -> str:
    """What is missing, as far as one sentence tells it."""
    found = None if wanted.technology == VALE else seen.get(wanted.interface)
    if wanted.technology == BRIDGE and not wanted.is_deleting:
        if found is None:
            return f"{wanted.interface} is not there; it is being set up."
        names = (*wanted.outer_members, *(port.interface for port in wanted.ports))
        away = [name for name in names if seen.get(name) and found.member(name) is None]
        if away:
            return f"Not plugged in: {', '.join(away)}. That is being mended."
        gone = [address for address in wanted.addresses if address not in found.addresses]
        if gone:
            return f"The host lacks its address {', '.join(gone)} on it. That is being mended."
    return "It is being set up, or was changed by somebody else."


def is_right(wanted: Wanted, seen: Seen) -> bool:
    """Whether the host has the switch as it is wanted."""
    return not problem(wanted, seen)


def is_up(wanted: Wanted, seen: Seen) -> bool:
    """Whether guests can use it."""
    if wanted.technology == VALE:
        return seen.vale_ports is not None and (
            not wanted.way_out or f"{wanted.vale}:{wanted.way_out}" in seen.vale_ports
        )
    found = seen.get(wanted.interface)
    if found is None or not found.is_up:
        return False
    if wanted.is_adopted:
        return "bridge" in found.groups
    return found.description == wanted.description


def members(wanted: Wanted, seen: Seen) -> list[str]:
    """What is plugged in: interfaces, or of netgraph and VALE the names of their ends."""
    if wanted.technology == NETGRAPH:
        return [hook.peer for hook in seen.hooks.get(wanted.interface, ()) if hook.name != plan_netgraph.HOST]
    if wanted.technology == VALE:
        pairs = (port.partition(":") for port in seen.vale_ports or ())
        return [name for vale, _, name in pairs if vale == wanted.vale and not name.endswith("^")]
    found = seen.get(wanted.interface)
    return list(found.members) if found is not None else []


Network = IPv4Network | IPv6Network


def networks(interfaces: Iterable[Interface], *, without: Iterable[str] = ()) -> list[tuple[str, Network]]:
    """The networks that interfaces of the host are in, each with its interface; those of ``without`` left out."""
    skipped = set(without)
    return [
        (one.name, ip_interface(address).network)
        for one in interfaces
        if one.name not in skipped
        for address in one.addresses
        if "%" not in address
    ]


def free_address(used: Iterable[Network]) -> str:
    """An address for a new NAT-ed switch, 10.77.0.1/24 or the next whose network overlaps none of ``used``; "" when all
    are taken."""
    taken = [network for network in used if network.version == 4]
    for number in range(77, 256):
        network = ip_network(f"10.{number}.0.0/24")
        if not any(network.overlaps(other) for other in taken):
            return f"{network[1]}/24"
    return ""
