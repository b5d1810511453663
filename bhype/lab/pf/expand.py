"""From lists to rules: one rule for each combination, and what makes no sense together.

Source: expand_rule(), filter_consistent(), rdr_consistent() and expand_label() in S:sbin/pfctl/parse.y.
"""

from __future__ import annotations

from itertools import product

from bhype.lab.pf import names
from bhype.lab.pf.rules import ANY, INET, INET6, RETURN_CODES, Address, Operator, Pool, Rule, numbered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def expand(
    rule: Rule,
    lists: dict[str, list[Any]],
    tell: Callable[[str], None],
    pool: Pool | None = None,
) -> list[Rule]:
    """All rules that ``rule`` stands for. tell: notes an error.

    lists: "interface" of (name, negated), "protocol", "icmp" of (type, code, is v6), "source", "source_port",
    "system", "target", "target_port", "user", "group"; a missing one is one "any".
    """
    default: dict[str, list[Any]] = {
        **{"interface": [("", False)], "protocol": [0], "icmp": [(0, 0, False)], "source": [ANY]},
        **{"source_port": [None], "system": [""], "target": [ANY], "target_port": [None]},
        **{"user": [None], "group": [None]},
    }
    chosen = [lists.get(key) or values for key, values in default.items()]
    found: list[Rule] = []
    for combination in product(*chosen):
        (
            (interface, negated),
            protocol,
            icmp,
            source,
            source_port,
            system,
            target,
            target_port,
            user,
            group,
        ) = combination
        family = _family(rule.family, source, target)
        if family is None:
            continue
        scope = _scope(source, target)
        if scope is None or (scope and interface and scope != interface):
            continue
        changes: dict[str, Any] = {
            **{"family": family, "interface": interface or scope, "interface_negated": negated},
            **{
                "protocol": protocol,
                "icmp": icmp[:2],
                "source_port": source_port,
                "target_port": target_port,
            },
            **{"source": _of_family(source, family), "target": _of_family(target, family)},
            **{"system": system, "user": user, "group": group},
        }
        if rule.returns == "return-icmp" and family:  # the other family's code is of no account
            four, six = rule.codes
            changes["codes"] = (four, RETURN_CODES[1]) if family == INET else (RETURN_CODES[0], six)
        if protocol not in (0, names.TCP):
            changes.update(flags="", flag_set="")
        made = numbered(rule, **changes)
        problems = 0
        if icmp[0] and protocol != (names.ICMP6 if icmp[2] else names.ICMP):
            tell("icmp-type mismatch")
            problems += 1
        problems += _pooled(made, pool, found, tell) if pool else _consistent(made, found, tell)
        if problems:
            tell("skipping rule due to errors")
    if not found:
        tell("rule expands to no valid combination")
    return found


def _family(own: str, source: Address, target: Address) -> str | None:
    families = {each for each in (own, source.family, target.family) if each}
    return None if len(families) > 1 else next(iter(families), "")


def _scope(source: Address, target: Address) -> str | None:
    """The interface of link-local addresses; None where two differ."""
    scopes = {each.modifiers[0][1:] for each in (source, target) if each.kind == "net" and each.modifiers}
    return None if len(scopes) > 1 else next(iter(scopes), "")


def _of_family(address: Address, family: str) -> Address:
    if address.kind == "dynamic" and family:
        prefix = min(address.prefix, 32) if family == INET else address.prefix
        return Address("dynamic", address.value, address.negated, family, address.modifiers, prefix)
    if address.kind == "any":
        return Address(negated=address.negated)
    if address.kind == "net" and address.modifiers:
        return Address("net", address.value, address.negated, address.family)
    return address


def _pooled(rule: Rule, pool: Pool, found: list[Rule], tell: Callable[[str], None]) -> int:
    """Give a translation rule those addresses of its pool that are of its family."""
    family = rule.family or next((each.family for each in pool.addresses if each.family), "")
    addresses = tuple(
        each for each in pool.addresses if not each.family or not family or each.family == family
    )
    if not addresses:
        tell("no translation address with matching address family found.")
        return 1
    if len(addresses) > 1 and not family and len({each.family for each in addresses}) > 1:
        tell("address family (inet/inet6) undefined")
        return 1
    fixed = tuple(_of_family(each, family) for each in addresses)
    many = len(fixed) > 1 or fixed[0].kind == "table" or fixed[0].is_many
    kind = pool.kind if many or pool.kind != "round-robin" or len(pool.addresses) == 1 else ""
    made = numbered(
        rule,
        family=family,
        pool=Pool(
            fixed, (), pool.low, pool.high, kind, pool.key, pool.is_sticky, pool.is_static, pool.portset
        ),
    )
    return _consistent(made, found, tell)


