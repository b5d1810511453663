"""How pfctl(8) prints rules: ``text(rule)`` is what a load gives the kernel, in the words of pf.conf(5).

Source: print_rule(), print_fromto(), print_pool(), print_port() and print_eth_rule() in
S:sbin/pfctl/pfctl_parser.c, print_addr() in S:sbin/pfctl/pf_print_state.c.
"""

from __future__ import annotations

from bhype.lab.pf import names
from bhype.lab.pf.rules import INET, INET6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from bhype.lab.pf.rules import Address, EtherRule, Operator, Pool, Rule

    Counts = Callable[[Address], str]

PROXY_LOW, PROXY_HIGH = 50001, 65535
_ANCHORS = ("anchor", "nat-anchor", "binat-anchor", "rdr-anchor")


def address(found: Address, counts: Counts | None = None) -> str:
    """An address; with ``counts`` (-vv) tables and interfaces tell how many addresses they have."""
    if counts is None or found.kind not in ("table", "dynamic"):
        return found.text()
    text = found.text()
    end = ">" if found.kind == "table" else ")"
    at = text.index(end)
    return f"{text[:at]}:{counts(found)}{text[at:]}"


def port(found: Operator, protocol: int, *, numeric: bool = False) -> str:
    low, high = str(found.low), str(found.high)
    if not numeric and found.sign in ("=", "!="):
        low = names.SERVICE_NAMES.get(found.low, low)
    return " port" + found.text(low, high)


def _fromto(rule: Rule, counts: Counts | None, *, numeric: bool) -> str:
    plain = not (rule.source_port or rule.target_port or rule.system)
    if plain and all(each.kind == "any" and not each.negated for each in (rule.source, rule.target)):
        return " all"
    words = ""
    sides = (("from", rule.source, rule.source_port), ("to", rule.target, rule.target_port))
    for word, where, operator in sides:
        words += f" {word} {'! ' * where.negated}{address(where, counts)}"
        if operator:
            words += port(operator, rule.protocol, numeric=numeric)
        if word == "from" and rule.system:
            words += f' os "{rule.system}"'
    return words


def pool(found: Pool, action: str) -> str:
    shown = []
    for number, each in enumerate(found.addresses):
        interface = found.interfaces[number] if number < len(found.interfaces) else ""
        if interface:
            shown.append(interface if each.kind == "any" else f"({interface} {each.text()})")
        else:
            shown.append(each.text())
    text = shown[0] if len(shown) == 1 else f"{{ {', '.join(shown)} }}"
    if action == "nat" and (found.low, found.high) not in ((PROXY_LOW, PROXY_HIGH), (0, 0)):
        text += f" port {found.low}" + (f":{found.high}" if found.high != found.low else "")
    if action == "rdr" and found.low:
        text += f" port {found.low}" + (f":{found.high}" if found.high not in (0, found.low) else "")
    if found.kind:
        text += f" {found.kind}" + (f" {found.key}" if found.key else "")
    if found.is_sticky:
        text += " sticky-address"
    if action == "nat" and found.is_static:
        text += " static-port"
    if found.portset[0]:
        text += " map-e-portset {}/{}/{}".format(*found.portset)
    return text


def _head(rule: Rule) -> str:
    if rule.action in _ANCHORS:
        name = rule.anchor.rsplit("/", 1)[-1]
        return rule.action if name.startswith("_") else f'{rule.action} "{rule.anchor}"'
    words = rule.action + " pass" * rule.passes
    if rule.action != "block":
        return words
    if rule.returns == "return-rst" and rule.ttl:
        return f"{words} return-rst(ttl {rule.ttl})"
    if rule.returns != "return-icmp":
        return f"{words} {rule.returns or 'drop'}"
    codes = [_code(code, family) for code, family in zip(rule.codes, (INET, INET6), strict=True)]
    if rule.family == INET:
        return f"{words} return-icmp({codes[0]})"
    if rule.family == INET6:
        return f"{words} return-icmp6({codes[1]})"
    return f"{words} return-icmp({codes[0]}, {codes[1]})"


def _code(code: int, family: str) -> str:
    table = names.ICMP6_CODES if family == INET6 else names.ICMP_CODES
    return names.name_of(table.get(code >> 8, {}), code & 255)


def _icmp(rule: Rule) -> str:
    kind, code = rule.icmp
    if not kind:
        return ""
    six = rule.family == INET6
    words = f" icmp{'6' * six}-type {names.name_of(names.ICMP6_TYPES if six else names.ICMP_TYPES, kind - 1)}"
    if code:
        words += f" code {_code((kind - 1) << 8 | code - 1, rule.family)}"
    return words


