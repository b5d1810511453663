"""Disk images from and to raw, qcow2, VMDK, VHDX, VHD and VDI.

An image that somebody brought is read as nobody (`bhype.outside.disk`), by qemu-img only where it is not raw: its
format is always given, and what it could be led astray by is refused before (bhype.freebsd.qemu_img.sniff). All of it
is bounded, and ended when its time is over or the task is cancelled.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from bhype import outside
from bhype.freebsd import qemu_img, zfs
from bhype.freebsd.command import Command
from bhype.tasks import OperationFailed, Run
from storage.sizes import MIB

from .fetching import ask

DEVICE_SECONDS = 10.0
EXAMINE_SECONDS, WRITE_SECONDS = 60, 12 * 3600


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """kind: QEMU's name of the format; size: bytes of the disk in it."""

    kind: str
    size: int


def examine(run: Run, path: str) -> ImageInfo:
    """What the image at the host's ``path`` is. Raises OperationFailed for one that is not taken."""
    request = {"path": run.host.path(path), "seconds": EXAMINE_SECONDS}
    answer = ask(run, "examine", request, 2.0 * EXAMINE_SECONDS)
    return ImageInfo(str(answer["kind"]), int(answer["size"]))


def rounded(size: int) -> int:
    """Whole MiB: what every disk of bHype has, and a multiple of every volume block size up to that."""
    return -(-size // MIB) * MIB


def write(
    run: Run,
    path: str,
    info: ImageInfo,
    target: str,
    *,
    told: str,
    span: tuple[float, float] = (0, 100),
    is_zero: bool = False,
) -> None:
    """Write the image at ``path``, which is ``info``, to ``target``, a volume's device or a file that is large enough.
    is_zero: it reads as zeros until now; told, span: the stage's words, and where its percentage begins and ends.
    Raises OperationFailed."""
    first, last = span
    ear = outside.Ear()

    def heard(piece: str) -> None:
        for each in ear.hear(piece):
            if "percent" in each:
                run.stage(told, percent=first + (last - first) * each["percent"] / 100)

    request = {
        "path": run.host.path(path),
        "kind": info.kind,
        "target": run.host.path(target),
        "size": info.size,
        "is_zero": is_zero,
        "seconds": WRITE_SECONDS,
    }
    run.stage(told, percent=first)
    ask(run, "write", request, 2.0 * WRITE_SECONDS, heard)


def convert_out(run: Run, command: Command, told: str) -> None:
    """Run qemu-img, which writes an image of a disk, telling how far it is."""

    def heard(piece: str) -> None:
        percent = qemu_img.progress(piece)
        if percent is not None:
            run.stage(told, percent=percent)

    run.stage(told, percent=0)
    run.host.run(command, heard=heard)


def make_volume(run: Run, name: str, mark: str, path: str, *, span: tuple[float, float]) -> int:
    """Make the volume ``name`` with the mark ``mark`` (org.bhype:id), and write the image at ``path`` to it; its size
    in bytes. Raises OperationFailed for an image that is not taken, and CommandError, also where the name is taken."""
    info = examine(run, path)
    size = rounded(info.size)
    run.host.run(zfs.create_volume(name, size, {zfs.ID_PROPERTY: mark}))
    device = f"/dev/zvol/{name}"
    wait_for_device(run, device)
    write(run, path, info, device, told="Writing the image", span=span, is_zero=True)
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
