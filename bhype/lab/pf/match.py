"""Does a rule meet a packet? Source: pf_test_rule() and pf_match_addr() in S:sys/netpfil/pf, pf.conf(5)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network

from bhype.lab.pf import names
from bhype.lab.pf.rules import INET, INET6, Address, Operator, Rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bhype.lab.pf.world import World


@dataclass(frozen=True)
class Packet:
    """A packet at one of pf's hooks. protocol: a name or number; ports are 0 where there are none.

    flags: of TCP, as "S" or "SA". icmp: (type, code); identifier: of an echo. about: the packet that an ICMP error
    is about, as the sender of the error has seen it. tag: what a rule has put on it. user: who sends from this host.
    """

    interface: str
    direction: str
    protocol: str
    source: str
    target: str
    source_port: int = 0
    target_port: int = 0
    flags: str = "S"
    icmp: tuple[int, int] = (8, 0)
    identifier: int = 1
    about: Packet | None = None
    tag: str = ""
    user: int | None = None

    @property
    def family(self) -> str:
        return INET6 if ":" in self.source else INET

    @property
    def number(self) -> int:
        """The protocol's number."""
        return names.protocol(self.protocol) or 0

    def at(self, interface: str, direction: str) -> Packet:
        """The same packet at another hook."""
        return replace(self, interface=interface, direction=direction)

    def answer(self) -> Packet:
        """What its receiver would send back: SYN+ACK, an echo's reply, or the same the other way round."""
        icmp = {8: (0, 0), 128: (129, 0)}.get(self.icmp[0], self.icmp)
        return replace(
            self, source=self.target, target=self.source, source_port=self.target_port, target_port=self.source_port,
            flags="SA", icmp=icmp, tag="", user=None,
        )  # fmt: skip


class Matcher:
    """Compares rules with packets. world and tables: as in `model.Filter`."""

    world: World
    tables: dict[tuple[str, str], list[str]]

    def meets(self, rule: Rule, packet: Packet, anchor: str = "") -> bool:
        """Whether a rule, of the anchor ``anchor``, applies to ``packet``."""
        if (
            rule.interface
            and (packet.interface in self.world.members(rule.interface)) == rule.interface_negated
        ):
            return False
        if rule.direction and rule.direction != packet.direction:
            return False
        if rule.family and rule.family != packet.family:
            return False
        if rule.protocol and rule.protocol != packet.number:
            return False
        if not self.holds(rule.source, packet.source, anchor, packet):
            return False
        if not self.holds(rule.target, packet.target, anchor, packet):
            return False
        if not (_port(rule.source_port, packet.source_port) and _port(rule.target_port, packet.target_port)):
            return False
        if packet.number == names.TCP and set(packet.flags) & set(rule.flag_set) != set(rule.flags):
            return False
        kind, code = rule.icmp
        if kind and (kind - 1 != packet.icmp[0] or (code and code - 1 != packet.icmp[1])):
            return False
        if rule.user and (packet.user is None or not rule.user.meets(packet.user)):
            return False
        if rule.group or rule.system or rule.fragment:
            return False
        return not rule.tagged or (packet.tag == rule.tagged) != rule.tagged_negated

    def holds(self, address: Address, text: str, anchor: str, packet: Packet) -> bool:
        """Whether an address of a rule is, or contains, the packet's address ``text``."""
        return self._holds(address, text, anchor, packet) != address.negated

    def _holds(self, address: Address, text: str, anchor: str, packet: Packet) -> bool:
        match address.kind:
            case "any":
                return True
            case "net":
                return ip_address(text) in ip_network(address.value)
            case "range":
                low, _, high = address.value.partition(" - ")
                return _same(low, text) and int(ip_address(low)) <= int(ip_address(text)) <= int(
                    ip_address(high)
                )
            case "dynamic":
                return any(ip_address(text) in ip_network(each) for each in self.dynamic(address))
            case "table":
                return self.in_table(anchor, address.value, text)
            case "no-route":
                return self.route(text) is None
        return self.route(text) != packet.interface  # urpf-failed

    def dynamic(self, address: Address) -> list[str]:
        """The networks that ``(em0)`` is now."""
        found = self.world.addresses(address.value, address.modifiers)
        if address.prefix < 0:
            return found
        return [
            str(
                ip_network(
                    f"{each.split('/')[0]}/{min(address.prefix, int(each.split('/')[1]))}", strict=False
                )
            )
            for each in found
        ]

    def in_table(self, anchor: str, name: str, text: str) -> bool:
        """Whether a table has an address: the narrowest entry decides. An anchor's own goes before the main one's."""
        entries = self.tables.get((anchor, name), self.tables.get(("", name), []))
        best: tuple[int, bool] = (-1, False)
        address = ip_address(text)
        for entry in entries:
            network = ip_network(entry.lstrip("! "), strict=False)
            if address in network and network.prefixlen > best[0]:
                best = network.prefixlen, not entry.startswith("!")
        return best[1]

    def route(self, target: str) -> str | None:
        """The interface by which the host would send to ``target``; None without a route."""
        best: tuple[int, str | None] = (-1, self.world.default or None)
        for name, interface in self.world.interfaces.items():
            for each in interface.addresses:
                network = ip_network(
                    each.partition("%")[0] + "/" + each.rpartition("/")[2] if "%" in each else each,
                    strict=False,
                )
                if ip_address(target) in network and network.prefixlen > best[0]:
                    best = network.prefixlen, name
        return best[1]


def _same(one: str, other: str) -> bool:
    return (":" in one) == (":" in other)


def _port(operator: Operator | None, port: int) -> bool:
    return operator is None or operator.meets(port)
