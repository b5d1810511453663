"""Which addresses of the network may be talked to when somebody names a URL (T8: server-side request forgery).

A name is resolved once; all of its addresses are looked at, and the connection goes to one that was looked at. What
leads back to this host or its networks is refused: loopback, private, link-local (cloud metadata), multicast, and
IPv6 addresses that carry such an IPv4 address (mapped, 6to4, NAT64, Teredo). Sources: RFC 6890, IANA's special-purpose
registries, RFC 6052, RFC 3056, RFC 4380.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Sequence

from bhype.outside.cage import Refused

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Of a network's own translator, which may have the IPv4 address anywhere in it (RFC 8215).
_LOCAL_NAT64 = ipaddress.ip_network("64:ff9b:1::/48")
_COMPATIBLE = ipaddress.ip_network("::/96")


def networks(words: Iterable[str]) -> list[Network]:
    """The networks that the words name. Raises ValueError."""
    return [ipaddress.ip_network(word, strict=False) for word in words]


def resolve(host: str, port: int, allowed: Sequence[Network]) -> list[tuple[int, tuple[str, int]]]:
    """(family, socket address) of each address of ``host``, all of them fit to be talked to. Raises Refused."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "it is no name of a host"
        raise Refused(f"The address of {host} cannot be found: {why}.") from error
    places: list[tuple[int, tuple[str, int]]] = []
    for family, _kind, _protocol, _name, place in found:
        if family not in {socket.AF_INET, socket.AF_INET6}:
            continue
        text = str(place[0])
        if not is_allowed(text, allowed):
            what = f"{host} is" if host == text else f"{host} is {text},"
            raise Refused(
                f"{what} an address of this host's own networks. An admin of the host can allow it: "
                "BHYPE_FETCH_ALLOW."
            )
        if (family, (text, port)) not in places:
            places.append((family, (text, port)))
    if not places:
        raise Refused(f"{host} has no address.")
    return places


def is_allowed(text: str, allowed: Sequence[Network]) -> bool:
    """Whether an address is one of the public internet, or in one of the ``allowed`` networks."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return all(_is_public(one) or any(one in network for network in allowed) for one in carried(address))


def carried(address: Address) -> list[Address]:
    """The address itself, unless it only stands for another, and those that it carries."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    low = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _NAT64:
        return [low]
    if address.sixtofour is not None:
        return [address, address.sixtofour]
    if address.teredo is not None:
        return [address, *address.teredo]
    if address in _COMPATIBLE and int(address) > 1:
        return [address, low]
    return [address]


def _is_public(address: Address) -> bool:
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not address.is_unspecified
        and not address.is_loopback
        and not address.is_link_local
        and not address.is_private
        and not (isinstance(address, ipaddress.IPv6Address) and address.is_site_local)
        and address not in _LOCAL_NAT64
    )
