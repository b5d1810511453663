"""Wanted rows in, plain data out: what a VM becomes on its host. No database writes, no host.

The configuration written beside the disks (vm.json) follows the vmrun schema (docs/vm-json.md); slots are those that
work for every guest: install media in 3, disks from 4 (freebsd/bhyve.md section 3).
"""

from __future__ import annotations

import json
import re
import secrets
import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from bhype.freebsd import names
from bhype.freebsd.bhyve import command
from bhype.vmrun.config import parse
from bhype.vmrun.fields import VERSION
from bhype.vmrun.machine import machine
from bhype.vmrun.rundir import RUN_DIR

from .sizes import GIB, MIB, human

if TYPE_CHECKING:
    from network.models import Switch

    from .models import VM, Disk, Nic

Document = dict[str, Any]
# The rows that a document is made of, to be read with a VM.
PARTS = ("disks", "nics__switch", "devices__iso__pool", "host__pools", "host__switches")

FIRMWARE_CODE = "/usr/local/share/uefi-firmware/BHYVE_UEFI_CODE.fd"
FIRMWARE_CSM = "/usr/local/share/uefi-firmware/BHYVE_UEFI_CSM.fd"
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
CD_SLOT, DISK_SLOT, NIC_SLOT, OTHER_SLOT, SEED_SLOT, LPC_SLOT = 3, 4, 10, 20, 30, 31
DISKS_MAX, NICS_MAX = 32, 16
# Stands for a password that is there.
HIDDEN = "********"
# In the settings of a VM: a serial line on its own null-modem device, named after the VM.
OWN_LINE = "nmdm"
# Paths that have a VM's name in them: of its sockets and of its lines.
_NAMED = (f"{RUN_DIR}/{{}}/", "/dev/nmdm-{}.")
# What carries the seed of cloud-init: all kernels of cloud images have VirtIO, some have no AHCI.
SEED_DEVICES = ("virtio-blk", "ahci-cd")
# Settings that become part of something else in the document.
_ELSEWHERE = frozenset({"com1", "graphic", "tpm", "loader", "bootrom", "varfile"})


def config_path(vm: VM) -> str:
    """Where the VM's vm.json lies on its host."""
    return f"/{vm.dataset}/vm.json"


def vars_path(vm: VM) -> str:
    """The VM's own writable copy of the UEFI variables."""
    return f"/{vm.dataset}/uefi-vars.fd"


def tpm_path(vm: VM) -> str:
    """Where the TPM of the VM keeps its memory, when swtpm makes it."""
    return f"/{vm.dataset}/tpm"


def seed_path(vm: VM) -> str:
    """What cloud-init reads in the guest."""
    return f"/{vm.dataset}/seed.iso"


def instance_id(vm: VM) -> str:
    """By which the guest knows whether it has been told already."""
    return f"{vm.uuid}-{vm.cloud_init_generation}"


def has_seed(vm: VM) -> bool:
    """Whether the seed is in the VM: it has one, which has not been taken out after its work was done."""
    return bool(vm.cloud_init) and vm.cloud_init.get("applied") != instance_id(vm)


def seed_entry(vm: VM) -> Document:
    """The seed as a device of vm.json. Where no slot is noted yet it takes the last one, far from all others."""
    kind = str(vm.cloud_init.get("device") or SEED_DEVICES[0])
    slot = vm.cloud_init.get("slot") or free_slot(vm, SEED_SLOT)
    options = {"path": names.path(seed_path(vm))} | ({} if kind == "ahci-cd" else {"ro": True})
    return _device(kind, str(slot), options)


def is_seed(entry: Any) -> bool:
    """Whether a device of a document is the seed of some VM, which no other VM gets."""
    path = entry.get("path") if isinstance(entry, dict) else None
    return isinstance(path, str) and re.fullmatch(r"/.+/bhype/vms/[^/]+/seed\.iso", path) is not None


# How the ports of switches are joined to the host.
SWITCH_TYPES = frozenset({"tap", "vale"})


def port_type(switch: Switch | None) -> tuple[str, str]:
    """The type of a port on a switch, and a name that holds the place of its own."""
    if switch is not None and switch.technology == switch.Technology.VALE:
        return "vale", f"{switch.vale}:0"
    return "tap", "tap0"


def tap_description(vm: VM, index: int) -> str:
    """How the tap of NIC ``index`` is marked on the host as ours."""
    return f"bhype/vm/{vm.uuid}/{index}"


def _slot(number: int) -> str:
    return f"0:{number}:0"


