from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.freebsd import netstat
from bhype.freebsd.command import ParseError

EM0 = {
    "name": "em0", "flags": "0x8843", "mtu": 1500, "network": "<Link#1>", "address": "00:0c:29:5a:4d:01",
    "received-packets": 1200, "received-errors": 1, "dropped-packets": 2, "received-bytes": 56000,
    "sent-packets": 850, "send-errors": 4, "sent-bytes": 79000, "collisions": 0,
}  # fmt: skip


def parse(*entries: dict) -> list[netstat.Counters]:
    return netstat.interfaces().parse(json.dumps({"statistics": {"interface": list(entries)}}))


def test_it_asks_for_all_interfaces_with_bytes_and_without_names():
    assert netstat.interfaces().command.argv == ("/usr/bin/netstat", "--libxo", "json", "-ibn")


def test_the_entry_of_the_link_layer_counts():
    address = {"name": "em0", "network": "192.0.2.0/24", "address": "192.0.2.10", "received-packets": 7}
    (found,) = parse(EM0, address | {"received-bytes": 8, "sent-packets": 9, "sent-bytes": 10})
    assert found == netstat.Counters("em0", True, 56000, 79000, 1200, 850, 7)


def test_an_interface_that_is_down_has_a_star():
    (found,) = parse(EM0 | {"name": "tap1001*"})
    assert (found.name, found.is_up) == ("tap1001", False)


def test_numbers_may_be_texts_and_errors_have_two_names():
    entry = {key: str(value) for key, value in EM0.items() if key != "send-errors"} | {"sent-errors": "5"}
    (found,) = parse(entry)
    assert (found.octets_in, found.drops) == (56000, 8)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"statistics": {"interface": [{"network": "<Link#1>"}]}}'])
def test_another_answer_is_told(text):
    with pytest.raises(ParseError):
        netstat.interfaces().parse(text)


@given(st.text())
def test_whatever_it_answers_is_understood_or_told(text):
    with contextlib.suppress(ParseError):
        netstat.interfaces().parse(text)
