"""The small WebSocket client, fed byte by byte and otherwise."""

from __future__ import annotations

import asyncio
import itertools
import struct

from hypothesis import given
from hypothesis import strategies as st

from bhype.console.relay import HIGH, Relay

ANSWER = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


class Transport:
    def __init__(self):
        self.written = b""
        self.reading = True

    def write(self, data):
        self.written += data

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True

    def abort(self):
        pass


def frame(opcode, payload):
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 65536:
        return struct.pack(">BBH", 0x80 | opcode, 126, size) + payload
    return struct.pack(">BBQ", 0x80 | opcode, 127, size) + payload


async def fed(pieces):
    relay = Relay()
    relay.connection_made(Transport())
    for piece in pieces:
        relay.data_received(piece)
    return relay


def cut(data, places):
    marks = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(marks) if end > start]


frames = st.lists(
    st.tuples(
        st.sampled_from([2, 2, 2, 0, 9, 10]),
        st.binary(max_size=140) | st.just(bytes(300)) | st.just(bytes(66000)),
    )
)


@given(frames, st.lists(st.integers(min_value=0), max_size=30))
def test_however_the_stream_is_cut_the_payloads_come_out_and_control_frames_do_not(sent, places):
    stream = ANSWER + b"".join(frame(opcode, payload) for opcode, payload in sent)

    async def run():
        relay = await fed(cut(stream, places))
        relay.connection_lost(None)
        received = b""
        while data := await relay.read():
            received += data
        return received

    assert asyncio.run(run()) == b"".join(payload for opcode, payload in sent if opcode in {0, 2})


async def test_it_stops_reading_while_much_is_waiting_and_goes_on_when_it_was_taken():
    relay = await fed([ANSWER, frame(2, bytes(HIGH))])
    assert not relay.transport.reading
    assert len(await relay.read()) == HIGH
    assert relay.transport.reading


async def test_a_writer_that_waits_wakes_when_the_line_ends():
    relay = await fed([ANSWER])
    relay.pause_writing()
    writing = asyncio.create_task(relay.write(b"x" * 200_000))
    await asyncio.sleep(0)
    assert not writing.done()
    relay.connection_lost(None)
    await asyncio.wait_for(writing, 1)
    assert len(relay.transport.written) < 100_000


async def test_a_close_frame_is_the_end():
    relay = await fed([ANSWER + frame(2, b"last") + frame(8, b"\x03\xe8")])
    assert await relay.read() == b"last"
    assert await relay.read() == b""
