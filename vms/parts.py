"""What of a VM lies on its host: dataset, disks, UEFI variables, vm.json, run directory and taps.

Making and removing can be broken off anywhere and be done again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from typing import Any

from bhype.freebsd import bhyvectl, ifconfig, zfs, zfs_destroy, zfs_keys
from bhype.freebsd.zfs import DatasetInfo
from bhype.host import CommandFailed
from bhype.tasks import OperationFailed, Run
from bhype.vmrun import nics
from storage.datasets import destroying

from . import edited, place, plan
from .cloud_init import seeds
from .life import power
from .models import VM, Disk
from .sizes import human
from .transfer import folders

# /dev/zvol nodes appear a moment after zfs(8) has ended, and GEOM holds them a moment after the last close.
ZVOL_SECONDS = 10.0
NO_FIRMWARE = "The UEFI firmware for guests is not installed: pkg install edk2-bhyve."


def make(run: Run, vm: VM, passphrase: str | None = None) -> None:
    """Make what is missing of the VM, encrypted where there is a passphrase. Raises CommandError, OperationFailed,
    Cancelled and OSError."""
    place.check(run.host, vm)
    run.stage("Making the dataset", percent=5)
    found = datasets(run, vm)
    if vm.dataset not in found:
        mark = {zfs.ID_PROPERTY: str(vm.uuid)}
        run.host.run(
            zfs_keys.create_filesystem(vm.dataset, passphrase, mark)
            if passphrase
            else zfs.create_filesystem(vm.dataset, mark)
        )
    _make_contents(run, vm, found)


def complete(run: Run, vm: VM) -> None:
    """Make what the rows want and is missing in the dataset of a VM that was made: disks, variables, vm.json.

    Raises as `make`, and OperationFailed when there is no dataset: nothing empty takes the place of what is lost.
    """
    place.check(run.host, vm)
    found = datasets(run, vm)
    if vm.dataset not in found:
        raise OperationFailed(f"The dataset {vm.dataset} of {vm.name} is not there.")
    _make_contents(run, vm, found)


def _make_contents(run: Run, vm: VM, found: dict[str, DatasetInfo]) -> None:
    disks = list(vm.disks.all())
    for number, disk in enumerate(disks):
        run.stage(f"Making disk {disk.index}", percent=20 + 50 * number // len(disks))
        make_disk(run, disk, found)
    finish(run, vm)


def finish(run: Run, vm: VM) -> None:
    """Make what a VM has beside its disks, which are made. Raises as `make`."""
    for disk in vm.disks.all():
        if disk.backing == Disk.Backing.VOLUME:
            _wait_for_device(run, disk.path)
    run.stage("Writing the configuration", percent=80)
    make_vars(run, vm)
    seeds.write(run.host, vm)
    document = plan.document(vm)
    if (document.get("tpm") or {}).get("state") == f"/{vm.dataset}/tpm":
        run.host.makedirs(f"/{vm.dataset}/tpm", 0o700)
    write_config(run, vm, document)


def make_disk(run: Run, disk: Disk, found: dict[str, DatasetInfo]) -> None:
    """Make the disk's volume or file if it is missing, and grow it to the size that the row wants."""
    if disk.backing == Disk.Backing.FILE:
        _make_file(run, disk)
    if disk.backing != Disk.Backing.VOLUME:
        return
    info = found.get(disk.dataset)
    if info is None:
        run.host.run(zfs.create_volume(disk.dataset, disk.size, {zfs.ID_PROPERTY: str(disk.vm.uuid)}))
    elif info.volsize < disk.size:
        run.host.run(zfs.set_property(disk.dataset, "volsize", str(disk.size)))
    elif info.volsize > disk.size:
        run.log(f"{disk.dataset} has {human(info.volsize)}, more than was wanted; it is not made smaller.")
        Disk.objects.filter(pk=disk.pk).update(size=info.volsize)


