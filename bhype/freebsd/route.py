"""route(8): which way packets to a network take."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Literal

from bhype.freebsd import names
from bhype.freebsd.command import Command, ParseError, Query

PROGRAM = "/sbin/route"


def add(network: str, interface: str) -> Command:
    """Let packets to ``network``, such as 10.77.0.0/24, leave by ``interface``. Fails when there is such a route."""
    return _route("add", network, interface)


def delete(network: str, interface: str) -> Command:
    return _route("delete", network, interface)


def add_default(gateway: str) -> Command:
    """Let what has no other way leave by a router. Nothing happens when there is a default route."""
    try:
        family = ("-inet6",) if ip_address(gateway).version == 6 else ()
    except ValueError as error:
        raise names.BadName(f"{gateway[:60]!r} is not the address of a router.") from error
    return Command((PROGRAM, "-n", "add", *family, "default", gateway), ok_codes=frozenset({0, 1}))


def _route(verb: str, network: str, interface: str) -> Command:
    try:
        found = ip_network(network)
    except ValueError as error:
        raise names.BadName(f"{network[:60]!r} is not a network such as 10.77.0.0/24.") from error
    family = ("-inet6",) if found.version == 6 else ()
    words = (verb, *family, "-net", str(found), "-interface", names.interface(interface))
    return Command((PROGRAM, "-n", *words))


@dataclass(frozen=True, slots=True)
class Route:
    """interface: by which packets leave; gateway: the router, empty where there is none."""

    interface: str
    gateway: str = ""


def default(family: Literal["inet", "inet6"] = "inet") -> Query[Route | None]:
    """The default route; None without one (status 1: "route has not been found")."""
    argv = (PROGRAM, "-n", "get", f"-{family}", "default")
    return Query(Command(argv, ok_codes=frozenset({0, 1})), _read)


def _read(text: str) -> Route | None:
    values = {}
    for line in text.splitlines():
        key, separator, value = line.strip().partition(": ")
        if separator:
            values[key] = value.strip()
    if not values:
        return None
    if "interface" not in values:
        raise ParseError(f"interface expected: {text[:200]!r}")
    return Route(values["interface"], values.get("gateway", "").partition("%")[0])
