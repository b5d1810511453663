"""arp(8): who answers at which IPv4 address."""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from bhype.freebsd import names
from bhype.freebsd.command import Command, ParseError, Query


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An entry of the host's ARP or ND table. mac: in lower case; is_permanent: the host's own, or made by hand."""

    address: str
    mac: str
    interface: str
    is_permanent: bool = False


def table() -> Query[list[Neighbour]]:
    """All entries whose MAC address is known."""
    return Query(Command(("/usr/sbin/arp", "--libxo", "json", "-an")), _table)


def _table(text: str) -> list[Neighbour]:
    """S:usr.sbin/arp/arp.c, print_entry: one without an answer has "incomplete" and no mac-address; of an interface
    that is gone there is no name. An empty table has no list, and may have no container."""
    try:
        rows = (json.loads(text).get("arp") or {}).get("arp-cache") or []
        return [found for row in rows if (found := _entry(row))]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ParseError(f"an ARP table expected: {error}: {text[:200]!r}") from error


def _entry(row: dict[str, Any]) -> Neighbour | None:
    return entry(
        str(row["ip-address"]),
        str(row.get("mac-address", "")),
        str(row.get("interface", "")),
        is_permanent=bool(row.get("permanent")),
    )


def entry(address: str, mac: str, interface: str, *, is_permanent: bool) -> Neighbour | None:
    """None for what tells of no machine: no answer yet, no Ethernet, no interface."""
    try:
        parts = mac.split(":")
        one = names.mac(":".join(part.zfill(2) for part in parts))
    except names.BadName:
        return None
    found = str(ip_address(address.partition("%")[0]))
    return Neighbour(found, one, interface, is_permanent) if interface else None