def document(vm: VM) -> Document:
    """The VM as vm.json. The VM's disks, nics (with their switch), devices (with their iso) and pool are read.

    What belongs to the panel alone, as tags and the order of starting, is under "bhype".
    """
    wanted: Document = {
        # Unknown MSRs are ignored, as on hardware that lacks them; many systems probe.
        "ignore_msr": True,
        **{key: value for key, value in vm.settings.items() if key not in _ELSEWHERE},
        "bhype": {"id": str(vm.uuid), "revision": vm.revision},
        "version": VERSION,
        "name": names.vm_name(vm.name),
        "uuid": str(vm.uuid),
        "cpu": {"sockets": vm.sockets, "cores": vm.cores, "threads": vm.threads},
        "mem": f"{vm.memory // MIB}M",
        "utc_clock": vm.utc_clock,
        # A supervisor that took over tells by this whether the guest powered off or rebooted.
        "power_off_destroy_vm": True,
        "lpc_slot": _slot(LPC_SLOT),
        # By their places, as the guest and boot loaders find them.
        "emulations": sorted(
            [
                *_drives(vm),
                *_disks(vm),
                *_nics(vm),
                *_others(vm),
                *([seed_entry(vm)] if has_seed(vm) else []),
            ],
            key=_place,
        ),
    }
    wanted.setdefault("hostbridge", "hostbridge")
    wanted |= _boot(vm)
    for number in range(1, 5):
        key = f"com{number}"
        line = vm.settings.get(key, OWN_LINE if number == 1 and vm.has_serial else None)
        if line is None or (number == 1 and not vm.has_serial):
            wanted.pop(key, None)
        else:
            wanted[key] = f"/dev/nmdm-{vm.name}.{number}A" if line == OWN_LINE else line
    if tpm := vm.settings.get("tpm"):
        own = {"state": tpm_path(vm)} if tpm.get("type") == "swtpm" and "path" not in tpm else {}
        wanted["tpm"] = {**own, **tpm}
    if vm.has_screen:
        wanted["graphic"] = {
            "host": VNC_ADDRESS,
            "wait": False,
            "xhci_table": True,
            **vm.settings.get("graphic", {}),
            "port": vm.vnc_port,
            "password": vm.vnc_password,
            "width": vm.screen_width,
            "height": vm.screen_height,
        }
    if isinstance(targets := vm.settings.get("targets"), dict):
        wanted["targets"] = {name: with_screen(vm, part) for name, part in targets.items()}
    return wanted


def with_screen(vm: VM, target: Any) -> Any:
    """A target whose own screen, if it has one, is where the gateway finds it, and asks for the VM's password."""
    graphic = target.get("graphic") if isinstance(target, dict) else None
    if not isinstance(graphic, dict):
        return target
    own = {"port": vm.vnc_port, "password": vm.vnc_password}
    return {**target, "graphic": {"host": VNC_ADDRESS, **graphic, **own}}


def _boot(vm: VM) -> Document:
    if vm.firmware == vm.Firmware.UEFI:
        rom = {"bootrom": vm.settings.get("bootrom", FIRMWARE_CODE)}
        # null: a ROM that keeps no variables.
        return (
            rom if vm.settings.get("varfile", "") is None else {**rom, "varfile": names.path(vars_path(vm))}
        )
    if vm.firmware == vm.Firmware.CSM:
        return {"bootrom": FIRMWARE_CSM}
    kind = "grub" if vm.firmware == vm.Firmware.GRUB else "bhyveload"
    return {"loader": {**vm.settings.get("loader", {}), "type": kind}}


def _device(kind: str, slot: str, options: Document) -> Document:
    found: Document = {"device": kind}
    if slot:
        found["slot"] = slot
    return {**found, **options}


def _place(entry: Document) -> tuple[int, ...]:
    slot = str(entry.get("slot") or "999:0:0")
    return tuple(int(part) if part.isdecimal() else 0 for part in slot.split(":"))


def _drives(vm: VM) -> list[Document]:
    found = []
    for drive in vm.drives:
        medium = {"path": names.path(drive.iso.path)} if drive.iso else {}
        found.append(_device(drive.kind, drive.slot, {**drive.options, **medium}))
    return found


def _disks(vm: VM) -> list[Document]:
    return [disk_entry(disk) for disk in vm.disks.all() if disk.is_attached]


def disk_entry(disk: Disk) -> Document:
    """The disk as a device of vm.json."""
    serial = {"ser": disk.serial} if disk.serial else {}
    return _device(disk.bus, disk.slot, {**serial, **disk.options, "path": names.path(disk.path)})


def _nics(vm: VM) -> list[Document]:
    return [nic_entry(vm, nic) for nic in vm.nics.all() if nic.is_attached]


