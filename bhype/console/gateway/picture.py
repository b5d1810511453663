"""A small picture of a guest's screen: the VNC client that asks for one frame (RFC 6143), and a PNG of it."""

from __future__ import annotations

import socket
import struct
import time
import zlib
from collections.abc import Callable
from operator import itemgetter

from .des import encrypt

SECONDS = 2.0
WIDTH, HEIGHT = 160, 120
# As large as bhyve's largest screen (bhyve(8): 3840x2160) and no larger.
PIXELS_MAX = 3840 * 2160
# Samples per pixel of the picture, each way.
SAMPLES = 3
# 32 bits, little-endian, 8 bits per colour, red at 16: what bhyve sends whatever it is asked for.
PIXEL_FORMAT = struct.pack(">BBBBHHHBBB3x", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
RAW, DESKTOP_SIZE = 0, -223


class NoPicture(Exception):
    """The VNC server gave none in time, or a viewer wants the screen. The message is for the log."""


class _Server:
    """The connection to a VNC server, with one deadline for all that is asked of it."""

    def __init__(self, connection: socket.socket, give_up: Callable[[], bool]) -> None:
        self.connection = connection
        self.connection.settimeout(0.02)
        self.give_up = give_up
        self.deadline = time.monotonic() + SECONDS

    def take(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            if time.monotonic() > self.deadline:
                raise NoPicture("too slow")
            if self.give_up():
                raise NoPicture("a viewer wants the screen")
            try:
                piece = self.connection.recv(min(count - len(data), 1 << 20))
            except TimeoutError:
                continue
            if not piece:
                raise NoPicture("the VNC server hung up")
            data += piece
        return bytes(data)

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")


def take(connection: socket.socket, password: str, give_up: Callable[[], bool]) -> bytes:
    """The screen as a PNG of at most WIDTH x HEIGHT. give_up: asked often; True ends it.

    Raises NoPicture, OSError.
    """
    server = _Server(connection, give_up)
    _sign_in(server, password)
    width, height = server.number(2), server.number(2)
    server.take(16)
    _skip(server, server.number(4))
    connection.sendall(b"\0\0\0\0" + PIXEL_FORMAT)
    connection.sendall(struct.pack(">BxHii", 2, 2, RAW, DESKTOP_SIZE))
    while True:
        if not 0 < width * height <= PIXELS_MAX:
            raise NoPicture(f"a screen of {width}x{height}")
        connection.sendall(struct.pack(">BBHHHH", 3, 0, 0, 0, width, height))
        pixels, size = _frame(server, width, height)
        if size == (width, height):
            return png(*shrink(pixels, width, height))
        width, height = size


def _sign_in(server: _Server, password: str) -> None:
    if not server.take(12).startswith(b"RFB 003."):
        raise NoPicture("no VNC server")
    server.connection.sendall(b"RFB 003.008\n")
    ways = server.take(server.number(1))
    if 2 in ways:
        server.connection.sendall(b"\2")
        challenge = server.take(16)
        key = password.encode("latin-1", "replace")[:8].ljust(8, b"\0")
        # VNC takes the bits of each byte of the password the other way round.
        key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in key)
        server.connection.sendall(encrypt(key, challenge[:8]) + encrypt(key, challenge[8:]))
    elif 1 in ways:
        server.connection.sendall(b"\1")
    else:
        raise NoPicture("no way to sign in")
    if server.number(4):
        raise NoPicture("the VNC server refuses the password")
    server.connection.sendall(b"\1")  # others may stay


def _frame(server: _Server, width: int, height: int) -> tuple[bytearray, tuple[int, int]]:
    """The pixels of the next update, row after row; and the size of the screen, which may have changed."""
    pixels = bytearray(4 * width * height)
    while True:
        kind = server.number(1)
        if kind == 1:  # colours of a palette
            server.take(3)
            server.take(6 * server.number(2))
        elif kind == 3:  # the guest's clipboard
            server.take(3)
            _skip(server, server.number(4))
        elif kind == 0:
            break
        elif kind != 2:  # not a bell either
            raise NoPicture(f"message {kind}")
    server.take(1)
    for _ in range(server.number(2)):
        x, y, w, h, encoding = struct.unpack(">HHHHi", server.take(12))
        if encoding == DESKTOP_SIZE:
            return pixels, (w, h)
        if encoding != RAW or x + w > width or y + h > height:
            raise NoPicture(f"a rectangle of encoding {encoding}")
        data = server.take(4 * w * h)
        for row in range(h):
            at = 4 * ((y + row) * width + x)
            pixels[at : at + 4 * w] = data[4 * w * row : 4 * w * (row + 1)]
    return pixels, (width, height)


def _skip(server: _Server, count: int) -> None:
    if count > 1 << 20:
        raise NoPicture("a long clipboard")
    server.take(count)


def shrink(pixels: bytearray, width: int, height: int) -> tuple[bytes, int, int]:
    """Rows of red, green and blue of a smaller picture, each pixel the mean of some of those it stands for.

    pixels: 4 bytes each, blue first. Returns the rows with the width and height.
    """
    scale = max(1.0, width / WIDTH, height / HEIGHT)
    columns, rows = max(1, int(width / scale)), max(1, int(height / scale))

    def samples(place: int, count: int, end: int) -> list[int]:
        first, last = place * end // count, (place + 1) * end // count
        step = max(1, (last - first) // SAMPLES)
        return [min(first + number * step, last - 1, end - 1) for number in range(SAMPLES)]

    # One look-up per sample takes it for a whole row at once.
    places = [samples(column, columns, width) for column in range(columns)]
    lookups = [itemgetter(*[place[number] for place in places], 0) for number in range(SAMPLES)]
    found = bytearray()
    for row in range(rows):
        lines = [pixels[4 * width * y : 4 * width * (y + 1)] for y in samples(row, rows, height)]
        colours = []
        for colour in (2, 1, 0):
            planes = [line[colour::4] for line in lines]
            values = [lookup(plane) for plane in planes for lookup in lookups]
            colours.append([sum(each) // len(each) for each in zip(*values, strict=True)][:columns])
        found += bytes(value for pixel in zip(*colours, strict=True) for value in pixel)
    return bytes(found), columns, rows


def png(rows: bytes, width: int, height: int) -> bytes:
    """Rows of red, green and blue as a PNG (W3C PNG, 8 bits, truecolour)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    lines = b"".join(b"\0" + rows[3 * width * row : 3 * width * (row + 1)] for row in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    image = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + image
