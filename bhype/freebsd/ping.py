"""ping(8) and drill(1): whether somebody answers."""

from __future__ import annotations

import ipaddress
import re

from bhype.freebsd.command import Command, Query
from bhype.freebsd.names import BadName

PROGRAM = "/sbin/ping"
DRILL = "/usr/bin/drill"
_RECEIVED = re.compile(r"\b([0-9]+) packets received\b")
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\.?")


def answers(address: str, seconds: int = 2) -> Query[bool]:
    """Whether ``address`` answers an echo request (status 2: nobody did)."""
    argv = (PROGRAM, "-n", "-c", "1", "-t", str(seconds), _address(address))
    return Query(Command(argv, ok_codes=frozenset(range(256)), timeout=seconds + 5.0), _received)


def _received(text: str) -> bool:
    match = _RECEIVED.search(text)
    return bool(match and int(match[1]))


def names_answer(server: str, name: str) -> Query[bool]:
    """Whether the name server ``server`` answers about ``name``, be it that there is none such. One that refuses, or
    that found nobody to ask, does not."""
    if not _NAME.fullmatch(name):
        raise BadName(f"{name!r} is not a name.")
    argv = (DRILL, "-o", "rd", name, f"@{_address(server)}", "SOA")
    return Query(Command(argv, ok_codes=frozenset(range(256)), timeout=15.0), _is_answer)


def _is_answer(text: str) -> bool:
    return "rcode: NOERROR" in text or "rcode: NXDOMAIN" in text


def _address(address: str) -> str:
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        raise BadName(f"{address!r} is not an address.") from None
