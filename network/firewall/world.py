"""What rules are about, as it is now: switches, guests, their ports and addresses, and the host itself.

`World` is plain data, so that everything that is made of it is pure; `load` reads it from the rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_interface, ip_network

from django.conf import settings

from bhype.freebsd import pf
from bhype.hosts.models import Host
from bhype.vmrun.nics import port_name
from network import guests as registry
from network.addresses import known
from network.models import Switch

SSH_PORT = 22
# Of one machine: names.mac() refuses those of groups.
_MAC = re.compile(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}")


@dataclass(frozen=True, slots=True)
class Port:
    """A network port of a guest. interface: the member of the bridge; bound: the addresses that it was given (static,
    lease); known: those and what was seen in ARP and ND; claimed: those of them for which there is only the word of
    the guest or of its owner."""

    key: str
    switch: int | None
    interface: str = ""
    mac: str = ""
    may_spoof: bool = False
    bound: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    claimed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Guest:
    endpoint: str
    name: str
    tags: tuple[str, ...] = ()
    ports: tuple[Port, ...] = ()

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(address for port in self.ports for address in port.known)


@dataclass(frozen=True, slots=True)
class Net:
    """A switch. addresses: the host's own on it with prefix lengths; is_open: machines that are no guests are on it,
    too, by an uplink, a tunnel or as somebody else's bridge; is_filtered: pf sees what the host routes to and from it;
    has_ports: pf sees each port, and what its guests send one another; uplinks: the members that are no guest's."""

    pk: int
    uuid: str
    name: str
    interface: str
    kind: str = "private"
    addresses: tuple[str, ...] = ()
    is_open: bool = False
    is_filtered: bool = True
    has_ports: bool = True
    is_guarded: bool = True
    has_dhcp: bool = False
    has_dns: bool = False
    ipv6: str = "off"
    nat_interface: str = ""
    passes_in: bool = True
    passes_out: bool = True
    uplinks: tuple[str, ...] = ()
    is_adopted: bool = False

    @property
    def subnets(self) -> tuple[str, ...]:
        return tuple(str(ip_interface(address).network) for address in self.addresses)

    @property
    def own(self) -> tuple[str, ...]:
        """The host's addresses on it, without prefix lengths."""
        return tuple(str(ip_interface(address).ip) for address in self.addresses)

    def subnet(self, version: int) -> str:
        """Empty when it has none of this family."""
        return next((net for net in self.subnets if ip_network(net).version == version), "")


@dataclass(frozen=True)
class World:
    """own: the host's addresses on all interfaces; outer: interfaces by which others than guests come in; egress: that
    of the default route, empty for none, and egress6 the one of IPv6; egress6_address: its address for the outside;
    keep_ports: of TCP on the host that nobody may lock out, and which of them are ssh's."""

    nets: tuple[Net, ...] = ()
    guests: tuple[Guest, ...] = ()
    own: tuple[str, ...] = ()
    outer: tuple[str, ...] = ()
    egress: str = ""
    egress6: str = ""
    egress6_address: str = ""
    keep_ports: tuple[int, ...] = (SSH_PORT,)
    ssh_ports: tuple[int, ...] = (SSH_PORT,)

    @cached_property
    def net_of(self) -> dict[int, Net]:
        return {net.pk: net for net in self.nets}

    @cached_property
    def guest_of(self) -> dict[str, Guest]:
        return {guest.endpoint: guest for guest in self.guests}

    def ports_on(self, net: Net) -> list[tuple[Guest, Port]]:
        """Who is plugged into a switch."""
        return [(guest, port) for guest in self.guests for port in guest.ports if port.switch == net.pk]

    def taps(self, net: Net) -> list[str]:
        """The interfaces of a switch's ports, as far as pf sees them."""
        return [port.interface for _, port in self.ports_on(net) if net.has_ports and port.interface]

    @cached_property
    def filtered(self) -> tuple[Net, ...]:
        """The switches whose packets pf sees."""
        return tuple(net for net in self.nets if net.is_filtered)


@dataclass(frozen=True, slots=True)
class Seen:
    """What only the host can tell, kept by the observer in Host.features["network"]."""

    own: tuple[str, ...] = ()
    outer: tuple[str, ...] = ()
    egress: str = ""
    egress6: str = ""
    egress6_address: str = ""
    members: tuple[str, ...] = ()
    ssh_ports: tuple[int, ...] = (SSH_PORT,)


def load(host: Host, seen: Seen) -> World:
    """Everything about ``host``, in a constant number of queries."""
    found = registry.find(host_id=host.pk)
    addresses = known.of(host, found)
    taps = {port.interface for guest in found for port in guest.ports}
    switches = Switch.objects.filter(host=host, is_deleting=False)
    nets = tuple(_net(switch, taps) for switch in switches if _interface(switch.interface))
    members = frozenset(seen.members)
    own = frozenset({*seen.own, *(address for net in nets for address in net.own)})
    return World(
        nets,
        tuple(
            Guest(
                guest.endpoint,
                guest.name,
                guest.tags,
                tuple(_port(port, addresses.get(port.key, []), members, own) for port in guest.ports),
            )
            for guest in found
        ),
        tuple(sorted(own)),
        seen.outer,
        seen.egress,
        seen.egress6,
        seen.egress6_address,
        tuple(sorted({*seen.ssh_ports, settings.PORT})),
        seen.ssh_ports,
    )


def _port(
    port: registry.Port, addresses: Iterable[known.Known], members: frozenset[str], own: frozenset[str]
) -> Port:
    # An address of the host is no guest's, whoever says so.
    found = [one for one in addresses if _is_address(one.address) and one.address not in own]
    piped = port_name(port.interface)
    return Port(
        port.key,
        port.switch_id,
        _interface(piped if piped in members else port.interface),
        port.mac if _MAC.fullmatch(port.mac) else "",
        port.may_spoof,
        tuple(sorted({one.address for one in found if one.source != known.NEIGHBOUR})),
        tuple(sorted({one.address for one in found})),
        tuple(sorted({one.address for one in found if not one.is_vouched})),
    )


def _net(switch: Switch, taps: set[str]) -> Net:
    return Net(
        switch.pk,
        str(switch.uuid),
        switch.name,
        switch.interface,
        switch.kind,
        tuple(address for address in switch.addresses if _is_address(address)),
        bool(switch.uplink or switch.vxlan or switch.adopted),
        # ng_bridge(4) and vale(4) ask no filter; the host's end of the former is an interface as others are.
        switch.technology != Switch.Technology.VALE,
        switch.technology == Switch.Technology.BRIDGE,
        switch.is_guarded,
        switch.has_dhcp,
        switch.has_dns,
        switch.ipv6,
        _interface(switch.nat_interface),
        switch.passes_in,
        switch.passes_out,
        tuple(member for member in switch.members if member not in taps and _interface(member)),
        bool(switch.adopted),
    )


def _interface(word: str) -> str:
    """The name if a rule can have it, else none: rows are not believed."""
    try:
        return pf.interface(word) if word else ""
    except pf.BadRule:
        return ""


def _is_address(word: str) -> bool:
    """Whether a row's word is an address without a zone: what is none is nobody's."""
    try:
        return not getattr(ip_interface(word), "scope_id", None)
    except ValueError:
        return False
