"""What a rule of pf asks of a packet, in the words of nftables: hooks, conditions, tables as sets. See `nft`."""

from __future__ import annotations

from ipaddress import collapse_addresses, ip_network

from bhype.lab.pf import names
from bhype.lab.pf.rules import INET, INET6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from ipaddress import IPv4Network, IPv6Network
    from typing import Any

    from bhype.lab.pf.model import Filter
    from bhype.lab.pf.rules import Address, Operator, Rule, Ruleset

    Network = IPv4Network | IPv6Network

IP = {INET: "ip", INET6: "ip6"}


class Place:
    """One of pf's hooks: its direction, the word that names the interface, and how that is called on Linux."""

    def __init__(
        self, name: str, direction: str, word: str, seen: Mapping[str, Iterable[str]] | None = None
    ) -> None:
        self.name = name
        self.direction = direction
        self.word = word
        self.seen = seen

    @property
    def is_bridged(self) -> bool:
        return self.name not in ("pre", "post")

    def devices(self, interfaces: Iterable[str]) -> list[str]:
        """What pf's interfaces are called here: a bridge is seen by its members."""
        if self.seen is None:
            return list(interfaces)
        return [device for each in interfaces for device in self.seen.get(each, ())]


class Conditions:
    """The part of a table that knows when rules meet. prefix: of its names."""

    def __init__(self, pf: Filter, ids: Mapping[tuple[str, str], list[int]], prefix: str) -> None:
        self.pf = pf
        self.world = pf.world
        self.ids = ids
        self.prefix = prefix
        self.chains: dict[str, list[str]] = {}
        self.sets: dict[str, str] = {}
        self.counters: set[str] = set()
        names_of_tags = sorted({tag for rule in _all(pf.main) for tag in (rule.tag, rule.tagged) if tag})
        # In the bits of the mark that `nft.TAG` names.
        self.tags = {tag: number << 16 for number, tag in enumerate(names_of_tags[:255], 1)}

    def conditions(self, rule: Rule, anchor: str, place: Place) -> list[str]:
        """What nft must find so that a rule meets: one of several, none if it never does."""
        if rule.direction and rule.direction != place.direction:
            return []
        if rule.user or rule.group or rule.system or rule.fragment:
            return []
        first = []
        if rule.interface:
            found = place.devices(self.world.members(rule.interface))
            if not found and not rule.interface_negated:
                return []
            if found:
                first.append(f"{place.word} {'!= ' * rule.interface_negated}{several(found)}")
        if rule.tagged:
            sign = "!=" if rule.tagged_negated else "=="
            first.append(f"meta mark & 0xff0000 {sign} {self.tags[rule.tagged]:#x}")
        plain = all(each.kind == "any" for each in (rule.source, rule.target))
        families = [rule.family] if rule.family else [""] if plain else [INET, INET6]
        lines = []
        for family in families:
            addresses = [
                self._where(address, f"{IP.get(family, '')} {side}", anchor, family)
                for address, side in ((rule.source, "saddr"), (rule.target, "daddr"))
            ]
            if None in addresses:
                continue
            own = [f"meta protocol {IP[family]}"] if family else []
            own += [each for each in addresses if each]
            lines += [" ".join([*first, *own, *each]) for each in self._upper(rule)]
        return lines

    def _upper(self, rule: Rule) -> list[list[str]]:
        """The conditions about what lies above IP."""
        found = [[f"meta l4proto {rule.protocol}"] if rule.protocol else []]
        for word, operator in (("sport", rule.source_port), ("dport", rule.target_port)):
            if operator:
                port = _port(operator)
                if not port:
                    return []
                found = [[*each, f"th {word} {port}"] for each in found]
        kind, code = rule.icmp
        if kind:
            icmp = "icmpv6" if rule.protocol == names.ICMP6 else "icmp"
            more = [f"{icmp} type {kind - 1}"] + ([f"{icmp} code {code - 1}"] if code else [])
            found = [[*each, *more] for each in found]
        if rule.flag_set and rule.protocol in (0, names.TCP):
            flags = f"tcp flags & ({_flags(rule.flag_set)}) == {_flags(rule.flags) or '0'}"
            if rule.protocol:
                return [[*each, flags] for each in found]
            other = f"meta l4proto != {names.TCP}"
            return [
                each for one in found for each in ([*one, other], [*one, f"meta l4proto {names.TCP}", flags])
            ]
        return found

    def _where(self, address: Address, word: str, anchor: str, family: str) -> str | None:
        """The condition for one end; "" for anybody, None for nobody."""
        sign = "!= " if address.negated else ""
        match address.kind:
            case "any":
                return None if address.negated else ""
            case "net":
                return f"{word} {sign}{address.value}" if address.family == family else None
            case "range":
                return f"{word} {sign}{address.value.replace(' ', '')}" if address.family == family else None
            case "table":
                name = self._set(anchor, address.value, family)
                return f"{word} {sign}@{self.prefix}{name}"
            case "dynamic":
                found = [each for each in self.pf.dynamic(address) if (":" in each) == (family == INET6)]
                if not found:
                    return "" if address.negated else None
                return f"{word} {sign}{{ {', '.join(found)} }}"
            case "urpf-failed" if not self.prefix:
                return f"fib {word.split()[1]} . iif oif {'exists' if address.negated else 'missing'}"
        return "" if address.negated else None

    def _set(self, anchor: str, name: str, family: str) -> str:
        """A table as a set of one family."""
        path = anchor if (anchor, name) in self.pf.tables else ""
        six = family == INET6
        key = f"t{len(self.sets)}"
        label = f"{path}|{name}|{family}"
        for known, text in self.sets.items():
            if f'comment "{label}"' in text:
                return known
        found = [
            str(each) for each in networks(self.pf.tables.get((path, name), [])) if (each.version == 6) == six
        ]
        inside = f" elements = {{ {', '.join(found)} }};" if found else ""
        kind = "ipv6_addr" if six else "ipv4_addr"
        own = f"{self.prefix}{key}"
        self.sets[key] = f' set {own} {{ type {kind}; flags interval; comment "{label}";{inside} }}'
        return key


