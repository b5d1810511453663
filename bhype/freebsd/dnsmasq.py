"""dnsmasq(8): DHCP, router advertisements and names, one process for each switch. From the package of that name.

Facts: dnsmasq(8), FILES and EXIT CODES; the file of leases is written by lease_update_file() of lease.c.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address

from bhype.freebsd.command import Command, ParseError
from bhype.freebsd.ps import Process

PROGRAM = "/usr/local/sbin/dnsmasq"
_CONF = "--conf-file="
_MAC = re.compile(r"(?:[0-9a-f]{2}-)?([0-9a-f]{2}(?::[0-9a-f]{2}){5})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Lease:
    """One line of the file of leases. mac: in lower case, "" of IPv6, which has none there; hostname: "" without one;
    client_id: of IPv6 the DUID, "" without one; expires_at: None for ever; is_temporary: an IPv6 address of those that
    change."""

    address: str
    mac: str = ""
    hostname: str = ""
    client_id: str = ""
    expires_at: datetime | None = None
    is_temporary: bool = False


def check(config: str) -> Command:
    """Read a file as dnsmasq would, and do nothing else. Its complaint is on standard error."""
    return Command((PROGRAM, "--test", _CONF + config), timeout=20)


def start(config: str, pid_file: str) -> Command:
    """Start in the background; ends when it serves, or has found out that it cannot."""
    return Command((PROGRAM, _CONF + config, "--pid-file=" + pid_file), timeout=20)


def serves(process: Process, config: str) -> bool:
    """Whether this is the dnsmasq of that file, as `start` starts it."""
    words = process.command.split()
    return len(words) > 1 and words[0].rpartition("/")[2] == "dnsmasq" and words[1] == _CONF + config


def parse_leases(text: str) -> list[Lease]:
    """What the file of leases says: IPv4 first, then after a line with the server's DUID IPv6.

    ``EXPIRY MAC ADDRESS NAME CLIENT-ID`` and ``EXPIRY IAID ADDRESS NAME DUID``; * stands for nothing, expiry in seconds
    since 1970, 0 for ever; a T before an IAID marks an address that changes. Raises ParseError.
    """
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split(" ")
        if not line.strip() or words[0] == "duid":
            continue
        try:
            found.append(_lease(words))
        except (ValueError, IndexError, OverflowError) as error:
            raise ParseError(f"line {number} of the leases: {error}: {line[:200]!r}") from error
    return found


def _lease(words: list[str]) -> Lease:
    expiry, hardware, where, name, client = words[:5]
    address = ip_address(where)
    mac = _MAC.fullmatch(hardware) if address.version == 4 else None
    return Lease(
        address=str(address),
        mac=mac[1].lower() if mac else "",
        hostname="" if name == "*" else name[:255],
        client_id="" if client == "*" else client[:255],
        expires_at=datetime.fromtimestamp(int(expiry), UTC) if int(expiry) else None,
        is_temporary=address.version == 6 and hardware.startswith("T"),
    )


def without(text: str, address: str) -> str:
    """The file of leases without the line of ``address``."""
    wanted = str(ip_address(address))
    return "".join(line for line in text.splitlines(keepends=True) if not _is_of(line, wanted))


def _is_of(line: str, address: str) -> bool:
    words = line.split()
    return len(words) > 2 and words[0] != "duid" and words[2] == address