def text(rule: Rule, *, counts: Counts | None = None, numeric: bool = False, escape: bool = False) -> str:
    """One rule on one line, without the number that -vv puts before it.

    escape: quotes inside of quotes have a backslash, and anchors in braces their name, so that it can be read again.
    """
    is_anchor = rule.action in _ANCHORS
    words = _head(rule)
    if escape and rule.anchor.startswith("_"):
        words += f' "{rule.anchor}"'
    words += f" {rule.direction}" if rule.direction else ""
    if rule.log is not None:
        words += " log" + (f" ({', '.join(rule.log)})" if rule.log else "")
    words += " quick" * rule.quick
    if rule.interface:
        words += f" on {'! ' * rule.interface_negated}{rule.interface}"
    if rule.route and rule.route_pool:
        words += f" {rule.route} {pool(rule.route_pool, 'route')}"
    words += f" {rule.family}" if rule.family else ""
    if rule.protocol:
        words += f" proto {names.PROTOCOL_NAMES.get(rule.protocol, rule.protocol)}"
    words += _fromto(rule, counts, numeric=numeric)
    for word, operator in (("user", rule.user), ("group", rule.group)):
        if operator:
            words += f" {word}{operator.text(_id(operator.low), _id(operator.high))}"
    if rule.flags or rule.flag_set:
        words += f" flags {rule.flags}/{rule.flag_set}"
    elif rule.action == "pass" and rule.protocol in (0, names.TCP) and not rule.fragment and rule.keep:
        words += " flags any"
    words += _icmp(rule)
    words += f" tos 0x{rule.tos:02x}" if rule.tos else ""
    words += f" prio {rule.priority}" if rule.priority >= 0 else ""
    if rule.set_priority:
        low, high = rule.set_priority
        words += f" set ( prio {low} )" if low == high else f" set ( prio({low}, {high}) )"
    if not rule.keep and rule.action == "pass" and not is_anchor:
        words += " no state"
    elif rule.keep:
        words += f" {rule.keep} state"
    words += f" probability {rule.probability}%" if rule.probability else ""
    words += f" ({', '.join(rule.limits)})" if rule.limits else ""
    words += " fragment" * rule.fragment
    words += "".join(f" {each}" for each in rule.scrub)
    words += " allow-opts" * rule.allow_options
    words += " fragment reassemble" if rule.action == "scrub" else ""
    labels = [each.replace('"', '\\"') for each in rule.labels] if escape else rule.labels
    words += "".join(f' label "{each}"' for each in labels)
    words += f" ridentifier {rule.identifier}" if rule.identifier else ""
    words += f" {rule.pipe}" if rule.pipe else ""
    if rule.queue:
        words += f" queue {rule.queue[0]}" if len(rule.queue) == 1 else f" queue({', '.join(rule.queue)})"
    words += f" tag {rule.tag}" if rule.tag else ""
    if rule.tagged:
        words += f"{' !' * rule.tagged_negated} tagged {rule.tagged}"
    words += f" rtable {rule.table_number}" if rule.table_number >= 0 else ""
    words += f" divert-to {rule.divert}" if rule.divert else ""
    if rule.pool and rule.turns:
        words += f" {rule.turns} {pool(rule.pool, rule.turns.removesuffix('-to'))}"
    elif rule.pool:
        words += f" -> {pool(rule.pool, rule.action)}"
    return words


def _id(number: int) -> str:
    return "unknown" if number == 0xFFFFFFFF else str(number)


def ether(rule: EtherRule) -> str:
    """A rule about frames, as ``pfctl -s ether`` prints it."""
    words = f'ether anchor "{rule.anchor}"' if rule.anchor else f"ether {rule.action}"
    words += f" {rule.direction}" if rule.direction else ""
    words += " quick" * rule.quick
    if rule.interface:
        words += f" on {'! ' * rule.interface_negated}{rule.interface}"
    words += f" bridge-to {rule.bridge_to}" if rule.bridge_to else ""
    words += f" proto 0x{rule.protocol:04x}" if rule.protocol else ""
    if rule.source:
        words += f" from {'! ' * rule.source_negated}{rule.source}"
    if rule.target:
        words += f" to {'! ' * rule.target_negated}{rule.target}"
    sides = (rule.ip_source, rule.ip_target)
    if any(each.kind != "any" for each in sides):
        words += " l3" + "".join(
            f" {word} {'! ' * each.negated}{each.text()}"
            for word, each in zip(("from", "to"), sides, strict=True)
        )
    else:
        words += " l3 all"
    words += "".join(f' label "{each}"' for each in rule.labels)
    words += f" ridentifier {rule.identifier}" if rule.identifier else ""
    words += f" queue {rule.queue}" if rule.queue else ""
    words += f" tag {rule.tag}" if rule.tag else ""
    words += f" tagged {rule.tagged}" if rule.tagged else ""
    words += f" {rule.pipe}" if rule.pipe else ""
    return words
