"""The gateway as a real process, over its real socket."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
import stat
import threading
import time
from pathlib import Path

import pytest

from bhype.console.relay import Refused, Relay
from bhype.console.signing import read_key, sign

from .guests import (
    Flood,
    Guest,
    echo,
    eventually,
    gateway,
    greet,
    resident,
    run_directory,
    write_state,
)


def open_relay(gate, name="web1", kind="vnc"):
    return Relay.open(gate.socket, gate.key_file, name, kind)


def upgrade(gate, target):
    """Ask for the target of a request by hand; returns the status line."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(gate.socket))
        client.sendall(
            f"GET {target} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: binary\r\n\r\n".encode()
        )
        return client.recv(4096).partition(b"\r\n")[0]


async def later(condition):
    """``eventually``, while this side's connections go on."""
    return await asyncio.to_thread(eventually, condition)


async def stalled(flood):
    """Until a viewer that reads nothing has filled every buffer on the way."""
    while True:
        sent = flood.sent
        await asyncio.sleep(0.25)
        if flood.sent == sent:
            return


async def hang_up(relay):
    relay.abort()
    await asyncio.sleep(0.01)


async def read_exactly(relay, count):
    data = b""
    while len(data) < count:
        piece = await relay.read()
        assert piece, "ended early"
        data += piece
    return data


async def test_it_carries_a_screen_both_ways(gate, echoing):
    relay = await open_relay(gate)
    assert await relay.read() == b"RFB 003.008\n"
    await relay.write(b"hello")
    assert await read_exactly(relay, 5) == b"hello"
    await hang_up(relay)
    assert await later(lambda: not gate.children())


async def test_it_carries_a_serial_console_over_a_socket_of_the_run_directory(gate, echoing):
    relay = await open_relay(gate, kind="serial")
    await relay.write(b"ls\n")
    assert await read_exactly(relay, 3) == b"ls\n"
    await hang_up(relay)


async def test_a_serial_socket_may_lie_deeper_than_a_socket_address_is_long(gate, guest_of):
    name = "a" * 40
    guest_of(greet, name)
    folder = run_directory(gate.root, name)
    here = os.getcwd()
    os.chdir(folder)
    try:
        guest = Guest(echo, "serial1.sock")
    finally:
        os.chdir(here)
    relay = await open_relay(gate, name, "serial")
    await relay.write(b"x")
    assert await relay.read() == b"x"
    await hang_up(relay)
    guest.close()


async def test_large_messages_arrive_whole(gate, echoing):
    relay = await open_relay(gate)
    await read_exactly(relay, 12)
    data = os.urandom(3_000_000)
    writing = asyncio.create_task(relay.write(data))
    assert await read_exactly(relay, len(data)) == data
    await writing
    await hang_up(relay)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 65537])
async def test_every_length_of_frame_works(gate, echoing, size):
    relay = await open_relay(gate)
    await read_exactly(relay, 12)
    data = os.urandom(size)
    await relay.write(data)
    assert await read_exactly(relay, size) == data
    await hang_up(relay)


def test_a_note_is_good_once(gate, echoing):
    note = sign(read_key(gate.key_file), "web1", "vnc")
    assert upgrade(gate, f"/?token={note}").startswith(b"HTTP/1.1 101")
    assert upgrade(gate, f"/?token={note}").startswith(b"HTTP/1.1 403")


def test_one_note_used_by_many_at_once_is_good_once(gate, echoing):
    note = sign(read_key(gate.key_file), "web1", "vnc")
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(upgrade(gate, f"/?token={note}"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer[9:12] for answer in answers) == [b"101"] + [b"403"] * 7


def test_expired_forged_and_missing_notes_are_refused(gate, echoing):
    key = read_key(gate.key_file)
    for note in [
        sign(key, "web1", "vnc", lifetime=0),
        sign(key, "web1", "vnc", lifetime=300),
        sign(b"x" * 40, "web1", "vnc"),
        "",
        "x.y",
    ]:
        assert upgrade(gate, f"/?token={note}").startswith(b"HTTP/1.1 403")
    assert upgrade(gate, "/").startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize("name", ["../web1", "web1/../web1", "/etc", "", "..", "nobody"])
def test_a_note_cannot_lead_out_of_the_run_directory(gate, echoing, name):
    note = sign(read_key(gate.key_file), name, "serial")
    assert upgrade(gate, f"/?token={note}").startswith(b"HTTP/1.1 502")


@pytest.mark.parametrize("target", ["/", "//example.com/%2F..", "/etc/passwd", "/../../etc/passwd"])
def test_it_serves_no_files_and_no_redirects(gate, target):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(gate.socket))
        client.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert client.recv(4096).startswith(b"HTTP/1.1 405")


async def test_a_guest_that_is_not_there_is_refused_with_a_reason(gate, guest_of):
    guest_of(greet, "web9").close()
    with pytest.raises(Refused) as refused:
        await open_relay(gate, "web9")
    assert refused.value.status == 502


async def test_a_gateway_that_is_not_there_is_a_refusal_too(short_path, gate):
    with pytest.raises(Refused, match="does not answer"):
        await Relay.open(short_path / "none.sock", gate.key_file, "web1", "vnc")


async def test_the_viewer_hears_when_the_guest_hangs_up(gate, guest_of):
    guest_of(lambda connection: connection.sendall(b"bye"), "web1")
    relay = await open_relay(gate)
    assert await relay.read() == b"bye"
    assert await relay.read() == b""
    await hang_up(relay)


async def test_the_guest_hears_when_the_viewer_is_killed(gate, guest_of):
    gone = threading.Event()

    def serve(connection):
        while connection.recv(100):
            pass
        gone.set()

    guest_of(serve, "web1")
    relay = await open_relay(gate)
    await hang_up(relay)
    assert await asyncio.to_thread(gone.wait, 30)
    assert await later(lambda: not gate.children())


