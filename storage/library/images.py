"""Disk images from and to raw, qcow2, VMDK, VHDX, VHD and VDI, with qemu-img.

qemu-img runs as root on files that somebody brought. What it could be led astray by is refused before it is started
(bhype.freebsd.qemu_img.sniff), the format is always given, limits(1) bounds what it uses, and it is ended when its
time is over or the task is cancelled.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from bhype.freebsd import qemu_img, zfs
from bhype.freebsd.command import Command
from bhype.freebsd.qemu_img import BadImage, ImageInfo
from bhype.tasks import OperationFailed, Run
from storage.sizes import MIB

DEVICE_SECONDS = 10.0


def examine(run: Run, path: str) -> ImageInfo:
    """What the image at the host's ``path`` is. Raises OperationFailed for one that is not taken."""
    try:
        with Path(run.host.path(path)).open("rb") as file:
            head = file.read(qemu_img.HEAD)
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - qemu_img.TAIL))
            kind = qemu_img.sniff(head, file.read(qemu_img.TAIL))
        if not size:
            raise BadImage("It is empty.")
        return run.host.query(qemu_img.info(path, kind))
    except BadImage as error:
        raise OperationFailed(f"This disk image cannot be imported. {error}") from error


def rounded(size: int) -> int:
    """Whole MiB: what every disk of bHype has, and a multiple of every volume block size up to that."""
    return -(-size // MIB) * MIB


def convert(run: Run, command: Command, told: str, span: tuple[float, float] = (0, 100)) -> None:
    """Run qemu-img, telling how far it is."""
    first, last = span

    def heard(piece: str) -> None:
        percent = qemu_img.progress(piece)
        if percent is not None:
            run.stage(told, percent=first + (last - first) * percent / 100)

    run.stage(told, percent=first)
    run.host.run(command, heard=heard)


def make_volume(run: Run, name: str, mark: str, path: str, *, span: tuple[float, float]) -> int:
    """Make the volume ``name`` with the mark ``mark`` (org.bhype:id), and write the image at ``path`` to it; its size
    in bytes. Raises OperationFailed for an image that is not taken, and CommandError, also where the name is taken."""
    info = examine(run, path)
    size = rounded(info.size)
    run.host.run(zfs.create_volume(name, size, {zfs.ID_PROPERTY: mark}))
    device = f"/dev/zvol/{name}"
    wait_for_device(run, device)
    convert(run, qemu_img.convert_in(path, info.kind, device), "Writing the image", span)
    return size


def wait_for_device(run: Run, path: str) -> None:
    """/dev/zvol nodes appear a moment after zfs(8) has ended. Raises OperationFailed."""
    deadline = time.monotonic() + DEVICE_SECONDS
    while not run.host.exists(path):
        if time.monotonic() > deadline:
            raise OperationFailed(
                f"{path} did not appear within {DEVICE_SECONDS:.0f} s after its volume was made."
            )
        run.check_cancelled()
        time.sleep(0.1)
