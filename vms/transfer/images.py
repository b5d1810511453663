"""The disks of VMs from and to disk images."""

from __future__ import annotations

import os

from bhype.freebsd import geom, qemu_img, zfs
from bhype.tasks import OperationFailed, Run
from storage.library import images
from storage.library.images import ImageInfo, examine, rounded
from vms import plan
from vms.models import Disk

__all__ = ["ImageInfo", "examine", "grow", "read", "rounded", "write"]


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
    is_volume = disk.backing == Disk.Backing.VOLUME
    size = run.host.query(geom.volume_size(disk.dataset)) if is_volume else run.host.size(disk.path)
    if size < info.size:
        raise OperationFailed(f"{disk.path} has {size} bytes, too few for the {info.size} in the image.")
    images.write(run, path, info, disk.path, told=f"Writing the image to disk {disk.index}", span=span)


def read(run: Run, disk: Disk, path: str, kind: str, *, stream_optimized: bool = False) -> None:
    """Write the disk, which nothing changes meanwhile, as a new image to ``path``."""
    if not run.host.exists(disk.path):
        raise OperationFailed(f"{disk.path} is not there.")
    command = qemu_img.convert_out(disk.path, path, kind, stream_optimized=stream_optimized)
    images.convert_out(run, command, f"Reading disk {disk.index}")
