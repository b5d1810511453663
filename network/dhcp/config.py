"""The files of one switch's dnsmasq(8), from what is wanted. Pure: the worker, the observer and the pages ask here.

Rows come from the unprivileged web process, so every word is checked again. What makes no sense as a whole raises
Unwritable; a single line that is wrong is left out and told of, so that it takes nobody else's addresses away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv6Address,
    IPv6Interface,
    ip_address,
    ip_interface,
)

from bhype.freebsd import names
from network.dhcp import words
from network.dhcp.parts import Client, Files, Peer, Service, Unwritable, leases_path
from network.dhcp.words import BadWord

RESOLV = "/etc/resolv.conf"
# dnsmasq(8): "The minimum lease time is two minutes."
SHORTEST_LEASE, LONGEST_LEASE = 120, 366 * 86400
MOST_LEASES = 65536
# Seconds between router advertisements, and for how long a guest believes in its router.
RA_INTERVAL, ROUTER_LIFETIME = 200, 1800

Address = IPv4Address | IPv6Address


def text(service: Service) -> str:
    """The configuration itself. Raises Unwritable."""
    return build(service).conf


def build(service: Service) -> Files:
    """All files of a switch. Raises Unwritable."""
    return _Builder(service).files()


@dataclass(slots=True)
class _Builder:
    service: Service
    problems: list[str] = field(default_factory=list)
    own4: IPv4Interface | None = None
    own6: IPv6Interface | None = None
    domain: str = ""

    def files(self) -> Files:
        self._check()
        conf = "".join(f"{line}\n" for line in self._conf())
        hosts = "".join(f"{line}\n" for line in self._clients())
        found = "".join(f"{line}\n" for line in self._names())
        return Files(conf, hosts, found, tuple(dict.fromkeys(self.problems)))

    def _check(self) -> None:
        service = self.service
        try:
            names.interface(service.interface)
            if names.interface(service.switch) != service.switch or "/" in service.switch:
                raise names.BadName(service.switch)
            self.domain = words.domain(service.domain)
            own = [ip_interface(one) for one in (service.address, service.address6) if one]
        except (names.BadName, BadWord, ValueError) as error:
            raise Unwritable(f"{error}") from error
        self.own4 = next((one for one in own if isinstance(one, IPv4Interface)), None)
        self.own6 = next((one for one in own if isinstance(one, IPv6Interface)), None)
        if not own:
            raise Unwritable("DHCP and names need an address of the host on the switch.")
        if not SHORTEST_LEASE <= service.lease_seconds <= LONGEST_LEASE:
            raise Unwritable(f"A lease lasts from {SHORTEST_LEASE} seconds to a year.")
        if not 576 <= service.mtu <= 65535:
            raise Unwritable("An MTU has from 576 to 65535 bytes.")
        if service.has_dhcp and self.own4 is None:
            raise Unwritable("DHCP needs an IPv4 address of the host on the switch.")
        if service.ipv6 != "off":
            self._check_ipv6()

    def _check_ipv6(self) -> None:
        length = self.own6.network.prefixlen if self.own6 else 0
        if self.service.ipv6 not in {"slaac", "dhcp"} or self.own6 is None:
            raise Unwritable("Guests get IPv6 addresses only where the host has one on the switch.")
        if self.service.ipv6 == "slaac" and length != 64:
            raise Unwritable("Guests can make their own addresses in a network of /64 only (RFC 4862).")
        if not 64 <= length <= 127:
            raise Unwritable("DHCPv6 needs a network of /64 or smaller.")

    # -- the configuration -----------------------------------------------------------------------------

    def _conf(self) -> Iterator[str]:
        service = self.service
        yield f"# The switch {service.switch}. bHype writes this file anew; changes to it are lost."
        yield f"interface={service.interface}"
        # Without this, loopback is served, too (dnsmasq(8), --interface).
        yield "except-interface=lo0"
        yield "bind-interfaces"
        yield "no-hosts"
        yield f"domain={self.domain}"
        yield from self._dns() if service.has_dns else ["port=0"]
        if service.has_dhcp or service.ipv6 != "off":
            yield from self._leases()
        if service.has_dhcp:
            yield from self._dhcp()
        if service.ipv6 != "off":
            yield from self._ra()

    def _leases(self) -> Iterator[str]:
        service = self.service
        yield f"dhcp-leasefile={leases_path(service.switch)}"
        yield f"dhcp-hostsfile={service.hosts_path}"
        yield f"dhcp-lease-max={self._most()}"
        # A guest is called what the panel calls it; none can take another's name.
        yield "dhcp-ignore-names"
        yield "dhcp-authoritative"
        # It would ask for three seconds whether an address is free, while the guest waits.
        yield "no-ping"

    def _most(self) -> int:
        """How many leases there may be: all that fit; dnsmasq's own limit is 1000. A new guest changes nothing here."""
        sizes = [min(MOST_LEASES, own.network.num_addresses) for own in (self.own4, self.own6) if own]
        return min(MOST_LEASES, sum(sizes))

    @staticmethod
    def _pool_end(word: str) -> Address | None:
        try:
            return words.parsed(word)
        except BadWord:
            return None

    def _dhcp(self) -> Iterator[str]:
        service = self.service
        assert self.own4 is not None  # noqa: S101 - checked
        lease = service.lease_seconds
        network = self.own4.network
        yield f"dhcp-range={network.network_address},static,{network.netmask},{lease}"
        for first, last in self._ranges(4):
            yield f"dhcp-range={first},{last},{network.netmask},{lease}"
        router = self._gateway()
        yield "dhcp-option=option:router" + (f",{router}" if router else "")
        servers = [str(self.own4.ip)] if service.has_dns else self._servers(4)
        yield "dhcp-option=option:dns-server" + "".join(f",{server}" for server in servers)
        if service.mtu != 1500:
            yield f"dhcp-option=option:mtu,{service.mtu}"
        # FreeBSD gives a renewal that is sent to this host alone to one of all dnsmasqs, be it the right one or not:
        # SO_BINDTODEVICE is Linux's. A second later the client sends it to all (T2, RFC 2131), where it is heard.
        yield f"dhcp-option=option:T2,{lease // 2}"

    def _gateway(self) -> str:
        if not self.service.gateway:
            return ""
        try:
            found = words.address(self.service.gateway, 4)
        except BadWord as error:
            self.problems.append(f"The router: {error}")
            return ""
        if self.own4 is None or ip_address(found) not in self.own4.network:
            self.problems.append(f"The router {found} is not in the network of the switch.")
            return ""
        return found

    def _ra(self) -> Iterator[str]:
        service = self.service
        assert self.own6 is not None  # noqa: S101 - checked
        network, lease = self.own6.network, service.lease_seconds
        yield "enable-ra"
        yield "quiet-ra"
        lifetime = ROUTER_LIFETIME if service.gateway else 0
        yield f"ra-param={service.interface},mtu:{service.mtu},{RA_INTERVAL},{lifetime}"
        if service.ipv6 == "slaac":
            named = ",ra-names" if service.has_dns and service.has_dhcp else ""
            yield f"dhcp-range={network.network_address},ra-stateless{named},{network.prefixlen},{lease}"
        else:
            yield f"dhcp-range={network.network_address},static,{network.prefixlen},{lease}"
            for first, last in self._ranges(6):
                yield f"dhcp-range={first},{last},{network.prefixlen},{lease}"
        servers = [str(self.own6.ip)] if service.has_dns else self._servers(6)
        yield "dhcp-option=option6:dns-server" + "".join(f",[{server}]" for server in servers)
        yield f"dhcp-option=option6:domain-search,{self.domain}"

    def _servers(self, version: int) -> list[str]:
        """Those whom guests ask themselves, where the switch has no names of its own."""
        found = [one for one in self._upstreams() if not one.domain and one.port == 53]
        return [one.address for one in found if ip_address(one.address).version == version]

    def _ranges(self, version: int) -> Iterator[tuple[Address, Address]]:
        """The pools of a family, without what is kept."""
        own = self.own4 if version == 4 else self.own6
        kept = [found for word in self.service.kept if (found := self._pool_end(word))]
        kept += [own.ip] if own else []
        for first_word, last_word in self.service.pools:
            first, last = self._pool_end(first_word), self._pool_end(last_word)
            if first is None or last is None or first.version != last.version or int(first) > int(last):
                self.problems.append(f"{first_word[:50]!r} to {last_word[:50]!r} is no pool of addresses.")
            elif first.version == version:
                if own is None or first not in own.network or last not in own.network:
                    self.problems.append(f"The pool {first} to {last} is outside of the switch's network.")
                else:
                    yield from gaps(first, last, kept)

    # -- names -----------------------------------------------------------------------------------------

    def _dns(self) -> Iterator[str]:
        service = self.service
        yield f"local=/{self.domain}/"
        yield f"addn-hosts={service.names_path}"
        yield "domain-needed"
        yield "bogus-priv"
        # No name of the world leads into the networks of guests; of these domains it may.
        yield "stop-dns-rebind"
        upstreams = self._upstreams()
        yield from dict.fromkeys(f"rebind-domain-ok=/{one.domain}/" for one in upstreams if one.domain)
        everywhere = [one for one in upstreams if not one.domain]
        yield "no-resolv" if everywhere else f"resolv-file={RESOLV}"
        for one in upstreams:
            yield f"server={one}"
        for peer in service.peers:
            yield from self._peer(peer)
        yield from self._records()

    def _upstreams(self) -> list[words.Upstream]:
        found: dict[str, words.Upstream] = {}
        own = {str(one.ip) for one in (self.own4, self.own6) if one}
        for word in self.service.upstreams:
            try:
                one = words.upstream(str(word))
            except BadWord as error:
                self.problems.append(f"A server for names: {error}")
                continue
            if one.address in own:
                self.problems.append(f"The switch cannot ask itself for names ({one.address}).")
            else:
                found[str(one)] = one
        return list(found.values())

    def _peer(self, peer: Peer) -> Iterator[str]:
        try:
            domain, server = words.domain(peer.domain), words.address(peer.address) if peer.address else ""
            networks = [ip_interface(network).network for network in peer.networks]
        except (BadWord, ValueError):
            return  # its own switch tells of it
        if domain == self.domain:
            self.problems.append(
                f"Another switch has the domain {domain}, too: its names are not found from here."
            )
            return
        yield f"server=/{domain}/{server}"  # without a server it is not asked for anywhere
        if not server:
            return
        yield f"rebind-domain-ok=/{domain}/"
        for network in networks:
            yield f"rev-server={network},{server}"

    def _records(self) -> Iterator[str]:
        aliases: dict[str, str] = {}
        for record in self._checked():
            match record.kind, record.words:
                case "CNAME", (target,):
                    if record.name in aliases or loops(record.name, target, aliases):
                        self.problems.append(f"{record.name} stands for a name twice or for itself.")
                        continue
                    aliases[record.name] = target
                    yield f"cname={record.name},{target}"
                case "MX", (preference, target):
                    yield f"mx-host={record.name},{target},{preference}"
                case "SRV", (priority, weight, port, target):
                    yield f"srv-host={record.name},{target},{port},{priority},{weight}"
                case "TXT", (said,):
                    parts = [said[at : at + words.TXT_PART] for at in range(0, len(said), words.TXT_PART)]
                    yield f"txt-record={record.name}," + ",".join(f'"{part}"' for part in parts)

    def _checked(self) -> list[words.Record]:
        found: dict[words.Record, None] = {}
        for kind, name, value in self.service.records:
            try:
                one = words.record(kind, name, value, self.domain)
            except BadWord as error:
                self.problems.append(f"The record {name[:80]!r}: {error}")
                continue
            found[one] = None
        return list(found)

    def _names(self) -> Iterator[str]:
        """hosts(5): the first name of an address is the one that its reverse look-up finds."""
        if not self.service.has_dns:
            return
        lines: dict[tuple[str, str], None] = {}
        for name, word in self.service.names:
            try:
                lines[words.address(word), words.name(words.label(name), self.domain)] = None
            except BadWord as error:
                self.problems.append(str(error))
        for record in self._checked():
            if record.kind in {"A", "AAAA"}:
                lines[record.words[0], record.name] = None
        for address, name in lines:
            yield f"{address} {name}"

    # -- who is known ----------------------------------------------------------------------------------

    def _clients(self) -> Iterator[str]:
        taken: set[str] = set()
        called: set[str] = set()
        for client in self.service.clients:
            line = self._client(client, taken, called)
            if line:
                yield line

    def _client(self, client: Client, taken: set[str], called: set[str]) -> str:
        """A line as --dhcp-host takes it; "" where nothing can be said."""
        try:
            keys = [names.mac(client.mac)] if client.mac else []
            keys += [f"id:{duid(client.client_id)}"] if client.client_id else []
            name = words.label(client.name) if client.name else ""
        except (names.BadName, BadWord) as error:
            self.problems.append(str(error))
            return ""
        addresses: list[Address] = []
        for address in self._given(client):
            if str(address) in taken:
                self.problems.append(f"{address} is given twice.")
            elif any(address.version == other.version for other in addresses):
                self.problems.append(f"{client.mac or client.client_id} has two static leases of one family.")
            else:
                taken.add(str(address))
                addresses.append(address)
        if name and name in called and not addresses:
            return ""
        called.add(name)
        shown = [f"[{one}]" if one.version == 6 else str(one) for one in addresses]
        parts = [*shown, *([name] if name else [])]
        return ",".join([*keys, *parts]) if keys and parts else ""

    def _given(self, client: Client) -> Iterator[Address]:
        for word in client.addresses:
            try:
                address = words.parsed(word)
            except BadWord as error:
                self.problems.append(str(error))
                continue
            own = self.own4 if address.version == 4 else self.own6
            if own is None or address not in own.network or address == own.ip:
                self.problems.append(f"{address} is not an address that DHCP can give on this switch.")
                continue
            yield address


def duid(text: str) -> str:
    """A DHCPv6 client's own number, as 00:03:00:01:58:9c:.... Raises BadWord."""
    parts = text.lower().split(":")
    if not 2 < len(parts) <= 130 or not all(len(part) == 2 and _is_hex(part) for part in parts):
        raise BadWord(f"{text[:80]!r} is not a DHCPv6 client's number.")
    return ":".join(parts)


def _is_hex(text: str) -> bool:
    return all(letter in "0123456789abcdef" for letter in text)


def gaps(first: Address, last: Address, kept: Iterable[Address]) -> Iterator[tuple[Address, Address]]:
    """What is left of a range without single addresses of it, as ranges."""
    start, end, kind = int(first), int(last), type(first)
    for stop in sorted(
        {int(one) for one in kept if one.version == first.version and start <= int(one) <= end}
    ):
        if start < stop:
            yield kind(start), kind(stop - 1)
        start = stop + 1
    if start <= end:
        yield kind(start), kind(end)


def loops(name: str, target: str, aliases: dict[str, str]) -> bool:
    seen = {name}
    while target not in seen:
        seen.add(target)
        if target not in aliases:
            return False
        target = aliases[target]
    return True
