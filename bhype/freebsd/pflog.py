"""Packets of rules with "log", as tcpdump(1) prints them from pflog(4).

Facts: print-pflog.c pflog_print() in FreeBSD's contrib/tcpdump: ``rule N.ANCHOR.M/REASON: ACTION DIRECTION on IF: ``
and then the packet, which with -e has no "IP " before it; M is the rule's number in its anchor, from 0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

from bhype.freebsd.command import Command

INTERFACE = "pflog0"

_LINE = re.compile(
    r"(?P<time>[0-9:. -]*?) ?"
    r"rule (?P<number>[0-9]+)(?:\.(?P<anchor>[A-Za-z0-9_./-]+)\.(?P<inner>[0-9]+))?/[^ :]*(?: \[[a-z]+ [0-9]+\])*: "
    r"(?P<action>[a-z]+) (?P<direction>in|out) on (?P<interface>[A-Za-z0-9_.-]{1,15}): "
    r"(?:IP6? )?(?:\([^)]*\)+ )?(?P<source>[0-9A-Fa-f:.]+) > (?P<target>[0-9A-Fa-f:.]+): ?(?P<rest>.*)"
)
_PROTOCOL = re.compile(r"([A-Za-z][A-Za-z0-9-]{0,15})")


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet that a rule told of. anchor, number: which rule; at: seconds since 1970, None where the line does not
    say; ports are None for protocols without them."""

    anchor: str
    number: int
    action: str
    direction: str
    interface: str
    protocol: str
    source: str
    source_port: int | None
    target: str
    target_port: int | None
    at: float | None = None


def listen() -> Command:
    """tcpdump(1) that writes a line for each logged packet until it is ended, with the time in seconds since 1970."""
    argv = ("/usr/sbin/tcpdump", "-n", "-e", "-tt", "-l", "-s", "160", "-i", INTERFACE)
    return Command(argv)


def create() -> Command:
    """Make the interface: the module brings one by itself, but somebody may have destroyed it (pflog(4))."""
    return Command(("/sbin/ifconfig", INTERFACE, "create"))


def parse(line: str) -> Packet | None:
    """The packet of one line; None for a line that is about something else, such as a fragment."""
    found = _LINE.fullmatch(line.strip())
    if found is None:
        return None
    try:
        source, source_port = _end(found["source"])
        target, target_port = _end(found["target"])
    except ValueError:
        return None
    time = found["time"].strip()
    return Packet(
        anchor=found["anchor"] or "",
        number=int(found["inner"] or found["number"]),
        action=found["action"],
        direction=found["direction"],
        interface=found["interface"],
        protocol=_protocol(found["rest"], target_port),
        source=source,
        source_port=source_port,
        target=target,
        target_port=target_port,
        at=float(time) if re.fullmatch(r"[0-9]{9,12}\.[0-9]+", time) else None,
    )


def _end(text: str) -> tuple[str, int | None]:
    """Address and port. Raises ValueError."""
    try:
        return str(ip_address(text)), None
    except ValueError:
        address, _, port = text.rpartition(".")
        number = int(port)
        if number > 65535:
            raise
        return str(ip_address(address)), number


def _protocol(rest: str, port: int | None) -> str:
    if rest.startswith("Flags ["):
        return "tcp"
    if port is not None:
        # What tcpdump decodes further, such as names and DHCP, is UDP unless it has flags.
        return "udp"
    word = _PROTOCOL.match(rest)
    return word[1].lower().removesuffix("v0") if word else ""
