"""What follows from switches by itself: the rule set of the anchor bhype/base. Pure.

Why it is written so is in docs/firewall.md.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Network, ip_address, ip_network

from bhype.freebsd import pf
from bhype.freebsd.pf import ANY, Filter, Nat, Place, Rdr, Ruleset

from .names import HOST, Names, port_table, together
from .world import Net, Port, World

# On packets of guests of switches that others are on, too; on what NAT has translated.
GUEST_TAG = "bhype_guest"
NAT_TAG = "bhype_nat"
FORWARD_TAG = "bhype_forward"
DISCOVERY = ("routersol", "routeradv", "neighbrsol", "neighbradv")
GUARD = "bhype:guard"
KEEP = "bhype:keep"
# On what comes from outside to a NAT-ed switch by itself.
UNASKED_TAG = "bhype_unasked"
# Addresses that the internet does not route.
LOCAL_6 = IPv6Network("fc00::/7")


def base(world: World) -> Ruleset:
    """Everything that needs no confirmation."""
    names = Names(world)
    filters: list[Filter] = []
    filters += _keep(world, names)
    for net in world.filtered:
        if not (net.has_ports and net.is_guarded):
            continue
        taken = names.add(f"taken_{net.pk}", _taken(net, world))
        for _, port in world.ports_on(net):
            if port.interface and not port.may_spoof:
                filters += _guard(net, port, taken, names)
    for net in world.filtered:
        filters += _services(net)
    translations: list[Nat | Rdr] = []
    for net in world.nets:
        if net.kind == "nat":
            nats, more = _nat(net, world, names)
            translations += nats
            filters += more
    tables = tuple(names.tables[name] for name in sorted(names.tables))
    return Ruleset(tables, tuple(translations), tuple(filters))


def _keep(world: World, names: Names) -> list[Filter]:
    """ssh and the panel, for machines behind the uplinks of switches: elsewhere nothing of ours is in their way.

    An uplink without addresses passes everything on to its bridge, which decides: that pf sees it at all is bHype's
    doing.
    """
    host = names.add(HOST, world.own)
    made = []
    for net in world.filtered:
        if not net.is_open:
            continue
        here = names.place(f"switch:{net.uuid}")
        made.append(
            Filter(
                "pass", "in", (net.interface,), "", ("tcp",), here.but(), pf.ALL_PORTS, host,
                pf.ports(*world.keep_ports), label=KEEP,
            )
        )  # fmt: skip
        # A guest that calls itself by the address of somebody behind the uplink shuts nobody out: who really is a guest
        # is known by its port.
        claimed = names.add(
            f"claimed_{net.pk}", (one for _, port in world.ports_on(net) for one in port.claimed)
        )
        made.append(replace(made[-1], source=claimed, untagged=GUEST_TAG))
        if net.has_ports and not net.is_adopted:
            bare = [uplink for uplink in net.uplinks if uplink not in world.outer]
            made += [Filter("pass", "", (uplink,), is_stateless=True) for uplink in bare]
    return made


def _guard(net: Net, port: Port, taken: Place, names: Names) -> list[Filter]:
    """What a port may not send. taken: the addresses on its switch that belong to somebody."""
    tap = (port.interface,)
    tag = GUEST_TAG if net.is_open else ""

    def let(source: Place, **more: object) -> Filter:
        return Filter("pass", "in", tap, source=source, is_stateless=True, tag=tag, **more)  # type: ignore[arg-type]

    def drop(source: Place = ANY, **more: object) -> Filter:
        return Filter("block", "in", tap, source=source, label=GUARD, **more)  # type: ignore[arg-type]

    made = []
    if net.has_dhcp:
        made.append(drop(family="inet", protocols=("udp",), source_ports=pf.ports(67)))
    if net.ipv6 != "off":
        made.append(drop(family="inet6", protocols=("icmp6",), icmp6_types=("routeradv",)))
        made.append(drop(family="inet6", protocols=("udp",), source_ports=pf.ports(547)))
    # Who has no address yet asks for one, and asks whether anybody else has it.
    made.append(
        let(pf.at("0.0.0.0"), family="inet", protocols=("udp",), source_ports=pf.ports(68),  # noqa: S104
            target=pf.at("255.255.255.255"), ports=pf.ports(67))
    )  # fmt: skip
    made.append(let(pf.at("::"), family="inet6", protocols=("icmp6",), target=pf.at("ff00::/8")))
    made.append(let(names.add(port_table(port), port.bound)))
    made.append(drop(taken))
    made.append(let(pf.at("fe80::/10")))
    for version, family in ((4, "inet"), (6, "inet6")):
        subnet = net.subnet(version)
        has_one = any(ip_address(one).version == version for one in port.bound)
        if has_one and (version == 4 or net.ipv6 == "dhcp"):
            made.append(drop(family=family))
        elif subnet and not net.is_open:
            made.append(drop(pf.at(subnet).but(), family=family))
    return made


def _taken(net: Net, world: World) -> tuple[str, ...]:
    """The addresses on a switch that belong to somebody."""
    given = [address for _, port in world.ports_on(net) for address in port.bound]
    return together([*given, *net.own])


DHCP, DHCP6 = pf.Ports(((67, 68),)), pf.Ports(((546, 547),))


def essentials(interface: str, direction: pf.Direction = "") -> list[Filter]:
    """What every guest needs whatever the rules say: neighbours and an address."""
    some = Filter("pass", direction, (interface,), is_stateless=True)
    return [
        replace(some, family="inet6", protocols=("icmp6",), icmp6_types=DISCOVERY),
        replace(some, family="inet", protocols=("udp",), source_ports=DHCP, ports=DHCP),
        replace(some, family="inet6", protocols=("udp",), source_ports=DHCP6, ports=DHCP6),
    ]


def _services(net: Net) -> list[Filter]:
    """The same on the bridge, and the host's name service there."""
    made = essentials(net.interface)
    if net.has_dns:
        made += [
            Filter(
                "pass", "in", (net.interface,), protocols=("tcp", "udp"), target=pf.at(address), ports=pf.ports(53)
            )
            for address in net.own
        ]  # fmt: skip
    return made


