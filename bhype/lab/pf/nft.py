"""What pf has loaded as rules of Linux' nftables: pure, from a `model.Filter` to the text of ``nft -f``.

One table "pf" of the family inet for packets to, from and through the host, one of the family bridge for frames
that stay on a bridge (docs/firewall.md tells which hooks those meet). The last rule that meets decides: rules note
their number in the packet's mark, ``quick`` ones with QUICK in it, which ends the evaluation; then the mark decides.

States: inet has them in the mark of Linux' connection, the rule that let it in in the lower half, the one that let it
out in the upper half. So a packet that came in by a rule still needs one to go out, as in pf, where each has a state
of its own; it has the interface that the connection has, so that all are as if bound to it. A bridge has no connections
on Linux: there they are sets of ends.

Not here: users, operating systems, ``no-route``, routes, ``max`` and the like; rules about frames. Rules with
such conditions meet nothing. A bridge and an outgoing packet cannot refuse: they drop. Packets of bridged states are
not counted for their rule.
"""

from __future__ import annotations

from ipaddress import ip_network

from bhype.lab.pf import names
from bhype.lab.pf.journey import Pfil
from bhype.lab.pf.nft_words import IP, Conditions, Place, several
from bhype.lab.pf.rules import INET, INET6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from ipaddress import IPv4Network, IPv6Network

    from bhype.lab.pf.model import Filter
    from bhype.lab.pf.rules import Address, Rule

    Network = IPv4Network | IPv6Network

# The packet's mark: whether a quick rule has met, the tag, and the rule that met last.
QUICK, TAG, RULE = 0x80000000, 0x00FF0000, 0x8000FFFF
GROUP = 86  # of the log
DEFAULT = 0xFFFF  # the rule that is not there: whatever was translated has a state
_STATES = """
 set {way}4 {{ type ipv4_addr . ipv4_addr . inet_proto . inet_service . inet_service; flags dynamic,timeout; timeout 1d; }}
 set {way}6 {{ type ipv6_addr . ipv6_addr . inet_proto . inet_service . inet_service; flags dynamic,timeout; timeout 1d; }}
 set {way}p4 {{ typeof ip saddr . ip daddr . icmp id; flags dynamic,timeout; timeout 1m; }}
 set {way}p6 {{ typeof ip6 saddr . ip6 daddr . icmpv6 id; flags dynamic,timeout; timeout 1m; }}
"""  # noqa: E501
# States of a bridge's members and of bridges, by direction: those bound to an interface are in one set alone.
WAYS = ("min", "mout", "bin", "bout")
_PORTS = ("th sport . th dport", "th dport . th sport")


def compile_all(
    pf: Filter, ids: Mapping[tuple[str, str], list[int]], pfil: Pfil, generation: int, old: Iterable[str] = ()
) -> tuple[str, list[str]]:
    """The text for ``nft -f``, and the objects of the bridge's table that the next text must remove.

    ids: of the rules, by anchor and section. generation: in the names of those objects. old: the ones to remove now.
    The text replaces all at once; states and connections stay.
    """
    inet = _Table(pf, ids, "")
    inet.translations()
    inet.base("pre", Place("pre", "in", "iifname"), "prerouting priority -90")
    inet.base("post", Place("post", "out", "oifname"), "postrouting priority 110")
    bridge = _Table(pf, ids, f"g{generation}_")
    bridge.bridges(pfil)
    lines = ["add table inet pf", "delete table inet pf", "table inet pf {", *inet.text(), "}"]
    lines += [
        "table bridge pf {",
        *(_STATES.format(way=way) for way in WAYS),
        "}",
        "flush table bridge pf",
    ]
    lines += [f"delete {each}" for each in old]
    lines += ["table bridge pf {", *bridge.text(), "}"]
    return "\n".join(lines) + "\n", bridge.objects()


def nothing() -> str:
    """The text that takes all away."""
    return "".join(f"add table {family} pf\ndelete table {family} pf\n" for family in ("inet", "bridge"))


