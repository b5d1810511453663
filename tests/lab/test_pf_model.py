"""Whether a packet passes: what pf.conf(5) says of order, quick, anchors, tables, states and translation."""

from __future__ import annotations

import pytest

from bhype.lab.pf import parser
from bhype.lab.pf.journey import Pfil, journey, talk
from bhype.lab.pf.model import Filter, Packet
from bhype.lab.pf.world import Interface, World

WORLD = World(
    {
        "em0": Interface(("192.0.2.10/24", "2001:db8::10/64"), ("egress",)),
        "lo0": Interface(("127.0.0.1/8", "::1/128"), ("lo",), is_loopback=True),
        "sw-nat": Interface(("10.77.0.1/24", "fd00::1/64"), ("bridge", "bhype"), ("tap1", "tap2")),
        "sw-pub": Interface((), ("bridge", "bhype"), ("tap3", "em1")),
        "em1": Interface(),
        **{name: Interface((), ("tap",)) for name in ("tap1", "tap2", "tap3")},
    }
)
AT = {"10.77.0.5": "tap1", "10.77.0.6": "tap2", "203.0.113.7": "tap3"}


def tcp(source, target, port=80, came_from=4000, **more):
    return Packet("", "", "tcp", source, target, came_from, port, **more)


def at(packet, hook="in em0"):
    direction, interface = hook.split()
    return packet.at(interface, direction)


def verdict(text, packet, hook="in em0", **options):
    return Filter.of({"": text}, WORLD, **options).test(at(packet, hook))


A = tcp("198.51.100.1", "10.0.0.1", 22)


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("", True),
        ("block\npass\n", True),
        ("pass\nblock\n", False),
        ("pass quick\nblock\n", True),
        ("block quick proto tcp\npass\n", False),
        ("block out\n", True),
        ("block on em1\n", True),
        ("block on ! em1\n", False),
        ("block on egress\n", False),
        ("block inet6\n", True),
        ("block proto udp\n", True),
        ("block from 198.51.100.0/24\n", False),
        ("block from ! 198.51.100.0/24\n", True),
        ("block from 198.51.100.0 - 198.51.100.2\n", False),
        ("block proto tcp to port { 80, 20:23 }\n", False),
        ("block proto tcp to port 22 >< 25\n", True),
        ("block proto tcp to port 23 <> 25\n", False),
        ("block proto tcp from port < 4000\n", True),
        ("block proto tcp from port <= 4000\n", False),
        ("block proto tcp flags A/A\n", True),
        ("block proto tcp flags S/SA\n", False),
        ("block to (em0)\n", True),
        ("block from urpf-failed\n", True),
        ("block user 0\n", True),
        ("block\nmatch tag X\npass tagged X\n", True),
        ("block\npass ! tagged X\n", True),
        ("block\npass tagged X\n", False),
        ("block\nanchor {\npass\n}\n", True),
        ("block\nanchor in on em1 {\npass\n}\n", False),
        ("anchor {\nblock quick\n}\npass\n", False),
        ("anchor quick {\nblock\n}\npass\n", False),
        ("anchor {\nblock\n}\npass\n", True),
        ("set skip on em0\nblock\n", True),
        ("set skip on egress\nblock\n", True),
        ("table <t> { 198.51.100.0/24, !198.51.100.1 }\nblock from <t>\n", True),
        ("table <t> { 198.51.100.0/24, !198.51.100.0/25, 198.51.100.1 }\nblock from <t>\n", False),
        ("block from <nobody>\n", True),
        ("block from ! <nobody>\n", False),
    ],
)
def test_the_last_rule_that_meets_decides_or_the_first_that_is_quick(text, passes):
    assert verdict(text, A).passes is passes


def test_anchors_are_met_by_name_and_tables_of_an_anchor_are_its_own():
    pf = Filter.of(
        {
            "": 'table <t> { 10.9.9.9 }\nanchor "bhype/*"\n',
            "bhype/b": "table <t> { 198.51.100.1 }\npass quick from <t> label b\n",
            "bhype/a": 'block quick proto udp label "a"\nblock from <t>\n',
            "other": "block quick\n",
        },
        WORLD,
    )
    found = pf.test(at(A))
    assert (found.passes, found.anchor, found.number, found.label) == (True, "bhype/b", 0, "b")
    assert pf.test(at(Packet("", "", "udp", "198.51.100.1", "10.0.0.1", 1, 2))).label == "a"
    pf.tables["bhype/b", "t"] = []
    pf.states.clear()
    assert pf.test(at(A)).rule is None
    pf.tables["bhype/a", "t"] = ["198.51.100.0/24"]
    assert pf.test(at(A)).anchor == "bhype/a"


