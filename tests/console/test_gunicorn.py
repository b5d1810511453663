"""The same through gunicorn's own ASGI worker, which serves the panel."""

from __future__ import annotations

import socket
import tempfile
import time
from pathlib import Path

import pytest

from tests.bench.console import panel, websocket

from .guests import Flood, Guest, echo, eventually, gateway, write_state

PATH = "/ws/console/vm/web1/vnc"
KEY = b"\x82\x88\0\0\0\0keypress"


@pytest.fixture(scope="module")
def served():
    with tempfile.TemporaryDirectory(prefix="bhc-", dir="/tmp") as folder:
        state = Path(folder)
        (state / "run").mkdir()
        with gateway(state, state / "run" / "gateway.sock") as gate, panel(state) as port:
            yield gate, port


@pytest.fixture
def connect(served):
    """Opens the console of a guest that serves so; returns the raw connection."""
    gate, port = served
    opened = []

    def dial(serve):
        guest = Guest(serve)
        write_state(gate.root, "web1", guest.port)
        line = websocket(port, PATH)
        opened.extend([line, guest])
        return line

    yield dial
    for each in opened:
        each.close()
    assert eventually(lambda: not gate.children()), "a console outlived its browser"


def take(line, count):
    data = b""
    while len(data) < count:
        piece = line.recv(count - len(data))
        assert piece, "ended early"
        data += piece
    return data


def test_keys_come_back(connect):
    line = connect(echo)
    line.sendall(KEY)
    assert take(line, 10) == b"\x82\x08keypress"


def test_a_large_paste_arrives_whole(connect):
    line = connect(echo)
    text = bytes(range(256)) * 400  # 100 KiB in one message
    line.sendall(b"\x82\xff" + len(text).to_bytes(8, "big") + bytes(4) + text)
    received = b""
    while len(received) < len(text):
        head = take(line, 2)
        size = head[1]
        if size > 125:
            size = int.from_bytes(take(line, 2 if size == 126 else 8), "big")
        received += take(line, size)
    assert received == text


def test_all_keys_arrive_in_time_under_a_slow_reader_and_a_busy_screen(connect):
    flood = Flood()
    line = connect(flood)
    pressed = []
    for turn in range(60):
        line.recv(65536)
        if turn >= 20:
            pressed.append(time.monotonic())
            line.sendall(KEY)
        time.sleep(0.02)
    assert eventually(lambda: len(flood.keys) == len(pressed))
    delays = sorted(arrived - at for arrived, at in zip(flood.keys, pressed, strict=True))
    assert delays[len(delays) // 2] < 5


def test_a_foreign_origin_is_refused(served, monkeypatch):
    _, port = served
    with socket.create_connection(("127.0.0.1", port), 10) as line:
        line.sendall(
            f"GET {PATH} HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: http://localhost:1\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        assert line.recv(100).startswith(b"HTTP/1.1 403")