def _consistent(rule: Rule, found: list[Rule], tell: Callable[[str], None]) -> int:
    """Add the rule to ``found`` and return 0, or tell what is wrong and return how much."""
    problems = _rdr_problems(rule) if rule.action in ("rdr", "no rdr") else []
    if not rule.is_translation:
        problems = _filter_problems(rule)
    for each in problems:
        tell(each)
    if not problems:
        if any("$" in each for each in rule.labels):
            rule = numbered(rule, labels=tuple(_label(each, rule, len(found)) for each in rule.labels))
        found.append(rule)
    return len(problems)


def _filter_problems(rule: Rule) -> list[str]:
    has_port = rule.source_port or rule.target_port
    problems = {
        "port only applies to tcp/udp": has_port and rule.protocol not in (names.TCP, names.UDP, names.SCTP),
        "icmp-type/code only applies to icmp": rule.icmp[0]
        and rule.protocol not in (names.ICMP, names.ICMP6),
        "must indicate address family with icmp-type/code": rule.icmp[0] and not rule.family,
        "'overload' requires 'max-src-conn' or 'max-src-conn-rate'": any(
            each.startswith("overload") for each in rule.limits
        )
        and not any(each.startswith("max-src-conn") for each in rule.limits),
        "proto icmp doesn't match address family inet6": rule.protocol == names.ICMP and rule.family == INET6,
        "proto icmp6 doesn't match address family inet": rule.protocol == names.ICMP6 and rule.family == INET,
        "allow-opts can only be specified for pass rules": rule.allow_options and rule.action != "pass",
        "fragments can be filtered only on IP header fields": rule.fragment
        and (has_port or rule.flag_set or rule.icmp[0]),
        "return-rst can only be applied to TCP rules": rule.returns == "return-rst"
        and rule.protocol != names.TCP,
        "max-src-nodes requires 'source-track rule'": any(
            each.startswith("max-src-nodes") for each in rule.limits
        )
        and "source-track rule" not in rule.limits,
        "keep state is great, but only for pass rules": rule.keep and rule.action not in ("pass", "match"),
        "sloppy state matching cannot be used with synproxy state or modulate state": "sloppy" in rule.limits
        and rule.keep in ("modulate", "synproxy"),
    }
    return [reason for reason, is_so in problems.items() if is_so]


def _rdr_problems(rule: Rule) -> list[str]:
    ports = rule.protocol in (names.TCP, names.UDP)
    problems = {
        "src port only applies to tcp/udp": rule.source_port and not ports,
        "dst port only applies to tcp/udp": rule.target_port and not ports,
        "rpool port only applies to tcp/udp": rule.pool and rule.pool.low and not ports,
        "invalid port operator for rdr destination port": rule.target_port
        and rule.target_port.sign not in ("=", ":"),
    }
    return [reason for reason, is_so in problems.items() if is_so]


def _label(text: str, rule: Rule, number: int) -> str:
    if "$" not in text:
        return text
    words = {
        "$if": rule.interface or "any",
        "$srcaddr": f"{'! ' * rule.source.negated}{rule.source.text()}",
        "$dstaddr": f"{'! ' * rule.target.negated}{rule.target.text()}",
        "$srcport": _port(rule.source_port),
        "$dstport": _port(rule.target_port),
        "$proto": str(names.PROTOCOL_NAMES.get(rule.protocol, rule.protocol)) if rule.protocol else "ip",
        "$nr": str(number),
    }
    for word, value in words.items():
        text = text.replace(word, value)
    return text


def _port(operator: Operator | None) -> str:
    if operator is None:
        return ""
    if operator.sign in ("><", "<>"):
        return f"{operator.low}{operator.sign}{operator.high}"
    return "" if operator.sign == ":" else f"{operator.sign if operator.sign != '=' else ''}{operator.low}"
