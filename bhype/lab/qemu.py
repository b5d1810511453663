"""QEMU as the lab's hypervisor: the command line for a `Machine`.

QEMU emulates in software (TCG), so the lab needs no right and no KVM. The machine is a q35. Its root bus has each
device of bus 0 in the slot that bhyve was told, except for what q35 itself has at 0 (host bridge) and 31 (LPC);
every other bus is behind a bridge, so that it gets bhyve's number where the firmware counts as usual. With a boot
ROM the guest starts in it; else a loader's kernel is started, or the BIOS starts from the loader's disk.

Kinds of `Device` and their values (`qemu_devices`):
  virtio-blk, nvme  path, read_only, logical, physical, serial, discard, bootindex; nvme also ram (bytes), queues, eui64
  virtio-scsi       the same as virtio-blk
  ahci              ports: [{"port", "type": "hd"|"cd", "serial", "model", "rev", "ssd", and for a drive that is not
                    empty what virtio-blk has}]
  nic               model, mac, mtu?, tap or None, bridge?: {"name", "inet"} or None, forward?: QEMU's hostfwd rules,
                    wire?: the descriptor of a tap
  fbuf              width, height            xhci            tablets: how many
  virtio-9p         path, tag, read_only     virtio-console  ports: [{"name", "path"}]
  uart              path (its chardev is made by the caller)
  virtio-rnd, virtio-input, hda   nothing
"""

from __future__ import annotations

import os
from typing import Any

from bhype.lab import core
from bhype.lab.bhyve_machine import Device, Machine
from bhype.lab.qemu_devices import Devices

PROGRAM = "qemu-system-x86_64"

# bhyve's layouts, QEMU's layouts: what the VNC server makes of a viewer's keys.
KEYBOARDS = {
    "at": "de", "be": "fr-be", "be_acc": "fr-be", "br": "pt-br", "br_noacc": "pt-br", "ca-fr": "fr-ca", "ch": "de-ch",
    "ch-fr": "fr-ch", "ch-fr_acc": "fr-ch", "ch_acc": "de-ch", "cz": "cz", "de": "de", "de_acc": "de",
    "de_noacc": "de", "default": "en-us", "dk": "da", "es": "es", "es_acc": "es", "fi": "fi", "fr": "fr",
    "fr_acc": "fr", "hr": "hr", "hu_102": "hu", "is": "is", "is_acc": "is", "it": "it", "jp": "ja", "lt": "lt",
    "lv": "lv", "nl": "nl", "no": "no", "pl": "pl", "pt": "pt", "pt_acc": "pt", "ru": "ru", "se": "sv",
    "se_acc": "sv", "si": "sl", "tr": "tr", "uk": "en-gb", "us_unix": "en-us",
}  # fmt: skip

# SMBIOS: bhyve's variable, QEMU's type and name. What was not set is what bhyve says by itself.
_SMBIOS = {
    "bios.vendor": (0, "vendor", "BHYVE"), "bios.version": (0, "version", "14.0"),
    "bios.release_date": (0, "date", "10/17/2021"),
    "system.manufacturer": (1, "manufacturer", "FreeBSD"), "system.product_name": (1, "product", "BHYVE"),
    "system.version": (1, "version", "1.0"), "system.serial_number": (1, "serial", "None"),
    "system.sku": (1, "sku", "None"), "system.family_name": (1, "family", "Virtual Machine"),
    "board.manufacturer": (2, "manufacturer", "FreeBSD"), "board.product_name": (2, "product", "BHYVE"),
    "board.version": (2, "version", "1.0"), "board.serial_number": (2, "serial", "None"),
    "board.asset_tag": (2, "asset", "None"), "board.location": (2, "location", "None"),
    "chassis.manufacturer": (3, "manufacturer", "FreeBSD"), "chassis.version": (3, "version", "1.0"),
    "chassis.serial_number": (3, "serial", "None"), "chassis.asset_tag": (3, "asset", "None"),
    "chassis.sku": (3, "sku", "None"),
}  # fmt: skip


def command(
    machine: Machine, folder: str, monitor: int, serials: dict[str, int], tpm: int | None = None
) -> list[str]:
    """The argv of QEMU, to be started in ``folder``.

    monitor: a socket's descriptor for QMP. serials: the descriptor of the socket of each serial port by the
    name ``com1``.. or ``uartSLOT.FUNCTION``. tpm: a socket's descriptor for the control channel of the TPM's
    emulator. A VNC server listens on the socket ``vnc`` in the folder.
    """
    return _Builder(machine, folder).build(monitor, serials, tpm)


