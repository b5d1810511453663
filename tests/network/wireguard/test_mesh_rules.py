from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from network.wireguard import rules
from network.wireguard.rules import Bad, Used

NET = ip_network("10.99.0.0/24")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("192.0.2.7", "192.0.2.7:51820"),
        ("192.0.2.7:400", "192.0.2.7:400"),
        ("2001:db8::7", "[2001:db8::7]:51820"),
        ("[2001:db8::7]", "[2001:db8::7]:51820"),
        ("[2001:DB8::7]:400", "[2001:db8::7]:400"),
        ("vpn.example.org", "vpn.example.org:51820"),
        (" vpn.example.org:1 ", "vpn.example.org:1"),
        ("", ""),
    ],
)
def test_an_endpoint_has_one_form(text, found):
    assert rules.endpoint(text, 51820) == found


@pytest.mark.parametrize(
    "text",
    [
        "192.0.2.7:0", "192.0.2.7:65536", "192.0.2.7:x", "999.1.1.1", "1.2.3", "[2001:db8::7", "[192.0.2.7]:1", "::",
        "0.0.0.0",
        "127.0.0.1", "fe80::1%em0", "-x.example.org", "a b:1", "a\nb:1", "a:b:c", "ex_ample.org", "x" * 64 + ".org",
        "a#b:1",
        "a=b", "[2001:db8::7]400", "2001:db8::g",
    ],
)  # fmt: skip
def test_other_endpoints_are_refused(text):
    with pytest.raises(Bad):
        rules.endpoint(text, 51820)


@given(st.text(max_size=60))
def test_no_endpoint_can_hold_what_a_file_would_read_otherwise(text):
    try:
        found = rules.endpoint(text, 51820)
    except Bad:
        return
    assert not set(found) & set("\n\r\t #=,'\"{}$")


@pytest.mark.parametrize("text", ["", "All", "1a", "a" * 13, "a_b", "a-", "a/b", "a\n"])
def test_names_of_meshes_fit_into_the_interfaces_name(text):
    with pytest.raises(Bad):
        rules.name(text)


def test_a_network_with_host_bits_is_explained():
    with pytest.raises(Bad, match=r"Did you mean 10\.99\.0\.0/24"):
        rules.network("10.99.0.7/24")


@pytest.mark.parametrize(
    "text", ["10.99.0.0/31", "0.0.0.0/0", "224.0.0.0/24", "127.0.0.0/24", "fe80::/64", "x", "10.0.0.0/7"]
)
def test_special_networks_are_refused(text):
    with pytest.raises(Bad):
        rules.network(text)


def test_a_peer_cannot_have_the_whole_internet_behind_it():
    with pytest.raises(Bad, match="whole internet"):
        rules.route("0.0.0.0/0")


@pytest.mark.parametrize("text", ["10.99.0.0", "10.99.0.255", "10.98.0.1", "fd00::1", "x", ""])
def test_a_peers_address_lies_in_the_mesh(text):
    with pytest.raises(Bad):
        rules.inside(text, NET)


def test_the_next_free_address_is_given_until_there_is_none():
    assert rules.free_address(NET, ["10.99.0.1", "10.99.0.3"]) == "10.99.0.2"
    small = ip_network("10.99.0.0/30")
    with pytest.raises(Bad, match="taken"):
        rules.free_address(small, ["10.99.0.1", "10.99.0.2"])
    assert rules.free_address(ip_network("fd00::/64"), []) == "fd00::1"


def test_overlaps_are_told_with_whose_they_are():
    used = [Used(ip_network("10.77.0.0/24"), "the switch nat of a"), Used(ip_network("fd00::/64"), "b")]
    with pytest.raises(Bad, match="the switch nat of a"):
        rules.no_overlap(ip_network("10.0.0.0/8"), used)
    rules.no_overlap(ip_network("10.78.0.0/24"), used)


def test_a_peer_is_not_reached_through_its_own_tunnel():
    with pytest.raises(Bad, match="through the mesh itself"):
        rules.no_loop([ip_network("192.0.2.0/24")], NET, [("a", "192.0.2.7:51820")])
    with pytest.raises(Bad):
        rules.no_loop([], NET, [("a", "10.99.0.2:51820")])
    rules.no_loop([ip_network("192.0.2.0/24")], NET, [("a", "x.example.org:1"), ("b", "")])


@pytest.mark.parametrize("port", [0, -1, 65536, 53, 4789])
def test_ports_of_others_are_refused(port):
    with pytest.raises(Bad):
        rules.port(port)
