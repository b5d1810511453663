"""pf.conf(5) as data: tables, translations and filter rules in, text of one anchor out.

Nothing reaches the text unchecked: each word is an interface name, an address, a number, or one of a few letters.
The old syntax (nat, rdr), which FreeBSD 13 to 15 all take.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from bhype.freebsd import names

Action = Literal["pass", "block", "reject"]
Direction = Literal["", "in", "out"]
Family = Literal["", "inet", "inet6"]
# PF_TABLE_NAME_SIZE, PF_RULE_LABEL_SIZE and PF_TAG_NAME_SIZE without their NUL (S:sys/net/pfvar.h).
_TABLE = re.compile(r"[a-z][a-z0-9_]{0,30}")
# No "$": pfctl(8) expands $if, $nr and others in labels.
_LABEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_:.-]{0,62}")
_TAG = re.compile(r"[a-z][a-z0-9_]{0,62}")
_PROTOCOLS = frozenset({"tcp", "udp", "icmp", "icmp6"})
ICMP6_TYPES = frozenset({"routersol", "routeradv", "neighbrsol", "neighbradv"})


class BadRule(ValueError):
    """What is asked for cannot be written as a rule. The message is a sentence."""


def address(word: str) -> str:
    """An address or network in numbers, normalized. Raises BadRule."""
    try:
        network = ipaddress.ip_network(word, strict=False)
    except ValueError:
        raise BadRule(f"{word!r} is not an address or a network such as 10.0.0.0/8.") from None
    if getattr(network.network_address, "scope_id", None):
        raise BadRule(f"{word!r} has a zone, which a packet has not.")
    single = network.prefixlen == network.max_prefixlen
    return str(network.network_address) if single else str(network)


def family_of(word: str) -> Family:
    """The family of a checked address or network."""
    return "inet6" if ":" in word else "inet"


def table_name(word: str) -> str:
    if not _TABLE.fullmatch(word) or word in _RESERVED:
        raise BadRule(f"{word!r} is not the name of a table.")
    return word


def label(word: str) -> str:
    if not _LABEL.fullmatch(word):
        raise BadRule(f"{word!r} is not a label.")
    return word


def tag(word: str) -> str:
    if not _TAG.fullmatch(word) or word in _RESERVED:
        raise BadRule(f"{word!r} is not a tag.")
    return word


def interface(word: str) -> str:
    """Raises BadRule; the words that pf.conf(5) reserves are no interfaces."""
    try:
        names.interface(word)
    except names.BadName as error:
        raise BadRule(str(error)) from None
    if word in _RESERVED:
        raise BadRule(f"{word!r} is a word of pf.conf and cannot name an interface in a rule.")
    return word


# Those of lookup() in S:sbin/pfctl/parse.y, of FreeBSD 13 to 15, that names.interface would take.
_RESERVED = frozenset(
    re.findall(
        r"\S+",
        """
    af-to all allow-opts allow-related altq anchor antispoof any bandwidth binat binat-anchor binat-to
    bitmask block block-policy bridge-to buckets cbq code codelq debug divert-reply divert-to dnpipe
    dnqueue drop dup-to endpoint ether fail-policy fairq fastroute file fingerprints flags floating
    flowtable flush for fragment from global group hfsc hogs hostid icmp-type icmp6-type if-bound in
    include inet inet6 interval keep keepcounters l3 label limit linkshare load log loginterface
    map-e-portset match max max-mss max-pkt-rate max-pkt-size max-src-conn max-src-conn-rate
    max-src-nodes max-src-states min-ttl modulate nat nat-anchor nat-to no no-df no-route no-sync on
    once optimization os out overload pass port prio priority priq probability proto qlimit queue quick
    random random-id rdr rdr-anchor rdr-to realtime reassemble received-on reply-to require-order return
    return-icmp return-icmp6 return-rst ridentifier round-robin route route-to rtable rule
    ruleset-optimization scrub scrub-anchor self set set-tos skip sloppy source-hash source-track state
    state-defaults state-policy static-port sticky-address syncookies synproxy table tag tagged target
    tbrsize timeout to tos ttl upperlimit urpf-failed user
    """,
    )
)


@dataclass(frozen=True, slots=True)
class Place:
    """One side of a packet. kind: "any", "address" (or network), "table", or "interface": whatever addresses it has."""

    kind: Literal["any", "address", "table", "interface"] = "any"
    value: str = ""
    is_not: bool = False

    @property
    def text(self) -> str:
        """Raises BadRule."""
        negation = "! " if self.is_not else ""
        match self.kind:
            case "any":
                if self.is_not:
                    raise BadRule("There is no place that is not any.")
                return "any"
            case "address":
                return negation + address(self.value)
            case "table":
                return f"{negation}<{table_name(self.value)}>"
            case "interface":
                return f"{negation}({interface(self.value)})"

    @property
    def family(self) -> Family:
        return family_of(address(self.value)) if self.kind == "address" else ""

    def but(self) -> Place:
        """Everywhere else."""
        return Place(self.kind, self.value, not self.is_not)


ANY = Place()


def at(word: str) -> Place:
    return Place("address", word)


def table(name: str) -> Place:
    return Place("table", name)


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports as ranges with both ends, such as ((22, 22), (8000, 8010)); empty for all."""

    ranges: tuple[tuple[int, int], ...] = ()

    @property
    def text(self) -> str:
        """As "port 22" or "port { 22 8000:8010 }", or empty. Raises BadRule."""
        words = []
        for first, last in self.ranges:
            if not 0 < first <= last <= 65535:
                raise BadRule(f"{first}-{last} are not ports.")
            words.append(str(first) if first == last else f"{first}:{last}")
        if len(words) > 1:
            return f"port {{ {' '.join(words)} }}"
        return f"port {words[0]}" if words else ""