def test_a_state_lets_answers_through_but_not_other_hooks():
    pf = Filter.of({"": "block\npass in on em0 proto tcp to port 22\n"}, WORLD)
    assert pf.test(at(A)).passes
    answer = A.answer()
    assert pf.test(at(answer, "out em0")).by_state
    assert pf.test(at(answer, "out em1")).by_state  # states are floating
    assert not pf.test(at(A, "out em1")).passes  # it needs a state of its own as it goes out
    assert not pf.test(at(answer, "in em1")).passes
    assert pf.kill("198.51.100.1") == 1
    assert not pf.test(at(answer, "out em0")).passes


def test_a_tag_goes_with_the_packet_and_with_those_of_its_state():
    pf = Filter.of({"": "pass in on em0 tag X\nblock out tagged X\n"}, WORLD)
    for _ in range(2):
        found = pf.test(at(A))
        assert (found.packet.tag, pf.test(found.packet.at("sw-nat", "out")).passes) == ("X", False)


def test_a_bound_state_is_of_its_interface_alone():
    pf = Filter.of({"": "block\npass in on em0 proto tcp keep state (if-bound)\n"}, WORLD)
    assert pf.test(at(A)).passes
    assert not pf.test(at(A.answer(), "out em1")).passes
    assert pf.test(at(A.answer(), "out em0")).passes


def test_no_state_means_no_answer_and_only_a_syn_makes_a_state():
    pf = Filter.of({"": "block\npass in proto tcp no state\n"}, WORLD)
    assert pf.test(at(A)).passes
    assert not pf.test(at(A.answer(), "out em0")).passes
    assert not verdict("block\npass in proto tcp\n", tcp("198.51.100.1", "10.0.0.1", flags="A")).passes


def test_an_echo_and_an_error_belong_to_their_state():
    ping = Packet("", "", "icmp", "198.51.100.1", "10.0.0.1", identifier=7)
    pf = Filter.of({"": "block\npass in proto { icmp udp }\n"}, WORLD)
    assert pf.test(at(ping)).passes
    assert pf.test(at(ping.answer(), "out em0")).by_state
    asked = Packet("", "", "udp", "198.51.100.1", "10.0.0.1", 5000, 53)
    error = Packet("", "", "icmp", "10.0.0.1", "198.51.100.1", icmp=(3, 3), about=asked)
    assert not pf.test(at(error, "out em0")).passes
    assert pf.test(at(asked)).passes
    assert pf.test(at(error, "out em0")).by_state


def test_translation_comes_before_the_filter():
    text = (
        "nat on em0 inet from 10.77.0.0/24 -> (em0:0)\nrdr on em0 inet proto tcp to (em0) port 2000:2009 -> 10.77.0.5"
        " port 3000:*\nblock\npass out from 192.0.2.10\npass in proto tcp to 10.77.0.5 port 3002\n"
    )
    pf = Filter.of({"": text}, WORLD)
    out = pf.test(at(tcp("10.77.0.5", "198.51.100.1"), "out em0"))
    assert (out.passes, out.packet.source, out.translation is not None) == (True, "192.0.2.10", True)
    assert 50001 <= out.packet.source_port <= 65535
    back = pf.test(at(out.packet.answer()))
    assert (back.by_state, back.packet.target, back.packet.target_port) == (True, "10.77.0.5", 4000)
    came = pf.test(at(tcp("198.51.100.1", "192.0.2.10", 2002)))
    assert (came.passes, came.packet.target, came.packet.target_port) == (True, "10.77.0.5", 3002)
    answer = pf.test(at(came.packet.answer(), "out em0"))
    assert (answer.packet.source, answer.packet.source_port) == ("192.0.2.10", 2002)
    assert not pf.test(at(tcp("198.51.100.1", "192.0.2.10", 2003))).passes


def test_the_first_translation_decides_and_no_nat_ends_it():
    text = "no nat on em0 from 10.77.0.9\nnat on em0 inet from 10.77.0.0/24 -> 192.0.2.10 static-port\n"
    text += "rdr pass on em0 inet proto tcp to port 25 -> 10.77.0.5\nblock in\n"
    assert verdict(text, tcp("10.77.0.9", "198.51.100.1"), "out em0").packet.source == "10.77.0.9"
    assert verdict(text, tcp("10.77.0.8", "198.51.100.1"), "out em0").packet.source_port == 4000
    passed = verdict(text, tcp("198.51.100.1", "192.0.2.10", 25))
    assert (passed.passes, passed.packet.target) == (True, "10.77.0.5")


