"""What guests and strangers try, asked of a model of pf: in another's name, from outside, past a rule, onto ssh."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bhype.lab.pf.journey import Pfil, journey, talk
from bhype.lab.pf.model import Packet
from network.firewall import base, compile
from network.firewall.document import Document, ForwardRow, PolicyRow, RuleRow

from . import worlds
from .worlds import ALL, AT, DB, LAN, MAIL, NAT, OUTSIDE, SPY, WEB, lan, nat, web, world

NOTHING = Document()


def passes(pf, enters: str, source: str, target: str, protocol: str = "tcp", port: int = 80, **more) -> bool:
    packet = Packet("", "", protocol, source, target, more.pop("source_port", 40000), port, **more)
    return journey(pf, packet, enters, AT, pfil=ALL).passes


def loaded(document: Document = NOTHING, main: str = worlds.OPEN, **changes):
    """changes: of the world."""
    return worlds.loaded(document, main, replace(world, **changes))


@pytest.mark.parametrize("main", [worlds.OPEN, worlds.SHUT])
@pytest.mark.parametrize(
    ("enters", "source", "target"),
    [
        ("tap1001", "10.77.0.6", "10.77.0.1"),  # another guest's address
        ("tap1001", "10.77.0.6", "10.77.0.5"),
        ("tap1001", "10.77.0.1", OUTSIDE),  # the host's own
        ("tap1001", "10.77.0.50", OUTSIDE),  # one that is not given to it
        ("tap1001", OUTSIDE, "10.77.0.6"),  # a stranger's
        ("tap1001", "fd77::6", "fd77::1") and ("tap1001", "2001:db8::66", "fd77::6"),
        ("tap1003", "192.168.9.1", "192.168.9.20"),
        ("tap1003", "192.168.9.20", "192.168.9.1"),  # a neighbour's: this guest's own is known
        ("tap1004", "192.168.9.7", "192.168.9.20"),  # another guest's
    ],
)
def test_nobody_sends_in_anothers_name(main, enters, source, target):
    assert not passes(loaded(main=main), enters, source, target)


@pytest.mark.parametrize("main", [worlds.OPEN, worlds.SHUT])
def test_everybody_sends_in_its_own(main):
    pf = loaded(main=main)
    assert passes(pf, "tap1001", "10.77.0.5", OUTSIDE)
    assert passes(pf, "tap1001", "fd77::5", "fd77::6")
    # SLAAC gives addresses that nobody knows of beforehand.
    assert passes(pf, "tap1001", "fd77::abcd", "fd77::6")
    # Nobody knows which address this one has, but that it is nobody else's.
    assert passes(pf, "tap1004", "192.168.9.66", "192.168.9.20")
    assert not passes(pf, "tap1004", "192.168.9.7", "192.168.9.20")


@pytest.mark.parametrize("main", [worlds.OPEN, worlds.SHUT])
def test_who_has_no_address_yet_can_ask_for_one_whatever_the_rules_say(main):
    nobody = (PolicyRow(NAT, "nat", False, False), PolicyRow(LAN, "lan", False, False))
    pf = loaded(Document((RuleRow(1, WEB, "out", "block"),), switches=nobody), main)
    assert passes(pf, "tap1001", "0.0.0.0", "255.255.255.255", "udp", 67, source_port=68)
    assert passes(pf, "", "10.77.0.1", "10.77.0.5", "udp", 68, source_port=67)
    neighbour = {"protocol": "icmp6", "port": 0, "source_port": 0}
    assert passes(pf, "tap1001", "::", "ff02::1:ff00:5", icmp=(135, 0), **neighbour)
    assert passes(pf, "tap1001", "fe80::1", "fd77::1", icmp=(135, 0), **neighbour)
    assert passes(pf, "tap1001", "fd77::5", "fd77::6", icmp=(136, 0), **neighbour)
    assert passes(pf, "tap1001", "10.77.0.5", "10.77.0.1", "udp", 53)
    assert not passes(pf, "tap1001", "10.77.0.5", "10.77.0.1", "udp", 123)


def test_no_guest_gives_addresses_or_routes_where_the_host_does():
    pf = loaded()
    assert not passes(pf, "tap1001", "10.77.0.5", "10.77.0.6", "udp", 68, source_port=67)
    assert not passes(pf, "tap1001", "fe80::5", "ff02::1", "icmp6", 0, icmp=(134, 0), source_port=0)
    assert passes(pf, "", "fe80::1", "fd77::5", "icmp6", 0, icmp=(134, 0), source_port=0)


def test_a_port_that_may_spoof_and_a_switch_without_guard_let_it():
    port = replace(web.ports[0], may_spoof=True)
    guests = (replace(web, ports=(port,)), *world.guests[1:])
    assert passes(loaded(guests=guests), "tap1001", "10.99.0.1", "10.77.0.6")
    nets = (replace(nat, is_guarded=False), *world.nets[1:])
    assert passes(loaded(nets=nets), "tap1001", "10.99.0.1", "10.77.0.6")


@pytest.mark.parametrize("main", [worlds.OPEN, worlds.SHUT])
def test_nobody_comes_in_to_a_nat_switch_unasked(main):
    pf = loaded(main=main)
    assert not passes(pf, "em0", "192.0.2.66", "10.77.0.5")
    assert not passes(pf, "em0", "2001:db8::66", "fd77::5")
    assert not passes(pf, "em1", "192.168.9.20", "10.77.0.5")
    there, back = talk(pf, Packet("", "", "tcp", "10.77.0.5", OUTSIDE, 4000, 443), "tap1001", AT, pfil=ALL)
    assert there.passes and there.packet.source == "192.0.2.10" and back.passes
    assert back.packet.target == "10.77.0.5"


def test_ipv6_leaves_with_an_address_that_the_internet_knows():
    pf = loaded(main=worlds.SHUT)
    there, back = talk(
        pf, Packet("", "", "tcp", "fd77::5", "2001:db8::99", 4000, 443), "tap1001", AT, pfil=ALL
    )
    assert there.packet.source == "2001:db8::10" and back.packet.target == "fd77::5"
    text = base.base(replace(world, nets=(replace(nat, addresses=("2001:db8:77::1/64",)),))).text
    assert "nat on" not in text and "pass out quick on em0 inet6 from 2001:db8:77::/64" in text


FORWARD = ForwardRow(1, WEB, 8081, 80)


@pytest.mark.parametrize("main", [worlds.OPEN, worlds.SHUT])
def test_a_forward_leads_to_its_guest_and_back(main):
    shut = Document((), (FORWARD,), (), (PolicyRow(NAT, "nat", False, True),))
    pf = worlds.loaded(shut, main)
    there, back = talk(pf, Packet("", "", "tcp", OUTSIDE, "192.0.2.10", 4000, 8081), "em0", AT, pfil=ALL)
    assert (there.packet.target, there.packet.target_port, there.leaves) == ("10.77.0.5", 80, "tap1001")
    assert back.passes and (back.packet.source, back.packet.source_port) == ("192.0.2.10", 8081)
    assert not passes(pf, "em0", OUTSIDE, "192.0.2.10", port=8082, protocol="tcp") or main == worlds.OPEN
    # Behind the same switch it works as well, and the answer comes back through the host.
    there, back = talk(
        pf, Packet("", "", "tcp", "10.77.0.6", "192.0.2.10", 4000, 8081), "tap1002", AT, pfil=ALL
    )
    assert (there.packet.source, there.packet.target) == ("10.77.0.1", "10.77.0.5")
    assert back.passes and back.packet.target == "10.77.0.6"
    # Only what was forwarded comes in.
    assert not passes(pf, "em0", OUTSIDE, "10.77.0.5", port=80)
    assert not passes(pf, "tap1002", "10.77.0.6", "10.77.0.5", port=80)


def test_a_forward_is_for_whom_it_says_and_rules_come_before_it():
    some = replace(FORWARD, source="198.51.100.0/24")
    pf = worlds.loaded(Document((), (some,)), worlds.SHUT)
    assert passes(pf, "em0", OUTSIDE, "192.0.2.10", port=8081)
    assert not passes(pf, "em0", "203.0.113.1", "192.0.2.10", port=8081)
    never = RuleRow(1, WEB, "in", "block", peer="198.51.100.0/24")
    assert not passes(worlds.loaded(Document((never,), (some,))), "em0", OUTSIDE, "192.0.2.10", port=8081)


def test_several_ports_are_forwarded_one_to_one():
    pf = worlds.loaded(
        Document((), (replace(FORWARD, port=9000, target_port=5000, count=10, protocol="udp"),))
    )
    packet = Packet("", "", "udp", OUTSIDE, "192.0.2.10", 4000, 9004)
    assert journey(pf, packet, "em0", AT, pfil=ALL).packet.target_port == 5004
    assert not passes(pf, "em0", OUTSIDE, "10.77.0.5", "udp", 5004)


def test_a_forward_to_a_guest_beside_the_uplink_answers_through_the_host():
    pf = worlds.loaded(Document((), (replace(FORWARD, subject=MAIL, port=2525, target_port=25),)))
    there, back = talk(pf, Packet("", "", "tcp", OUTSIDE, "192.0.2.10", 4000, 2525), "em0", AT, pfil=ALL)
    assert (there.packet.source, there.packet.target) == ("192.168.9.1", "192.168.9.7")
    assert back.passes and back.packet.target == OUTSIDE


@pytest.mark.parametrize(("port", "count"), [(22, 1), (8080, 1), (20, 5), (8000, 200), (1, 65000)])
def test_ssh_and_the_panel_are_never_forwarded(port, count):
    made = compile.rules(Document((), (replace(FORWARD, port=port, target_port=1, count=count),)), world)
    assert "rdr" not in made.ruleset.text
    assert "nobody could come in" in made.notes[0].sentence
    udp = compile.rules(Document((), (replace(FORWARD, port=22, protocol="udp"),)), world)
    assert "rdr on em0 inet proto udp" in udp.ruleset.text


@pytest.mark.parametrize("rule", [
    RuleRow(1, f"switch:{LAN}", "out", "block"), RuleRow(1, f"switch:{LAN}", "in", "block"),
    RuleRow(1, MAIL, "out", "reject", peer="host"), RuleRow(1, "tag:quiet", "in", "block", peer="any"),
])  # fmt: skip
def test_no_rule_keeps_a_neighbour_from_ssh_and_the_panel(rule):
    nobody = (PolicyRow(LAN, "lan", False, False),)
    for main in (worlds.OPEN, worlds.SHUT):
        pf = worlds.loaded(Document((rule,), (), (), nobody), main)
        for port in (22, 8080):
            packet = Packet("", "", "tcp", "192.168.9.20", "192.168.9.1", 4000, port)
            there, back = talk(pf, packet, "em1", AT, pfil=ALL)
            assert there.passes and back.passes


def test_bhype_opens_nothing_of_the_host_that_the_users_own_rules_shut():
    pf = worlds.loaded(NOTHING, worlds.SHUT)
    for port in (22, 80, 8080):
        assert not passes(pf, "em0", OUTSIDE, "192.0.2.10", port=port)
    assert not passes(pf, "em1", "192.168.9.20", "192.168.9.1", port=80)


def test_where_the_users_own_rules_pass_everything_ours_still_drop():
    document = Document(
        (RuleRow(1, WEB, "out", "block", peer=DB), RuleRow(2, DB, "in", "block", peer="internet"))
    )
    pf = worlds.loaded(document, worlds.CALLS + "pass all\n")
    assert not passes(pf, "tap1001", "10.77.0.5", "10.77.0.6")
    first = worlds.loaded(
        document, 'nat-anchor "bhype/*"\nrdr-anchor "bhype/*"\npass all\nanchor "bhype/*"\n'
    )
    assert not passes(first, "tap1001", "10.77.0.5", "10.77.0.6")


def test_a_guest_whose_address_nobody_knows_is_held_by_what_its_switch_says():
    rule = RuleRow(1, SPY, "out", "block")
    open_lan = (PolicyRow(LAN, "lan", True, True),)
    shut_lan = (PolicyRow(LAN, "lan", False, False),)
    neighbour = "192.168.9.20"
    assert passes(
        worlds.loaded(Document((rule,), (), (), open_lan), worlds.SHUT), "tap1004", "192.168.9.66", neighbour
    )
    pf = worlds.loaded(Document((), (), (), shut_lan))
    assert not passes(pf, "tap1004", "192.168.9.66", neighbour)
    assert not passes(pf, "em1", neighbour, "192.168.9.66")


def test_without_filtering_on_bridges_routed_packets_are_decided_all_the_same():
    document = Document(
        (RuleRow(1, WEB, "out", "block", peer="internet"), RuleRow(2, DB, "in", "block", peer=WEB))
    )
    pf = worlds.loaded(document)
    packet = Packet("", "", "tcp", "10.77.0.5", OUTSIDE, 4000, 80)
    assert not journey(pf, packet, "tap1001", AT, pfil=Pfil()).passes
    beside = Packet("", "", "tcp", "10.77.0.5", "10.77.0.6", 4000, 80)
    assert journey(pf, beside, "tap1001", AT, pfil=Pfil()).passes
    assert not journey(pf, beside, "tap1001", AT, pfil=ALL).passes


def test_switches_that_pf_does_not_see_have_no_rules():
    blind = replace(nat, is_filtered=False, has_ports=False)
    made = compile.rules(Document((RuleRow(1, WEB, "in", "block"),)), replace(world, nets=(blind, lan)))
    assert "sw-nat" not in made.ruleset.text and made.notes
    graph = replace(nat, has_ports=False)
    text = compile.rules(
        Document((RuleRow(1, WEB, "in", "block"),)), replace(world, nets=(graph, lan))
    ).ruleset.text
    assert "block drop out quick on sw-nat" in text and "tap1001" not in text