ALL_PORTS = Ports()


def ports(*numbers: int) -> Ports:
    return Ports(tuple((number, number) for number in numbers))


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its addresses; "!10.0.0.1" takes one out of a larger network."""

    name: str
    addresses: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        inside = " ".join(members(self.addresses))
        return (
            f"table <{table_name(self.name)}> persist {{ {inside} }}"
            if inside
            else (f"table <{table_name(self.name)}> persist {{ }}")
        )


def members(addresses: Iterable[str]) -> list[str]:
    """Addresses of a table: checked, each once, in one order. Raises BadRule."""
    found = {("!" if word.startswith("!") else "") + address(word.removeprefix("!")) for word in addresses}
    return sorted(found, key=lambda word: (word.startswith("!"), ":" in word, word))


@dataclass(frozen=True, slots=True)
class Nat:
    """nat on ``interface``: what leaves there from ``source`` gets the address ``to``, that is the first one of an
    interface ("em0"), or an address. tag: set on what is translated; tagged: only what has it."""

    interface: str
    family: Family
    source: Place
    target: Place
    to: str
    protocol: str = ""
    ports: Ports = ALL_PORTS
    tag: str = ""
    tagged: str = ""

    @property
    def text(self) -> str:
        to = address(self.to) if _is_address(self.to) else f"({interface(self.to)}:0)"
        return _words(
            "nat on", interface(self.interface), _family(self.family),
            _protocol((self.protocol,) if self.protocol else ()),
            "from", self.source.text, "to", self.target.text, _ports(self.ports, (self.protocol,)),
            f"tag {tag(self.tag)}" if self.tag else "", f"tagged {tag(self.tagged)}" if self.tagged else "", "->", to,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rdr:
    """rdr on ``interface``: what comes in there for ``port`` and the ``count`` - 1 that follow goes to the addresses of
    table ``to``, from ``to_port`` on. An empty ``to``: no rdr, such packets are never redirected."""

    interface: str
    family: Family
    protocol: str
    source: Place
    target: Place
    port: int
    to: str = ""
    to_port: int = 0
    count: int = 1
    tag: str = ""

    @property
    def text(self) -> str:
        last = self.port + self.count - 1
        outside = Ports(((self.port, last),)).text
        words = [
            "rdr on" if self.to else "no rdr on", interface(self.interface), _family(self.family),
            _protocol((self.protocol,)),
            "from", self.source.text, "to", self.target.text, outside, f"tag {tag(self.tag)}" if self.tag else "",
        ]  # fmt: skip
        if self.to:
            inside = Ports(((self.to_port, self.to_port + self.count - 1),)).text.split(":")[0]
            words += [
                "->",
                f"<{table_name(self.to)}>",
                inside + (":*" if self.count > 1 else ""),
                "round-robin",
            ]
        return _words(*words)


@dataclass(frozen=True, slots=True)
class Filter:
    """A quick rule. interfaces: () for all; protocols: () for all, of "tcp", "udp", "icmp", "icmp6"; is_stateless:
    answers need a rule of their own; else they pass on the same interface, and are asked about elsewhere; tag: set on
    what passes; tagged, untagged: only what has it, or has not."""

    action: Action
    direction: Direction = ""
    interfaces: tuple[str, ...] = ()
    family: Family = ""
    protocols: tuple[str, ...] = ()
    source: Place = ANY
    source_ports: Ports = ALL_PORTS
    target: Place = ANY
    ports: Ports = ALL_PORTS
    icmp6_types: tuple[str, ...] = ()
    is_logged: bool = False
    is_stateless: bool = False
    label: str = ""
    tag: str = ""
    tagged: str = ""
    untagged: str = ""

    @property
    def text(self) -> str:
        """Raises BadRule for words that contradict one another, too."""
        families = {one for one in (self.family, self.source.family, self.target.family) if one}
        if len(families) > 1:
            raise BadRule("A rule cannot have addresses of both families.")
        if "icmp" in self.protocols and families & {"inet6"}:
            raise BadRule("ICMP belongs to IPv4; IPv6 has ICMPv6.")
        if "icmp6" in self.protocols and families & {"inet"}:
            raise BadRule("ICMPv6 belongs to IPv6.")
        if self.icmp6_types and (self.protocols != ("icmp6",) or not set(self.icmp6_types) <= ICMP6_TYPES):
            raise BadRule("Types belong to ICMPv6.")
        verb = {"pass": "pass", "block": "block drop", "reject": "block return"}[self.action]
        types = " ".join(self.icmp6_types)
        return _words(
            verb, _one_of(self.direction, ("", "in", "out")), "log" if self.is_logged else "", "quick",
            _on(self.interfaces), _family(self.family), _protocol(self.protocols),
            "from", self.source.text, _ports(self.source_ports, self.protocols),
            "to", self.target.text, _ports(self.ports, self.protocols),
            f"icmp6-type {{ {types} }}" if types else "",
            _state(self) if self.action == "pass" else "",
            f"tag {tag(self.tag)}" if self.tag else "",
            f"tagged {tag(self.tagged)}" if self.tagged else "",
            f"! tagged {tag(self.untagged)}" if self.untagged else "",
            f'label "{label(self.label)}"' if self.label else "",
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ruleset:
    """All of one anchor, in the order that pf.conf(5) wants."""

    tables: tuple[Table, ...] = ()
    translations: tuple[Nat | Rdr, ...] = ()
    filters: tuple[Filter, ...] = ()

    @property
    def text(self) -> str:
        """Raises BadRule."""
        rows = (*self.tables, *self.translations, *self.filters)
        return "".join(f"{row.text}\n" for row in rows)

    @property
    def skeleton(self) -> str:
        """The text without what tables hold: while it is the same, a changed address needs no reload."""
        empty = tuple(Table(one.name) for one in self.tables)
        return Ruleset(empty, self.translations, self.filters).text


def _state(rule: Filter) -> str:
    return "no state" if rule.is_stateless else "keep state (if-bound)"


def _is_address(word: str) -> bool:
    try:
        ipaddress.ip_address(word)
    except ValueError:
        return False
    return True


def _words(*words: str) -> str:
    return " ".join(word for word in words if word)


def _one_of(word: str, known: tuple[str, ...]) -> str:
    if word not in known:
        raise BadRule(f"{word!r} is not one of {known!r}.")
    return word


def _family(word: str) -> str:
    return _one_of(word, ("", "inet", "inet6"))


def _on(interfaces: tuple[str, ...]) -> str:
    words = [interface(one) for one in interfaces]
    if len(words) > 1:
        return f"on {{ {' '.join(words)} }}"
    return f"on {words[0]}" if words else ""


def _protocol(protocols: tuple[str, ...]) -> str:
    if not set(protocols) <= _PROTOCOLS:
        raise BadRule(f"{protocols!r} are not protocols that a rule can name.")
    if len(protocols) > 1:
        return f"proto {{ {' '.join(protocols)} }}"
    return f"proto {protocols[0]}" if protocols else ""


def _ports(wanted: Ports, protocols: tuple[str, ...]) -> str:
    if wanted.ranges and not (protocols and set(protocols) <= {"tcp", "udp"}):
        raise BadRule("Ports belong to TCP and UDP.")
    return wanted.text
