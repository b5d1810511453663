"""What ZFS writes on each device of a pool so that it knows it again, and what of a device is left for data.

A real label is an nvlist in each of four places (vdev_label.c); the lab's is one line of JSON where the first one lies.
"""

from __future__ import annotations

import json
import os

from bhype.lab import core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Label = dict[str, Any]

OFFSET = 16 * 1024  # VDEV_SKIP_SIZE: room for VTOC and EFI labels
LENGTH = 4096
START, END = 4 * 1024**2, 512 * 1024  # VDEV_LABEL_START_SIZE, VDEV_LABEL_END_SIZE
SMALLEST = 64 * 1024**2  # SPA_MINDEVSIZE
ACTIVE, EXPORTED, DESTROYED, SPARE, L2CACHE = range(5)


def read(path: str) -> Label | None:
    """The label of the device at FreeBSD's ``path``; None where there is none, or no device."""
    try:
        handle = os.open(core.root(path), os.O_RDONLY)
    except OSError:
        return None
    try:
        text = os.pread(handle, LENGTH, OFFSET)
    except OSError:
        return None
    finally:
        os.close(handle)
    if not text.startswith(b'{"guid"'):
        return None
    try:
        found: Label = json.loads(text.rstrip(b"\0"))
    except ValueError:
        return None
    return found


def write(path: str, guid: int, pool_guid: int, pool: str, state: int = ACTIVE) -> None:
    """Mark the device as one of the pool's; a device that is gone is no error."""
    text = json.dumps({"guid": guid, "pool_guid": pool_guid, "pool": pool, "state": state})
    _put(path, text.encode().ljust(LENGTH, b"\0"))


def clear(path: str) -> None:
    _put(path, b"\0" * LENGTH)


def _put(path: str, text: bytes) -> None:
    try:
        handle = os.open(core.root(path), os.O_WRONLY)
    except OSError:
        return
    try:
        os.pwrite(handle, text, OFFSET)
    finally:
        os.close(handle)


def usable(size: int) -> int:
    """Bytes between the labels of a device of ``size`` bytes (vdev_open())."""
    return max(0, size // (256 * 1024) * (256 * 1024) - START - END) if size >= SMALLEST else 0


def whole(asize: int) -> int:
    """What a top-level vdev of ``asize`` bytes offers in whole metaslabs (vdev_metaslab_set_size())."""
    count = asize >> 29
    shift = 29
    if count < 16:
        shift = (asize // 16).bit_length()
    elif count > 200:
        shift = (asize // 200).bit_length()
    shift = min(max(shift, 24), 34)
    return (asize >> shift) << shift
