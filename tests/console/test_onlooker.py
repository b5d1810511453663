"""What someone who may only watch a screen can get past the gateway."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.console.gateway.onlooker import Hostile, ScreenInput

SERVER = b"RFB 003.008\n\x01\x02"
START = b"RFB 003.008\n\x02" + b"r" * 16 + b"\x01"
FORMAT = b"\0\0\0\0" + bytes(16)
ENCODINGS = struct.pack(">BxHiii", 2, 3, 0, 7, -223)
UPDATE = struct.pack(">BBHHHH", 3, 1, 0, 0, 800, 600)
CONTINUOUS = struct.pack(">BBHHHH", 150, 1, 0, 0, 800, 600)
FENCE = struct.pack(">B3xIB", 248, 1, 3) + b"abc"
KEY = struct.pack(">BBxxI", 4, 1, 0xFF0D)
POINTER = struct.pack(">BBHH", 5, 1, 10, 10)
CUT_TEXT = struct.pack(">B3xI", 6, 5) + b"hello"
EXTENDED_CUT_TEXT = struct.pack(">B3xi", 6, -5) + b"hello"
QEMU_KEY = struct.pack(">BBHII", 255, 0, 1, 0xFF0D, 28)
XVP = b"\xfa\0\x01\x04"
SIZE = struct.pack(">BxHHBx", 251, 800, 600, 1) + bytes(16)
PASSING = [FORMAT, ENCODINGS, UPDATE, CONTINUOUS, FENCE]
DROPPED = [KEY, POINTER, CUT_TEXT, EXTENDED_CUT_TEXT, QEMU_KEY, XVP, SIZE]


def started(server: bytes = SERVER) -> ScreenInput:
    screen = ScreenInput()
    screen.served(server)
    return screen


def test_the_handshake_and_what_asks_for_pictures_pass():
    assert started().feed(START + b"".join(PASSING)) == START + b"".join(PASSING)


@pytest.mark.parametrize("message", DROPPED)
def test_what_acts_on_the_guest_is_taken_out(message):
    screen = started()
    assert screen.feed(START + UPDATE + message + UPDATE) == START + UPDATE + UPDATE


@given(st.lists(st.sampled_from(PASSING + DROPPED), max_size=20), st.lists(st.integers(1, 40), max_size=60))
def test_it_does_not_matter_in_what_pieces_it_comes(messages, sizes):
    screen, stream, passed = started(), START + b"".join(messages), b""
    for size in [*sizes, len(stream)]:
        passed += screen.feed(stream[:size])
        stream = stream[size:]
    assert passed == START + b"".join(each for each in messages if each in PASSING)


@given(st.binary(max_size=400))
def test_no_bytes_ever_send_a_key_or_a_pointer(garbage):
    """Read what passed as a server would: every message in it is one of those that may pass."""
    screen = started()
    try:
        passed = screen.feed(START + garbage)
    except Hostile:
        return
    rest = passed[len(START) :]
    while rest:
        length = {0: 20, 3: 10, 150: 10}.get(rest[0])
        if rest[0] == 2:
            length = 4 + 4 * int.from_bytes(rest[2:4], "big")
        elif rest[0] == 248:
            length = 9 + rest[8]
        assert length is not None and length <= len(rest), rest
        rest = rest[length:]


def test_a_way_to_sign_in_that_the_server_did_not_offer_is_refused():
    """bhyve reads 16 bytes of an answer whatever was chosen: the rest would be read at another place."""
    with pytest.raises(Hostile):
        started().feed(b"RFB 003.008\n\x01" + b"\x01")
    with pytest.raises(Hostile):
        started(b"RFB 003.008\n\x02\x02\x13").feed(b"RFB 003.008\n\x13")
    assert started(b"RFB 003.008\n\x01\x01").feed(b"RFB 003.008\n\x01\x01" + UPDATE).endswith(UPDATE)


def test_nothing_goes_on_before_the_server_has_said_how_to_sign_in():
    screen = ScreenInput()
    assert screen.feed(START + KEY + UPDATE) == b"RFB 003.008\n"
    screen.served(SERVER[:5])
    screen.served(SERVER[5:])
    assert screen.feed(b"") == START[12:] + UPDATE


@pytest.mark.parametrize(
    "stream",
    [
        b"RFB 003.003\n",
        b"GET / HTTP/1",
        START + b"\x63" * 20,
        START + struct.pack(">BxH", 2, 65535),
        START + struct.pack(">B3xIB", 248, 1, 255),
        START + b"\xff\x01" + bytes(20),
    ],
)
def test_what_is_not_understood_ends_it(stream):
    with pytest.raises(Hostile):
        started().feed(stream)


def test_a_long_clipboard_takes_no_memory():
    screen = started()
    screen.feed(START + struct.pack(">B3xI", 6, 50_000_000))
    for _ in range(50):
        assert screen.feed(bytes(1_000_000)) == b""
    assert screen.feed(UPDATE) == UPDATE
