"""The names and addresses of VMs that are deployed together."""

from __future__ import annotations

import ipaddress
import re

_RANGE = re.compile(r"\{([0-9]{1,6})\.\.([0-9]{1,6})\}")
BATCH_MAX = 200


class BadPattern(Exception):
    """A sentence about what is wrong."""


def names_of(pattern: str, count: int | None = None) -> list[str]:
    """The names that a pattern stands for: ``web{01..20}`` is web01 to web20; without braces ``count`` numbers are put
    behind it, ``web`` and 3 are web1, web2, web3. Raises BadPattern."""
    match = _RANGE.search(pattern)
    if match is None:
        if "{" in pattern or "}" in pattern:
            raise BadPattern("Write a range as in web{01..20}.")
        if count is None or count == 1:
            return [pattern]
        first, last, width = 1, count, 1
        before, after = pattern, ""
    else:
        first, last = int(match[1]), int(match[2])
        width = len(match[1]) if match[1].startswith("0") else 1
        before, after = pattern[: match.start()], pattern[match.end() :]
        if "{" in before + after:
            raise BadPattern("A pattern has one range.")
        if last < first:
            raise BadPattern(f"The range goes from {first} down to {last}; write the smaller number first.")
        if count not in {None, last - first + 1}:
            raise BadPattern(f"The pattern has {last - first + 1} names, but {count} VMs are asked for.")
    if last - first >= BATCH_MAX:
        raise BadPattern(f"At most {BATCH_MAX} VMs are deployed at once.")
    return [f"{before}{number:0{width}}{after}" for number in range(first, last + 1)]


def addresses_of(text: str, count: int) -> list[str]:
    """``count`` addresses with their prefix length: from 10.0.0.50/24 on, or of 10.0.0.50-10.0.0.69/24. Raises
    BadPattern when there are not so many, or one of them is none that a host can have."""
    span, slash, prefix = text.replace(" ", "").partition("/")
    if not slash:
        raise BadPattern("Write the first address with its prefix length, as 10.0.0.50/24.")
    start, _, end = span.partition("-")
    try:
        first = ipaddress.ip_interface(f"{start}/{prefix}")
        last = ipaddress.ip_address(end) if end else None
    except ValueError as error:
        raise BadPattern(f"{text!r} is no address with a prefix length, as 10.0.0.50/24.") from error
    network = first.network
    if last is not None and (last.version != first.version or not int(last) - int(first.ip) >= 0):
        raise BadPattern("The range ends before it begins.")
    room = (int(last) if last is not None else int(network.broadcast_address)) - int(first.ip) + 1
    if room < count:
        raise BadPattern(f"The range has {room} addresses for {count} VMs.")
    found = [first.ip + number for number in range(count)]
    for address in (found[0], found[-1]):
        reserved = (
            {network.network_address, network.broadcast_address} if network.num_addresses > 2 else set()
        )
        if address not in network or address in reserved or address.is_multicast or address.is_unspecified:
            raise BadPattern(f"{address} is no address of a host in {network}.")
    return [f"{address}/{network.prefixlen}" for address in found]
