"""Pictures of screens: the frame that a VNC server gives, who goes first, and how often."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import struct
import threading
import time
import zlib
from dataclasses import replace

import pytest
from django.conf import settings as panel

from bhype.console import gate, pictures, viewers
from bhype.console.gateway import des, picture
from bhype.console.gateway.screens import Busy, Screens
from bhype.console.relay import Relay
from bhype.console.subjects import Subject

from .guests import eventually

PASSWORD = "pw123456"
NUMBERS = itertools.count()


class Screen:
    """A VNC server of one colour per half. As bhyve's, it serves one client at a time."""

    def __init__(self, width=320, height=200, password=PASSWORD, pause=0.0):
        self.width, self.height, self.password, self.pause = width, height, password, pause
        self.served = 0
        self.free = threading.Lock()

    def __call__(self, connection: socket.socket) -> None:
        with self.free:
            self.served += 1
            connection.sendall(b"RFB 003.008\n")
            self.take(connection, 12)
            connection.sendall(b"\x01\x02")
            self.take(connection, 1)
            challenge = os.urandom(16)
            connection.sendall(challenge)
            key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in self.password.encode())
            right = des.encrypt(key, challenge[:8]) + des.encrypt(key, challenge[8:])
            if self.take(connection, 16) != right:
                connection.sendall(struct.pack(">II", 1, 2) + b"no")
                return
            connection.sendall(bytes(4))
            self.take(connection, 1)
            time.sleep(self.pause)
            head = struct.pack(">HH", self.width, self.height) + picture.PIXEL_FORMAT
            connection.sendall(head + struct.pack(">I", 5) + b"guest")
            while (kind := self.take(connection, 1)[0]) != 3:
                self.take(connection, {0: 19, 2: 11}[kind])
            self.take(connection, 9)
            half = self.height // 2
            connection.sendall(b"\x02" + struct.pack(">B3xI", 3, 2) + b"cb")  # a bell, and a clipboard
            connection.sendall(struct.pack(">BxH", 0, 2))
            for y, pixel in ((0, b"\x00\x00\xff\x00"), (half, b"\xff\x00\x00\x00")):
                rectangle = struct.pack(">HHHHi", 0, y, self.width, half, 0)
                connection.sendall(rectangle + pixel * (self.width * half))
            connection.recv(100)

    @staticmethod
    def take(connection: socket.socket, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = connection.recv(count - len(data))
            if not piece:
                raise ConnectionError
            data += piece
        return data


def pixels(png: bytes) -> tuple[int, int, list[bytes]]:
    """Width, height and rows of a PNG as ours."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    found, at = {}, 8
    while at < len(png):
        size, kind = struct.unpack(">I4s", png[at : at + 8])
        data = png[at + 8 : at + 8 + size]
        assert struct.pack(">I", zlib.crc32(kind + data)) == png[at + 8 + size : at + 12 + size]
        found[kind] = data
        at += 12 + size
    width, height, depth, colours = struct.unpack(">IIBB", found[b"IHDR"][:10])
    assert (depth, colours) == (8, 2)
    rows = zlib.decompress(found[b"IDAT"])
    step = 3 * width + 1
    return width, height, [rows[row * step + 1 : (row + 1) * step] for row in range(height)]


@pytest.fixture
def seen(settings, gate, guest_of):
    """Points the panel at the gateway; ``seen(screen)`` is the subject of a guest with that screen."""
    settings.STATE_DIR = settings.RUN_DIR = gate.folder

    def make(screen) -> Subject:
        name = f"shot{next(NUMBERS)}"
        guest_of(screen, name)
        topic = f"thing:{name}"
        return Subject(topic, name, name, "/", ("vnc",), is_on=True, state="Running", password=PASSWORD)

    return make


def test_des_is_the_standards():
    assert (
        des.encrypt(bytes.fromhex("133457799bbcdff1"), bytes.fromhex("0123456789abcdef")).hex()
        == "85e813540f0ab405"
    )


def test_a_picture_is_small_and_shows_the_screen(seen):
    subject = seen(Screen(1024, 768))
    width, height, rows = pixels(gate.fetch(subject.name, "picture", password=PASSWORD))
    assert (width, height) == (160, 120)
    assert rows[0] == b"\xff\0\0" * 160 and rows[-1] == b"\0\0\xff" * 160


@pytest.mark.parametrize(("width", "height"), [(1, 2), (33, 20), (1920, 200), (64, 400)])
def test_every_shape_of_screen_fits(width, height):
    rows, columns, lines = picture.shrink(bytearray(b"\x10\x20\x30\0" * (width * height)), width, height)
    assert columns <= picture.WIDTH and lines <= picture.HEIGHT
    assert rows == b"\x30\x20\x10" * (columns * lines)


@pytest.mark.parametrize("screen", [Screen(password="other123"), Screen(pause=4)], ids=["password", "slow"])
def test_a_screen_that_gives_none_is_left_within_seconds(seen, screen):
    """Had it waited, there would be a picture of the slow one."""
    with pytest.raises(gate.NoAnswer) as none:
        gate.fetch(seen(screen).name, "picture", password=PASSWORD)
    assert none.value.status == 404


async def test_none_is_taken_while_somebody_views_the_screen(seen):
    screen = Screen()
    subject = seen(screen)
    relay = await Relay.open(
        panel.RUN_DIR / "gateway.sock", panel.STATE_DIR / "gateway.key", subject.name, "vnc"
    )
    assert await relay.read() == b"RFB 003.008\n"
    with pytest.raises(gate.NoAnswer) as busy:
        await asyncio.to_thread(gate.fetch, subject.name, "picture", password=PASSWORD)
    assert busy.value.status == 409 and screen.served == 1
    relay.abort()
    await asyncio.sleep(0.05)


async def test_a_viewer_gets_the_screen_from_whoever_takes_a_picture_of_it(seen):
    """Had the viewer waited for the picture, there would be one. On a busy machine he may come after it."""
    for _ in range(10):
        screen = Screen(pause=1.5)
        subject = seen(screen)
        asked = asyncio.to_thread(gate.fetch, subject.name, "picture", password=PASSWORD)
        taking = asyncio.create_task(asked)
        assert await asyncio.to_thread(eventually, lambda: screen.served)  # noqa: B023
        relay = await Relay.open(
            panel.RUN_DIR / "gateway.sock", panel.STATE_DIR / "gateway.key", subject.name, "vnc"
        )
        answer = (await asyncio.gather(taking, return_exceptions=True))[0]
        relay.abort()
        await asyncio.sleep(0.05)
        if isinstance(answer, gate.NoAnswer):
            return
    pytest.fail("the viewer waited for each picture")


def test_a_mark_that_a_dead_viewer_left_counts_for_seconds_only(tmp_path):
    screens = Screens(tmp_path / "s")
    (tmp_path / "s" / "web1.wanted").touch()
    assert screens.is_wanted("web1")
    for moment in (1, time.time() + 3600):
        os.utime(tmp_path / "s" / "web1.wanted", (moment, moment))
        assert not screens.is_wanted("web1"), "nor after the clock was set back"
    lock = screens.spare("web1")
    with pytest.raises(Busy):
        screens.spare("web1")
    os.close(lock)
    os.close(screens.spare("web1"))


@pytest.mark.django_db
def test_it_is_taken_when_asked_for_and_then_kept_for_a_while(seen, alice, monkeypatch):
    screen = Screen()
    subject = seen(screen)
    image = pictures.of(subject)
    assert image is not None and pixels(image)[0] == 160
    assert pictures.of(subject) == image and screen.served == 1
    # It was taken an hour from now, once the clock is set back.
    turn = panel.RUN_DIR / "pictures" / f"{subject.topic.replace(':', '-')}.turn"
    os.utime(turn, (time.time() + 3600, time.time() + 3600))
    assert pictures.of(subject) == image and eventually(lambda: screen.served == 2)
    viewers.enter(alice, "s", subject.topic, "vnc", take_over=False)
    assert pictures.of(subject) == image and screen.served == 2, "somebody views it"
    monkeypatch.setattr(pictures, "STALE_SECONDS", 0)
    assert pictures.of(subject) is None


@pytest.mark.django_db
def test_a_screen_without_a_picture_is_not_asked_again_at_once(seen):
    screen = Screen(password="other123")
    subject = seen(screen)
    for _ in range(3):
        assert pictures.of(subject) is None
    assert screen.served == 1


def test_nobody_asks_for_pictures_of_what_has_none(settings):
    subject = Subject("thing:1", "web1", "web1", "/", ("vnc", "serial"), is_on=True, state="Running")
    assert pictures.are_wanted(subject)
    for change in ({"kinds": ("serial",)}, {"is_on": False}, {"has_picture": False}):
        assert not pictures.are_wanted(replace(subject, **change))
    settings.CONSOLE_PICTURES = False
    assert not pictures.are_wanted(subject)
