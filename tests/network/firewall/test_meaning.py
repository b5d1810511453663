"""Rules by name mean for pf what the page says: a model of pf against an oracle that knows names only."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from bhype.lab.pf import parser
from bhype.lab.pf.journey import talk
from bhype.lab.pf.model import Packet
from network.firewall import base, compile, verdict
from network.firewall.document import AliasRow, Document, PolicyRow, RuleRow

from . import worlds
from .worlds import ALL, AT, DB, LAN, MAIL, NAT, OUTSIDE, WEB

# Who there is, by name: address, family, where its packets come from, its switch, and the words that mean it.
WHO = {
    "web": ("10.77.0.5", "tap1001", NAT, {WEB, "tag:shop", f"switch:{NAT}", "alias:1", "10.77.0.0/16"}),
    "web6": ("fd77::5", "tap1001", NAT, {WEB, "tag:shop", f"switch:{NAT}", "alias:1"}),
    "db": ("10.77.0.6", "tap1002", NAT, {DB, "tag:shop", "tag:quiet", f"switch:{NAT}", "10.77.0.0/16"}),
    "mail": ("192.168.9.7", "tap1003", LAN, {MAIL, f"switch:{LAN}", "alias:1"}),
    "neighbour": ("192.168.9.20", "em1", "", {"internet"}),
    "stranger": (OUTSIDE, "em0", "", {"internet", "alias:1", "alias:2", "198.51.100.0/24"}),
    "host": ("10.77.0.1", "", "", {"host", "10.77.0.0/16"}),
}
ALIASES = (
    AliasRow(1, "mixed", "hosts", (WEB, MAIL, "alias:2")),
    AliasRow(2, "friends", "networks", ("198.51.100.0/24",)),
    AliasRow(3, "doors", "ports", ("80", "8000-8010", "alias:4")),
    AliasRow(4, "more", "ports", ("443",)),
)
PORTS = {
    "": None,
    "80": {80},
    "22,443": {22, 443},
    "8000-8010": set(range(8000, 8011)),
    "alias:3": {80, 443, *range(8000, 8011)},
}
SUBJECTS = (WEB, DB, MAIL, "tag:shop", "tag:quiet", f"switch:{NAT}", f"switch:{LAN}")
PEERS = (*SUBJECTS, "any", "host", "internet", "alias:1", "alias:2", "198.51.100.0/24", "10.77.0.0/16")


@st.composite
def rule_rows(draw, number=1):
    protocol = draw(st.sampled_from(["", "tcp", "udp", "tcp/udp", "icmp"]))
    ports = draw(st.sampled_from(list(PORTS))) if protocol in {"tcp", "udp", "tcp/udp"} else ""
    return RuleRow(
        number, draw(st.sampled_from(SUBJECTS)), draw(st.sampled_from(["in", "out"])),
        draw(st.sampled_from(["pass", "block", "reject"])), draw(st.sampled_from(["", "inet"])), protocol,
        draw(st.sampled_from(PEERS)), ports, draw(st.booleans()) or draw(st.booleans()), draw(st.booleans()),
    )  # fmt: skip


@st.composite
def documents(draw):
    rows = tuple(replace(draw(rule_rows()), id=number) for number in range(1, draw(st.integers(0, 6)) + 1))
    flags = [draw(st.booleans()) for _ in range(4)]
    policies = (PolicyRow(NAT, "nat", flags[0], flags[1]), PolicyRow(LAN, "lan", flags[2], flags[3]))
    return Document(rows, (), ALIASES, policies)


def oracle(document, sender, receiver, protocol, port):
    """Whether a connection's first packet passes, by names alone."""
    for direction, me, other in (("out", sender, receiver), ("in", receiver, sender)):
        switch = WHO[me][2]
        if not switch:
            continue
        if (
            direction == "out"
            and receiver == "host"
            and port == 53
            and protocol in {"tcp", "udp"}
            and switch == NAT
        ):
            continue
        if not _decides(document, direction, me, other, switch, protocol, port):
            return False
    return True


def _decides(document, direction, me, other, switch, protocol, port):
    mine, theirs = WHO[me][3], WHO[other][3]
    for row in document.rules:
        is_met = (
            row.is_enabled
            and row.direction == direction
            and row.subject in mine
            and (row.peer == "any" or row.peer in theirs)
            and (not row.family or not me.endswith("6"))
            and (not row.protocol or protocol in row.protocol.split("/"))
            and (PORTS[row.ports] is None or port in PORTS[row.ports])
        )
        if is_met:
            return row.action == "pass"
    if direction == "in" and switch == NAT and other in {"stranger", "neighbour"}:
        return False
    policy = next(one for one in document.switches if one.uuid == switch)
    return policy.passes_in if direction == "in" else policy.passes_out


def _packet(sender, receiver, protocol, port):
    name = "icmp6" if protocol == "icmp" and sender.endswith("6") else protocol
    return Packet("", "", name, WHO[sender][0], WHO[receiver][0], 40000 if port else 0, port)


PAIRS = [
    ("web", "db"), ("db", "web"), ("web", "mail"), ("mail", "web"), ("mail", "neighbour"), ("neighbour", "mail"),
    ("web", "stranger"), ("mail", "stranger"), ("stranger", "mail"), ("web", "host"), ("host", "web"), ("db", "host"),
    ("host", "db"), ("db", "mail"), ("neighbour", "web"),
]  # fmt: skip


@given(
    documents(),
    st.sampled_from(PAIRS),
    st.sampled_from(["tcp", "udp", "icmp"]),
    st.sampled_from([22, 53, 80, 443, 8005]),
    st.sampled_from([worlds.OPEN, worlds.SHUT]),
)
@settings(max_examples=80)
def test_a_connection_passes_exactly_when_the_rules_by_name_say_so(document, pair, protocol, port, main):
    sender, receiver = pair
    port = 0 if protocol == "icmp" else port
    packet = _packet(sender, receiver, protocol, port)
    wanted = oracle(document, sender, receiver, protocol, port)
    pf = worlds.loaded(document, main)
    there, back = talk(pf, packet, WHO[sender][1], AT, pfil=ALL)
    said = verdict.verdict(
        document, worlds.world, verdict.Packet(packet.source, packet.target, protocol, port)
    )
    assert said.passes is wanted
    if main == worlds.SHUT and (sender == "host" or set(pair) == {"mail", "stranger"}):
        # What the host sends and routes elsewhere is the user's own to decide.
        return
    assert there.passes is wanted, (there.hooks, there.label)
    if wanted:
        assert back.passes, (back.hooks, back.label)


@given(documents())
@settings(max_examples=60)
def test_pf_takes_every_rule_set_that_can_be_written(document):
    made = compile.rules(document, worlds.world)
    parser.parse(made.ruleset.text)
    assert not made.notes or all(note.sentence for note in made.notes)


def test_pf_takes_the_base():
    assert parser.parse(base.base(worlds.world).text)
