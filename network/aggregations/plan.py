"""Wanted aggregations, lagg(4), and the host's interfaces in, what to do out. Pure.

bHype makes them anew after each boot, before its switches; so they have no addresses of the host, which has to be
reached before that.
"""

from __future__ import annotations

from dataclasses import dataclass

from bhype.freebsd import ifconfig, ifconfig_switch
from bhype.freebsd.command import Command
from bhype.freebsd.ifconfig import Interface
from bhype.freebsd.names import BadName
from network.switches.wanted import Conflict, Seen

DESCRIPTION = "bhype/lagg/"


@dataclass(frozen=True, slots=True)
class Wanted:
    """name: its interface, such as lagg0; members: interfaces of the host."""

    name: str
    protocol: str
    members: tuple[str, ...]
    is_deleting: bool = False


def commands(wanted: Wanted, seen: Seen) -> list[Command]:
    """What makes the aggregation as it is wanted; nothing when it is. Raises Conflict."""
    try:
        return _commands(wanted, seen)
    except BadName as error:
        raise Conflict(f"The aggregation {wanted.name} cannot be set up: {error}") from error


def _commands(wanted: Wanted, seen: Seen) -> list[Command]:
    found = seen.get(wanted.name)
    description = DESCRIPTION + wanted.name
    if found is not None and found.description != description:
        raise Conflict(f"The interface {wanted.name} is there already and was not made by bHype.")
    if wanted.is_deleting:
        return [ifconfig.destroy(wanted.name)] if found is not None else []
    if missing := [name for name in wanted.members if seen.get(name) is None]:
        raise Conflict(f"{wanted.name} is made of {missing[0]}, which is not an interface of this host.")
    fresh = [name for name in wanted.members if found is None or name not in found.members]
    if held := [one.name for one in seen.interfaces if one.name in fresh and _has_address(one)]:
        raise Conflict(f"{held[0]} has addresses of the host, which would be lost in {wanted.name}.")
    steps = [ifconfig.up(one.name) for one in seen.interfaces if one.name in wanted.members and not one.is_up]
    if found is None:
        return [
            *steps,
            ifconfig_switch.create_lagg(
                wanted.name, wanted.protocol, wanted.members, description=description
            ),
        ]
    if found.protocol != wanted.protocol:
        steps.append(ifconfig_switch.set_protocol(wanted.name, wanted.protocol))
    # What comes is there before what goes, so that one of them carries on.
    steps += [
        ifconfig_switch.add_port(wanted.name, name) for name in wanted.members if name not in found.members
    ]
    steps += [
        ifconfig_switch.remove_port(wanted.name, name) for name in found.members if name not in wanted.members
    ]
    if not found.is_up:
        steps.append(ifconfig.up(wanted.name))
    return steps


def _has_address(interface: Interface) -> bool:
    return any("%" not in one for one in interface.addresses)