def _make_file(run: Run, disk: Disk) -> None:
    """A sparse raw file in the VM's dataset; what is in it stays."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    descriptor = os.open(run.host.path(disk.path), flags, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        if size < disk.size:
            os.ftruncate(descriptor, disk.size)
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if size > disk.size:
        Disk.objects.filter(pk=disk.pk).update(size=size)


def make_vars(run: Run, vm: VM) -> None:
    """Give a VM that boots by UEFI its own variables, unless it has some."""
    if vm.firmware != vm.Firmware.UEFI or run.host.exists(plan.vars_path(vm)):
        return
    if not run.host.exists(plan.FIRMWARE_VARS):
        raise OperationFailed(NO_FIRMWARE)
    run.host.copy(plan.FIRMWARE_VARS, plan.vars_path(vm), 0o600)


def write_config(run: Run, vm: VM, document: dict[str, Any] | None = None) -> None:
    """Write vm.json, as the row wants it or as ``document`` says; it holds the password of the screen.

    Raises OperationFailed while something that somebody else has written there is not answered.
    """
    text = json.dumps(document or plan.document(vm), indent=1) + "\n"
    edited.require_answered(run.host, vm)
    run.host.write_text(plan.config_path(vm), text, 0o600)
    vm.file_digest = hashlib.sha256(text.encode()).hexdigest()
    VM.objects.filter(pk=vm.pk).update(file_digest=vm.file_digest)


def _wait_for_device(run: Run, path: str) -> None:
    deadline = time.monotonic() + ZVOL_SECONDS
    while not run.host.exists(path):
        if time.monotonic() > deadline:
            raise OperationFailed(
                f"{path} did not appear within {ZVOL_SECONDS:.0f} s after its volume was made."
            )
        run.check_cancelled()
        time.sleep(0.1)


def remove(run: Run, vm: VM) -> None:
    """Remove everything of a VM that is off; what is not marked as its own is refused before anything goes."""
    names = datasets(run, vm)
    require_no_clones(run, vm.pool.home, vm.dataset)
    forget(run, vm)
    with_snapshots = _with_snapshots(run, vm.dataset) if names else set()
    for number, name in enumerate(sorted(names, reverse=True)):
        run.stage(f"Destroying {name}", percent=10 + 80 * number // len(names))
        destroying.one(run, name, snapshots=name in with_snapshots)


def forget(run: Run, vm: VM) -> None:
    """Remove what of a VM that is off lies outside its dataset."""
    run.host.run(bhyvectl.destroy(vm.name))
    # Before the disks, as the observer would take the state file for news of a VM that could not be removed.
    shutil.rmtree(run.host.path(power.run_folder(vm.name)), ignore_errors=True)
    remove_taps(run, [nic.tap for nic in vm.nics.all()])
    folders.withdraw(run, vm)


def datasets(run: Run, vm: VM) -> dict[str, DatasetInfo]:
    """The VM's dataset and disks that exist. Raises OperationFailed when there is anything that is not its own."""
    found = listed(run, vm.dataset)
    if not found:
        return {}
    expected = {vm.dataset, *(disk.dataset for disk in vm.disks.all())}
    for info in found.values():
        # Children inherit the mark: one that bHype did not make there is told by its source.
        if info.bhype_id != str(vm.uuid) or (info.name not in expected and not is_marked(run, info.name)):
            raise _foreign(vm, info.name)
    if not is_marked(run, vm.dataset):
        raise _foreign(vm, vm.dataset)
    return found


def _foreign(vm: VM, name: str) -> OperationFailed:
    return OperationFailed(f"{name} was not made for {vm.name} by bHype and is left alone. Move it away.")


def listed(run: Run, root: str, *, depth: int | None = None) -> dict[str, DatasetInfo]:
    """The datasets from ``root`` on, by name; none when there is no such dataset."""
    try:
        return {info.name: info for info in run.host.query(zfs.list_datasets(root, depth=depth))}
    except CommandFailed as error:
        if "does not exist" in error.result.stderr:
            return {}
        raise


def is_marked(run: Run, name: str) -> bool:
    """Whether the dataset itself carries bHype's mark."""
    return run.host.query(zfs.get_property(name, zfs.ID_PROPERTY)).is_local


def require_no_clones(run: Run, home: str, dataset: str) -> None:
    """Raise OperationFailed when linked clones elsewhere live on snapshots of the dataset or of what is below it."""
    mine = (f"{dataset}@", f"{dataset}/")
    clones = {
        info.name
        for info in listed(run, home).values()
        if info.origin
        and info.origin.startswith(mine)
        and info.name != dataset
        and not info.name.startswith(mine)
    }
    if clones:
        owners = sorted({name.removeprefix(f"{home}/vms/").partition("/")[0] for name in clones})
        raise OperationFailed(
            f"Linked clones live on the data of {dataset}: {', '.join(owners)}. Delete them first, or make them whole."
        )


def _with_snapshots(run: Run, dataset: str) -> set[str]:
    return {info.name.partition("@")[0] for info in run.host.query(zfs.list_snapshots(dataset))}


def destroy_disk(run: Run, disk: Disk) -> None:
    """Destroy the disk's volume with its snapshots, or its file. What is not the VM's own is refused."""
    if disk.backing == Disk.Backing.FILE:
        run.host.unlink(disk.path)
    if disk.backing != Disk.Backing.VOLUME:
        return
    if disk.dataset not in datasets(run, disk.vm):
        run.log(f"{disk.dataset} is gone already.")
        return
    if not is_marked(run, disk.dataset):
        raise _foreign(disk.vm, disk.dataset)
    require_no_clones(run, disk.vm.pool.home, disk.dataset)
    destroying.one(run, disk.dataset, snapshots=bool(_with_snapshots(run, disk.dataset)))


def destroy_tree(run: Run, found: dict[str, DatasetInfo], root: str) -> None:
    """Destroy ``root`` and what was found below it, all with their snapshots, one by one: what was not found stays."""
    kept = _with_snapshots(run, root)
    for name in zfs_destroy.order(list(found.values())):
        destroying.one(run, name, snapshots=name in kept)


def remove_taps(run: Run, names: list[str]) -> None:
    """Destroy those of the taps that exist, are marked as a VM's, and are not open, each with what limits it.

    names: of taps, or of what stands for them in a switch.
    """
    interfaces = {one.name: one for one in run.host.query(ifconfig.list_interfaces())}
    taps = {}
    for tap in sorted({nics.tap_of(name) for name in names}):
        known = interfaces.get(tap) or interfaces.get(nics.port_name(tap))
        if known and known.description.startswith("bhype/vm/") and not known.opened_by:
            taps[tap] = tap in interfaces
    piped = nics.piped(run.host) if taps else set()
    for tap, is_there in taps.items():
        if nics.port_name(tap) in interfaces or nics.pipe_name(tap) in piped:
            nics.unshape(run.host, tap)
        if is_there:
            run.host.run(ifconfig.destroy(tap))
