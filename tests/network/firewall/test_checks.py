"""What is wrong with rules, forwards and aliases is found before they are applied, with the field and what to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from network.firewall import checks
from network.firewall.checks import errors
from network.firewall.document import AliasRow, Document, ForwardRow, PolicyRow, RuleRow
from network.firewall.verdict import Packet, verdict

from . import worlds
from .worlds import DB, LAN, NAT, SPY, WEB, world

NOBODY = "vm:99999999-0000-4000-8000-000000000000"
RULE = RuleRow(1, WEB, "in", "block")
FORWARD = ForwardRow(1, WEB, 8081, 80)
ALIASES = (
    AliasRow(1, "a", "hosts", ("alias:2",)), AliasRow(2, "b", "hosts", ("alias:1",)),
    AliasRow(3, "ports", "ports", ("80",)), AliasRow(4, "hosts", "hosts", (WEB,)),
)  # fmt: skip


def of_rule(**columns):
    row = replace(RULE, **columns)
    return checks.rule(row, Document((row,), (), ALIASES), world)


@pytest.mark.parametrize(
    ("columns", "field", "sentence"),
    [
        ({"subject": "any"}, "subject", "VM, a jail, a tag or a switch"),
        ({"subject": "internet"}, "subject", "VM, a jail, a tag or a switch"),
        ({"subject": "10.0.0.1"}, "subject", "VM, a jail, a tag or a switch"),
        ({"subject": "vm:x"}, "subject", "VM, a jail, a tag or a switch"),
        ({"subject": 'tag:x"\npass'}, "subject", "VM, a jail, a tag or a switch"),
        ({"subject": NOBODY}, "subject", "no such thing"),
        ({"peer": NOBODY}, "peer", "no such thing"),
        ({"peer": "10.0.0.300"}, "peer", "not an address"),
        ({"peer": "fe80::1%em0"}, "peer", "zone"),
        ({"peer": "web1.example"}, "peer", "not an address"),
        ({"peer": "alias:9"}, "peer", "no such alias"),
        ({"peer": "alias:1"}, "peer", "contains itself"),
        ({"peer": "alias:3"}, "peer", "names ports"),
        ({"protocol": "tcp", "ports": "alias:4"}, "ports", "names no ports"),
        ({"protocol": "tcp", "ports": "0"}, "ports", "1 to 65535"),
        ({"protocol": "tcp", "ports": "90-80"}, "ports", "smaller one first"),
        ({"protocol": "tcp", "ports": "80;81"}, "ports", "not a port"),
        ({"protocol": "tcp", "ports": ",".join(map(str, range(1, 99, 2)))}, "ports", "at most 30"),
        ({"ports": "80"}, "protocol", "TCP and UDP"),
        ({"protocol": "icmp", "ports": "80"}, "protocol", "TCP and UDP"),
        ({"protocol": "sctp"}, "protocol", "TCP, UDP and ICMP"),
        ({"family": "inet6", "peer": "10.0.0.1"}, "family", "is IPv4"),
        ({"family": "inet", "peer": "fd00::/8"}, "family", "is IPv6"),
        ({"family": "x"}, "family", "IPv4, IPv6 or both"),
        ({"action": "allow"}, "action", "allows, drops or refuses"),
        ({"direction": "up"}, "direction", "goes to its subject"),
    ],
)  # fmt: skip
def test_a_rule_that_is_wrong_is_refused_beside_the_field(columns, field, sentence):
    found = errors(of_rule(**columns))
    assert (field, True) in [(one.field, sentence in one.sentence) for one in found], found


@pytest.mark.parametrize(
    "columns",
    [{}, {"peer": "internet", "protocol": "tcp/udp", "ports": "22, 80-90,alias:3"}, {"subject": f"switch:{NAT}"},
     {"subject": "tag:nobody has it", "peer": "host"}, {"protocol": "icmp", "family": "inet6", "peer": "alias:4"}],
)  # fmt: skip
def test_a_rule_that_is_right_is_not_refused(columns):
    assert errors(of_rule(**columns)) == []


def test_what_a_rule_does_not_meet_now_is_a_warning():
    assert "not known yet" in of_rule(subject=SPY)[0].sentence
    assert "no port on a switch" in of_rule(subject="tag:nobody")[0].sentence
    gone = checks.document(Document((replace(RULE, subject=NOBODY),)), world)
    assert gone and errors(gone) == []


@pytest.mark.parametrize(
    ("above", "below", "shadows"),
    [
        ({}, {"protocol": "tcp", "ports": "80"}, True),
        ({"protocol": "tcp", "ports": "80-90"}, {"protocol": "tcp", "ports": "81"}, True),
        ({"protocol": "tcp", "ports": "80"}, {"protocol": "tcp", "ports": "80-81"}, False),
        ({"peer": "10.0.0.0/8"}, {"peer": "10.1.0.0/16"}, True),
        ({"peer": "10.0.0.0/8"}, {"peer": "fd00::/8"}, False),
        ({"peer": "internet"}, {"peer": "93.184.216.34"}, True),
        ({"peer": "internet"}, {"peer": "93.0.0.0/8"}, True),
        ({"peer": "internet"}, {"peer": "10.77.0.7"}, False),
        ({"peer": "internet"}, {"peer": "0.0.0.0/0"}, False),
        ({"family": "inet"}, {}, False),
        ({"direction": "out"}, {}, False),
        ({"is_enabled": False}, {}, False),
        ({"subject": f"switch:{NAT}"}, {}, True),
        ({"subject": f"switch:{LAN}"}, {}, False),
        ({"subject": DB}, {}, False),
        ({"protocol": "tcp/udp"}, {"protocol": "udp"}, True),
    ],
)
def test_a_rule_that_is_never_met_is_told_of(above, below, shadows):
    first, second = replace(RULE, **above), replace(RULE, **({"id": 2} | below))
    found = checks.rule(second, Document((first, second)), world)
    assert any("rule 1 above" in one.sentence for one in found) is shadows
    assert errors(found) == []


@pytest.mark.parametrize(
    ("columns", "field", "sentence"),
    [
        ({"port": 22}, "port", "nobody could come in"),
        ({"port": 8000, "count": 100}, "port", "the panel"),
        ({"port": 0}, "port", "1 to 65535"),
        ({"target_port": 65535, "count": 2}, "target_port", "1 to 65535"),
        ({"subject": "tag:shop"}, "subject", "leads to a VM"),
        ({"subject": NOBODY}, "subject", "no such VM"),
        ({"interface": "em0; x"}, "interface", "not an interface"),
        ({"interface": "pass"}, "interface", "word of pf.conf"),
        ({"source": "fd00::1"}, "source", "for IPv4"),
        ({"source": "alias:1"}, "source", "contains itself"),
        ({"protocol": "icmp"}, "protocol", "TCP, UDP or both"),
    ],
)
def test_a_forward_that_is_wrong_is_refused_beside_the_field(columns, field, sentence):
    row = replace(FORWARD, **columns)
    found = errors(checks.forward(row, Document((), (row,), ALIASES), world))
    assert (field, True) in [(one.field, sentence in one.sentence) for one in found], found


@pytest.mark.parametrize(
    ("columns", "meets"),
    [
        ({}, True), ({"port": 8080, "count": 5, "target_port": 1}, True), ({"protocol": "tcp/udp"}, True),
        ({"protocol": "udp"}, False), ({"port": 8082}, False), ({"interface": "em1"}, False),
        ({"is_enabled": False}, False), ({"interface": "em0"}, True),
    ],
)  # fmt: skip
def test_two_forwards_of_one_port_are_refused(columns, meets):
    other = replace(FORWARD, id=2, **columns)
    found = errors(checks.forward(other, Document((), (FORWARD, other)), world))
    assert any("forwarded already" in one.sentence for one in found) is meets
    some, rest = replace(FORWARD, source="192.0.2.0/24"), replace(FORWARD, id=2, source="198.51.100.0/24")
    assert errors(checks.forward(rest, Document((), (some, rest)), world)) == []


@pytest.mark.parametrize(
    ("alias", "sentence"),
    [
        (AliasRow(9, "x", "hosts", ("alias:9",)), "contains itself"),
        (AliasRow(9, "x", "hosts", ("any",)), "cannot be part"),
        (AliasRow(9, "x", "hosts", ("10.0.0.0/8",)), "is a network"),
        (AliasRow(9, "x", "ports", ("http",)), "not a port"),
        (AliasRow(9, "hosts", "hosts", ()), "of this name already"),
        (AliasRow(9, "x", "hosts", ("a",) * 501), "at most 500"),
        (AliasRow(9, "x", "people", ()), "hosts, networks or ports"),
        (AliasRow(9, "x", "networks", ("{ 10.0.0.1 }",)), "not an address"),
    ],
)
def test_an_alias_that_is_wrong_is_refused(alias, sentence):
    assert sentence in checks.alias(alias, Document(aliases=(*ALIASES, alias)), world)[0].sentence
    right = AliasRow(9, "x", "networks", ("10.0.0.0/8", "alias:4", "host", f"switch:{LAN}"))
    assert checks.alias(right, Document(aliases=(*ALIASES, right)), world) == []


def test_who_would_lock_itself_out_is_warned():
    document = Document(
        (RuleRow(1, WEB, "out", "block", peer="host"),), (), (), (PolicyRow(LAN, "lan", False, False),)
    )
    (warning,) = checks.locks_out(document, world, "10.77.0.5")
    assert warning.is_warning and "10.77.0.5" in warning.sentence and warning.about == "rule:1"
    for address in ("198.51.100.9", "192.168.9.20", "10.77.0.6", "", "x"):
        assert checks.locks_out(document, world, address) == []


def test_the_verdict_says_which_rule_it_was():
    document = Document(
        (RULE, RuleRow(2, DB, "out", "pass", peer=WEB)), (), (), (PolicyRow(NAT, "nat", True, False),)
    )
    said = verdict(document, worlds.world, Packet("10.77.0.6", "10.77.0.5"))
    assert (said.passes, said.about, said.place) == (False, "rule:1", 1)
    said = verdict(document, worlds.world, Packet("10.77.0.5", "10.77.0.6"))
    assert (said.passes, said.about) == (False, f"switch:{NAT}")
    assert verdict(document, worlds.world, Packet("198.51.100.9", "203.0.113.1")).passes
