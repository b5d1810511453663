"""What a switch is by its kind, when nobody says otherwise: one click makes a network that works."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Interface, ip_interface

from network.models import Switch

from .plan import Network, free_address

# Of a /24 the guests that ask get .100 to .199, as people know it from their routers.
FIRST, LAST = 100, 199


def fill(row: Switch, used: Iterable[Network]) -> list[tuple[str, str]]:
    """Set the columns of a new switch by its kind; returns the ranges that DHCP gives. used: networks there are."""
    if row.kind != Switch.Kind.NAT:
        return []
    row.address = row.address or free_address(used)
    if not row.address:
        return []
    row.has_dhcp = row.has_dns = True
    return pools(row.address)


def pools(address: str) -> list[tuple[str, str]]:
    """The range of addresses that DHCP gives on the network of the host's ``address``: (first, last), or none."""
    interface = ip_interface(address)
    if not isinstance(interface, IPv4Interface) or interface.network.num_addresses < 8:
        return []
    network = interface.network
    if network.num_addresses >= 256:
        first, last = network[FIRST], network[LAST]
    else:
        # The upper half of a small one.
        first, last = network[network.num_addresses // 2], network[-2]
    if not first <= interface.ip <= last:
        return [(str(first), str(last))]
    # The host's own address is not given: the longer side of it is.
    below, above = int(interface.ip) - int(first), int(last) - int(interface.ip)
    if below >= above:
        return [(str(first), str(interface.ip - 1))] if below else []
    return [(str(interface.ip + 1), str(last))]