class _Builder(Devices):
    def build(self, monitor: int, serials: dict[str, int], tpm: int | None) -> list[str]:
        machine = self.machine
        options = ["q35", "sata=off", "smbus=off", "vmport=off", "hpet=off"]
        if not machine.acpi:
            options.append("acpi=off")
        self.argv = [
            PROGRAM, "-name", "guest=" + machine.name.replace(",", ",,"),
            "-accel", "tcg,thread=multi,tb-size=128", "-cpu", _cpu(machine),
            "-nodefaults", "-no-user-config", "-no-reboot", "-d", "cpu_reset", "-D", "cpu.log",
            "-m", f"{-(-machine.memory // 1024)}k",
            "-smp", f"cpus={machine.cpus},sockets={machine.sockets},cores={machine.cores},"
                    f"threads={machine.threads},maxcpus={machine.cpus}",
            "-rtc", "base=utc" if machine.utc else "base=localtime",
            "-boot", "menu=off,splash-time=0",
            "-chardev", f"socket,id=qmp,fd={monitor}", "-mon", "chardev=qmp,mode=control",
        ]  # fmt: skip
        self._smbios()
        if machine.uuid:
            self.argv += ["-uuid", machine.uuid]
        if machine.bootrom:
            options += ["pflash0=rom", "pflash1=vars"]
            self._firmware()
        elif machine.loaded:
            self._loaded(machine.loaded)
        self.argv += ["-machine", ",".join(options)]
        self._firmware_items()
        for name, handle in serials.items():
            self.argv += ["-chardev", f"socket,id={name},fd={handle}"]
            if name.startswith("com"):
                self.device("isa-serial", chardev=name, index=int(name[3:]) - 1)
        if tpm is not None:
            self.argv += ["-chardev", f"socket,id=tpm,fd={tpm}", "-tpmdev", "emulator,id=tpm0,chardev=tpm"]
            self.device("tpm-crb", tpmdev="tpm0")
        self._screen()
        if machine.gdb:
            address = machine.gdb["address"]
            address = f"[{address}]" if ":" in address else address
            self.argv += ["-gdb", f"tcp:{address}:{machine.gdb['port']}"]
            if machine.gdb["wait"]:
                self.argv.append("-S")
        for device in sorted(machine.devices, key=self._boot_key):
            self.add(device)
        return self.argv

    def _smbios(self) -> None:
        tables: dict[int, list[str]] = {0: ["uefi=on"] if self.machine.bootrom else []}
        for variable, (kind, name, default) in _SMBIOS.items():
            value = self.machine.smbios.get(variable, default).replace(",", ",,")
            tables.setdefault(kind, []).append(f"{name}={value}")
        for kind, values in tables.items():
            self.argv += ["-smbios", ",".join([f"type={kind}", *values])]

    def _firmware(self) -> None:
        machine = self.machine
        rom, variables = machine.bootrom or "", machine.bootvars
        size = os.path.getsize(rom)
        if variables is None:
            # bhyve keeps changed variables in memory only; a private copy dies with the guest.
            variables = f"{self.folder}/vars"
            with open(template(rom, size), "rb") as source, open(variables, "wb") as target:
                target.write(source.read())
        self.block("rom", rom, read_only=True)
        self.block("vars", variables)

    def _loaded(self, loaded: dict[str, Any]) -> None:
        """A kernel that a loader has put into memory; a disk to boot from is the first in the boot order."""
        for option in ("kernel", "initrd"):
            if loaded[option]:
                self.argv += [f"-{option}", loaded[option]]
        if loaded["kernel"]:
            self.argv += ["-append", loaded["append"]]

    def _firmware_items(self) -> None:
        for number, (name, content) in enumerate(self.machine.items):
            path = f"{self.folder}/item{number}"
            with open(path, "wb") as file:
                file.write(content)
            self.argv += ["-fw_cfg", f"name={name.replace(',', ',,')},file={path.replace(',', ',,')}"]

    def _screen(self) -> None:
        screen = self.machine.screen
        if screen:
            vnc = "unix:vnc"
            if screen["password"]:
                secret = os.open(f"{self.folder}/secret", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
                with open(secret, "w") as file:
                    file.write(screen["password"])
                self.argv += ["-object", "secret,id=vnc,file=secret"]
                vnc += ",password-secret=vnc"
            self.argv += ["-vnc", vnc]
            layout = self.machine.keyboard
            # A layout whose file is missing is passed over (ps2kbd.c).
            if layout in KEYBOARDS and os.path.exists(core.root(f"/usr/share/bhyve/kbdlayout/{layout}")):
                self.argv += ["-k", KEYBOARDS[layout]]
        self.argv += ["-display", "none"]

    def _boot_key(self, device: Device) -> tuple[int, tuple[int, int, int]]:
        """The loader's disk is first, then ``bootindex=``, then the slots, as bhyve's firmware tries them."""
        drives = [device.values, *(device.values.get("ports") or () if device.kind == "ahci" else ())]
        loaded = self.machine.loaded
        if loaded and loaded["disk"] and any(drive.get("path") == loaded["disk"] for drive in drives):
            return -1, device.slot
        indexes = [drive["bootindex"] for drive in drives if (drive.get("bootindex") or "").isdigit()]
        return min(map(int, indexes), default=1 << 30), device.slot


def _cpu(machine: Machine) -> str:
    # QEMU emulates threads of one core only for Intel's CPUs; its own "max" is one of AMD's.
    intel = ",vendor=GenuineIntel,family=6,model=85,stepping=4" if machine.threads > 1 else ""
    return "max,la57=off" + intel


def template(rom: str, size: int) -> str:
    """Empty variables for the firmware ``rom`` of ``size`` bytes: beside it, or where Debian has OVMF's."""
    beside = os.path.dirname(rom) + "/BHYVE_UEFI_VARS.fd"
    for path in (beside, "/usr/share/OVMF/OVMF_VARS_4M.fd", "/usr/share/OVMF/OVMF_VARS.fd"):
        # Code and variables together fill a flash of 2 or 4 MiB.
        if os.path.exists(path) and (size + os.path.getsize(path)) in (2 << 20, 4 << 20):
            return path
    return core.fail(f"bhyve: no variables fit the firmware {rom}: install OVMF", 4)