def _all(ruleset: Ruleset) -> Iterator[Rule]:
    yield from ruleset.rules()
    for below in ruleset.anchors.values():
        yield from _all(below)


def networks(entries: Iterable[str]) -> list[Network]:
    """What a table holds, without the parts that narrower entries with "!" take out, and without overlaps."""
    found: list[Any] = []
    parsed: list[tuple[Any, bool]] = [
        (ip_network(entry.lstrip("! "), strict=False), not entry.startswith("!")) for entry in entries
    ]
    for network, is_in in sorted(parsed, key=lambda each: each[0].prefixlen):
        if is_in:
            found.append(network)
            continue
        rest = []
        for each in found:
            if each.version == network.version and network.subnet_of(each):
                rest += each.address_exclude(network)
            elif each.version != network.version or not each.subnet_of(network):
                rest.append(each)
        found = rest
    return [
        each
        for version in (4, 6)
        for each in collapse_addresses([one for one in found if one.version == version])
    ]


def several(devices: Iterable[str]) -> str:
    return "{ " + ", ".join(f'"{each}"' for each in dict.fromkeys(devices)) + " }"


def _port(operator: Operator) -> str:
    low, high = operator.low, operator.high
    match operator.sign:
        case "=":
            return str(low)
        case ":":
            return f"{low}-{high}" if low < high else str(low) if low == high else ""
        case "><":
            return (
                f"{low + 1}-{high - 1}" if low + 1 < high - 1 else str(low + 1) if low + 1 == high - 1 else ""
            )
        case "<>":
            return f"!= {low}-{high}" if low < high else f"!= {low}"
    return f"{operator.sign} {low}"


def _flags(letters: str) -> str:
    words = dict(zip(names.FLAGS, ("fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr"), strict=True))
    return "|".join(words[each] for each in letters)
