"""valectl(8): VALE switches of netmap(4). They come with their first port and go with the last; guests' ports are made
by bhyve(8).

Source: S:usr.sbin/valectl/valectl.c, whose list of all ports ends with status 1 however it went.
"""

from __future__ import annotations

import re

from bhype.freebsd import names
from bhype.freebsd.command import Command, ParseError, Query

PROGRAM = "/usr/sbin/valectl"
_SWITCH = re.compile(r"vale[0-9]{1,6}")
_ROW = re.compile(r"(vale[^\s:]*:\S+) bridge_idx [0-9]+ port_idx [0-9]+")


def ports() -> Query[tuple[str, ...]]:
    """The ports of all switches, as "vale3:em0"."""
    return Query(Command((PROGRAM,), ok_codes=frozenset({0, 1})), _ports)


def _ports(text: str) -> tuple[str, ...]:
    found = []
    for line in filter(str.strip, text.split("\n")):
        match = _ROW.fullmatch(line.strip())
        if not match:
            raise ParseError(f"a port expected: {line!r}")
        found.append(match[1])
    return tuple(found)


def attach(switch: str, interface: str) -> Command:
    """Plug an interface in; the host goes on using it, through the switch."""
    return Command((PROGRAM, "-h", port(switch, interface)))


def detach(switch: str, interface: str) -> Command:
    return Command((PROGRAM, "-d", port(switch, interface)))


def port(switch: str, name: str) -> str:
    """As "vale3:em0". Raises BadName."""
    if not _SWITCH.fullmatch(switch):
        raise names.BadName(f"{switch!r} is not a VALE switch of bHype.")
    return f"{switch}:{names.interface(name)}"
