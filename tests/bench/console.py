"""A console's way through the panel beside plain websockify and plain TCP, in one run: throughput, key echo,
50 consoles at once, keys under a slow reader. Proxies on one core, client and guest on another.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import random
import select
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench.report import percentile, show
from tests.console.guests import eventually, gateway, plain_websockify, write_state

BULK = 512 * 2**20
ECHOES = 2000
ROUNDS = 5
CONSOLES = 50
KEYS = 55
# Seconds after which a way that says nothing has failed.
SILENCE = 20.0


class Guest(asyncio.Protocol):
    """A guest of many talents, told by the first 9 bytes: a verb and a number.

    B: send so many bytes; E: echo; F: a screen of 32 KiB every 16 ms; P: push so many bytes; S: tell the
    delays of the keys that came since. A key of F and P is 8 bytes: the time it was pressed.
    """

    delays: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.head, self.task, self.paused = b"", None, asyncio.Event()
        self.paused.set()

    def pause_writing(self) -> None:
        self.paused.clear()

    def resume_writing(self) -> None:
        self.paused.set()

    def data_received(self, data: bytes) -> None:
        if len(self.head) < 9:
            self.head, data = (self.head + data)[:9], (self.head + data)[9:]
            if len(self.head) == 9:
                self.begin(self.head[:1], int.from_bytes(self.head[1:], "big"))
        if self.head[:1] == b"E":
            self.transport.write(data)
        elif self.head[:1] in b"FP":
            now = time.monotonic()
            for (at,) in struct.iter_unpack(">d", data[: len(data) // 8 * 8]):
                Guest.delays.append(now - at)

    def begin(self, verb: bytes, number: int) -> None:
        if verb == b"S":
            self.transport.write(json.dumps(Guest.delays).encode())
            self.transport.close()
            Guest.delays = []
        elif verb in b"BFP":
            self.task = asyncio.create_task(self.push(verb, number))

    async def push(self, verb: bytes, left: int) -> None:
        piece = os.urandom(32768) if verb == b"F" else bytes(65536)
        while left > 0:
            await self.paused.wait()
            self.transport.write(piece)
            left -= len(piece)
            await asyncio.sleep(0.016 if verb == b"F" else 0)

    def connection_lost(self, exc: Exception | None) -> None:
        self.paused.set()
        if self.task:
            self.task.cancel()


def serve(port: int, core: set[int]) -> None:
    pin(core)

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Guest, "127.0.0.1", port)
        await server.serve_forever()

    asyncio.run(run())


def pin(core: set[int], pid: int = 0) -> None:
    if hasattr(os, "sched_setaffinity") and len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(pid, core)


def websocket(port: int, path: str) -> socket.socket:
    line = socket.create_connection(("127.0.0.1", port), SILENCE)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    line.sendall(
        f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: http://localhost:{port}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: binary\r\n\r\n".encode()
    )
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += line.recv(1)
    if not answer.startswith(b"HTTP/1.1 101"):
        raise RuntimeError(answer.decode())
    return line


class Way:
    """One way to the guest: how to connect, and how a message is dressed."""

    def __init__(self, name: str, connect: Callable[[], socket.socket], *, framed: bool) -> None:
        self.name = name
        self.connect = connect
        self.framed = framed

    def dress(self, data: bytes) -> bytes:
        """A short message as this way wants it; a mask, for websockify unmasks whatever comes."""
        if not self.framed:
            return data
        mask = b"\x11\x22\x33\x44"
        masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))
        return bytes((0x82, 0x80 | len(data))) + mask + masked

    def begin(self, verb: bytes, number: int) -> socket.socket:
        line = self.connect()
        line.sendall(self.dress(verb + number.to_bytes(8, "big")))
        return line

    def bulk(self) -> float:
        """Bytes a second from the guest."""
        buffer, got, began = bytearray(1 << 18), 0, time.perf_counter()
        with self.begin(b"B", BULK) as line:
            while got < BULK:
                got += line.recv_into(buffer)
            return got / (time.perf_counter() - began)

    def echo(self) -> float:
        """Median seconds for a key to come back."""
        times, size = [], 8 + 2 * self.framed
        key = self.dress(b"keypress")
        with self.begin(b"E", 0) as line:
            for _ in range(ECHOES):
                began = time.perf_counter()
                line.sendall(key)
                got = 0
                while got < size:
                    got += len(line.recv(64))
                times.append(time.perf_counter() - began)
        return statistics.median(times)

    def press(self, line: socket.socket) -> None:
        line.sendall(self.dress(struct.pack(">d", time.monotonic())))


def key_delays(port: int) -> list[float]:
    """What the guest has noted since it was last asked."""
    with socket.create_connection(("127.0.0.1", port), SILENCE) as line:
        line.sendall(b"S" + bytes(8))
        received = b""
        while data := line.recv(65536):
            received += data
    return sorted(json.loads(received))


def many(way: Way, port: int) -> tuple[float, list[float]]:
    """Bytes a second and key delays with CONSOLES consoles at once, 2 MB/s and 10 keys a second each."""
    key_delays(port)
    lines = [way.begin(b"F", 1 << 40) for _ in range(CONSOLES)]
    poller, buffer, got = select.poll(), bytearray(1 << 18), 0
    by_number = {line.fileno(): line for line in lines}
    for number in by_number:
        poller.register(number, select.POLLIN)
    began = time.monotonic()
    next_key, turn = began, 0
    while time.monotonic() - began < 4:
        for number, _ in poller.poll(1):
            got += by_number[number].recv_into(buffer)
        while time.monotonic() > next_key:
            way.press(lines[turn % CONSOLES])
            turn += 1
            next_key += 0.1 / CONSOLES
    rate = got / (time.monotonic() - began)
    delays = key_delays(port)
    for line in lines:
        line.close()
    return rate, delays


def slow_reader(way: Way, port: int) -> list[float]:
    """Key delays while the guest pushes 256 MB as fast as it can and the viewer reads 2 MB/s."""
    key_delays(port)
    with way.begin(b"P", 256 * 2**20) as line:
        for turn in range(KEYS * 2):
            line.recv(65536)
            if turn % 2:
                way.press(line)
            time.sleep(0.03)
        time.sleep(0.2)
        return key_delays(port)


@contextlib.contextmanager
def panel(state: Path) -> Iterator[int]:
    """gunicorn with the console's WebSocket, as ``make run`` starts it."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    argv = [sys.executable, "-m", "gunicorn", "-k", "asgi", "--workers", "1", "--bind", f"127.0.0.1:{port}"]
    argv += ["--no-control-socket", "--log-level", "warning", "tests.console.served:application"]
    environment = os.environ | {"BHYPE_STATE": str(state), "DJANGO_SETTINGS_MODULE": "bhype.settings"}
    process = subprocess.Popen(argv, env=environment, start_new_session=True)

    def answers() -> bool:
        with socket.socket() as line:
            return line.connect_ex(("127.0.0.1", port)) == 0

    try:
        if not eventually(answers, 30):
            raise RuntimeError("gunicorn did not start")
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def measure(ways: list[Way], guest: int) -> None:
    bulk: dict[str, list[float]] = {way.name: [] for way in ways}
    echo: dict[str, list[float]] = {way.name: [] for way in ways}
    for turn in range(ROUNDS + 1):
        for way in random.sample(ways, len(ways)):
            rate, delay = way.bulk(), way.echo()
            if turn:  # the first round warms up
                bulk[way.name].append(rate)
                echo[way.name].append(delay)
    base_bulk, base_echo = (statistics.median(found["websockify"]) for found in (bulk, echo))
    for way in ways:
        budget = way.name == "bHype"
        rate, delay = statistics.median(bulk[way.name]), statistics.median(echo[way.name])
        show(
            f"{way.name}: bulk",
            f"{rate / 1e6:.0f} MB/s",
            f"{rate / base_bulk:.2f} x websockify" + "; >= 0.75" * budget,
        )
        show(
            f"{way.name}: key echo, median",
            f"{delay * 1e6:.0f} us",
            f"{delay / base_echo:.2f} x" + "; <= 1.35" * budget,
        )
    for way in ways:
        rate, delays = many(way, guest)
        what = f"{way.name}: {CONSOLES} consoles of 2 MB/s: a key arrives after"
        values = f"{delays[len(delays) // 2] * 1e6:.0f} / {percentile(delays, 0.99) * 1e6:.0f} us"
        show(what, values, f"median / p99; {rate / 1e6:.0f} MB/s in all")
    for way in ways[1:]:
        delays = slow_reader(way, guest)
        in_time = sum(delay < 0.1 for delay in delays)
        late = f"{len(delays)} in all" + (f", the last after {delays[-1] * 1000:.0f} ms" if delays else "")
        show(f"{way.name}: keys delivered in 0.1 s under a slow reader", f"{in_time} of {KEYS}", late)


def main() -> None:
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    near, far = {cores[0]}, {cores[-1]}
    port = free_port()
    guest = multiprocessing.get_context("fork").Process(target=serve, args=(port, near), daemon=True)
    guest.start()
    with tempfile.TemporaryDirectory(prefix="bhc-", dir="/tmp") as folder, contextlib.ExitStack() as running:
        state = Path(folder)
        (state / "run").mkdir()
        pin(far)  # the proxies inherit it
        gate = running.enter_context(gateway(state, state / "run" / "gateway.sock"))
        plain = running.enter_context(plain_websockify(port))
        served = running.enter_context(panel(state))
        pin(near)
        write_state(gate.root, "web1", port)
        ways = [
            Way("TCP", lambda: socket.create_connection(("127.0.0.1", port), SILENCE), framed=False),
            Way("websockify", lambda: websocket(plain, "/"), framed=True),
            Way("bHype", lambda: websocket(served, "/ws/console/vm/web1/vnc"), framed=True),
        ]
        measure(ways, port)
    guest.terminate()
    guest.join()


if __name__ == "__main__":
    main()
