"""The end of a wire that a guest holds: a tap's descriptor for QEMU, which itself stays where the panel finds it."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import time

from bhype.lab import core, wires, wires_socket

_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_PATIENCE = 5.0  # seconds until the last one that held the tap must be gone


def open_wire(key: str) -> int | None:
    """A descriptor of the tap that `wires_plan` has under ``key``; None while wires are off, or when there is none."""
    if wires.namespace() is None:
        return None
    wires.carry()
    link = core.peek("wired").get("lab", {}).get(key)
    return _open(link["name"]) if link else None


def _open(name: str) -> int | None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            with wires_socket.inside():
                return _attach(name)
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                core.warn(f"tap {name}: {error.strerror}")
                return None
        time.sleep(0.02)


def _attach(name: str) -> int:
    handle = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(handle, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
    except OSError:
        os.close(handle)
        raise
    return handle
