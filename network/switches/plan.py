"""Wanted switches and observed interfaces in, what to do out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_interface, ip_network

from bhype.freebsd import ifconfig
from bhype.freebsd.command import Command
from bhype.freebsd.ifconfig import Interface

DESCRIPTION = "bhype/switch/"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A switch as it should be. interface: the bridge's name; address: with its prefix length, or empty."""

    name: str
    interface: str
    address: str = ""
    uplink: str = ""

    @property
    def description(self) -> str:
        return DESCRIPTION + self.name


class Conflict(Exception):
    """A switch cannot be made as it is wanted. The message is a sentence."""


def is_right(wanted: Wanted, interfaces: Sequence[Interface]) -> bool:
    """Whether the host has the switch as it is wanted."""
    try:
        return not commands(wanted, interfaces)
    except Conflict:
        return False


def commands(wanted: Wanted, interfaces: Sequence[Interface]) -> list[Command]:
    """What makes the switch as it is wanted; nothing when it is. Raises Conflict.

    A bridge that bHype did not make is never touched; one that a crash left without its name is replaced.
    """
    by_name = {interface.name: interface for interface in interfaces}
    found = by_name.get(wanted.interface)
    steps = [
        ifconfig.destroy(stray.name)
        for stray in interfaces
        if stray.description == wanted.description and stray.name != wanted.interface
    ]
    if found is None:
        steps.append(ifconfig.create_bridge(wanted.interface, description=wanted.description))
    elif found.description != wanted.description:
        raise Conflict(
            f"The interface {found.name} is there already and was not made by bHype. Rename or destroy it."
        )
    elif not found.is_up:
        steps.append(ifconfig.up(wanted.interface))
    if wanted.address and (found is None or wanted.address not in found.addresses):
        steps.append(ifconfig.set_address(wanted.interface, wanted.address))
    if wanted.uplink and (found is None or wanted.uplink not in found.members):
        if wanted.uplink not in by_name:
            raise Conflict(
                f"The uplink {wanted.uplink} of switch {wanted.name} is not an interface of this host."
            )
        steps.append(ifconfig.add_member(wanted.interface, wanted.uplink))
    return steps


def free_address(interfaces: Iterable[Interface]) -> str:
    """An address for the first NAT-ed switch, 10.77.0.1/24 or the next of which no network is on the host."""
    used = [
        ip_interface(address).network
        for interface in interfaces
        for address in interface.addresses
        if "%" not in address
    ]
    for number in range(77, 256):
        network = ip_network(f"10.{number}.0.0/24")
        if not any(network.overlaps(other) for other in used if other.version == 4):
            return f"{network[1]}/24"
    return ""
