"""A server of NBD, the network block device protocol, for one client on a socket: so that a program can read or write
a file that was opened for it, and needs neither its path nor the right to open it.

The least of https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md: the newstyle handshake without
options, simple replies.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from typing import BinaryIO, Protocol

GREETING = struct.pack(">8s8sH", b"NBDMAGIC", b"IHAVEOPT", 0b10)  # NBD_FLAG_NO_ZEROES
EXPORT_NAME = 1
HAS_FLAGS, READ_ONLY, SEND_FLUSH, SEND_WRITE_ZEROES = 1, 1 << 1, 1 << 2, 1 << 6
REQUEST, REPLY = 0x25609513, 0x67446698
READ, WRITE, DISCONNECT, FLUSH, WRITE_ZEROES = 0, 1, 2, 3, 6
MOST = 32 << 20  # what a client may ask for at once where nothing else was agreed upon
# Bytes that may be under way in a socket. FreeBSD's default is 8 KiB (unix(4)): a request would go in a hundred pieces,
# and both programs be woken for each.
ROOM = 1 << 20


class Storage(Protocol):
    """What is served. size: bytes. `read` answers exactly as many bytes as it is asked for; all raise OSError."""

    size: int
    is_read_only: bool

    def read(self, place: int, count: int) -> bytes: ...
    def write(self, place: int, data: bytes) -> None: ...
    def zero(self, place: int, count: int) -> None: ...


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a socket with room for whole requests, as far as the system gives it."""
    ends = socket.socketpair()
    for end in ends:
        for direction in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, direction, ROOM)
    return ends


def serve(link: socket.socket, storage: Storage) -> None:
    """Answer the client at the other end until it leaves, breaks the protocol, or asks for what must not be."""
    # Requests that wait are taken from the socket together.
    with link, link.makefile("rb") as asked:
        try:
            _greet(link, asked, storage)
            while _answer(link, asked, storage):
                pass
        except (OSError, EOFError, struct.error):
            # The client tells of it; it has lost its disk.
            return


def _greet(link: socket.socket, asked: BinaryIO, storage: Storage) -> None:
    link.sendall(GREETING)
    _flags, magic, option, length = struct.unpack(">I8sII", _take(asked, 20))
    if magic != b"IHAVEOPT" or option != EXPORT_NAME or length > 4096:
        raise EOFError
    _take(asked, length)
    flags = HAS_FLAGS | (READ_ONLY if storage.is_read_only else SEND_FLUSH | SEND_WRITE_ZEROES)
    link.sendall(struct.pack(">QH", storage.size, flags))


def _answer(link: socket.socket, asked: BinaryIO, storage: Storage) -> bool:
    """Whether the client stays."""
    magic, _flags, kind, cookie, place, count = struct.unpack(">IHHQQI", _take(asked, 28))
    if magic != REQUEST or kind == DISCONNECT or (count > MOST and kind != WRITE_ZEROES):
        return False
    data = _take(asked, count) if kind == WRITE else b""
    problem, found = 0, b""
    try:
        if place + count > storage.size or (storage.is_read_only and kind != READ):
            raise OSError(errno.EINVAL, "outside of the disk")
        if kind == READ:
            found = storage.read(place, count)
        elif kind == WRITE:
            storage.write(place, data)
        elif kind == WRITE_ZEROES:
            storage.zero(place, count)
        elif kind != FLUSH:
            raise OSError(errno.EINVAL, "unknown")
    except OSError as error:
        # The protocol has numbers for these alone.
        problem = error.errno if error.errno in {errno.EPERM, errno.EINVAL, errno.ENOSPC} else errno.EIO
    link.sendall(struct.pack(">IIQ", REPLY, problem, cookie) + found)
    return True


def _take(asked: BinaryIO, count: int) -> bytes:
    """Exactly ``count`` bytes. Raises EOFError when the client has left."""
    found = asked.read(count)
    if len(found) < count:
        raise EOFError
    return found


def read_fully(file: int, place: int, count: int) -> bytes:
    """``count`` bytes of a file from ``place`` on; zeros where it ends before."""
    found = b""
    while len(found) < count and (more := os.pread(file, count - len(found), place + len(found))):
        found += more
    return found.ljust(count, b"\0")
