"""Wanted rows in, plain data out: what a VM becomes on its host. No database writes, no host.

The configuration written beside the disks (vm.json) follows the vmrun schema (docs/rooms.md); slots are those that
work for every guest: install media in 3, disks from 4 (freebsd/bhyve.md section 3).
"""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from bhype.freebsd import names
from bhype.freebsd.bhyve import command
from bhype.vmrun.config import parse
from bhype.vmrun.machine import machine
from bhype.vmrun.rundir import RUN_DIR, SECRETS

from .sizes import GIB, MIB, human

if TYPE_CHECKING:
    from .models import VM

Document = dict[str, Any]

FIRMWARE_CODE = "/usr/local/share/uefi-firmware/BHYVE_UEFI_CODE.fd"
FIRMWARE_VARS = "/usr/local/share/uefi-firmware/BHYVE_UEFI_VARS.fd"
VNC_ADDRESS = "127.0.0.1"
VNC_PORTS: tuple[int, ...] = (*range(5900, 8000), *range(20000, 30000))
CPUS_MAX = 256
MEMORY_MIN = 32 * MIB
DISK_MIN, DISK_MAX = MIB, 64 * 1024 * GIB
SCREENS = (
    "640x480",
    "800x600",
    "1024x768",
    "1280x720",
    "1280x1024",
    "1600x900",
    "1600x1200",
    "1920x1080",
    "1920x1200",
)
# Slots on PCI bus 0; the host bridge takes 0 and the LPC bridge 31, where Windows wants them. The screen and its
# tablet take the first that are free, 1 and 2.
CD_SLOT, DISK_SLOT, NIC_SLOT, LPC_SLOT = 3, 4, 10, 31
DISKS_MAX, NICS_MAX = NIC_SLOT - DISK_SLOT, LPC_SLOT - NIC_SLOT


def config_path(vm: VM) -> str:
    """Where the VM's vm.json lies on its host."""
    return f"/{vm.dataset}/vm.json"


def vars_path(vm: VM) -> str:
    """The VM's own writable copy of the UEFI variables."""
    return f"/{vm.dataset}/uefi-vars.fd"


def tap_description(vm: VM, index: int) -> str:
    """How the tap of NIC ``index`` is marked on the host as ours."""
    return f"bhype/vm/{vm.uuid}/{index}"


def _slot(number: int) -> str:
    return f"0:{number}:0"


def document(vm: VM) -> Document:
    """The VM as vm.json. The VM's disks and nics (with their switch), its iso and pool are read."""
    emulations: list[Document] = []
    if vm.iso is not None:
        emulations.append({"device": "ahci-cd", "slot": _slot(CD_SLOT), "path": names.path(vm.iso.path)})
    emulations += [
        {"device": disk.bus, "slot": _slot(DISK_SLOT + disk.index), "path": names.path(disk.path)}
        for disk in vm.disks.all()
    ]
    for nic in vm.nics.all():
        emulation: Document = {
            "device": nic.model,
            "slot": _slot(NIC_SLOT + nic.index),
            "type": "tap",
            "name": nic.tap,
            "mac": nic.mac,
            "fix": True,
            "bridge": nic.switch.interface,
            "description": tap_description(vm, nic.index),
        }
        if nic.model == nic.Model.VIRTIO and nic.switch.mtu != 1500:
            emulation["mtu"] = nic.switch.mtu
        emulations.append(emulation)
    wanted: Document = {
        "bhype": {"id": str(vm.uuid), "revision": vm.revision},
        "name": names.vm_name(vm.name),
        "uuid": str(vm.uuid),
        "cpu": {"sockets": 1, "cores": vm.cpus, "threads": 1},
        "mem": f"{vm.memory // MIB}M",
        "utc_clock": vm.utc_clock,
        # Unknown MSRs are ignored, as on hardware that lacks them; many systems probe.
        "ignore_msr": True,
        # A supervisor that took over tells by this whether the guest powered off or rebooted.
        "power_off_destroy_vm": True,
        "bootrom": FIRMWARE_CODE,
        "varfile": names.path(vars_path(vm)),
        "hostbridge": "hostbridge",
        "lpc_slot": _slot(LPC_SLOT),
        "emulations": emulations,
    }
    if vm.has_serial:
        wanted["com1"] = f"/dev/nmdm-{vm.name}.1A"
    if vm.has_screen:
        wanted["graphic"] = {
            "host": VNC_ADDRESS,
            "port": vm.vnc_port,
            "password": vm.vnc_password,
            "width": vm.screen_width,
            "height": vm.screen_height,
            "wait": False,
            "xhci_table": True,
        }
    return wanted


