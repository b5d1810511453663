"""What tcpdump(1) tells of logged packets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.freebsd import pflog
from bhype.freebsd.pflog import Packet


def test_a_tcp_packet_of_a_rule_in_an_anchor():
    line = (
        "1763712000.250000 rule 2.bhype/rules.3/0(match): block in on sw-nat: 10.77.0.5.51514 > 192.0.2.9.443: "
        "Flags [S], seq 1, win 65535, length 0"
    )
    assert pflog.parse(line) == Packet(
        "bhype/rules", 3, "block", "in", "sw-nat", "tcp", "10.77.0.5", 51514, "192.0.2.9", 443, 1763712000.25
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (" 00:00:01.000010 rule 7/0(match): block out on em0: 10.0.0.1 > 10.0.0.2: ICMP echo request, id 1, length 64",
         ("", 7, "icmp", "10.0.0.1", None, "10.0.0.2", None)),
        ("rule 1.bhype/base.0/0(match): pass in on tap1001: 10.0.0.1.5353 > 224.0.0.251.5353: 0 PTR? x.local. (31)",
         ("bhype/base", 0, "udp", "10.0.0.1", 5353, "224.0.0.251", 5353)),
        ("rule 1.bhype/base.4/3(short) [uid 0]: block in on tap1001: fe80::1 > ff02::1: ICMP6, router solicitation",
         ("bhype/base", 4, "icmp6", "fe80::1", None, "ff02::1", None)),
        ("rule 1.base.2/0(match) [uid 0] [ridentifier 7]: block in on sw-nat: 10.0.0.1 > 10.0.0.2: ICMP echo reply",
         ("base", 2, "icmp", "10.0.0.1", None, "10.0.0.2", None)),
        ("rule 0/0(match): block in on em0: 2001:db8::1.1234 > 2001:db8::2.80: Flags [S], length 0",
         ("", 0, "tcp", "2001:db8::1", 1234, "2001:db8::2", 80)),
        ("rule 0/0(match): block in on em0: IP 10.0.0.1 > 10.0.0.2: GREv0, length 12",
         ("", 0, "gre", "10.0.0.1", None, "10.0.0.2", None)),
        ("rule 0/0(match): block in on em0.100: IP6 ::1.1 > ::2.2: UDP, length 12",
         ("", 0, "udp", "::1", 1, "::2", 2)),
    ],
)  # fmt: skip
def test_what_stands_in_a_line_is_read(line, expected):
    found = pflog.parse(line)
    assert found is not None
    assert (
        found.anchor, found.number, found.protocol, found.source, found.source_port, found.target, found.target_port,
    ) == expected  # fmt: skip
    assert found.at is None


@pytest.mark.parametrize(
    "line",
    ["", "tcpdump: verbose output suppressed", "rule 1/0(match): block in on em0: ARP, Request who-has 10.0.0.1",
     "rule x/0(match): block in on em0: 10.0.0.1 > 10.0.0.2: ICMP", "rule 1/0(match): block in on em0: a.b > c.d: x",
     "rule 1/0(match): block in on em0: 10.0.0.1.99999 > 10.0.0.2.1: UDP",
     "rule 1/0(match): block in on em0; reboot: 10.0.0.1 > 10.0.0.2: ICMP"],
)  # fmt: skip
def test_other_lines_are_no_packets(line):
    assert pflog.parse(line) is None


@given(st.text(max_size=300))
def test_no_text_breaks_it(text):
    pflog.parse(text)
    pflog.parse(f"rule 1/0(match): block in on em0: {text}")
