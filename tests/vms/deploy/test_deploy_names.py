"""The names and addresses of VMs that are deployed together."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vms.deploy.names import BATCH_MAX, BadPattern, addresses_of, names_of


@pytest.mark.parametrize(
    ("pattern", "count", "found"),
    [
        ("web", None, ["web"]),
        ("web", 1, ["web"]),
        ("web", 3, ["web1", "web2", "web3"]),
        ("web{01..03}", None, ["web01", "web02", "web03"]),
        ("web{9..11}", None, ["web9", "web10", "web11"]),
        ("a{1..2}b", 2, ["a1b", "a2b"]),
        ("n{007..007}", None, ["n007"]),
    ],
)
def test_a_pattern_stands_for_names(pattern, count, found):
    assert names_of(pattern, count) == found


@pytest.mark.parametrize(
    ("pattern", "count"),
    [("web{", None), ("web{1..}", None), ("{1..2}{3..4}", None), ("web{3..1}", None), ("web{1..3}", 2),
     ("web{1..9999}", None), ("web", BATCH_MAX + 1), ("web}", 2)],
)  # fmt: skip
def test_other_patterns_are_refused(pattern, count):
    with pytest.raises(BadPattern):
        names_of(pattern, count)


@given(st.text(max_size=12), st.integers(0, 400), st.integers(0, 300))
def test_as_many_names_as_numbers_and_each_once(stem, first, length):
    pattern = f"{stem}{{{first}..{first + length}}}"
    try:
        found = names_of(pattern)
    except BadPattern:
        return
    assert len(found) == len(set(found)) == length + 1 <= BATCH_MAX


def test_addresses_follow_the_first():
    assert addresses_of("10.0.0.5/24", 3) == ["10.0.0.5/24", "10.0.0.6/24", "10.0.0.7/24"]
    assert addresses_of("10.0.0.254 - 10.0.1.1 / 16", 3)[1:] == ["10.0.0.255/16", "10.0.1.0/16"]
    assert addresses_of("fd00::fe/64", 3)[2] == "fd00::100/64"


@pytest.mark.parametrize(
    "text", ["", "10.0.0.5", "10.0.0/24", "x/24", "10.0.0.5/33", "10.0.0.0/24", "10.0.0.254/24", "10.0.0.9-10.0.0.8/24",
             "10.0.0.9-10.0.0.10/24", "10.0.0.9-fd00::1/24", "224.0.0.5/24", "0.0.0.0/0", "10.0.0.5/24/1"],
)  # fmt: skip
def test_ranges_that_no_three_hosts_can_have_are_refused(text):
    with pytest.raises(BadPattern):
        addresses_of(text, 3)


@given(st.integers(0, 2**32 - 1), st.integers(1, 32), st.integers(1, BATCH_MAX))
def test_addresses_are_different_and_in_their_network(number, prefix, count):
    text = f"{ipaddress.IPv4Address(number)}/{prefix}"
    try:
        found = addresses_of(text, count)
    except BadPattern:
        return
    network = ipaddress.ip_interface(text).network
    assert len(found) == len(set(found)) == count
    assert all(ipaddress.ip_interface(address).network == network for address in found)


@given(st.text(max_size=40), st.integers(1, 5))
def test_no_text_is_taken_for_something_else(text, count):
    for work in (names_of, addresses_of):
        try:
            found = work(text, count)
        except BadPattern:
            continue
        assert len(found) in {1, count} or "{" in text
