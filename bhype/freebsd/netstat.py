"""netstat(1): how much went through each interface since it was made."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from bhype.freebsd.command import Command, ParseError, Query

PROGRAM = "/usr/bin/netstat"
LINK = "<Link#"


@dataclass(frozen=True, slots=True)
class Counters:
    """Of one interface, by the host's view: what a tap has received, its guest has sent. octets: bytes;
    drops: packets that were lost to errors or full queues, either way."""

    name: str
    is_up: bool
    octets_in: int
    octets_out: int
    packets_in: int
    packets_out: int
    drops: int


def interfaces() -> Query[list[Counters]]:
    """The counters of all interfaces, in the order of their making."""
    return Query(Command((PROGRAM, "--libxo", "json", "-ibn")), _interfaces)


def _interfaces(text: str) -> list[Counters]:
    """One entry for each address of an interface; that of its link layer counts everything (S:usr.bin/netstat/if.c).

    The name of one that is down ends in ``*``.
    """
    try:
        entries = json.loads(text)["statistics"]["interface"]
        found: dict[str, Counters] = {}
        for entry in entries:
            if str(entry.get("network", "")).startswith(LINK):
                counters = _counters(entry)
                # One with two link-layer addresses has them with the same numbers.
                found.setdefault(counters.name, counters)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ParseError(f"netstat's answer is not understood: {error!r}") from error
    return list(found.values())


def _counters(entry: dict[str, Any]) -> Counters:
    def number(*names: str) -> int:
        # A counter that an interface has not is "-" in the text, and not there in JSON.
        return max(0, int(next((entry[name] for name in names if name in entry), 0)))

    name = str(entry["name"])
    return Counters(
        name=name.rstrip("*"),
        is_up=not name.endswith("*"),
        octets_in=number("received-bytes"),
        octets_out=number("sent-bytes"),
        packets_in=number("received-packets"),
        packets_out=number("sent-packets"),
        drops=number("received-errors")
        + number("dropped-packets")
        # netstat(1) has called it both.
        + number("send-errors", "sent-errors"),
    )


@dataclass(frozen=True, slots=True)
class Route:
    """One route. destination: a network, such as 10.77.0.0/24, an address, or "default"; gateway: an address, or
    "link#3" for what is reached directly."""

    destination: str
    gateway: str
    flags: str
    interface: str


def routes() -> Query[list[Route]]:
    """The routes of the host, of both families (S:usr.bin/netstat/route.c)."""
    return Query(Command((PROGRAM, "--libxo", "json", "-rn")), _routes)


def _routes(text: str) -> list[Route]:
    try:
        families = json.loads(text)["statistics"]["route-information"]["route-table"]["rt-family"]
        return [
            Route(
                str(entry["destination"]),
                str(entry["gateway"]),
                str(entry["flags"]),
                str(entry["interface-name"]),
            )
            for family in families
            for entry in family.get("rt-entry") or ()
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ParseError(f"netstat's answer is not understood: {error!r}") from error
