"""ndp(8): who answers at which IPv6 address."""

from __future__ import annotations

from bhype.freebsd.arp import Neighbour, entry
from bhype.freebsd.command import Command, ParseError, Query


def table() -> Query[list[Neighbour]]:
    """All entries whose MAC address is known."""
    return Query(Command(("/usr/sbin/ndp", "-an")), _table)


def _table(text: str) -> list[Neighbour]:
    """S:usr.sbin/ndp/ndp.c, dump: a header, then address, MAC address or (incomplete), interface, the time until it
    expires, state and flags. No libxo before FreeBSD 14."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if not words or words[0] == "Neighbor":
            continue
        try:
            address, mac, interface, expires = words[:4]
            one = entry(address, mac, interface, is_permanent=expires == "permanent")
        except ValueError as error:
            raise ParseError(f"a line of ndp expected: {line[:200]!r}") from error
        found += [one] if one else []
    return found
