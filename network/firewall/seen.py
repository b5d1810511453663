"""What only the host can tell of what rules are made of: its addresses, its ways out, and the ports of ssh."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, fields
from ipaddress import ip_interface
from typing import Any

from bhype.freebsd import ifconfig, route
from bhype.freebsd.command import Query
from bhype.freebsd.ifconfig import Interface
from bhype.host import Host as Machine
from network.models import Firewall

from .world import SSH_PORT, Seen

SSHD = "/etc/ssh/sshd_config"
_PORT = re.compile(r"^\s*port\s+([0-9]{1,5})\s*$", re.IGNORECASE | re.MULTILINE)
# Interfaces of these groups are no way by which strangers come in.
_OURS = frozenset({ifconfig.GROUP, "lo", "tap", "bridge", "epair", "wg", "pflog", "enc"})


def look(machine: Machine, ask: Callable[[Query[Any]], Any]) -> Seen:
    """Ask the host. Raises CommandError, ParseError."""
    interfaces: list[Interface] = ask(ifconfig.list_interfaces())
    way, way6 = ask(route.default("inet")), ask(route.default("inet6"))
    egress = way.interface if way else ""
    egress6 = way6.interface if way6 else ""
    return Seen(
        tuple(sorted({address for one in interfaces for address in _addresses(one)})),
        tuple(sorted(one.name for one in interfaces if _is_outer(one) or one.name in {egress, egress6})),
        egress,
        egress6,
        next((found for one in interfaces if one.name == egress6 for found in _global6(one)), ""),
        tuple(sorted({member for one in interfaces for member in one.members})),
        ssh_ports(machine),
    )


def _is_outer(interface: Interface) -> bool:
    return bool(interface.addresses) and not _OURS.intersection(interface.groups)


def _addresses(interface: Interface) -> list[str]:
    """Without zones: a packet has none."""
    return [str(ip_interface(word).ip) for word in interface.addresses if "%" not in word]


def _global6(interface: Interface) -> list[str]:
    return [word for word in _addresses(interface) if ":" in word and not word.startswith("fe80")]


def ssh_ports(machine: Machine) -> tuple[int, ...]:
    """As sshd_config(5) has them; 22 where it says nothing, or cannot be read."""
    try:
        text = machine.read_text(SSHD)
    except OSError:
        return (SSH_PORT,)
    found = {int(word) for word in _PORT.findall(text)}
    return tuple(sorted(port for port in found if 0 < port < 65536)) or (SSH_PORT,)


def stored(row: Firewall) -> Seen:
    """What the observer has kept of it."""
    known = {one.name for one in fields(Seen)}
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in row.seen.items()
        if name in known
    }
    return Seen(**values)


def document(seen: Seen) -> dict[str, Any]:
    """For Firewall.seen."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(seen).items()}