def command_line(vm: VM) -> str:
    """The bhyve command of the VM's next start, as one line for a shell. The VNC password is not in it: bhyve reads
    it from a file."""
    secret_file = f"{RUN_DIR}/{vm.name}/{SECRETS}"
    return shlex.join(command(machine(parse(document(vm)), secret_file=secret_file)).argv)


def without_secrets(config: Document) -> Document:
    """``config`` as everybody who may see the VM may see it: its VNC password opens the screen."""
    if "graphic" not in config:
        return config
    return {**config, "graphic": {**config["graphic"], "password": "********"}}


ON = frozenset({"starting", "running", "stopping"})
_BUSY = {"creating": "It is still being created.", "deleting": "It is being deleted."}
_OFF = "It is off."
_LOST = "Its dataset is not there."


def actions(state: str) -> dict[str, str | None]:
    """For each thing one can do to a VM in ``state``: None when it can be done, else a sentence why not."""
    if state in _BUSY:
        why = _BUSY[state]
        return dict.fromkeys(("start", "stop", "poweroff", "reset", "restart", "console", "delete"), why)
    is_on = state in ON
    needs_on = None if is_on else _OFF
    needs_guest = {
        "running": None,
        "starting": "It is still starting.",
        "stopping": "It is already stopping.",
    }.get(state, _OFF)
    return {
        "start": "It is already on." if is_on else _LOST if state == "lost" else None,
        "stop": None if state == "stopping" else needs_guest,
        "poweroff": needs_on,
        "reset": needs_guest,
        "restart": needs_guest,
        "console": needs_on,
        "delete": "It is on. Power it off first." if is_on else None,
    }


def removal(vm: VM) -> list[str]:
    """Everything that goes when the VM is deleted, as lines for the person who confirms it."""
    lines = [f"disk {disk.index}: {human(disk.size)}, {disk.dataset}" for disk in vm.disks.all()]
    lines.append(f"dataset {vm.dataset} with its configuration and UEFI variables")
    lines += [f"network port {nic.mac} on switch {nic.switch.name}" for nic in vm.nics.all()]
    lines.append("its serial log and its notes")
    return lines


def free_vnc_port(used: Iterable[int], first: int = VNC_PORTS[0]) -> int:
    """The lowest port for VNC from ``first`` on that no VM of the host has, else the lowest of all.

    Raises LookupError when all are taken.
    """
    taken = set(used)
    for port in sorted(VNC_PORTS, key=lambda port: (port < first, port)):
        if port not in taken:
            return port
    raise LookupError("All VNC ports of this host are taken.")


def new_vnc_password() -> str:
    """Eight random letters and digits: RFB's DES challenge uses no more, and bhyve(8) splits at commas."""
    alphabet = "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
    return "".join(secrets.choice(alphabet) for _ in range(8))


def new_mac() -> str:
    """A random address with the FreeBSD Foundation's prefix, which bhyve panels use."""
    return ":".join(["58", "9c", "fc", *(f"{byte:02x}" for byte in secrets.token_bytes(3))])


def memory_problem(memory: int, host_memory: int, committed: int = 0) -> str | None:
    """Why a VM of ``memory`` bytes cannot run on a host with ``committed`` bytes given to running VMs, or None.

    A tenth of the host, at most 1 GiB, is left to the host itself; an unobserved host (0 bytes) refuses nothing.
    """
    if not host_memory:
        return None
    room = host_memory - min(host_memory // 10, GIB)
    if memory > room:
        return f"The host has {human(host_memory)} of memory; a VM can have at most {human(room)}."
    if memory > room - committed:
        return (
            f"It needs {human(memory)}, but the running VMs have {human(committed)} of the host's {human(host_memory)}."
            " Stop another VM or give this one less memory."
        )
    return None


def disk_problem(size: int, pool_size: int) -> str | None:
    """Why a disk of ``size`` bytes does not fit a pool of ``pool_size`` bytes (0: not yet observed), or None."""
    if pool_size and size > pool_size:
        return f"The pool has {human(pool_size)}; a disk cannot be larger than that."
    return None


def cpus_problem(cpus: int, host_cpus: int) -> str | None:
    """Why a VM cannot have ``cpus`` CPUs on a host with ``host_cpus`` (0: not yet observed), or None."""
    if host_cpus and cpus > host_cpus:
        return f"The host has {host_cpus} CPUs; a VM can have at most that many."
    return None


def suggest_name(existing: Iterable[str]) -> str:
    """The first of vm1, vm2, ... that no VM has."""
    taken = {int(name[2:]) for name in existing if re.fullmatch(r"vm[1-9][0-9]{0,8}", name)}
    number = 1
    while number in taken:
        number += 1
    return f"vm{number}"
