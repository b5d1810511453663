"""Whether a VM's rows lead to where bHype keeps things on the host, and nowhere else.

Rows are written by the web process, which is not root; root's worker follows them. In a folder that somebody else
may write in, it would write through links, read what it is not to read, and run what is not bHype's (T6, T7, T20).
"""

from __future__ import annotations

from bhype.freebsd import names, zfs
from bhype.host import LocalHost
from bhype.tasks import OperationFailed
from storage import plan as storage
from storage.models import Pool

from . import plan
from .models import VM, Disk, Nic


def check(host: LocalHost, vm: VM) -> None:
    """Raise OperationFailed unless all paths of ``vm`` lie in datasets that bHype made. CommandError as commands do."""
    if problem := problem_of(vm):
        raise OperationFailed(problem)
    parts: dict[Pool, set[str]] = {vm.pool: {"vms"}}
    for drive in vm.drives:
        if drive.iso is not None:
            parts.setdefault(drive.iso.pool, set()).add("isos")
    for pool, wanted in parts.items():
        found = {info.name: info for info in host.query(zfs.list_datasets(pool.home, depth=1))}
        for name in (pool.home, *(f"{pool.home}/{part}" for part in sorted(wanted))):
            info = found.get(name)
            if info is None or info.bhype_id != storage.HOME_ID or info.mountpoint != f"/{name}":
                raise OperationFailed(f"{name} is not a dataset that bHype made, mounted on /{name}.")


def problem_of(vm: VM) -> str:
    """What is wrong with the words of the rows themselves, as a sentence; "" when nothing is."""
    try:
        names.vm_name(vm.name)
        names.pool(vm.pool.name)
        for iso in (drive.iso for drive in vm.drives if drive.iso):
            names.pool(iso.pool.name)
            if not storage.is_medium(iso.name):
                return f"{iso.name!r} is not an install medium."
        for nic in vm.nics.all():
            names.mac(nic.mac)
            if nic.switch is not None:
                names.interface(nic.switch.interface)
    except names.BadName as error:
        return str(error)
    if vm.has_screen and vm.vnc_port not in plan.VNC_PORTS:
        return f"{vm.vnc_port} is not a port for the screen of a VM."
    kinds = {disk.bus for disk in vm.disks.all()} | {nic.model for nic in vm.nics.all()}
    if unknown := kinds - {*Disk.Bus.values, *Nic.Model.values}:
        return f"VMs have no devices of the kind {min(unknown)!r}."
    return ""
