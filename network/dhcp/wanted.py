"""Rows in, what each switch's dnsmasq is to do out. In a constant number of queries, whatever the number of guests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_interface

from bhype.hosts.models import Host
from network import guests
from network.models import AddressPool, Allocation, DnsRecord, Lease, Neighbour, Switch

from . import words
from .parts import Client, Peer, Service, is_name


@dataclass(frozen=True, slots=True)
class Wanted:
    """service: None where dnsmasq is not to run; problems: who has no name, as sentences."""

    switch: Switch
    service: Service | None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plugged:
    """A port of a guest, with the name by which it is found on its switch; "" where it has none."""

    guest: guests.Guest
    port: guests.Port
    name: str


def is_served(switch: Switch) -> bool:
    """Whether the switch wants a dnsmasq. A VALE switch has no interface on the host."""
    asks = switch.has_dhcp or switch.has_dns or switch.ipv6 != Switch.Ipv6.OFF
    return asks and not switch.is_deleting and switch.technology != Switch.Technology.VALE


def of(host: Host) -> list[Wanted]:
    """For every switch of a host."""
    switches = [one for one in Switch.objects.filter(host=host) if is_name(one.name)]
    served = [switch for switch in switches if is_served(switch)]
    keys = [switch.pk for switch in served]
    rows = _rows(served, ports(keys))
    found = []
    for switch in switches:
        if switch.pk not in keys:
            found.append(Wanted(switch, None))
            continue
        mine = rows[switch.pk]
        mine.plugged, problems = _named(mine.plugged, _reserved(switch, mine))
        found.append(Wanted(switch, _service(switch, mine, served), tuple(problems)))
    return found


def service_of(switch: Switch) -> Service:
    """What the dnsmasq of a switch would do, with its columns as they are here, saved or not."""
    rows = _rows([switch], ports([switch.pk]))[switch.pk]
    rows.plugged, _ = _named(rows.plugged, _reserved(switch, rows))
    others = [one for one in Switch.objects.filter(host=switch.host_id) if is_served(one)]
    return _service(switch, rows, others)


def ports(switches: Iterable[int], macs: Iterable[str] | None = None) -> dict[int, list[Plugged]]:
    """The ports on each of these switches, by guest. A guest's first is called as it is, others NAME-nicNUMBER.

    macs: of guests that have one of these MAC addresses only.
    """
    found: dict[int, list[Plugged]] = defaultdict(list)
    for guest in guests.find(switches=switches, macs=macs):
        seen: set[int] = set()
        for port in sorted(guest.ports, key=lambda port: port.index):
            if port.switch_id is None:
                continue
            name = guest.name if port.switch_id not in seen else f"{guest.name}-nic{port.index}"
            seen.add(port.switch_id)
            found[port.switch_id].append(Plugged(guest, port, name))
    return found


@dataclass(slots=True)
class _Rows:
    """What belongs to one switch."""

    plugged: list[Plugged] = field(default_factory=list)
    pools: list[AddressPool] = field(default_factory=list)
    given: list[Allocation] = field(default_factory=list)
    records: list[DnsRecord] = field(default_factory=list)
    # (MAC address, address) of DHCPv6 leases that have no name.
    nameless: list[tuple[str, str]] = field(default_factory=list)


def _rows(switches: list[Switch], plugged: dict[int, list[Plugged]]) -> dict[int, _Rows]:
    keys = [switch.pk for switch in switches]
    found = {key: _Rows(plugged.get(key, [])) for key in keys}
    for pool in AddressPool.objects.filter(switch__in=keys, purpose=AddressPool.Purpose.DHCP).order_by("pk"):
        found[pool.switch_id].pools.append(pool)
    for given in Allocation.objects.filter(switch__in=keys).order_by("pk"):
        found[given.switch_id].given.append(given)
    for record in DnsRecord.objects.filter(switch__in=keys).order_by("pk"):
        found[record.switch_id].records.append(record)
    for switch_id, mac, address in _nameless(switches):
        found[switch_id].nameless.append((mac, address))
    return found


def _nameless(switches: list[Switch]) -> Iterable[tuple[int, str, str]]:
    """Whose DHCPv6 leases have no name, because dnsmasq on FreeBSD cannot tell a client's MAC address there: the host's
    neighbours tell it. What the client says of itself does not count."""
    by_pk = {switch.pk: switch for switch in switches if switch.ipv6 == Switch.Ipv6.DHCP and switch.has_dns}
    if not by_pk:
        return
    leases = Lease.objects.filter(switch__in=by_pk, hostname="").values_list("switch", "address")
    wanted = {(by_pk[key].interface, address): key for key, address in leases if ":" in address}
    host = next(iter(by_pk.values())).host_id
    rows = Neighbour.objects.filter(host=host, interface__in=[one.interface for one in by_pk.values()])
    for row in rows.order_by("pk"):
        if (row.interface, row.address) in wanted:
            yield wanted[row.interface, row.address], row.mac, row.address


def _reserved(switch: Switch, rows: _Rows) -> set[str]:
    """Names of the switch's own records and of machines that are no guests: who may make VMs takes none of them."""
    found = {row.hostname.lower() for row in rows.given if row.hostname and not row.port}
    for record in rows.records:
        with suppress(words.BadWord):
            if record.kind in {DnsRecord.Kind.A, DnsRecord.Kind.AAAA, DnsRecord.Kind.CNAME}:
                found.add(
                    words.name(record.name, switch.guest_domain).removesuffix(f".{switch.guest_domain}")
                )
    return found


