from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.freebsd import route, wg
from bhype.freebsd.command import ParseError
from bhype.freebsd.names import BadName

A, B, C = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2, 3))
DUMP = (
    f"wg-all\t{A}\t{B}\t51820\toff\n"
    f"wg-all\t{C}\t(none)\t192.0.2.7:51820\t10.99.0.2/32,10.77.0.0/24\t1700000000\t1024\t2048\t25\n"
    f"wg0\t(none)\t(none)\t0\toff\n"
)


def test_a_dump_is_read_without_its_private_keys():
    tunnel, bare = wg.show_all().parse(DUMP)
    assert A not in repr(tunnel)
    assert (tunnel.name, tunnel.public_key, tunnel.port) == ("wg-all", B, 51820)
    (link,) = tunnel.links
    assert link == wg.Link(C, "192.0.2.7:51820", ("10.77.0.0/24", "10.99.0.2/32"), 1700000000, 1024, 2048, 25)
    assert (bare.public_key, bare.port, bare.links) == ("", 0, [])


@pytest.mark.parametrize(
    "line", [f"wg-all\t{A}", f"wg-all\t{A}\t{B}\tmany\toff", f"\t{A}\t" * 4, f"x\t{A}" + "\t0" * 7]
)
def test_an_error_repeats_no_line(line):
    with pytest.raises(ParseError) as caught:
        wg.show_all().parse(line)
    shown = repr(caught.value) + repr(caught.value.__cause__)
    assert A not in shown


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_whatever_wg_prints_is_understood_or_told(text):
    for query in (wg.show_all(), wg.public_key(A)):
        try:
            query.parse(text)
        except ParseError:
            continue


def test_a_private_key_goes_in_by_standard_input():
    command = wg.public_key(A).command
    assert command.argv == ("/usr/bin/wg", "pubkey") and command.stdin == f"{A}\n".encode()


@pytest.mark.parametrize(
    "text", ["", "x" * 44, A[:-1], A + "=", A.replace("=", "A"), f"{A}\n", "é" * 44, A[:-2] + "F="]
)
def test_what_is_no_key_is_refused_and_not_repeated(text):
    with pytest.raises(BadName) as caught:
        wg.key(text)
    assert not text or text not in str(caught.value)


@given(st.binary(min_size=32, max_size=32))
def test_new_keys_are_clamped(noise):
    raw = base64.b64decode(wg.key(wg.new_private_key(noise)))
    assert raw[0] & 7 == 0 and raw[31] & 128 == 0 and raw[31] & 64


def test_a_tunnel_is_made_with_its_description_first():
    assert wg.create("wg-all", "bhype/mesh/all").argv[1:] == (
        "wg", "create", "descr", "bhype/mesh/all", "group", "bhype", "name", "wg-all",
    )  # fmt: skip
    with pytest.raises(BadName):
        wg.create("wg-all", "bhype/mesh/\n")
    with pytest.raises(BadName):
        wg.synchronise("-x", "/tmp/x")


def test_routes_have_the_family_of_their_network():
    assert route.add("10.77.0.0/24", "wg-all").argv[1:] == (
        "-n", "add", "-net", "10.77.0.0/24", "-interface", "wg-all",
    )  # fmt: skip
    assert "-inet6" in route.delete("fd00::/64", "wg-all").argv
    with pytest.raises(BadName):
        route.add("example.org", "wg-all")
