"""What a mesh may be. Pure: forms and the API ask here, and root's worker again, since rows come from the web."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from bhype.freebsd import names, wg

Network = IPv4Network | IPv6Network

_NAME = re.compile(r"[a-z][a-z0-9-]{0,11}")
_PEER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_HOSTNAME = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
_DIGITS = re.compile(r"[0-9.]+")
MTU = (1280, 9000)
# Of UDP, what other services of a host have: DNS, DHCP of both families, mDNS, VXLAN.
TAKEN = {
    53: "name service",
    67: "DHCP",
    68: "DHCP",
    546: "DHCPv6",
    547: "DHCPv6",
    5353: "mDNS",
    4789: "VXLAN",
}
# More are no mesh of hosts.
MOST_PEERS = 250


class Bad(ValueError):
    """Something cannot be so; a sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Used:
    """A network that is in use elsewhere. by: such as "the switch nat of host a"; host_id: where, None everywhere."""

    network: Network
    by: str
    host_id: int | None = None


def name(text: str) -> str:
    if not _NAME.fullmatch(text) or text.endswith("-"):
        raise Bad("A mesh's name starts with a letter and has only a-z, 0-9 and '-', at most 12 characters.")
    return text


def peer_name(text: str) -> str:
    if not _PEER.fullmatch(text):
        raise Bad("A peer's name has letters, digits and . _ -, and starts with a letter or digit.")
    return text


def key(text: str) -> str:
    try:
        return wg.key(text)
    except names.BadName as error:
        raise Bad(str(error)) from None


def network(text: str) -> Network:
    """A network that a mesh can have: private or not, with room for some peers."""
    found = _network(text, "10.99.0.0/24")
    if found.num_addresses < 4 or found.prefixlen < 8:
        raise Bad("Give a network of 4 addresses or more, and no larger than /8.")
    return found


def route(text: str) -> Network:
    """A network that may be behind a peer."""
    found = _network(text, "10.77.0.0/24")
    # 0.0.0.0/1 and 128.0.0.0/1 are the whole as well; fc00::/7 is the largest network that somebody may have.
    if found.prefixlen < (8 if found.version == 4 else 7):
        raise Bad(
            "The whole internet, or much of it, cannot be behind a peer: this host would send everything into the mesh."
        )
    return found


def _network(text: str, example: str) -> Network:
    try:
        found = ip_network(text.strip())
    except ValueError as error:
        if "host bits" in str(error):
            raise Bad(
                f"Did you mean {ip_network(text.strip(), strict=False)}? A network ends in zeros."
            ) from None
        raise Bad(f"Give a network, such as {example}.") from None
    if found.is_multicast or found.is_loopback or found.is_link_local or "%" in text:
        raise Bad(f"{found} is a special network that cannot be routed.")
    return found


def port(number: int) -> int:
    if not 1 <= number <= 65535:
        raise Bad("A port is a number from 1 to 65535.")
    if number in TAKEN:
        raise Bad(f"UDP port {number} is that of {TAKEN[number]}. Choose another, such as 51820.")
    return number


def endpoint(text: str, default_port: int) -> str:
    """ADDRESS:PORT, [IPV6]:PORT or NAME:PORT in one form; the port may be left out. "" for none."""
    text = text.strip()
    if not text:
        return ""
    host, where = _split(text)
    number = default_port if where is None else _port_number(where)
    if ":" in host:
        try:
            address = IPv6Address(host)
        except ValueError:
            raise Bad(_NO_ENDPOINT) from None
        if address.scope_id:
            raise Bad("An address of one link (%) cannot be reached from elsewhere.")
        host = f"[{_reachable(str(address))}]"
    elif _DIGITS.fullmatch(host):
        host = _reachable(host)
    elif not _HOSTNAME.fullmatch(host):
        raise Bad(_NO_ENDPOINT)
    return f"{host}:{number}"


_NO_ENDPOINT = (
    "Give an address or a name with a port, such as 192.0.2.7:51820, [2001:db8::7]:51820 or a.example.org."
)


def _split(text: str) -> tuple[str, str | None]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host or (rest and not rest.startswith(":")):
            raise Bad(_NO_ENDPOINT)
        return host, rest[1:] if rest else None
    if text.count(":") > 1:
        return text, None
    host, colon, rest = text.partition(":")
    return host, rest if colon else None


def _port_number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:6]) <= 65535:
        raise Bad("A port is a number from 1 to 65535.")
    return int(text)


def _reachable(text: str) -> str:
    try:
        address = ip_address(text)
    except ValueError:
        raise Bad(_NO_ENDPOINT) from None
    if address.is_unspecified or address.is_multicast or address.is_loopback:
        raise Bad(f"{address} is no address at which other hosts find this one.")
    return str(address)


def address_of(end: str) -> str:
    """The address in an endpoint as `endpoint` writes it; "" where a name stands."""
    host = end.rpartition(":")[0].strip("[]")
    return host if ":" in host or _DIGITS.fullmatch(host) else ""


def inside(text: str, mesh: Network) -> str:
    """An address that a peer can have in a mesh of this network."""
    try:
        found = ip_address(text.strip())
    except ValueError:
        raise Bad(f"Give an address in {mesh}.") from None
    if found not in mesh:
        raise Bad(f"{found} is not in {mesh}.")
    if mesh.prefixlen < mesh.max_prefixlen - 1 and found in (mesh.network_address, mesh.broadcast_address):
        raise Bad(f"{found} stands for the network itself. Take another of {mesh}.")
    return str(found)


def free_address(mesh: Network, taken: Iterable[str]) -> str:
    """The first address of a mesh that nobody has. Raises Bad when all are taken."""
    used = {ip_address(one) for one in taken}
    for number, found in enumerate(mesh.hosts()):
        if found not in used:
            return str(found)
        if number > MOST_PEERS * 4:
            break
    raise Bad(f"All addresses of {mesh} are taken.")


def overlap(found: Network, used: Sequence[Used]) -> Used | None:
    """What of ``used`` shares addresses with a network."""
    return next(
        (one for one in used if one.network.version == found.version and one.network.overlaps(found)), None
    )


def no_overlap(found: Network, used: Sequence[Used]) -> None:
    """Raises Bad when a network shares addresses with one that is in use."""
    if met := overlap(found, used):
        raise Bad(f"{found} overlaps {met.network} of {met.by}.")


def no_loop(routes: Iterable[Network], mesh: Network, ends: Iterable[tuple[str, str]]) -> None:
    """Raises Bad when a peer would be found inside the tunnel itself. ends: (name, endpoint) of peers."""
    through = [mesh, *routes]
    for who, end in ends:
        address = address_of(end)
        if address and any(ip_address(address) in one for one in through):
            raise Bad(
                f"The endpoint {end} of {who} lies in a network that is reached through the mesh itself."
            )