def _named(plugged: list[Plugged], reserved: set[str]) -> tuple[list[Plugged], list[str]]:
    """Those whose names can stand in DNS, once each; the others are left without."""
    found, problems, taken = [], [], set()
    for one in plugged:
        try:
            name = words.of_guest(one.name)
            if name in reserved:
                raise words.BadWord(f"The switch has a record {name} already: the guest is not found by it.")
            if name in taken:
                raise words.BadWord(f"Two guests are called {name}: the second is not found by it.")
        except words.BadWord as error:
            problems.append(str(error))
            name = ""
        taken.add(name)
        found.append(Plugged(one.guest, one.port, name))
    return found, problems


def _service(switch: Switch, rows: _Rows, served: list[Switch]) -> Service:
    plugged, given = rows.plugged, rows.given
    by_port = {one.port.key: one for one in plugged}
    leases: dict[str, list[Allocation]] = defaultdict(list)
    others = []
    for row in given:
        if row.kind == Allocation.Kind.LEASE and row.port in by_port:
            leases[row.port].append(row)
        elif row.kind == Allocation.Kind.LEASE and not row.port:
            others.append(row)
    clients: list[Client] = []
    for one in plugged:
        clients += _clients(leases[one.port.key], one.port.mac, one.name)
    by_mac: dict[str, list[Allocation]] = defaultdict(list)
    for row in others:
        by_mac[row.mac].append(row)
    for mac, mine in by_mac.items():
        clients += _clients(mine, mac, next((row.hostname for row in mine if row.hostname), ""))
    return Service(
        switch=switch.name,
        interface=switch.interface,
        domain=switch.guest_domain,
        address=switch.address,
        address6=switch.address6,
        gateway=switch.router,
        mtu=switch.mtu,
        lease_seconds=switch.lease_seconds,
        has_dhcp=switch.has_dhcp,
        ipv6=switch.ipv6,
        has_dns=switch.has_dns,
        pools=tuple((pool.first, pool.last) for pool in rows.pools),
        kept=tuple(row.address for row in given if row.kind != Allocation.Kind.LEASE),
        clients=tuple(clients),
        names=tuple(_names(by_port, rows)),
        records=tuple((row.kind, row.name, row.value) for row in rows.records),
        upstreams=tuple(str(word) for word in switch.upstreams),
        peers=tuple(_peers(switch, served)),
    )


def _clients(rows: list[Allocation], mac: str, name: str) -> list[Client]:
    """One who always gets these addresses. What is bound to a number of DHCPv6 stands in a line of its own."""
    addresses = [row.address for row in rows if not row.client_id]
    found = [Client(mac, "", name, tuple(addresses))] if addresses or name else []
    return found + [Client("", row.client_id, name, (row.address,)) for row in rows if row.client_id]


def _names(by_port: dict[str, Plugged], rows: _Rows) -> Iterable[tuple[str, str]]:
    """Names of addresses that dnsmasq has not given: told to guests by cloud-init, allocated, reserved."""
    for one in rows.plugged:
        yield from ((one.name, address) for address in one.port.static if one.name)
    for row in rows.given:
        if row.kind == Allocation.Kind.LEASE:
            continue
        name = by_port[row.port].name if row.port in by_port else row.hostname
        if name:
            yield name, row.address
    by_mac = {one.port.mac: one.name for one in rows.plugged if one.name}
    yield from ((by_mac[mac], address) for mac, address in rows.nameless if mac in by_mac)


def _peers(switch: Switch, served: list[Switch]) -> Iterable[Peer]:
    """The other switches with names. This host routes between all but private ones."""
    for other in served:
        if other.pk == switch.pk or not other.has_dns:
            continue
        own = tuple(one for one in (other.address, other.address6) if _is_one(one))
        if own and Switch.Kind.PRIVATE not in {switch.kind, other.kind}:
            yield Peer(other.guest_domain, str(ip_interface(own[0]).ip), own)
        else:
            yield Peer(other.guest_domain, "")


def _is_one(address: str) -> bool:
    try:
        return bool(ip_interface(address))
    except ValueError:
        return False
