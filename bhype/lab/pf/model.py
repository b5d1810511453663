"""What pf does with a packet: rules, tables, anchors, translation and states, without a kernel and without wires.

Source: pf_test(), pf_test_rule(), pf_get_translation(), pf_match_translation(), pf_find_state() and
pf_step_into_anchor() in S:sys/netpfil/pf; pf.conf(5). Not here: limits and ages of states, sequence numbers,
fragments, queues, ``probability`` (such a rule always meets), and operating systems.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network

from bhype.lab.pf import names, parser
from bhype.lab.pf.match import Matcher, Packet
from bhype.lab.pf.rules import INET6, Address, Rule, Ruleset
from bhype.lab.pf.world import World

__all__ = ["Filter", "Packet", "State", "Verdict"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Key = tuple[str, int, int, str, int, str, int]


PASS = True


@dataclass(frozen=True)
class Verdict:
    """passes; packet: as it goes on, translated. rule: that decided, None for the default, which is to pass.

    anchor, number: where the rule stands, as "bhype/rules" and 0. by_state: no rule was looked at. translation: the
    rule that translated. logged: rules that had the packet logged, as (anchor, number, rule). tag: what filter rules
    have put on the packet, which its state puts on all that follow.
    """

    passes: bool
    packet: Packet
    rule: Rule | None = None
    anchor: str = ""
    number: int = -1
    by_state: bool = False
    translation: Rule | None = None
    logged: tuple[tuple[str, int, Rule], ...] = ()
    tag: str = ""

    @property
    def label(self) -> str:
        """The first label of the deciding rule."""
        return self.rule.labels[0] if self.rule and self.rule.labels else ""


@dataclass(frozen=True)
class State:
    """A connection that was let through. wire, stack: its keys outside and inside of this host, see `_key`."""

    wire: Key
    stack: Key
    direction: str
    interface: str
    verdict: Verdict
    is_bound: bool = False


@dataclass
class Filter(Matcher):
    """One pf with its rules. tables: addresses as text, "!" before those that are not, by (anchor, name)."""

    main: Ruleset = field(default_factory=Ruleset)
    world: World = field(default_factory=World)
    tables: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    is_enabled: bool = True
    states: list[State] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        texts: Mapping[str, str],
        world: World | None = None,
        tables: Mapping[tuple[str, str], list[str]] | None = None,
    ) -> Filter:
        """A pf that has loaded ``texts``, by anchor ("" is the main file). Raises parser.Errors.

        tables: what tables hold besides what the texts say, as {("bhype/rules", "vm1"): ["10.0.0.5"]}.
        """
        made = cls(world=world or World())
        for anchor in sorted(texts):
            made.load(anchor, parser.parse(texts[anchor], name=anchor or "pf.conf", world=made.world))
        made.tables.update(tables or {})
        return made

    def load(self, anchor: str, ruleset: Ruleset) -> None:
        """Put ``ruleset`` in the place of an anchor's; anchors below it that it does not name stay."""
        old = self.find(anchor, make=True)
        assert old is not None
        kept = dict(old.anchors)
        old.__dict__.update(ruleset.__dict__)
        old.anchors = kept | ruleset.anchors
        self._fill(anchor, old)

    def _fill(self, anchor: str, ruleset: Ruleset) -> None:
        for name, table in ruleset.tables.items():
            if table.has_list or (anchor, name) not in self.tables:
                shown = [f"{'!' * each.negated}{each.value}" for each in table.addresses]
                self.tables[anchor, name] = shown
        for name, below in ruleset.anchors.items():
            self._fill(_below(anchor, name), below)

    def find(self, anchor: str, *, make: bool = False) -> Ruleset | None:
        """The rules of an anchor, such as "bhype/base"; None for one that nobody has loaded."""
        found = self.main
        for part in anchor.strip("/").split("/") if anchor else ():
            if make:
                found = found.anchors.setdefault(part, Ruleset())
            elif part not in found.anchors:
                return None
            else:
                found = found.anchors[part]
        return found

    # -- the packet's way ------------------------------------------------------------------------------

    def test(self, packet: Packet) -> Verdict:
        """What happens to ``packet`` at its hook; a rule that keeps state makes one."""
        skipped = self.main.options.get("skip", ())
        assert isinstance(skipped, list | tuple)
        if not self.is_enabled or any(packet.interface in self.world.members(name) for name in skipped):
            return Verdict(PASS, packet)
        state = self._state_of(packet)
        if state:
            turned = self._translated_by(state, packet)
            turned = replace(turned, tag=state.verdict.tag or packet.tag)
            return replace(state.verdict, packet=turned, by_state=True, logged=())
        rule, turned = self._translate(packet)
        if rule and rule.passes:
            logged = (("", -1, rule),) if rule.log is not None else ()
            verdict = Verdict(PASS, turned, rule, translation=rule, logged=logged)
        else:
            verdict = replace(self._filter(turned), translation=rule)
        if verdict.passes and (rule or (verdict.rule and verdict.rule.keep)):
            self._remember(packet, verdict)
        return verdict

    def _filter(self, packet: Packet) -> Verdict:
        """The last rule that meets decides, or the first that does and is quick."""
        best: tuple[str, int, Rule] | None = None
        logged: list[tuple[str, int, Rule]] = []
        tags = [packet.tag]
        for anchor, number, rule in self._walk("", "filter", packet, tags):
            if rule.tag:
                tags.append(rule.tag)
            if rule.action == "match":
                if rule.log is not None:
                    logged.append((anchor, number, rule))
                continue
            best = anchor, number, rule
            if rule.quick:
                break
        packet = replace(packet, tag=tags[-1])
        tag = tags[-1] if len(tags) > 1 else ""
        if best is None:
            return Verdict(PASS, packet, logged=tuple(logged), tag=tag)
        anchor, number, rule = best
        if rule.log is not None:
            logged.append(best)
        return Verdict(rule.action == "pass", packet, rule, anchor, number, logged=tuple(logged), tag=tag)

    def _walk(
        self, anchor: str, section: str, packet: Packet, tags: list[str] | None = None
    ) -> Iterator[tuple[str, int, Rule]]:
        """All rules of a section that meet ``packet``, those inside of anchors too. A quick anchor ends by itself.

        tags: those that rules have put on the packet; whoever calls adds to them.
        """
        ruleset = self.find(anchor)
        for number, rule in enumerate(getattr(ruleset, section) if ruleset else ()):
            if tags and tags[-1] != packet.tag:
                packet = replace(packet, tag=tags[-1])
            if not self.meets(rule, packet, anchor):
                continue
            if not rule.anchor:
                yield anchor, number, rule
                continue
            is_met = False
            for below in self.anchors_of(anchor, rule.anchor):
                for found in self._walk(below, section, packet, tags):
                    is_met = True
                    yield found
            if is_met and rule.quick:
                return

    def anchors_of(self, anchor: str, name: str) -> list[str]:
        """The anchors that ``anchor "NAME"`` leads to, by path: one, or for ``x/*`` all below x by name."""
        path = name.strip("/") if name.startswith("/") else _below(anchor, name)
        if not (path == "*" or path.endswith("/*")):
            return [path]
        parent = path[:-2] if path.endswith("/*") else ""
        ruleset = self.find(parent)
        return [_below(parent, each) for each in sorted(ruleset.anchors)] if ruleset else []

    # -- translation -----------------------------------------------------------------------------------

    def _translate(self, packet: Packet) -> tuple[Rule | None, Packet]:
        """The first translation rule that meets, and the packet as it makes it."""
        order = ("binat", "nat") if packet.direction == "out" else ("rdr", "binat")
        for section in order:
            if section == "binat" and packet.direction == "in":
                found = self._binat_in(packet)
            else:
                found = next(self._walk("", section, packet), None)
            if found is None:
                continue
            rule = found[2]
            turned = replace(packet, tag=rule.tag or packet.tag)
            if rule.action.startswith("no "):
                return None, packet
            return rule, self._turn(rule, turned, found[0])
        return None, packet

    def _binat_in(self, packet: Packet) -> tuple[str, int, Rule] | None:
        """A binat rule met from outside: its source is what its pool says."""
        for number, rule in enumerate(self.main.binat):
            if rule.anchor or not rule.pool:
                continue
            mirrored = replace(rule, source=rule.target, target=rule.pool.addresses[0], pool=rule.pool)
            if self.meets(mirrored, packet, ""):
                return "", number, rule
        return None

    def _turn(self, rule: Rule, packet: Packet, anchor: str) -> Packet:
        assert rule.pool
        pool = rule.pool
        first = pool.addresses[0]
        kind = rule.action
        if kind == "binat" and packet.direction == "in":
            return replace(packet, target=_mapped(packet.target, rule.source))
        address = self._pooled(first, packet, anchor)
        if kind == "binat":
            return replace(packet, source=_mapped(packet.source, first) if first.kind == "net" else address)
        if kind == "nat":
            port = packet.source_port
            if packet.number in (names.TCP, names.UDP) and not pool.is_static:
                port = pool.low + (packet.source_port - pool.low) % (pool.high - pool.low + 1)
            return replace(packet, source=address, source_port=port)
        port = packet.target_port
        if pool.low:
            port = pool.low
            if rule.target_port and rule.target_port.sign == ":" and pool.high > pool.low:
                port = pool.low + packet.target_port - rule.target_port.low
        return replace(packet, target=address, target_port=port)

    def _pooled(self, address: Address, packet: Packet, anchor: str) -> str:
        """The first address of a pool's entry."""
        if address.kind == "dynamic":
            found = [each for each in self.dynamic(address) if (":" in each) == (packet.family == INET6)]
            return found[0].split("/")[0] if found else packet.source
        if address.kind == "table":
            entries = self.tables.get((anchor, address.value), self.tables.get(("", address.value), []))
            return entries[0].split("/")[0] if entries else packet.target
        if address.kind == "range":
            return address.value.split(" ")[0]
        network = ip_network(address.value)
        return str(network[1] if network.num_addresses > 1 else network[0])

    # -- states ----------------------------------------------------------------------------------------

    def _state_of(self, packet: Packet) -> State | None:
        asked = packet.about if packet.about else packet
        direction = packet.direction if not packet.about else _other(packet.direction)
        key = _key(asked, direction)
        for state in self.states:
            mine = state.wire if packet.direction == "in" else state.stack
            if mine == key and (not state.is_bound or state.interface == packet.interface):
                return state
        return None

    def _translated_by(self, state: State, packet: Packet) -> Packet:
        if packet.about or state.wire == state.stack:
            return packet
        other = state.stack if packet.direction == "in" else state.wire
        ends = (other[3], other[4]), (other[5], other[6])
        source, target = ends if packet.direction == "in" else ends[::-1]
        turned = replace(packet, source=source[0], target=target[0])
        if packet.number not in _PORTED:
            return turned
        return replace(turned, source_port=source[1], target_port=target[1])

    def _remember(self, packet: Packet, verdict: Verdict) -> None:
        before, after = _key(packet, packet.direction), _key(verdict.packet, packet.direction)
        wire, stack = (before, after) if packet.direction == "in" else (after, before)
        limits = verdict.rule.limits if verdict.rule else ()
        self.states.append(
            State(wire, stack, packet.direction, packet.interface, verdict, "if-bound" in limits)
        )

    def kill(self, address: str) -> int:
        """Forget the states that come from an address (``pfctl -k``), and return how many."""
        old = len(self.states)
        source = [3 if state.direction == "in" else 5 for state in self.states]
        self.states = [
            each
            for each, at in zip(self.states, source, strict=True)
            if address not in (each.wire[at], each.stack[at])
        ]
        return old - len(self.states)


_PORTED = (names.TCP, names.UDP, names.SCTP)


def _below(anchor: str, name: str) -> str:
    return f"{anchor}/{name}" if anchor else name


def _other(direction: str) -> str:
    return "in" if direction == "out" else "out"


def _key(packet: Packet, direction: str) -> Key:
    """A packet's ends: straight as it comes in, the other way round as it goes out."""
    kind = packet.number
    if kind in _PORTED:
        ports = packet.source_port, packet.target_port
    else:
        same = packet.identifier if kind in (names.ICMP, names.ICMP6) else 0
        ports = same, same
    source, target = (packet.source, ports[0]), (packet.target, ports[1])
    first, second = (source, target) if direction == "in" else (target, source)
    return (packet.family, kind, 0, first[0], first[1], second[0], second[1])


def _mapped(text: str, address: Address) -> str:
    """The address ``text`` moved into another network, with the bits of its own host part."""
    network = ip_network(address.value)
    host = int(ip_address(text)) & ((1 << (network.max_prefixlen - network.prefixlen)) - 1)
    return str(type(ip_address(text))(int(network.network_address) | host))