def nic_entry(vm: VM, nic: Nic) -> Document:
    """The network port as a device of vm.json."""
    options: Document = {"mac": nic.mac, **nic.options}
    if nic.switch is None:
        options |= {"name": nic.backend} if nic.backend else {}
    else:
        is_vale = nic.switch.technology == nic.switch.Technology.VALE
        options |= {
            "type": "vale" if is_vale else "tap",
            "name": nic.port,
            "fix": True,
            "bridge": nic.switch.interface,
            "description": tap_description(vm, nic.index),
        }
        if nic.model == nic.Model.VIRTIO and nic.switch.mtu != 1500:
            options.setdefault("mtu", nic.switch.mtu)
        if nic.switch.is_isolated:
            options["private"] = True
    return _device(nic.model, nic.slot, options)


def _others(vm: VM) -> list[Document]:
    return [
        _device(device.kind, device.slot, device.options)
        for device in vm.devices.all()
        if device.kind != device.CD
    ]


def new_disk_path(vm: VM, backing: str) -> str:
    """Where the next disk of the VM's own will be: a volume, or with ``backing`` "file" an image."""
    taken = {disk.index for disk in vm.disks.all()}
    name = f"{vm.dataset}/disk{next(number for number in range(1000) if number not in taken)}"
    return f"/{name}.img" if backing == "file" else f"/dev/zvol/{name}"


def free_slot(vm: VM, first: int) -> str:
    """The next slot from ``first`` on that no device of the VM has, then those before it, then the next bus."""
    taken = {disk.slot for disk in vm.disks.all()} | {nic.slot for nic in vm.nics.all()}
    taken |= {device.slot for device in vm.devices.all()} | {str(vm.cloud_init.get("slot") or "")}
    return pick_slot(taken, first)


def pick_slot(taken: set[str], first: int) -> str:
    """As `free_slot`, of the slots in ``taken``. Raises LookupError when there is none."""
    here = sorted(range(CD_SLOT, LPC_SLOT), key=lambda slot: (slot < first, slot))
    for place in (*((0, slot) for slot in here), *((1, slot) for slot in range(32))):
        slot = f"{place[0]}:{place[1]}:0"
        if slot not in taken:
            return slot
    raise LookupError("All slots of the VM are taken.")


def command_line(vm: VM) -> str:
    """The bhyve command of the VM's next start, as one line for a shell. The VNC password is not in it: bhyve reads
    it from a file."""
    return shlex.join(command(machine(parse(document(vm)), folder=f"{RUN_DIR}/{vm.name}")).argv)


def without_secrets(config: Document) -> Document:
    """``config``, which need not be valid, as everybody who may see the VM may see it: the VNC password opens its
    screen. That of a target counts, too."""
    shown = dict(config)
    if isinstance(graphic := config.get("graphic"), dict) and "password" in graphic:
        shown["graphic"] = {**graphic, "password": HIDDEN}
    if isinstance(targets := config.get("targets"), dict):
        shown["targets"] = {
            name: without_secrets(part) if isinstance(part, dict) else part for name, part in targets.items()
        }
    return shown


ON = frozenset({"starting", "running", "stopping"})
_BUSY = {"creating": "It is still being created.", "deleting": "It is being deleted."}
_OFF = "It is off."
_LOST = "Its dataset is not there."
_LOCKED = "It is locked. Unlock it first."


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
        "start": "It is already on." if is_on else {"lost": _LOST, "locked": _LOCKED}.get(state),
        "stop": None if state == "stopping" else needs_guest,
        "poweroff": needs_on,
        "reset": needs_guest,
        "restart": needs_guest,
        "console": needs_on,
        "delete": "It is on. Power it off first." if is_on else None,
    }


def removal(vm: VM) -> list[str]:
    """Everything that goes when the VM is deleted, as lines for the person who confirms it."""
    lines = [
        f"disk {disk.index}: {human(disk.size)}, {disk.dataset}"
        for disk in vm.disks.all()
        if disk.backing != disk.Backing.PATH
    ]
    lines.append(f"dataset {vm.dataset} with its configuration and UEFI variables")
    lines += [
        f"network port {nic.mac} on {f'switch {nic.switch.name}' if nic.switch else nic.backend}"
        for nic in vm.nics.all()
    ]
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


def renamed(value: Any, old: str, name: str) -> Any:
    """What JSON can hold, with the sockets and lines of the VM ``old`` as those of ``name``."""
    text = json.dumps(value)
    # As they stand in the text: a name may be wrong still.
    before, after = json.dumps(old)[1:-1], json.dumps(name)[1:-1]
    for pattern in _NAMED:
        text = text.replace(pattern.format(before), pattern.format(after))
    return json.loads(text)


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
