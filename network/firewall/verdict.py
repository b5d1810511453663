"""Would this packet pass? Asked by names and addresses, answered by the rules in their order. Pure.

This is what the page promises; that pf does the same is what tests show with a model of pf.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from .document import Document, RuleRow
from .names import Names, within
from .words import BadWord, endpoint
from .world import Net, World


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a connection. protocol: "tcp", "udp", "icmp" (of IPv6 ICMPv6) or another; port: where to."""

    source: str
    target: str
    protocol: str = "tcp"
    port: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """about: "rule:3" or "switch:UUID", or "" where nothing is said; place: of the rule, from 1."""

    passes: bool
    about: str
    sentence: str
    place: int = 0


DNS_PORT = 53
PASSES = Verdict(passes=True, about="", sentence="No rule of a guest or a switch is about this packet.")


def verdict(document: Document, world: World, packet: Packet) -> Verdict:
    """The sender's switch is asked first ("From"), then the receiver's ("To")."""
    names = Names(world, document.aliases)
    said = PASSES
    for direction, address in (("out", packet.source), ("in", packet.target)):
        net = _net_of(address, world)
        if net is None or not net.is_filtered:
            continue
        said = _decide(document, names, net, direction, packet)
        if not said.passes:
            return said
    return said


def _net_of(address: str, world: World) -> Net | None:
    """The switch that this address is on; None for the host's own and for whoever is elsewhere."""
    if address in world.own:
        return None
    for guest in world.guests:
        for port in guest.ports:
            if address in port.known and port.switch in world.net_of:
                return world.net_of[port.switch]
    return next(
        (
            net
            for net in world.nets
            if not net.is_open and any(_within(address, subnet) for subnet in net.subnets)
        ),
        None,
    )


def _decide(document: Document, names: Names, net: Net, direction: str, packet: Packet) -> Verdict:
    if direction == "out" and net.has_dns and packet.target in net.own and packet.port == DNS_PORT:
        return PASSES
    for place, row in enumerate(document.rules, 1):
        if row.is_enabled and row.direction == direction and _meets(row, names, net, packet):
            passes = row.action == "pass"
            return Verdict(
                passes, f"rule:{row.id}", f"Rule {place} {'lets it pass' if passes else 'drops it'}.", place
            )
    if direction == "in" and net.kind == "nat" and not _in_table(packet.source, names.inside()):
        unasked = f"No rule is about it, and nobody comes in to {net.name} from outside unasked: forward a port to it."
        return Verdict(passes=False, about=f"switch:{net.uuid}", sentence=unasked)
    other = packet.source if direction == "in" else packet.target
    near = within(net, ip_address(other).version) if net.kind == "private" and not net.is_open else ()
    if near and not _in_table(other, near):
        apart = f"No rule is about it, and guests of {net.name}, which is private, reach one another only."
        return Verdict(passes=False, about=f"switch:{net.uuid}", sentence=apart)
    policy = next((one for one in document.switches if one.uuid == net.uuid), None)
    way = (policy or net).passes_in if direction == "in" else (policy or net).passes_out
    what = "lets" if way else "does not let"
    whom = "to" if direction == "in" else "from"
    return Verdict(
        way,
        f"switch:{net.uuid}",
        f"No rule is about it, and {net.name} {what} packets {whom} its guests pass.",
    )


def _meets(row: RuleRow, names: Names, net: Net, packet: Packet) -> bool:
    mine, other = (packet.target, packet.source) if row.direction == "in" else (packet.source, packet.target)
    try:
        if net.pk not in {one.pk for one in names.nets(row.subject)}:
            return False
        is_all = endpoint(row.subject).kind == "switch" and not net.is_open
        return (
            (is_all or _is_of(mine, row.subject, names))
            and _is_of(other, row.peer, names)
            and row.family in {"", "inet6" if ":" in mine else "inet"}
            and (not row.protocol or packet.protocol in row.protocol.split("/"))
            and (not row.ports or any(a <= packet.port <= b for a, b in names.ports(row.ports).ranges))
        )
    except BadWord:
        return False


def _is_of(address: str, word: str, names: Names) -> bool:
    """Whether an address belongs to an endpoint."""
    kind = endpoint(word).kind
    if kind == "any":
        return True
    if kind == "internet":
        return not _in_table(address, names.inside())
    return _in_table(address, names.addresses(word))


def _in_table(address: str, addresses: tuple[str, ...]) -> bool:
    """As pf looks addresses up: the longest prefix decides."""
    best, is_in = -1, False
    for word in addresses:
        network = ip_network(word.removeprefix("!"))
        if _within(address, str(network)) and network.prefixlen > best:
            best, is_in = network.prefixlen, not word.startswith("!")
    return is_in


def _within(address: str, network: str) -> bool:
    return ip_address(address) in ip_network(network)
