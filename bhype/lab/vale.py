"""VALE switches of the lab's kernel, vale(4): a switch is there as long as it has a port.

The state "vale" has ``switches``: ``{SWITCH: {PORT: {"pid"} or {"interface", "host"}}}``. pid: of the bhyve whose guest
has the port; interface: a NIC that was plugged in; host: whether the host goes on using it, by a second port ``NIC^``
(sys/dev/netmap/netmap_bdg.c). With wires on a switch is a Linux bridge (`wires_graph`).
"""

from __future__ import annotations

import os
import re

from bhype.lab import bhyve_state, core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PORT = re.compile(r"(vale[A-Za-z0-9_]*):([A-Za-z0-9_.-]+)")


class Refused(Exception):
    """The kernel's error text."""


class Switches:
    """All switches, locked; ports of guests that have ended are gone."""

    def __enter__(self) -> dict[str, Any]:
        self.lock = core.state("vale")
        found: dict[str, Any] = self.lock.__enter__().setdefault("switches", {})
        interfaces = core.peek("ifconfig").get("interfaces", {})
        for switch, ports in list(found.items()):
            for port, entry in list(ports.items()):
                if not _lives(entry, interfaces):
                    del ports[port]
            if not ports:
                del found[switch]
        self.found = found
        return found

    def __exit__(self, *what: Any) -> None:
        for switch in [switch for switch, ports in self.found.items() if not ports]:
            del self.found[switch]
        self.lock.__exit__(*what)


def _lives(entry: Any, interfaces: dict[str, Any]) -> bool:
    if "pid" in entry:
        return bhyve_state.ticks(entry["pid"]) == int(entry["ticks"])
    return entry["interface"] in interfaces


def split(name: str) -> tuple[str, str]:
    """Raises Refused."""
    match = _PORT.fullmatch(name)
    if not match:
        raise Refused("Invalid argument")
    return match[1], match[2]


def join(name: str) -> tuple[str, str]:
    """Make this process, a bhyve, have a port of its own: ``vale3:12``. Returns switch and port. Raises Refused."""
    switch, port = split(name)
    with Switches() as found:
        ports = found.setdefault(switch, {})
        if port in ports:
            raise Refused("Device busy")
        ports[port] = {"pid": os.getpid(), "ticks": bhyve_state.ticks(os.getpid())}
    return switch, port


def attach(name: str, *, host: bool) -> None:
    """Plug a NIC in. Raises Refused."""
    switch, port = split(name)
    interfaces = core.peek("ifconfig").get("interfaces", {})
    if port not in interfaces:
        raise Refused("Device not configured")
    with Switches() as found:
        if any(port in ports for ports in found.values()):
            raise Refused("Device busy")
        found.setdefault(switch, {})[port] = {"interface": port, "host": host}


def detach(name: str) -> None:
    """Raises Refused."""
    switch, port = split(name)
    with Switches() as found:
        if "interface" not in found.get(switch, {}).get(port, {}):
            raise Refused(
                "Device not configured" if port not in found.get(switch, {}) else "Invalid argument"
            )
        del found[switch][port]


def rows() -> list[tuple[str, int, int]]:
    """Each port with its switch' number and its own."""
    listed = []
    with Switches() as found:
        for number, (switch, ports) in enumerate(found.items()):
            names = [
                each for port, entry in ports.items() for each in (port, f"{port}^" * bool(entry.get("host")))
            ]
            listed += [(f"{switch}:{name}", number, at) for at, name in enumerate(filter(None, names))]
    return listed
