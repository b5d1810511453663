"""From what people wrote to rules of pf: pure, a document and the world in, a rule set with notes out.

On which interface a rule stands, and why, is in docs/firewall.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_network

from bhype.freebsd import pf
from bhype.freebsd.pf import ANY, Filter, Nat, Place, Rdr, Ruleset

from .base import FORWARD_TAG, GUEST_TAG, UNASKED_TAG, essentials
from .document import Document, ForwardRow, RuleRow
from .names import Names, within
from .words import SUBJECTS, BadWord, endpoint
from .world import Net, World


@dataclass(frozen=True, slots=True)
class Note:
    """What was left out of a rule set, and why, as a sentence. about: "rule:3" or "forward:4"."""

    about: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Compiled:
    ruleset: Ruleset
    notes: tuple[Note, ...] = field(default=())


UNASKED = "bhype:unasked"


def rule_label(number: int) -> str:
    return f"bhype:rule:{number}"


def forward_label(number: int) -> str:
    return f"bhype:forward:{number}"


def policy_label(net: Net, direction: str) -> str:
    return f"bhype:switch:{net.pk}:{direction}"


def rules(document: Document, world: World) -> Compiled:
    """The rule set of the anchor bhype/rules. What cannot be written as rules of pf is left out, and noted."""
    names = Names(world, document.aliases)
    notes: list[Note] = []
    filters = list(_each(document.rules, lambda row: rule(row, names), "rule", notes))
    translations: list[Nat | Rdr] = []
    after: list[Filter] = []
    for one, more in _each(document.forwards, lambda row: [forward(row, names)], "forward", notes):
        translations += one
        after += more
    policies = {policy.uuid: policy for policy in document.switches}
    tail: list[Filter] = []
    for net in world.filtered:
        policy = policies.get(net.uuid)
        if policy is not None:
            net = replace(net, passes_in=policy.passes_in, passes_out=policy.passes_out)  # noqa: PLW2901
        tail += default(net, names)
    tables = tuple(names.tables[name] for name in sorted(names.tables))
    return Compiled(Ruleset(tables, tuple(translations), (*filters, *after, *tail)), tuple(notes))


def _each(rows: Iterable, make: Callable, kind: str, notes: list[Note]) -> Iterator:  # type: ignore[type-arg]
    """What ``make`` makes of each row that is on; a row that cannot be written is noted."""
    for row in rows:
        if not row.is_enabled:
            continue
        try:
            made = list(make(row))
            for one in made:
                _ = [part.text for part in (one[0] + one[1] if isinstance(one, tuple) else [one])]
        except (BadWord, pf.BadRule) as error:
            notes.append(Note(f"{kind}:{row.id}", str(error)))
            continue
        if not made:
            notes.append(Note(f"{kind}:{row.id}", "What it is about is on no switch that pf sees."))
        yield from made


def rule(row: RuleRow, names: Names) -> list[Filter]:
    """The filters of one rule. Raises BadWord, BadRule; none when its subject is on no switch."""
    if endpoint(row.subject).kind not in SUBJECTS:
        raise BadWord("A rule is about a VM, a jail, a tag or a switch.")
    if row.action not in {"pass", "block", "reject"} or row.direction not in {"in", "out"}:
        raise BadWord("A rule allows, drops or refuses what goes to its subject or comes from it.")
    peer, ports = names.place(row.peer), names.ports(row.ports)
    made = []
    for net, subject in _subjects(row.subject, names):
        source, target = (peer, subject) if row.direction == "in" else (subject, peer)
        for family, protocols in variants(row.family, row.protocol, source, target):
            made.append(
                Filter(
                    row.action,  # type: ignore[arg-type]
                    # What a guest is sent goes out of the bridge.
                    "out" if row.direction == "in" else "in",
                    (net,) if isinstance(net, str) else net,
                    family,
                    protocols,
                    source,
                    pf.ALL_PORTS,
                    target,
                    ports,
                    is_logged=row.is_logged,
                    label=rule_label(row.id),
                )
            )
    return made


def _subjects(word: str, names: Names) -> list[tuple[tuple[str, ...], Place]]:
    """Interfaces, and who is meant on them: of a switch that only guests are on, everybody."""
    nets = names.nets(word)
    if not nets:
        return []
    if endpoint(word).kind == "switch" and not nets[0].is_open:
        return [((nets[0].interface,), ANY)]
    return [(tuple(net.interface for net in nets), names.place(word))]


def variants(family: str, protocol: str, *places: Place) -> list[tuple[pf.Family, tuple[str, ...]]]:
    """Families and protocols as pf has them: ICMP is another protocol in each family. Raises BadWord."""
    if family not in {"", "inet", "inet6"}:
        raise BadWord("A rule is about IPv4, IPv6 or both.")
    if protocol in {"", "tcp", "udp"}:
        return [(family, (protocol,) if protocol else ())]  # type: ignore[list-item]
    if protocol == "tcp/udp":
        return [(family, ("tcp", "udp"))]  # type: ignore[list-item]
    if protocol != "icmp":
        raise BadWord(f"{protocol!r} is not a protocol that rules know.")
    fixed = {place.family for place in places if place.family} | ({family} if family else set())
    both: list[tuple[pf.Family, tuple[str, ...]]] = [("inet", ("icmp",)), ("inet6", ("icmp6",))]
    return [one for one in both if fixed <= {one[0]}]


def forward(row: ForwardRow, names: Names) -> tuple[list[Nat | Rdr], list[Filter]]:
    """Translations and filters of one forward. Raises BadWord, BadRule.

    Its guest's table has one address, so that it follows the guest without a reload. From the guest's own switch it
    works as well: such packets get the switch's address, so that answers come back this way.
    """
    world = names.world
    if endpoint(row.subject).kind != "guest":
        raise BadWord("A forward leads to a VM or a jail.")
    outside = row.interface or world.egress
    if not outside:
        raise BadWord("This host has no default route: choose the interface of the forward.")
    nets = [net for net in names.nets(row.subject) if net.subnet(4)]
    if not nets:
        raise BadWord("It leads to a guest that is on no switch on which the host has an IPv4 address.")
    protocols = {"tcp": ("tcp",), "udp": ("udp",), "tcp/udp": ("tcp", "udp")}.get(row.protocol, ())
    if not protocols:
        raise BadWord("A forward is for TCP or UDP.")
    if row.count < 1 or max(row.port, row.target_port) + row.count - 1 > 65535:
        raise BadWord("Ports go from 1 to 65535.")
    check_kept(row, world)
    source = names.place(row.source)
    name = f"forward_{row.id}"
    names.add(name, names.forward_to(row.subject))
    inner = pf.Ports(((row.target_port, row.target_port + row.count - 1),))
    translations: list[Nat | Rdr] = []
    for protocol in protocols:
        to = Place("interface", outside)
        shape = Rdr(
            outside, "inet", protocol, source, to, row.port, name, row.target_port, row.count, FORWARD_TAG
        )
        translations.append(shape)
        for net in world.filtered:
            if net.subnet(4) and not net.is_open and net.interface != outside:
                translations.append(replace(shape, interface=net.interface))
        for net in nets:
            # Who is beside the guest would be answered by it directly: let the answer go through the host.
            beside = ANY if net.is_open else pf.at(net.subnet(4))
            translations.append(
                Nat(
                    net.interface, "inet", beside, pf.table(name), net.interface, protocol, inner, tagged=FORWARD_TAG
                )
            )  # fmt: skip
    met = Filter(
        "pass", "in", (outside,), "inet", protocols, source, pf.ALL_PORTS, pf.table(name), inner,
        is_logged=row.is_logged, tagged=FORWARD_TAG, label=forward_label(row.id),
    )  # fmt: skip
    out = Filter(
        "pass", "out", tuple(net.interface for net in nets), "inet", protocols, ANY, pf.ALL_PORTS,
        pf.table(name), inner, tagged=FORWARD_TAG,
    )  # fmt: skip
    return translations, [met, out]


def check_kept(row: ForwardRow, world: World) -> None:
    """Raises BadWord for a forward that would take ssh or the panel away."""
    if "tcp" not in row.protocol:
        return
    for port in world.keep_ports:
        if row.port <= port < row.port + row.count:
            what = "the panel" if port not in world.ssh_ports else "ssh"
            raise BadWord(
                f"Port {port} of the host is {what}: it is never forwarded, or nobody could come in."
            )


def _apart(net: Net, names: Names) -> list[Filter]:
    """Guests of a private switch reach one another and the host on it: where the host routes for other switches, it
    would route for them as well. A rule that lets them pass comes before."""
    bridge = (net.interface,)
    made = []
    for subnet in map(ip_network, net.subnets):
        family: pf.Family = "inet6" if subnet.version == 6 else "inet"
        near = names.add(f"within_{net.pk}_{subnet.version}", within(net, subnet.version))
        made += [
            Filter("block", "in", bridge, family, target=near.but(), label=policy_label(net, "out")),
            Filter("block", "out", bridge, family, source=near.but(), label=policy_label(net, "in")),
        ]
    return made


def default(net: Net, names: Names) -> list[Filter]:
    """What happens on a switch to packets that no rule tells of, on its bridge and on its ports."""
    bridge = (net.interface,)
    taps = [(tap,) for tap in names.world.taps(net)]
    into = Filter("pass" if net.passes_in else "block", "out", bridge, label=policy_label(net, "in"))
    out = Filter("pass" if net.passes_out else "block", "in", bridge, label=policy_label(net, "out"))
    sending = Filter("pass", "in", is_stateless=True, tag=GUEST_TAG if net.is_open else "")
    made = []
    if net.kind == "nat":
        made.append(Filter("block", "out", bridge, tagged=UNASKED_TAG, label=UNASKED))
    if net.kind == "private" and not net.is_open:
        made += _apart(net, names)
    if not net.is_open:
        made += [into, out]
        for tap in taps:
            made += [replace(sending, interfaces=tap), replace(sending, interfaces=tap, direction="out")]
        return made
    here = names.place(f"switch:{net.uuid}")
    # A guest whose address nobody knows is known by the port that it sends from.
    made += [replace(into, target=here), replace(out, source=here), replace(out, tagged=GUEST_TAG)]
    for tap in taps:
        made += [replace(sending, interfaces=tap), *essentials(tap[0], "out")]
        if not net.passes_in:
            # To a known address the bridge has decided; who has none that is known gets nothing.
            made.append(replace(into, interfaces=tap, target=here.but()))
        made.append(replace(sending, interfaces=tap, direction="out", tag=""))
    # The other half of the way between guests and what is behind the uplink, so that a "block" that the user's own
    # rules have for the host does not cut it.
    for way in (bridge, *((uplink,) for uplink in net.uplinks if net.has_ports)):
        made += [
            Filter("pass", "in", way, target=here, is_stateless=True),
            Filter("pass", "out", way, source=here, is_stateless=True),
            Filter("pass", "out", way, is_stateless=True, tagged=GUEST_TAG),
        ]
    return made
