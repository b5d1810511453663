"""Rules as the kernel has them, one for each combination of a list, and how pfctl(8) prints them.

Source: pf.conf(5); print_rule(), print_fromto(), print_pool() and print_eth_rule() in S:sbin/pfctl/pfctl_parser.c,
print_addr() in S:sbin/pfctl/pf_print_state.c.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

INET, INET6 = "inet", "inet6"
RETURN_CODES = (0x0303, 0x0104)  # type and code of "port unreachable", for inet and inet6


@dataclass(frozen=True)
class Address:
    """Where packets come from or go to.

    kind: "any", "net" (value is ``10.0.0.0/8``), "range" (``10.0.0.1 - 10.0.0.9``), "dynamic" (an interface or
    group whose addresses are looked up for each packet, with ``modifiers`` as (":0",), and ``prefix`` or -1),
    "table", "no-route" or "urpf-failed". family: "" where both or not yet known.
    """

    kind: str = "any"
    value: str = ""
    negated: bool = False
    family: str = ""
    modifiers: tuple[str, ...] = ()
    prefix: int = -1

    def text(self) -> str:
        """As pfctl prints it, without the negation."""
        match self.kind:
            case "any":
                return "any"
            case "net":
                address, _, prefix = self.value.partition("/")
                return address if int(prefix) == (32 if self.family == INET else 128) else self.value
            case "dynamic":
                inside = f"({self.value}{''.join(self.modifiers)})"
                full = 32 if self.family == INET else 128
                return inside if self.prefix < 0 or self.prefix >= full else f"{inside}/{self.prefix}"
            case "table":
                return f"<{self.value}>"
            case "range":
                return self.value
        return self.kind

    @property
    def is_many(self) -> bool:
        """Whether an interface may give several addresses here; DYNIF_MULTIADDR() in parse.y."""
        return self.kind == "dynamic" and (":0" not in self.modifiers or not self.value[-1:].isdigit())


ANY = Address()


@dataclass(frozen=True)
class Operator:
    """A comparison with a port, user or group: sign is "=", "!=", "<", "<=", ">", ">=", "><", "<>" or ":"."""

    sign: str
    low: int
    high: int = 0

    def meets(self, number: int) -> bool:
        match self.sign:
            case "=":
                return number == self.low
            case "!=":
                return number != self.low
            case "<":
                return number < self.low
            case "<=":
                return number <= self.low
            case ">":
                return number > self.low
            case ">=":
                return number >= self.low
            case "><":
                return self.low < number < self.high
            case "<>":
                return number < self.low or number > self.high
        return self.low <= number <= self.high

    def text(self, low: str, high: str) -> str:
        if self.sign in ("><", "<>"):
            return f" {low} {self.sign} {high}"
        return f" {low}:{high}" if self.sign == ":" else f" {self.sign} {low}"


@dataclass(frozen=True)
class Pool:
    """What a rule translates to, or routes to. interfaces: one for each address of a route, as "em0"."""

    addresses: tuple[Address, ...]
    interfaces: tuple[str, ...] = ()
    low: int = 0
    high: int = 0
    kind: str = ""
    key: str = ""
    is_sticky: bool = False
    is_static: bool = False
    portset: tuple[int, int, int] = (0, 0, 0)


@dataclass(frozen=True)
class Rule:
    """One rule.

    action: "pass", "block", "match", "scrub", "no scrub", "nat", "no nat", "binat", "no binat", "rdr", "no rdr",
    or, with ``anchor``, "anchor", "nat-anchor", "binat-anchor", "rdr-anchor".
    returns: for block "drop", "return", "return-rst", "return-icmp"; ttl and codes (inet, inet6) belong to it.
    anchor: its path as written ("_1" where it has no name and its rules stand in braces).
    keep: "keep", "modulate", "synproxy" or "". limits: the options of a state, printed in this order.
    icmp: type and code, each one more than the number, 0 for any.
    """

    action: str
    anchor: str = ""
    returns: str = ""
    ttl: int = 0
    codes: tuple[int, int] = RETURN_CODES
    direction: str = ""
    log: tuple[str, ...] | None = None
    quick: bool = False
    interface: str = ""
    interface_negated: bool = False
    route: str = ""
    route_pool: Pool | None = None
    family: str = ""
    protocol: int = 0
    source: Address = ANY
    source_port: Operator | None = None
    system: str = ""
    target: Address = ANY
    target_port: Operator | None = None
    user: Operator | None = None
    group: Operator | None = None
    flags: str = ""
    flag_set: str = ""
    icmp: tuple[int, int] = (0, 0)
    tos: int = 0
    priority: int = -1
    set_priority: tuple[int, int] | None = None
    keep: str = ""
    probability: str = ""
    limits: tuple[str, ...] = ()
    fragment: bool = False
    scrub: tuple[str, ...] = ()
    allow_options: bool = False
    labels: tuple[str, ...] = ()
    identifier: int = 0
    pipe: str = ""
    queue: tuple[str, ...] = ()
    tag: str = ""
    tagged: str = ""
    tagged_negated: bool = False
    table_number: int = -1
    divert: int = 0
    passes: bool = False
    pool: Pool | None = None
    # What later grammar (15.0) has instead of a translation rule: "nat-to" or "rdr-to" with the pool.
    turns: str = ""
    line: int = field(default=0, compare=False)

    @property
    def is_translation(self) -> bool:
        return (
            self.action.removeprefix("no ") in ("nat", "rdr", "binat") or self.action in TRANSLATING_ANCHORS
        )


TRANSLATING_ANCHORS = ("nat-anchor", "rdr-anchor", "binat-anchor")


@dataclass(frozen=True)
class EtherRule:
    """A rule about frames, as FreeBSD 14 has them. source, target: a MAC address with an optional mask."""

    action: str
    anchor: str = ""
    direction: str = ""
    quick: bool = False
    interface: str = ""
    interface_negated: bool = False
    bridge_to: str = ""
    protocol: int = 0
    source: str = ""
    target: str = ""
    source_negated: bool = False
    target_negated: bool = False
    ip_source: Address = ANY
    ip_target: Address = ANY
    queue: str = ""
    tag: str = ""
    tagged: str = ""
    pipe: str = ""
    labels: tuple[str, ...] = ()
    identifier: int = 0
    line: int = field(default=0, compare=False)


@dataclass
class Table:
    """A table as the file defines it. addresses: in order, negated ones among them; file: of whose lines to read."""

    name: str
    persist: bool = False
    const: bool = False
    counters: bool = False
    has_list: bool = False
    addresses: list[Address] = field(default_factory=list)


@dataclass
class Ruleset:
    """What one anchor holds. anchors: by their name below this one, those that stand in braces or were loaded."""

    ether: list[EtherRule] = field(default_factory=list)
    scrub: list[Rule] = field(default_factory=list)
    binat: list[Rule] = field(default_factory=list)
    nat: list[Rule] = field(default_factory=list)
    rdr: list[Rule] = field(default_factory=list)
    filter: list[Rule] = field(default_factory=list)
    tables: dict[str, Table] = field(default_factory=dict)
    anchors: dict[str, Ruleset] = field(default_factory=dict)
    options: dict[str, object] = field(default_factory=dict)

    def rules(self) -> list[Rule]:
        """All but those of frames, in the order of their sections."""
        return [*self.scrub, *self.nat, *self.binat, *self.rdr, *self.filter]

    def section(self, rule: Rule) -> list[Rule]:
        """Where such a rule lies."""
        kind = rule.action.removeprefix("no ").removesuffix("-anchor")
        return {"scrub": self.scrub, "nat": self.nat, "binat": self.binat, "rdr": self.rdr}.get(
            kind, self.filter
        )


def numbered(rule: Rule, **changes: object) -> Rule:
    """The rule with some of its fields changed."""
    return replace(rule, **changes)  # type: ignore[arg-type]
