"""What is wrong with rules, forwards and aliases, before they are stored and again before they are applied. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from bhype.freebsd import pf

from . import compile, words
from .document import AliasRow, Document, ForwardRow, RuleRow
from .names import Names
from .words import BadWord
from .world import World

# Beyond these nobody reads the rules any more, and pf would take its time.
MOST_RULES = 1000
MOST_ENTRIES = 500


@dataclass(frozen=True, slots=True)
class Problem:
    """sentence: what is wrong and what to do; field: the column, or ""; about: "rule:3", "forward:4", "alias:5" or "";
    is_warning: it can be applied all the same."""

    sentence: str
    field: str = ""
    about: str = ""
    is_warning: bool = False


# wrong(field, sentence, is_warning=False)
Wrong = Callable[..., None]


def rule(row: RuleRow, document: Document, world: World, *, is_old: bool = False) -> list[Problem]:
    """One rule among those of ``document`` (which has it, or not yet). is_old: what it names may be gone by now."""
    names = Names(world, document.aliases)
    about = f"rule:{row.id}"
    found: list[Problem] = []

    def wrong(field: str, sentence: str, *, is_warning: bool = False) -> None:
        found.append(Problem(sentence, field, about, is_warning))

    subject = _endpoint(row.subject)
    if subject is None or subject.kind not in words.SUBJECTS:
        wrong("subject", "A rule is about a VM, a jail, a tag or a switch of this host.")
    elif not _exists(subject, world):
        gone = "There is no such thing on this host any more: choose another, or delete the rule."
        wrong("subject", gone, is_warning=is_old)
    elif not names.nets(row.subject):
        wrong(
            "subject", "It has no port on a switch that pf sees: the rule meets nothing now.", is_warning=True
        )
    elif subject.kind == "guest" and not names.addresses(row.subject):
        wrong(
            "subject",
            "Its addresses are not known yet: the rule meets nothing until they are.",
            is_warning=True,
        )
    if row.action not in {"pass", "block", "reject"}:
        wrong("action", "A rule allows, drops or refuses.")
    if row.direction not in {"in", "out"}:
        wrong("direction", "A rule is about what goes to its subject, or what comes from it.")
    _peer(row.peer, "peer", names, wrong, is_old=is_old)
    _family(row, wrong)
    if row.ports:
        if row.protocol not in {"tcp", "udp", "tcp/udp"}:
            wrong("protocol", "Ports belong to TCP and UDP: choose one of them, or both.")
        try:
            names.ports(row.ports)
        except BadWord as error:
            wrong("ports", str(error))
    if not any(not problem.is_warning for problem in found):
        try:
            for one in compile.rule(row, names):
                _ = one.text
        except (BadWord, pf.BadRule) as error:
            wrong("", str(error))
        shadow = _shadow(row, document, names)
        if shadow is not None:
            wrong("", f"It is never met: rule {shadow} above decides about all of it.", is_warning=True)
    return found


def _family(row: RuleRow, wrong: Wrong) -> None:
    if row.family not in {"", "inet", "inet6"}:
        wrong("family", "A rule is about IPv4, IPv6 or both.")
    peer = _endpoint(row.peer)
    if peer and peer.kind == "address" and row.family and pf.family_of(peer.value) != row.family:
        other = "IPv6" if row.family == "inet" else "IPv4"
        wrong("family", f"{peer.value} is {other}: such a rule would meet nothing.")
    if row.protocol not in {"", "tcp", "udp", "tcp/udp", "icmp"}:
        wrong("protocol", "Rules know TCP, UDP and ICMP.")


def _endpoint(word: str) -> words.Endpoint | None:
    try:
        return words.endpoint(word)
    except BadWord:
        return None


def _exists(found: words.Endpoint, world: World) -> bool:
    if found.kind == "guest":
        return found.value in world.guest_of
    if found.kind == "switch":
        return any(net.uuid == found.value for net in world.nets)
    return True


def _peer(word: str, field: str, names: Names, wrong: Wrong, *, is_old: bool) -> None:
    """Problems of an endpoint at the other side."""
    try:
        found = words.endpoint(word)
        names.place(word)
    except BadWord as error:
        wrong(field, str(error))
        return
    if not _exists(found, names.world):
        wrong(field, "There is no such thing on this host any more.", is_warning=is_old)


def _shadow(row: RuleRow, document: Document, names: Names) -> int | None:
    """The place (from 1) of an earlier rule that meets everything this one does; None when there is none."""
    for place, other in enumerate(document.rules, 1):
        if other.id == row.id:
            return None
        if not other.is_enabled or other.direction != row.direction:
            continue
        try:
            if (
                (other.subject == row.subject or _covers_subject(other.subject, row.subject, names))
                and _covers_peer(other.peer, row.peer, names)
                and other.family in {"", row.family}
                and _covers_protocol(other.protocol, row.protocol)
                and _covers_ports(other.ports, row.ports, names)
            ):
                return place
        except BadWord:
            continue
    return None


def _covers_subject(outer: str, inner: str, names: Names) -> bool:
    """Whether each guest of ``inner`` is one of ``outer``: of switches that only guests are on."""
    nets = names.nets(outer)
    if words.endpoint(outer).kind == "switch":
        return bool(nets) and not nets[0].is_open and {net.pk for net in names.nets(inner)} == {nets[0].pk}
    return False


def _covers_peer(outer: str, inner: str, names: Names) -> bool:
    if outer in {"any", inner}:
        return True
    one, two = words.endpoint(outer), words.endpoint(inner)
    if "address" == one.kind == two.kind:
        a, b = ip_network(one.value), ip_network(two.value)
        return a.version == b.version and b.subnet_of(a)  # type: ignore[arg-type]
    if (one.kind, two.kind) == ("internet", "address"):
        b, inside = ip_network(two.value), [ip_network(word) for word in names.inside()]
        return not any(each.version == b.version and each.overlaps(b) for each in inside)
    return False


def _covers_protocol(outer: str, inner: str) -> bool:
    return outer in {"", inner} or (outer == "tcp/udp" and inner in {"tcp", "udp"})


def _covers_ports(outer: str, inner: str, names: Names) -> bool:
    if not outer:
        return True
    if not inner:
        return False
    wide, narrow = names.ports(outer).ranges, names.ports(inner).ranges
    return all(any(a <= first and last <= b for a, b in wide) for first, last in narrow)


def forward(row: ForwardRow, document: Document, world: World, *, is_old: bool = False) -> list[Problem]:
    """One forward among those of ``document``. is_old: as of `rule`."""
    names = Names(world, document.aliases)
    about = f"forward:{row.id}"
    found: list[Problem] = []

    def wrong(field: str, sentence: str, *, is_warning: bool = False) -> None:
        found.append(Problem(sentence, field, about, is_warning))

    subject = _endpoint(row.subject)
    if subject is None or subject.kind != "guest":
        wrong("subject", "A forward leads to a VM or a jail of this host.")
    elif not _exists(subject, world):
        wrong("subject", "There is no such VM or jail on this host any more.", is_warning=is_old)
    elif not any(net.subnet(4) for net in names.nets(row.subject)):
        nowhere = "It is on no switch on which the host has an IPv4 address: there is no way to it."
        wrong("subject", nowhere, is_warning=is_old)
    elif not names.forward_to(row.subject):
        wrong(
            "subject",
            "Its IPv4 address is not known yet: the forward leads nowhere until it is.",
            is_warning=True,
        )
    if row.protocol not in {"tcp", "udp", "tcp/udp"}:
        wrong("protocol", "A forward is for TCP, UDP or both.")
    for field, port in (("port", row.port), ("target_port", row.target_port)):
        if not 0 < port <= port + row.count - 1 <= 65535:
            wrong(field, "Ports go from 1 to 65535.")
    if row.count < 1:
        wrong("count", "At least one port.")
    try:
        compile.check_kept(row, world)
    except BadWord as error:
        wrong("port", str(error))
    if row.interface:
        try:
            pf.interface(row.interface)
        except pf.BadRule as error:
            wrong("interface", str(error))
    elif not world.egress:
        wrong("interface", "This host has no default route: choose the interface where packets come in.")
    _peer(row.source, "source", names, wrong, is_old=is_old)
    source = _endpoint(row.source)
    if source and source.kind == "address" and ":" in source.value:
        wrong("source", "Forwards are for IPv4; with IPv6 guests are reached by their own addresses.")
    for other in document.forwards:
        if other.id != row.id and other.is_enabled and row.is_enabled and _meet(row, other, world):
            wrong(
                "port",
                f"Port {max(row.port, other.port)} is forwarded already, see the forward of {other.port}.",
            )
            break
    return found


def _meet(one: ForwardRow, two: ForwardRow, world: World) -> bool:
    """Whether two forwards want the same packets."""
    if (one.interface or world.egress) != (two.interface or world.egress):
        return False
    if not set(one.protocol.split("/")) & set(two.protocol.split("/")):
        return False
    if one.port + one.count <= two.port or two.port + two.count <= one.port:
        return False
    a, b = _endpoint(one.source), _endpoint(two.source)
    if a and b and "address" == a.kind == b.kind:
        # Different customers may have different doors behind the same port.
        first, second = ip_network(a.value), ip_network(b.value)
        return first.version == second.version and first.overlaps(second)
    return True


def alias(row: AliasRow, document: Document, world: World) -> list[Problem]:
    """One alias among those of ``document``."""
    others = tuple(one for one in document.aliases if one.id != row.id)
    names = Names(world, (*others, row))
    about = f"alias:{row.id}"
    if row.kind not in {"hosts", "networks", "ports"}:
        return [Problem("An alias names hosts, networks or ports.", "kind", about)]
    if len(row.entries) > MOST_ENTRIES:
        return [Problem(f"An alias has at most {MOST_ENTRIES} entries.", "entries", about)]
    found = []
    if any(one.name == row.name for one in others):
        found.append(Problem("There is an alias of this name already.", "name", about))
    for entry in row.entries:
        try:
            if row.kind == "ports":
                words.ports(entry)
            else:
                _host_entry(entry, row.kind)
        except BadWord as error:
            found.append(Problem(str(error), "entries", about))
    if not found and row.entries:
        try:
            if row.kind == "ports":
                names.ports(f"alias:{row.id}")
            else:
                names.place(f"alias:{row.id}")
        except BadWord as error:
            found.append(Problem(str(error), "entries", about))
    return found


def _host_entry(entry: str, kind: str) -> None:
    """Raises BadWord."""
    found = words.endpoint(entry)
    if found.kind in {"any", "internet"}:
        raise BadWord(f"“{found.kind}” cannot be part of an alias: name it in the rule itself.")
    if kind == "hosts" and found.kind == "address" and "/" in found.value:
        raise BadWord(f"{found.value} is a network: choose an alias of networks for it.")


def document(wanted: Document, world: World) -> list[Problem]:
    """Everything about all of it; what is off is not looked at."""
    found: list[Problem] = []
    if len(wanted.rules) + len(wanted.forwards) > MOST_RULES:
        found.append(Problem(f"There are at most {MOST_RULES} rules and forwards."))
        return found
    for row in wanted.aliases:
        found += alias(row, wanted, world)
    for one in wanted.rules:
        if one.is_enabled:
            found += rule(one, wanted, world, is_old=True)
    for each in wanted.forwards:
        if each.is_enabled:
            found += forward(each, wanted, world, is_old=True)
    return found


def errors(problems: Iterable[Problem]) -> list[Problem]:
    """Those that keep a document from being applied."""
    return [problem for problem in problems if not problem.is_warning]


def locks_out(wanted: Document, world: World, address: str) -> list[Problem]:
    """Whether the person at ``address`` could not come to the panel or ssh any more: only one who sits on a guest or
    among guests' addresses can be concerned."""
    from .verdict import Packet, verdict

    try:
        version = ip_address(address).version
    except ValueError:
        return []
    own = [one for one in world.own if ip_address(one).version == version]
    for port in world.keep_ports:
        for target in own:
            said = verdict(wanted, world, Packet(address, target, "tcp", port))
            if not said.passes and said.about:
                sentence = (
                    f"You come from {address}, and could not reach port {port} of this host: {said.sentence}"
                )
                return [Problem(sentence, "", said.about, is_warning=True)]
    return []
