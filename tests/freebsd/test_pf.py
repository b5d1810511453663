"""Rule sets as data become text that pf.conf(5)'s grammar takes, and nothing unchecked is in it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.freebsd import pf, pfctl
from bhype.freebsd.command import ParseError
from bhype.freebsd.names import BadName
from bhype.freebsd.pf import ANY, BadRule, Filter, Nat, Place, Ports, Rdr, Ruleset, Table, at, table
from bhype.lab.pf import parser

SET = Ruleset(
    (Table("vm_a", ("10.0.0.1", "fd00::1", "10.0.0.0/24", "!10.0.0.7")), Table("empty")),
    (
        Nat("em0", "inet", at("10.77.0.0/24"), at("10.77.0.0/24").but(), "em0", tag="bhype_nat"),
        Nat("em0", "inet6", at("fd77::/64"), ANY, "2001:db8::1"),
        Rdr("em0", "inet", "tcp", ANY, Place("interface", "em0"), 8080, "vm_a", 80, 3, "fw"),
        Rdr("em0", "inet", "udp", at("192.0.2.0/24"), Place("interface", "em0"), 53),
    ),
    (
        Filter("reject", "in", ("sw-a", "sw-b"), "", ("tcp", "udp"), table("vm_a"), ports=Ports(((22, 22), (80, 90)))),
        Filter("pass", "", (), "inet6", ("icmp6",), icmp6_types=("neighbrsol",), is_stateless=True),
        Filter("block", "out", ("em0",), is_logged=True, label="bhype:rule:1", tagged="a", untagged="b"),
    ),
)  # fmt: skip


def test_a_rule_set_is_written_as_pf_conf_has_it():
    assert SET.text.splitlines() == [
        "table <vm_a> persist { 10.0.0.0/24 10.0.0.1 fd00::1 !10.0.0.7 }",
        "table <empty> persist { }",
        "nat on em0 inet from 10.77.0.0/24 to ! 10.77.0.0/24 tag bhype_nat -> (em0:0)",
        "nat on em0 inet6 from fd77::/64 to any -> 2001:db8::1",
        "rdr on em0 inet proto tcp from any to (em0) port 8080:8082 tag fw -> <vm_a> port 80:* round-robin",
        "no rdr on em0 inet proto udp from 192.0.2.0/24 to (em0) port 53",
        "block return in quick on { sw-a sw-b } proto { tcp udp } from <vm_a> to any port { 22 80:90 }",
        "pass quick inet6 proto icmp6 from any to any icmp6-type { neighbrsol } no state",
        'block drop out log quick on em0 from any to any tagged a ! tagged b label "bhype:rule:1"',
    ]
    parser.parse(SET.text)


def test_what_tables_hold_is_no_part_of_the_skeleton():
    other = replace(SET, tables=(Table("vm_a", ("10.0.0.9",)), Table("empty", ("10.0.0.8",))))
    assert other.text != SET.text and other.skeleton == SET.skeleton


EVIL = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ['x"', "x\npass quick all", "$ext_if", "{", "}", "a b", "<t>", "any", "self", "-f", "#", "a\\", "pass", "",
         "../x", "em0:0", "(em0)", "tap1\0", "10.0.0.0/33", "fe80::1%em0", "1.2.3", "café"]
    ),
)  # fmt: skip


@given(EVIL)
def test_no_word_reaches_the_text_unchecked(word):
    """Whatever is put in a place of a rule, the text has one rule, or there is none."""
    rules = [
        Filter("pass", "in", (word,)), Filter("pass", tag=word or "\n"), Filter("pass", label=word or "\n"),
        Filter("pass", source=at(word)), Filter("pass", source=table(word)),
        Filter("pass", source=Place("interface", word)),
        Filter("pass", protocols=(word,)), Filter("pass", family=word or "x"), Filter("pass", direction=word or "x"),
        Filter("pass", protocols=("icmp6",), icmp6_types=(word,)), Filter("pass", tagged=word or "\n"),
        Nat(word, "inet", ANY, ANY, "em0"), Nat("em0", "inet", ANY, ANY, word),
        Rdr("em0", "inet", "tcp", ANY, ANY, 80, word or "\n", 80),
        Table(word), Table("t", (word,)),
    ]  # fmt: skip
    for rule in rules:
        try:
            text = rule.text
        except BadRule:
            continue
        assert "\n" not in text and "\\" not in text and "$" not in text and "#" not in text
        assert len(text.split('"')) in {1, 3}
        parser.parse(f"{text}\n")


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        (Filter("pass", source=at("10.0.0.1"), target=at("fd00::1")), "both families"),
        (Filter("pass", family="inet6", target=at("10.0.0.1")), "both families"),
        (Filter("pass", protocols=("icmp",), family="inet6"), "ICMPv6"),
        (Filter("pass", protocols=("icmp6",), family="inet"), "belongs to IPv6"),
        (Filter("pass", ports=Ports(((22, 22),))), "TCP and UDP"),
        (Filter("pass", protocols=("icmp",), ports=Ports(((22, 22),))), "TCP and UDP"),
        (Filter("pass", protocols=("tcp",), ports=Ports(((90, 80),))), "not ports"),
        (Filter("pass", protocols=("tcp",), ports=Ports(((0, 80),))), "not ports"),
        (Filter("pass", source=Place(is_not=True)), "not any"),
        (Rdr("em0", "inet", "tcp", ANY, ANY, 65535, "t", 80, 2), "not ports"),
        (Rdr("em0", "inet", "tcp", ANY, ANY, 80, "t", 65535, 2), "not ports"),
        (Table("T"), "name of a table"),
        (Table("t" * 32), "name of a table"),
        (Filter("pass", label="x" * 64), "label"),
    ],
)
def test_rules_that_contradict_themselves_are_refused(rule, sentence):
    with pytest.raises(BadRule, match=sentence):
        _ = rule.text


def test_only_anchors_of_bhype_are_touched():
    for name in ("", "bhype", "other/base", "bhype/../x", "bhype/base/x", "-f", "*"):
        for command in (
            lambda one: pfctl.load(one, "/x"),
            lambda one: pfctl.replace_table(one, "t", []),
        ):
            with pytest.raises(BadName):
                command(name)
    assert pfctl.load("bhype/base", "/var/x.conf").argv == (
        "/sbin/pfctl",
        "-a",
        "bhype/base",
        "-f",
        "/var/x.conf",
    )
    assert pfctl.replace_table("bhype/base", "t", ["10.0.0.2", "10.0.0.1"]).argv[-3:] == (
        "replace", "10.0.0.1", "10.0.0.2",
    )  # fmt: skip
    assert pfctl.replace_table("bhype/base", "t", []).argv[-1] == "flush"
    assert pfctl.kill_to("fd00::1").argv[1:] == ("-k", "::/0", "-k", "fd00::1")


def test_what_pfctl_tells_is_understood():
    assert pfctl.is_enabled().parse("Status: Enabled for 0 days 00:10:02           Debug: Urgent\n") is True
    assert pfctl.is_enabled().parse("Status: Disabled\n") is False
    assert pfctl.is_enabled().parse("") is None
    with pytest.raises(ParseError):
        pfctl.is_enabled().parse("what?\n")
    nat, rdr = pfctl.called_translations().parse(
        'nat-anchor "bhype/*" all\nrdr-anchor "x" on em0 all\nnat on em0 ...\n'
    )
    assert (nat, rdr) == ({"bhype/*"}, frozenset())
    assert pfctl.called_filters().parse('anchor "bhype/*" all\nanchor "y" in on em0 all\n') == {"bhype/*"}
    text = "bhype:rule:1 12 340 45210 120 12000 220 33210 3\nbhype:rule:1 1 1 1 1 1 1 1 1\nmy label 1 2 3 4 5 6 7 8\n"
    counters = pfctl.counters("bhype/rules").parse(text)
    assert counters["bhype:rule:1"] == pfctl.Counter(13, 341, 45211, 4)
    assert counters["my label"].packets == 2
    with pytest.raises(ParseError):
        pfctl.counters("bhype/rules").parse("bhype:rule:1 x\n")


@given(st.text())
def test_whatever_pfctl_tells_is_read_or_refused(text):
    for query in (
        pfctl.is_enabled(),
        pfctl.called_translations(),
        pfctl.called_filters(),
        pfctl.counters("bhype/rules"),
    ):
        try:
            query.parse(text)
        except ParseError:
            continue
    pf.members(["10.0.0.1"])


@pytest.mark.parametrize("word", ["once", "flush", "floating", "max-mss", "divert-to", "user"])
def test_words_of_the_language_are_no_names(word):
    """lookup() in S:sbin/pfctl/parse.y."""
    with pytest.raises(pf.BadRule, match=r"word of pf\.conf"):
        pf.interface(word)
