"""The tables of arp(8) and ndp(8)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.freebsd import arp, ndp
from bhype.freebsd.arp import Neighbour
from bhype.freebsd.command import ParseError

ARP = """{"__version": "1", "arp": {"arp-cache": [
{"hostname":"?","ip-address":"10.77.0.5","mac-address":"58:9c:fc:00:00:05","interface":"sw-nat","expires":1190,"type":"bridge"},
{"hostname":"?","ip-address":"10.77.0.1","mac-address":"58:9C:FC:10:ff:d8","interface":"sw-nat","permanent":true,"type":"bridge"},
{"hostname":"?","ip-address":"10.77.0.9","incomplete":true,"interface":"sw-nat","expired":true,"type":"bridge"}
]}}"""
NDP = """\
Neighbor                             Linklayer Address  Netif Expire    1s 5s
fd00:77::5                           58:9c:fc:00:00:05 sw-nat 23h59m58s S
fe80::5a9c:fcff:fe00:5%sw-nat        58:9c:fc:00:00:05 sw-nat 18s       R R
fd00:77::1                           58:9c:fc:10:ff:d8 sw-nat permanent R
fd00:77::9                           (incomplete)      sw-nat expired   I   3
"""


def test_it_reads_arp():
    assert arp.table().command.argv == ("/usr/sbin/arp", "--libxo", "json", "-an")
    assert arp.table().parse(ARP) == [
        Neighbour("10.77.0.5", "58:9c:fc:00:00:05", "sw-nat"),
        Neighbour("10.77.0.1", "58:9c:fc:10:ff:d8", "sw-nat", is_permanent=True),
    ]


@pytest.mark.parametrize("text", ['{"__version": "1", "arp": {}}', "{}", '{"arp": {"arp-cache": []}}'])
def test_an_empty_arp_table_is_one(text):
    assert arp.table().parse(text) == []


def test_it_reads_ndp():
    assert ndp.table().parse(NDP) == [
        Neighbour("fd00:77::5", "58:9c:fc:00:00:05", "sw-nat"),
        Neighbour("fe80::5a9c:fcff:fe00:5", "58:9c:fc:00:00:05", "sw-nat"),
        Neighbour("fd00:77::1", "58:9c:fc:10:ff:d8", "sw-nat", is_permanent=True),
    ]
    assert ndp.table().parse("") == []


@pytest.mark.parametrize("text", ["", "[]", '{"arp": {"arp-cache": [1]}}', '{"arp": {"arp-cache": [{}]}}'])
def test_what_is_no_arp_table_is_told(text):
    with pytest.raises(ParseError):
        arp.table().parse(text)


@given(st.text(max_size=200))
def test_nothing_else_breaks_them(text):
    for table in (arp.table(), ndp.table()):
        try:
            table.parse(text)
        except ParseError:
            continue
