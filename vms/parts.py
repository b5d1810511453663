"""What of a VM lies on its host: dataset, disks, UEFI variables, vm.json, run directory and taps.

Making and removing can be broken off anywhere and be done again.
"""

from __future__ import annotations

import json
import shutil
import time

from bhype.freebsd import bhyvectl, ifconfig, zfs
from bhype.host import CommandFailed
from bhype.tasks import OperationFailed, Run

from . import place, plan, power
from .models import VM

# /dev/zvol nodes appear a moment after zfs(8) has ended, and GEOM holds them a moment after the last close.
ZVOL_SECONDS = 10.0


def make(run: Run, vm: VM) -> None:
    """Make what is missing of the VM. Raises CommandError, OperationFailed, Cancelled and OSError."""
    place.check(run.host, vm)
    identity = {zfs.ID_PROPERTY: str(vm.uuid)}
    run.stage("Making the dataset", percent=5)
    found = _datasets(run, vm)
    if vm.dataset not in found:
        run.host.run(zfs.create_filesystem(vm.dataset, identity))
    disks = list(vm.disks.all())
    for disk in disks:
        run.stage(f"Making disk {disk.index}", percent=20 + 50 * disk.index // len(disks))
        if disk.dataset not in found:
            run.host.run(zfs.create_volume(disk.dataset, disk.size, identity))
    for disk in disks:
        _wait_for_device(run, disk.path)
    run.stage("Writing the configuration", percent=80)
    if not run.host.exists(plan.FIRMWARE_VARS):
        raise OperationFailed("The UEFI firmware for guests is not installed: pkg install edk2-bhyve.")
    if not run.host.exists(plan.vars_path(vm)):
        run.host.copy(plan.FIRMWARE_VARS, plan.vars_path(vm), 0o600)
    write_config(run, vm)


def write_config(run: Run, vm: VM) -> None:
    """Write vm.json as the row wants it; it holds the password of the screen."""
    text = json.dumps(plan.document(vm), indent=1) + "\n"
    run.host.write_text(plan.config_path(vm), text, 0o600)


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
    names = _datasets(run, vm)
    run.host.run(bhyvectl.destroy(vm.name))
    # Before the disks, as the observer would take the state file for news of a VM that could not be removed.
    shutil.rmtree(run.host.path(power.run_folder(vm.name)), ignore_errors=True)
    remove_taps(run, [nic.tap for nic in vm.nics.all()])
    for number, name in enumerate(sorted(names, reverse=True)):
        run.stage(f"Destroying {name}", percent=10 + 80 * number // len(names))
        _destroy(run, name)


def _datasets(run: Run, vm: VM) -> list[str]:
    """The VM's dataset and disks that exist. Raises OperationFailed when there is anything that is not its own."""
    try:
        found = run.host.query(zfs.list_datasets(vm.dataset))
    except CommandFailed as error:
        if "does not exist" in error.result.stderr:
            return []
        raise
    mark = run.host.query(zfs.get_property(vm.dataset, zfs.ID_PROPERTY))
    expected = {vm.dataset, *(disk.dataset for disk in vm.disks.all())}
    for info in found:
        # Children inherit the mark: one that bHype did not make there is told by its name.
        if info.name not in expected or info.bhype_id != str(vm.uuid) or not mark.is_local:
            raise OperationFailed(
                f"{info.name} was not made for {vm.name} by bHype and is left alone. Move it away."
            )
    return [info.name for info in found]


def _destroy(run: Run, name: str) -> None:
    deadline = time.monotonic() + ZVOL_SECONDS
    while True:
        try:
            run.host.run(zfs.destroy(name))
        except CommandFailed as error:
            if "busy" not in error.result.stderr or time.monotonic() > deadline:
                raise
            run.check_cancelled()
            time.sleep(0.5)
        else:
            return


def remove_taps(run: Run, names: list[str]) -> None:
    """Destroy those of the taps that exist, are marked as a VM's, and are not open."""
    for interface in run.host.query(ifconfig.list_interfaces()):
        if (
            interface.name in names
            and interface.description.startswith("bhype/vm/")
            and not interface.opened_by
        ):
            run.host.run(ifconfig.destroy(interface.name))