class _Table(Conditions):
    def text(self) -> list[str]:
        lines = [f" counter {self.prefix}{name} {{ }}" for name in sorted(self.counters)]
        lines += self.sets.values()
        for name, inside in self.chains.items():
            lines += [f" chain {self.prefix}{name} {{", *(f"  {line}" for line in inside), " }"]
        return lines

    def objects(self) -> list[str]:
        """What there is, so that it can be deleted again: chains first, as they use the others."""
        return [
            *(f"chain bridge pf {self.prefix}{name}" for name in self.chains),
            *(f"set bridge pf {self.prefix}{name}" for name in self.sets),
            *(f"counter bridge pf {self.prefix}{name}" for name in sorted(self.counters)),
        ]

    # -- hooks -----------------------------------------------------------------------------------------

    def base(self, name: str, place: Place, hook: str) -> None:
        """A chain of the family inet at a hook of Linux."""
        lines = [f"type filter hook {hook}"]
        skipped = place.devices(self._skipped())
        if skipped:
            lines.append(f"{place.word} {several(skipped)} accept")
        own, other = ("0xffff", "0xffff0000") if place.direction == "in" else ("0xffff0000", "0xffff")
        lines += [
            f"ct direction original ct mark & {own} != 0 goto {name}_own",
            f"ct direction reply ct mark & {other} != 0 goto {name}_other",
            "ct state related ct mark != 0 accept",
            self.forget,
            f"jump {self.chain(place, '')}",
        ]
        found = self._decisions(place, "goto")
        lines += [*found, *self._translated(place)]
        self.chains[name] = lines
        self._hits(place, own, "own")
        self._hits(place, other, "other")

    def _hits(self, place: Place, mask: str, what: str) -> None:
        """Count a packet of a state for the rule that made it."""
        shift = 16 if mask == "0xffff0000" else 0
        numbers = [*self._numbers("filter"), *self._numbers("nat"), *self._numbers("rdr")]
        cases = []
        tags = self._tags_of_states()
        for number in numbers:
            tag = [self._tag(tags[number])] if tags.get(number) else []
            self.chains.setdefault(f"hit_{place.name}_{number}", [self._count(number, place), *tag])
            cases.append(f"{short(number) << shift:#x} : jump hit_{place.name}_{number}")
        lines = [f"ct mark & {mask} vmap {{ {', '.join(dict.fromkeys(cases))} }}"] if cases else []
        self.chains[f"{place.name}_{what}"] = [*lines, "accept"]

    def _tags_of_states(self) -> dict[int, str]:
        """The tags that filter rules put on packets of their states, too."""
        found = {}
        for (anchor, section), numbers in self.ids.items():
            ruleset = self.pf.find(anchor)
            if section == "filter" and ruleset:
                found.update({number: rule.tag for number, rule in zip(numbers, ruleset.filter, strict=True)})
        return found

    def _numbers(self, section: str) -> list[int]:
        return [number for (_, each), numbers in self.ids.items() if each == section for number in numbers]

    def _translated(self, place: Place) -> list[str]:
        """What no rule has met has a state if it was translated."""
        status = "dnat" if place.direction == "in" else "snat"
        return [f"ct status {status} {_mark(place, DEFAULT)}"]

    def bridges(self, pfil: Pfil) -> None:
        """Chains of the family bridge: the steps of bridge_pfil(), each at its place."""
        seen = {name: each.members for name, each in self.world.interfaces.items() if each.members}
        steps = [
            (Place("min", "in", "iifname"), pfil.member),
            (Place("bin", "in", "iifname", seen), pfil.bridge),
            (Place("bout", "out", "oifname", seen), pfil.bridge),
            (Place("mout", "out", "oifname"), pfil.member),
        ]
        for hook, used in (("forward", steps), ("input", steps[:1] if pfil.local else [])):
            lines = [f"type filter hook {hook} priority 0", "meta protocol != { ip, ip6 } accept"]
            for place, is_on in used:
                if is_on:
                    skipped = place.devices(self._skipped())
                    unless = f"{place.word} != {several(skipped)} " if skipped else ""
                    lines.append(f"{unless}jump {self._step(place)}")
            self.chains[hook] = lines

    def _step(self, place: Place) -> str:
        name = f"step_{place.name}"
        if name not in self.chains:
            self.chains[name] = []
            kind = place.name[0]
            other = "out" if place.direction == "in" else "in"
            straight, back = f"{kind}{place.direction}", f"{kind}{other}"
            lines = []
            for number, ip, icmp in ((4, "ip", "icmp"), (6, "ip6", "icmpv6")):
                ends, turned = f"{ip} saddr . {ip} daddr", f"{ip} daddr . {ip} saddr"
                lines += [
                    f"meta l4proto {{ tcp, udp }} {ends} . meta l4proto . {_PORTS[0]} @{straight}{number} return",
                    f"meta l4proto {{ tcp, udp }} {turned} . meta l4proto . {_PORTS[1]} @{back}{number} return",
                    f"{icmp} type {{ echo-request, echo-reply }} {ends} . {icmp} id @{straight}p{number} return",
                    f"{icmp} type {{ echo-request, echo-reply }} {turned} . {icmp} id @{back}p{number} return",
                ]
            lines += [
                "icmp type { destination-unreachable, time-exceeded, parameter-problem } return",
                "icmpv6 type { destination-unreachable, packet-too-big, time-exceeded } return",
                self.forget,
                f"jump {self.chain(place, '')}",
            ]
            self.chains[name] = [*lines, *self._decisions(place, "jump")]
        return f"{self.prefix}{name}"

    def _skipped(self) -> list[str]:
        skipped = self.pf.main.options.get("skip", ())
        assert isinstance(skipped, list | tuple)
        return [each for name in skipped for each in self.world.members(str(name))]

    # -- filter rules ----------------------------------------------------------------------------------

    def chain(self, place: Place, anchor: str) -> str:
        """The name of the chain that evaluates an anchor's filter rules at a place."""
        paths = sorted({path for path, _ in self.ids} | {anchor})
        name = f"{place.name}_{paths.index(anchor)}" if anchor else f"{place.name}_main"
        if name not in self.chains:
            self.chains[name] = []
            ruleset = self.pf.find(anchor)
            numbers = self.ids.get((anchor, "filter"), [])
            found = []
            for number, rule in zip(numbers, ruleset.filter if ruleset else (), strict=True):
                found += self._rule(place, anchor, number, rule)
            self.chains[name] = found
        return f"{self.prefix}{name}"

    def _rule(self, place: Place, anchor: str, number: int, rule: Rule) -> list[str]:
        conditions = self.conditions(rule, anchor, place)
        lines = []
        for condition in conditions:
            if rule.anchor:
                below = [each for each in self.pf.anchors_of(anchor, rule.anchor) if self.pf.find(each)]
                for each in below:
                    lines.append(f"{condition} jump {self.chain(place, each)}")
                    lines.append(
                        f"meta mark {f'& {RULE:#x} != 0' if rule.quick else f'>= {QUICK:#x}'} return"
                    )
            elif rule.action == "match":
                if rule.log is not None:
                    lines.append(f"{condition} {self._log(place, anchor, number, rule)}")
                if rule.tag:
                    lines.append(f"{condition} {self._tag(rule.tag)}")
            else:
                self._action(place, anchor, number, rule)
                mark = short(number) | (QUICK if rule.quick else 0)
                value = (
                    f"{mark | self.tags[rule.tag]:#x}" if rule.tag else f"meta mark & {TAG:#x} | {mark:#x}"
                )
                lines.append(f"{condition} meta mark set {value}{' return' * rule.quick}")
        return lines

    def _action(self, place: Place, anchor: str, number: int, rule: Rule) -> None:
        """What happens to packets for which a rule was the one that decides."""
        lines = [self._count(number, place)]
        if rule.log is not None:
            lines.append(self._log(place, anchor, number, rule))
        if rule.action == "block":
            lines += self._refusal(place, rule)
        else:
            if rule.keep:
                lines.append(self._named(f"s{number}"))
                lines += self._remember(place, number, is_bound="if-bound" in rule.limits)
            if not place.is_bridged:
                lines += [] if rule.keep else self._translated(place)
                lines.append("accept")
        self.chains[f"act_{place.name}_{number}"] = lines

    def _refusal(self, place: Place, rule: Rule) -> list[str]:
        if rule.returns == "drop" or place.name != "pre":
            return ["drop"]
        lines = ["meta l4proto tcp reject with tcp reset"] if rule.returns in ("return", "return-rst") else []
        if rule.returns == "return":
            lines.append("meta l4proto udp reject with icmpx port-unreachable")
        elif rule.returns == "return-icmp":
            lines.append("reject with icmpx port-unreachable")
        return [*lines, "drop"]

    def _remember(self, place: Place, number: int, *, is_bound: bool) -> list[str]:
        if not place.is_bridged:
            return [_mark(place, short(number))]
        return [
            line
            for kind in (place.name[0] if is_bound else "mb")
            for line in self._remember_in(f"{kind}{place.direction}")
        ]

    def _remember_in(self, way: str) -> list[str]:
        return [
            f"meta l4proto {{ tcp, udp }} update @{way}4 {{ ip saddr . ip daddr . meta l4proto . {_PORTS[0]} }}",
            f"meta l4proto {{ tcp, udp }} update @{way}6 {{ ip6 saddr . ip6 daddr . meta l4proto . {_PORTS[0]} }}",
            f"icmp type {{ echo-request, echo-reply }} update @{way}p4 {{ ip saddr . ip daddr . icmp id }}",
            f"icmpv6 type {{ echo-request, echo-reply }} update @{way}p6 {{ ip6 saddr . ip6 daddr . icmpv6 id }}",
        ]

    def _decisions(self, place: Place, verb: str) -> list[str]:
        cases = []
        for name in self.chains:
            if name.startswith(f"act_{place.name}_"):
                number = short(int(name.rpartition("_")[2]))
                target = f"{verb} {self.prefix}{name}"
                cases += [f"{number:#x} : {target}", f"{number | QUICK:#x} : {target}"]
        return [f"meta mark & {RULE:#x} vmap {{ {', '.join(cases)} }}"] if cases else []

    def _log(self, place: Place, anchor: str, number: int, rule: Rule) -> str:
        """See `log.parse` for the prefix; 127 characters are kept of it."""
        numbers = self.ids.get((anchor, "filter"), [])
        outer = self._outer(anchor)
        where = (
            f"{outer}.{anchor.rpartition('/')[2][:15]}.{numbers.index(number)}"
            if anchor
            else numbers.index(number)
        )
        kind = "b" if place.seen is not None else "m"
        return f'log prefix "{where} {rule.action} {place.direction} {kind} " group {GROUP}'

    def _outer(self, anchor: str) -> int:
        """The number of the main rule that leads to an anchor."""
        for number, rule in enumerate(self.pf.main.filter):
            if rule.anchor:
                for each in self.pf.anchors_of("", rule.anchor):
                    if anchor == each or anchor.startswith(f"{each}/"):
                        return number
        return 0

    @property
    def forget(self) -> str:
        """Begins an evaluation: the tag stays."""
        return f"meta mark set meta mark & {TAG:#x}"

    def _tag(self, tag: str) -> str:
        return f"meta mark set meta mark & {0xFFFFFFFF ^ TAG:#x} | {self.tags[tag]:#x}"

    def _count(self, number: int, place: Place) -> str:
        return self._named(f"{place.direction[0]}{number}")

    def _named(self, name: str) -> str:
        self.counters.add(name)
        return f'counter name "{self.prefix}{name}"'

    # -- translation -----------------------------------------------------------------------------------

    def translations(self) -> None:
        """The chains of nat, rdr and binat; Linux asks them for the first packet of a connection alone."""
        pre, post = Place("pre", "in", "iifname"), Place("post", "out", "oifname")
        self.chains["rdr"] = ["type nat hook prerouting priority -100"]
        self.chains["rdr"] += self._section(pre, "", "rdr") + self._section(pre, "", "binat")
        self.chains["nat"] = ["type nat hook postrouting priority 100"]
        self.chains["nat"] += self._section(post, "", "binat") + self._section(post, "", "nat")

    def _section(self, place: Place, anchor: str, section: str) -> list[str]:
        ruleset = self.pf.find(anchor)
        numbers = self.ids.get((anchor, section), [])
        lines = []
        for number, rule in zip(numbers, getattr(ruleset, section) if ruleset else (), strict=True):
            if rule.anchor:
                for each in self.pf.anchors_of(anchor, rule.anchor):
                    inside = self._section(place, each, section)
                    if inside:
                        name = f"{section}_{place.name}_{len(self.chains)}"
                        self.chains[name] = inside
                        lines += [
                            f"{condition} jump {name}" for condition in self.conditions(rule, anchor, place)
                        ]
                continue
            lines += self._turn(place, anchor, number, rule)
        return lines

    def _turn(self, place: Place, anchor: str, number: int, rule: Rule) -> list[str]:
        if rule.action.startswith("no "):
            return [f"{condition} accept" for condition in self.conditions(rule, anchor, place)]
        assert rule.pool
        passes = f"{_mark(place, short(number))} " if rule.passes else ""
        tag = f"{self._tag(rule.tag)} " if rule.tag else ""
        count = f"{self._count(number, place)} {self._named(f's{number}')} {passes}{tag}"
        if rule.action == "binat" and place.direction == "in":
            turned = self._binat_in(rule)
            if turned is None:
                return []
            mirrored, to = turned
            return [f"{each} {count}dnat {to}" for each in self.conditions(mirrored, anchor, place)]
        address = self._address(rule.pool.addresses[0], rule.family, anchor)
        if not address:
            return []
        word = f"{IP[rule.family or INET]} to "
        ends = f"[{address}]" if ":" in address else address
        lines = []
        for condition in self.conditions(rule, anchor, place):
            if rule.action == "rdr":
                lines += [
                    f"{each} {count}dnat {word}{to}" for each, to in _ports(condition, rule, ends, address)
                ]
            elif rule.action == "binat" or rule.pool.is_static:
                lines.append(f"{condition} {count}snat {word}{address}")
            else:
                ports = f"{rule.pool.low}-{rule.pool.high}"
                if not rule.protocol:
                    lines.append(f"{condition} meta l4proto {{ tcp, udp }} {count}snat {word}{ends}:{ports}")
                to = f"{ends}:{ports}" if rule.protocol in (names.TCP, names.UDP) else address
                lines.append(f"{condition} {count}snat {word}{to}")
        return lines

    def _binat_in(self, rule: Rule) -> tuple[Rule, str] | None:
        from dataclasses import replace

        assert rule.pool
        if rule.source.kind != "net" or rule.pool.addresses[0].kind not in ("net", "dynamic"):
            return None
        mirrored = replace(rule, source=rule.target, target=rule.pool.addresses[0])
        return mirrored, f"{IP[rule.family or INET]} to {rule.source.text().partition('/')[0]}"

    def _address(self, address: Address, family: str, anchor: str) -> str:
        """The address that a pool gives now; "" for none."""
        if address.kind == "net":
            network = ip_network(address.value)
            return str(network[1] if network.num_addresses > 1 else network[0])
        if address.kind == "dynamic":
            found = [each for each in self.pf.dynamic(address) if (":" in each) == (family == INET6)]
            return found[0].split("/")[0] if found else ""
        if address.kind == "table":
            entries = self.pf.tables.get((anchor, address.value), self.pf.tables.get(("", address.value), []))
            return entries[0].split("/")[0] if entries else ""
        return address.value.split(" ")[0] if address.kind == "range" else ""


def short(number: int) -> int:
    """A rule's number in 16 bits, neither 0 nor DEFAULT."""
    return (number - 1) % (DEFAULT - 1) + 1


def _mark(place: Place, number: int) -> str:
    if place.direction == "in":
        return f"ct mark set ct mark & 0xffff0000 | {number:#x}"
    return f"ct mark set ct mark & 0xffff | {number << 16:#x}"


def _ports(condition: str, rule: Rule, ends: str, address: str) -> list[tuple[str, str]]:
    """An rdr rule's targets: as nft has no ranges that keep their distance, one for each port."""
    assert rule.pool
    asked, low, high = rule.target_port, rule.pool.low, rule.pool.high
    if not low:
        return [(condition, address)]
    if asked and asked.sign == ":" and high > low:
        span = min(asked.high - asked.low, high - low)
        return [
            (f"{condition} th dport {asked.low + step}", f"{ends}:{low + step}") for step in range(span + 1)
        ]
    return [(condition, f"{ends}:{low}")]
