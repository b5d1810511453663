"""Unix sockets at paths of any length. sockaddr_un holds 104 bytes on FreeBSD and 108 on Linux; where a path
is longer (a lab in a deep folder), Linux reaches it through /proc/self/fd."""

from __future__ import annotations

import contextlib
import os
import socket

PATH_MAX = 103


def connect_unix(path: str, timeout: float | None = None) -> socket.socket:
    """A connected stream socket; ``timeout`` in seconds, also of its later calls.

    Raises OSError: FileNotFoundError and ConnectionRefusedError mean that nobody listens.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout)
    try:
        with _Short(path) as address:
            connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


def listen_unix(path: str, mode: int, backlog: int = 8) -> socket.socket:
    """A listening, non-blocking stream socket at ``path``, replacing a stale one. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The mode is right from the first moment: nobody can connect between bind and chmod.
        mask = os.umask(0o777 & ~mode)
        try:
            with _Short(path) as address:
                server.bind(address)
        finally:
            os.umask(mask)
        server.listen(backlog)
        server.settimeout(0)
    except OSError:
        server.close()
        raise
    return server


class _Short:
    """A context that gives ``path`` in at most PATH_MAX bytes."""

    __slots__ = ("folder", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.folder = -1

    def __enter__(self) -> str:
        if len(os.fsencode(self.path)) <= PATH_MAX:
            return self.path
        folder, name = os.path.split(self.path)
        if not os.path.isdir("/proc/self/fd"):
            raise OSError(
                f"{self.path}: a socket's path has at most {PATH_MAX} bytes; choose a shorter state folder."
            )
        self.folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        return f"/proc/self/fd/{self.folder}/{name}"

    def __exit__(self, *_: object) -> None:
        if self.folder >= 0:
            os.close(self.folder)
            self.folder = -1
