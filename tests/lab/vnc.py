"""The start of an RFB 3.8 session (RFC 6143 7.1, 7.2.2)."""

from __future__ import annotations

import socket

from bhype.console.gateway.des import encrypt as des


def free_port() -> int:
    """A port of 127.0.0.1 that nobody had a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


def connect(port: int, *, timeout: float = 60) -> socket.socket:
    """A connection whose server has greeted with ``RFB 003.008``."""
    connection = socket.create_connection(("127.0.0.1", port), timeout)
    try:
        greeting = _exactly(connection, 12)
        assert greeting == b"RFB 003.008\n", greeting
        connection.sendall(greeting)
    except BaseException:
        connection.close()
        raise
    return connection


def sign_in(connection: socket.socket, password: str) -> bool:
    """Answer the challenge; whether the server took the password. It must offer nothing but type 2."""
    count = _exactly(connection, 1)[0]
    types = _exactly(connection, count)
    assert types == b"\x02", types
    connection.sendall(b"\x02")
    challenge = _exactly(connection, 16)
    # VNC's passwords have 8 characters and their bits the wrong way round.
    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in password.encode()[:8].ljust(8, b"\0"))
    connection.sendall(des(key, challenge[:8]) + des(key, challenge[8:]))
    return _exactly(connection, 4) == bytes(4)


def size(connection: socket.socket) -> tuple[int, int]:
    """ClientInit (shared) and the width and height in ServerInit."""
    connection.sendall(b"\x01")
    start = _exactly(connection, 24)
    _exactly(connection, int.from_bytes(start[20:24], "big"))
    return int.from_bytes(start[:2], "big"), int.from_bytes(start[2:4], "big")


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise ConnectionError("the VNC server hung up")
        data += more
    return data
