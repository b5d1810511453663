"""Sockets in the lab's network namespace, for programs that send a packet or two themselves."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket

from bhype.lab import wires

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_CLONE_NEWNET = 0x40000000


@contextlib.contextmanager
def inside() -> Iterator[None]:
    """What this thread opens meanwhile belongs to the lab's namespace. Raises wires.Unwired."""
    pid = wires.namespace()
    if pid is None:
        raise wires.Unwired("The lab's wires are off.")
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    there = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(there, _CLONE_NEWNET):
            raise wires.Unwired(f"The lab's namespace cannot be entered: {os.strerror(ctypes.get_errno())}.")
        try:
            yield
        finally:
            if libc.setns(home, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(home)
        os.close(there)


def make(family: int, kind: int, protocol: int = 0) -> socket.socket:
    """A socket of the lab's host. Raises wires.Unwired, OSError."""
    with inside():
        return socket.socket(family, kind, protocol)