def test_binat_turns_both_ways():
    pf = Filter.of({"": "binat on em0 from 10.77.0.5 to any -> 192.0.2.99\n"}, WORLD)
    assert pf.test(at(tcp("10.77.0.5", "198.51.100.1"), "out em0")).packet.source == "192.0.2.99"
    assert pf.test(at(tcp("198.51.100.1", "192.0.2.99", 443))).packet.target == "10.77.0.5"


def test_logged_packets_are_told_with_their_rule():
    found = verdict("match log\nblock in log\n", A)
    assert [(number, rule.action) for _, number, rule in found.logged] == [(0, "match"), (1, "block")]


# -- whole ways --------------------------------------------------------------------------------------

ALL = Pfil(member=True, bridge=True, local=True)


@pytest.mark.parametrize(
    ("packet", "enters", "pfil", "hooks", "leaves"),
    [
        (tcp("10.77.0.5", "10.77.0.6"), "tap1", Pfil(), [], "tap2"),
        (
            tcp("10.77.0.5", "10.77.0.6"),
            "tap1",
            ALL,
            ["in tap1", "in sw-nat", "out sw-nat", "out tap2"],
            "tap2",
        ),
        (tcp("10.77.0.5", "10.77.0.6"), "tap1", Pfil(bridge=True), ["in sw-nat", "out sw-nat"], "tap2"),
        (tcp("10.77.0.5", "10.77.0.1"), "tap1", Pfil(), ["in sw-nat"], ""),
        (tcp("10.77.0.5", "10.77.0.1"), "tap1", Pfil(member=True), ["in sw-nat"], ""),
        (tcp("10.77.0.5", "10.77.0.1"), "tap1", ALL, ["in tap1", "in sw-nat"], ""),
        (tcp("10.77.0.5", "198.51.100.1"), "tap1", Pfil(), ["in sw-nat", "out em0"], "em0"),
        (tcp("10.77.0.5", "255.255.255.255"), "tap1", Pfil(), ["in sw-nat"], ""),
        (tcp("198.51.100.1", "10.77.0.6"), "em0", Pfil(), ["in em0", "out sw-nat"], "tap2"),
        (tcp("10.77.0.1", "10.77.0.6"), "", ALL, ["out sw-nat"], "tap2"),
        (tcp("192.0.2.10", "198.51.100.1"), "", ALL, ["out em0"], "em0"),
        (
            tcp("203.0.113.7", "198.51.100.1"),
            "tap3",
            ALL,
            ["in tap3", "in sw-pub", "out sw-pub", "out em1"],
            "em1",
        ),
        (
            tcp("198.51.100.1", "203.0.113.7"),
            "em1",
            ALL,
            ["in em1", "in sw-pub", "out sw-pub", "out tap3"],
            "tap3",
        ),
    ],
)
def test_which_hooks_a_packet_meets(packet, enters, pfil, hooks, leaves):
    found = journey(Filter(world=WORLD), packet, enters, AT, pfil=pfil)
    assert (found.passes, found.hooks, found.leaves) == (True, hooks, leaves)


def test_what_ends_a_way():
    pf = Filter.of({"": "block out on sw-nat to 10.77.0.6 label stop\n"}, WORLD)
    stopped = journey(pf, tcp("10.77.0.5", "10.77.0.6"), "tap1", AT, pfil=ALL)
    assert (stopped.why, stopped.label, stopped.hooks[-1]) == ("blocked", "stop", "out sw-nat")
    assert journey(pf, tcp("10.77.0.5", "198.51.100.1"), "tap1", AT, forwards=False).why == "not forwarded"
    assert journey(pf, tcp("10.77.0.5", "10.77.0.77"), "tap1", AT).why == "nobody there"
    nowhere = Filter(world=World({"em0": Interface(("192.0.2.10/24",))}, default=""))
    assert journey(nowhere, tcp("192.0.2.77", "198.51.100.1"), "em0").why == "no route"


def test_a_guest_behind_nat_talks_to_the_world():
    pf = Filter.of({"": "nat on em0 inet from 10.77.0.0/24 -> (em0:0)\nblock in on em0\n"}, WORLD)
    there, back = talk(pf, tcp("10.77.0.5", "198.51.100.1"), "tap1", AT)
    assert (there.packet.source, back.passes, back.packet.target, back.leaves) == (
        "192.0.2.10",
        True,
        "10.77.0.5",
        "tap1",
    )


def test_wrong_texts_are_refused():
    with pytest.raises(parser.Errors, match="syntax error"):
        Filter.of({"": "frob\n"}, WORLD)