def test_its_socket_is_for_its_own_user_only(gate):
    assert stat.S_IMODE(gate.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE((gate.folder / "gateway.notes").stat().st_mode) == 0o700


def test_its_log_names_consoles_and_never_notes(gate, echoing):
    note = sign(read_key(gate.key_file), "web1", "vnc")
    upgrade(gate, f"/?token={note}")
    upgrade(gate, f"/?token={note}")
    upgrade(gate, "/?token=guessed.note")
    assert eventually(lambda: "vnc of web1: closed" in gate.log.read_text())
    log = gate.log.read_text()
    assert "refused: used before" in log
    assert note not in log and note.partition(".")[2] not in log and "guessed" not in log


async def read_slowly(relay):
    """2 MB/s, as over a poor line."""
    while await relay.read():
        await asyncio.sleep(0.15)


async def test_keys_arrive_and_memory_stays_while_a_slow_viewer_is_flooded(gate, guest_of):
    flood = Flood()
    guest_of(flood, "web1")
    relay = await open_relay(gate)
    reading = asyncio.create_task(read_slowly(relay))
    await asyncio.sleep(0.2)
    (child,) = gate.children()
    before = resident(child)
    pressed = []
    for _ in range(40):
        pressed.append(time.monotonic())
        await relay.write(b"keypress")
        await asyncio.sleep(0.02)
    arrived = await later(lambda: len(flood.keys) == 40)
    grown = resident(child) - before
    await hang_up(relay)
    await reading
    assert arrived
    delays = sorted(arrived - at for arrived, at in zip(flood.keys, pressed, strict=True))
    assert delays[20] < 5  # websockify as it comes: none while the screen changes
    assert grown < 4 * 2**20


async def test_a_guest_is_not_read_while_its_viewer_reads_nothing(gate, guest_of):
    flood = Flood()
    guest_of(flood, "web1")
    relay = await open_relay(gate)
    relay.transport.pause_reading()
    await stalled(flood)
    (child,) = gate.children()
    sent, grown = flood.sent, resident(child)
    await hang_up(relay)
    assert sent < 32 * 2**20  # what the kernel holds
    assert grown < 40 * 2**20


async def test_a_guest_that_takes_nothing_does_not_fill_the_memory(gate, guest_of):
    release = threading.Event()
    guest_of(lambda connection: release.wait(120), "web1")
    relay = await open_relay(gate)

    async def type_on():
        while True:
            await relay.write(bytes(65536))

    typing = asyncio.create_task(type_on())
    assert await later(lambda: time.monotonic() - (relay.stuck_since or math.inf) > 0.5)
    (child,) = gate.children()
    assert resident(child) < 40 * 2**20
    typing.cancel()
    release.set()
    await hang_up(relay)
    assert await later(lambda: not gate.children())


async def test_a_guest_that_hangs_up_on_a_stuck_viewer_does_not_keep_the_processor_busy(gate, guest_of):
    flood = Flood()
    guest = guest_of(flood, "web1")
    relay = await open_relay(gate)
    relay.transport.pause_reading()
    await stalled(flood)
    guest.close()
    (child,) = gate.children()

    def ticks():
        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    await asyncio.sleep(0.5)
    assert ticks() - before < 20  # of 50
    await hang_up(relay)
    assert await later(lambda: not gate.children())


async def test_consoles_survive_the_gateways_death_and_end_with_its_orderly_stop(short_path):
    folder = short_path / "own"
    folder.mkdir()
    guest = Guest(greet)
    with gateway(folder) as gate:
        write_state(gate.root, "web1", guest.port)
        relay = await open_relay(gate)
        await relay.read()
        (child,) = gate.children()
        gate.process.terminate()
        gate.process.wait(30)
        async with asyncio.timeout(30):
            assert await relay.read() == b""
    with gateway(folder) as gate:
        relay = await open_relay(gate)
        await relay.read()
        (child,) = gate.children()
        gate.process.send_signal(signal.SIGKILL)
        gate.process.wait(10)
        await relay.write(b"still")
        assert await read_exactly(relay, 5) == b"still"
        await hang_up(relay)
        assert await later(lambda: not os.path.exists(f"/proc/{child}"))
    with gateway(folder) as gate:  # the socket that was left over is no obstacle
        relay = await open_relay(gate)
        await hang_up(relay)
    guest.close()
    assert "Traceback" not in gate.log.read_text()


async def test_what_a_watcher_types_goes_nowhere(gate, echoing):
    relay = await Relay.open(gate.socket, gate.key_file, "web1", "serial", watch=True)
    writer = await open_relay(gate, kind="serial")
    await relay.write(b"hostile" * 50_000)
    await writer.write(b"typed")
    assert await read_exactly(writer, 5) == b"typed"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(relay.read(), 0.3)
    await hang_up(relay)
    await hang_up(writer)


def test_notes_are_good_for_what_they_were_signed_for_only(gate, echoing):
    key = read_key(gate.key_file)
    for kind in ("picture", "log"):
        assert upgrade(gate, f"/?token={sign(key, 'web1', kind)}").startswith(b"HTTP/1.1 403")
    for kind in ("vnc", "serial"):
        assert ask(gate, f"/?token={sign(key, 'web1', kind)}")[9:12] == b"403"
    assert ask(gate, f"/?token={sign(b'x' * 40, 'web1', 'log')}")[9:12] == b"403"
    note = sign(key, "web1", "log")
    assert [ask(gate, f"/?token={note}")[9:12] for _ in range(2)] == [b"200", b"403"]


def ask(gate, target):
    """A plain request; returns the status line."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(gate.socket))
        client.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return client.recv(4096).partition(b"\r\n")[0]