def _nat(net: Net, world: World, names: Names) -> tuple[list[Nat | Rdr], list[Filter]]:
    """NAT of IPv4; of IPv6 for addresses that the internet does not route (fc00::/7), others are routed as they are.

    What comes from outside to the guests' subnet by itself is marked: `compile.rules` drops it on the bridge, unless a
    rule lets it pass.
    """
    translations: list[Nat | Rdr] = []
    filters: list[Filter] = []
    for subnet in map(ip_network, net.subnets):
        inside = pf.at(str(subnet))
        is_6 = subnet.version == 6
        way = net.nat_interface or (world.egress6 if is_6 else world.egress)
        family: pf.Family = "inet6" if is_6 else "inet"
        # pf's (em0:0) may be a link-local address, which takes nobody anywhere.
        to = world.egress6_address if is_6 else way
        is_routed = isinstance(subnet, IPv6Network) and not subnet.subnet_of(LOCAL_6)
        if way and is_routed:
            filters.append(Filter("pass", "out", (way,), family, source=inside))
        elif way and to:
            translations.append(Nat(way, family, inside, inside.but(), to, tag=NAT_TAG))
            filters.append(Filter("pass", "out", (way,), family, tagged=NAT_TAG))
        unasked = Filter("pass", "in", (), family, target=inside, tag=UNASKED_TAG, untagged=FORWARD_TAG)
        filters += [
            replace(unasked, interfaces=(outer,))
            for outer in sorted({*world.outer, way} - {"", net.interface})
        ]
        # On a switch with an uplink the guests are no strangers.
        filters += [
            replace(unasked, interfaces=(other.interface,), source=names.place(f"switch:{other.uuid}").but())
            for other in world.filtered
            if other.is_open and other.pk != net.pk
        ]
    return translations, filters
