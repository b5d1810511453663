"""Disk images in and out: raw, qcow2, VMDK, VHDX, VHD and VDI, with qemu-img.

qemu-img runs as root on files that somebody brought. What it could be led astray by is refused before it is started
(bhype.freebsd.qemu_img.sniff), the format is always given, limits(1) bounds what it uses, and it is ended when its
time is over or the task is cancelled.
"""

from __future__ import annotations

import os
from pathlib import Path

from bhype.freebsd import qemu_img, zfs
from bhype.freebsd.command import Command
from bhype.freebsd.qemu_img import BadImage, ImageInfo
from bhype.tasks import OperationFailed, Run

from . import plan
from .models import Disk
from .sizes import MIB


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


def grow(run: Run, disk: Disk, size: int) -> None:
    """Make the disk large enough for ``size`` bytes, and write that into its row."""
    wanted = rounded(size)
    if wanted <= disk.size:
        return
    if wanted > plan.DISK_MAX:
        raise OperationFailed("The disk in it is larger than bHype's disks can be.")
    if problem := plan.disk_problem(wanted, disk.vm.pool.size):
        raise OperationFailed(problem)
    if disk.backing == Disk.Backing.VOLUME:
        run.host.run(zfs.set_property(disk.dataset, "volsize", str(wanted)))
    else:
        os.truncate(run.host.path(disk.path), wanted)
    Disk.objects.filter(pk=disk.pk).update(size=wanted)
    disk.size = wanted


def write(run: Run, disk: Disk, path: str, info: ImageInfo, span: tuple[float, float] = (0, 100)) -> None:
    """Write the image over the disk, which belongs to the VM and is not in use. span: where the percentage of the
    stage begins and ends."""
    grow(run, disk, info.size)
    if not run.host.exists(disk.path):
        raise OperationFailed(f"{disk.path} is not there.")
    told = f"Writing the image to disk {disk.index}"
    convert(run, qemu_img.convert_in(path, info.kind, disk.path), told, span)


def read(run: Run, disk: Disk, path: str, kind: str, *, stream_optimized: bool = False) -> None:
    """Write the disk, which nothing changes meanwhile, as a new image to ``path``."""
    if not run.host.exists(disk.path):
        raise OperationFailed(f"{disk.path} is not there.")
    command = qemu_img.convert_out(disk.path, path, kind, stream_optimized=stream_optimized)
    convert(run, command, f"Reading disk {disk.index}")


def convert(run: Run, command: Command, told: str, span: tuple[float, float] = (0, 100)) -> None:
    """Run qemu-img, telling how far it is."""
    first, last = span

    def heard(piece: str) -> None:
        percent = qemu_img.progress(piece)
        if percent is not None:
            run.stage(told, percent=first + (last - first) * percent / 100)

    run.stage(told, percent=first)
    run.host.run(command, heard=heard)
