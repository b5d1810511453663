"""QEMU as the lab's hypervisor: the command line for a `Machine`, and a QMP connection.

QEMU emulates in software (TCG), so the lab needs no right and no KVM. The machine is a q35 whose root bus
has each device in the slot that bhyve was told, except for what q35 itself has at 0 (host bridge) and 31 (LPC).

Kinds of `Device` and their values:
  virtio-blk, nvme  path, read_only, logical, physical, serial, discard, bootindex; nvme also ram (bytes)
  ahci              ports: [{"port", "type": "hd"|"cd", and for a drive that is not empty what virtio-blk has}]
  nic               model, mac, tap or None, bridge: {"name", "inet"} or None
  fbuf              width, height            xhci            tablets: how many
  virtio-9p         path, tag, read_only     virtio-console  ports: [{"name", "path"}]
  uart              path (its chardev is made by the caller)
  virtio-rnd, hda   nothing
"""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import stat
import zlib
from typing import Any

from bhype.lab import core
from bhype.lab.bhyve_machine import Device, Machine

PROGRAM = "qemu-system-x86_64"
AHCI_PORTS = 6  # of QEMU's ich9-ahci; bhyve has up to 32 at one controller

# Where the operating system of a guest keeps ACPI's power management registers once OVMF has run on a q35.
PM1_STATUS, PM1_ENABLE = 0x600, 0x602


def command(machine: Machine, folder: str, monitor: int, serials: dict[str, int]) -> list[str]:
    """The argv of QEMU, to be started in ``folder``.

    monitor: a socket's descriptor for QMP. serials: the descriptor of the socket of each serial port by the
    name ``com1``.. or ``uartSLOT.FUNCTION``. A VNC server listens on the socket ``vnc`` in the folder.
    """
    return _Builder(machine, folder).build(monitor, serials)


class _Builder:
    def __init__(self, machine: Machine, folder: str) -> None:
        self.machine = machine
        self.folder = folder
        self.argv: list[str] = []
        self.count = 0
        self.boot = 0
        self.taken = {device.slot[1] for device in machine.devices if device.slot[0] == 0} | {0, 31}
        self.shared = {
            device.slot[1] for device in machine.devices if device.slot[0] == 0 and device.slot[2] > 0
        }

    def build(self, monitor: int, serials: dict[str, int]) -> list[str]:
        machine = self.machine
        options = ["q35", "sata=off", "smbus=off", "vmport=off", "hpet=off", "pflash0=rom", "pflash1=vars"]
        if not machine.acpi:
            options.append("acpi=off")
        self.argv = [
            PROGRAM, "-name", "guest=" + machine.name.replace(",", ",,"),
            "-accel", "tcg,thread=multi,tb-size=128", "-cpu", "max,la57=off",
            "-nodefaults", "-no-user-config", "-no-reboot", "-d", "cpu_reset", "-D", "cpu.log",
            "-m", f"{-(-machine.memory // 1024)}k",
            "-smp", f"cpus={machine.cpus},sockets={machine.sockets},cores={machine.cores},"
                    f"threads={machine.threads},maxcpus={machine.cpus}",
            "-rtc", "base=utc" if machine.utc else "base=localtime",
            "-boot", "menu=off,splash-time=0",
            "-smbios", "type=0,vendor=BHYVE,version=14.0,date=10/17/2021,uefi=on",
            "-smbios", "type=1,manufacturer=FreeBSD,product=BHYVE,version=1.0,family=Virtual Machine",
            "-chardev", f"socket,id=qmp,fd={monitor}", "-mon", "chardev=qmp,mode=control",
        ]  # fmt: skip
        if machine.uuid:
            self.argv += ["-uuid", machine.uuid]
        self._firmware()
        self.argv += ["-machine", ",".join(options)]
        for name, handle in serials.items():
            self.argv += ["-chardev", f"socket,id={name},fd={handle}"]
            if name.startswith("com"):
                self._device("isa-serial", chardev=name, index=int(name[3:]) - 1)
        screen = machine.screen
        if screen:
            vnc = "unix:vnc"
            if screen["password"]:
                with open(os.open(f"{self.folder}/secret", os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
                    file.write(screen["password"])
                self.argv += ["-object", "secret,id=vnc,file=secret"]
                vnc += ",password-secret=vnc"
            self.argv += ["-vnc", vnc]
        self.argv += ["-display", "none"]
        for device in sorted(machine.devices, key=_boot_key):
            getattr(self, "_" + device.kind.replace("-", "_"))(device)
        return self.argv

    def _device(self, driver: str, **properties: Any) -> None:
        # In JSON no value needs escaping.
        given = {name: value for name, value in properties.items() if value is not None}
        self.argv += ["-device", json.dumps({"driver": driver, **given})]

    def _pci(self, driver: str, device: Device | None, **properties: Any) -> str:
        """A device at bhyve's place; returns its id."""
        bus, slot, function = device.slot if device else (1, 0, 0)
        if bus or slot in (0, 31):
            slot, function = next(slot for slot in range(1, 31) if slot not in self.taken), 0
            self.taken.add(slot)
        elif function == 0 and slot in self.shared:
            properties["multifunction"] = True
        name = properties.pop("id", None) or f"pci{slot}.{function}"
        self._device(driver, id=name, bus="pcie.0", addr=f"{slot:x}.{function}", **properties)
        return name

    def _firmware(self) -> None:
        machine = self.machine
        rom, variables = machine.bootrom or "", machine.bootvars
        size = os.path.getsize(rom)
        if variables is None:
            # bhyve keeps changed variables in memory only; a private copy dies with the guest.
            variables = f"{self.folder}/vars"
            with open(template(rom, size), "rb") as source, open(variables, "wb") as target:
                target.write(source.read())
        self._block("rom", rom, read_only=True)
        self._block("vars", variables)

    def _block(self, name: str, path: str, *, read_only: bool = False, discard: bool = False) -> None:
        # bhyve locks no image, so the lab does not either: two guests on one disk is the panel's fault to prevent.
        driver = "host_device" if stat.S_ISBLK(os.stat(path).st_mode) else "file"
        node = {
            "driver": "raw", "node-name": name, "read-only": read_only,
            "discard": "unmap" if discard else "ignore",
            "file": {"driver": driver, "filename": path, "locking": "off", "read-only": read_only},
        }  # fmt: skip
        self.argv += ["-blockdev", json.dumps(node)]

    def _drive(self, values: dict[str, Any]) -> dict[str, Any]:
        """The block device of a disk; returns the properties of what it is attached to."""
        name = f"disk{self.count}"
        self.count += 1
        self.boot += 1
        path = values.get("path")
        if "ram" in values:
            path = f"{self.folder}/{name}"
            with open(path, "wb") as file:
                file.truncate(values["ram"])
        if path is None:
            return {"bootindex": self.boot}
        if values.get("snapshot"):
            escaped = path.replace(",", ",,")
            self.argv += [
                "-drive",
                f"if=none,id={name},format=raw,snapshot=on,file.locking=off,file.filename={escaped}",
            ]
        else:
            self._block(
                name, path, read_only=values.get("read_only", False), discard=values.get("discard", False)
            )
        properties = {
            "drive": name,
            "bootindex": self.boot,
            "serial": (values.get("serial") or "")[:20] or None,
        }
        if values.get("logical"):
            properties["logical_block_size"] = values["logical"]
            properties["physical_block_size"] = values["physical"]
        return properties

    def _virtio_blk(self, device: Device) -> None:
        self._pci("virtio-blk-pci", device, **self._drive(device.values))

    def _nvme(self, device: Device) -> None:
        properties = self._drive(device.values)
        properties["serial"] = properties["serial"] or f"NVME-{device.slot[1]}-{device.slot[2]}"
        self._pci("nvme", device, **properties)

    def _ahci(self, device: Device) -> None:
        ports = device.values["ports"]
        controller = self._pci("ich9-ahci", device)
        used = 0
        for port in ports:
            if used == AHCI_PORTS:
                controller, used = self._pci("ich9-ahci", None), 0
            # QEMU has no write-protected ATA disk: the guest's writes to one go to a file that is thrown away.
            port["snapshot"] = port["type"] == "hd" and port["read_only"]
            self._device(f"ide-{port['type']}", bus=f"{controller}.{used}", **self._drive(port))
            used += 1

    def _nic(self, device: Device) -> None:
        values = device.values
        name = f"net{self.count}"
        self.count += 1
        bridge = values.get("bridge")
        if bridge is None:
            backend: dict[str, Any] = {"type": "hubport", "hubid": self.count}
        elif bridge["inet"]:
            address = ipaddress.IPv4Interface(bridge["inet"])
            backend = {"type": "user", "restrict": True, "net": str(address.network), "host": str(address.ip)}
        else:
            # One wire for all guests at this bridge of this lab.
            port = 20000 + zlib.crc32(f"{core.folder()}/{bridge['name']}".encode()) % 20000
            backend = {"type": "socket", "mcast": f"230.0.0.1:{port}", "localaddr": "127.0.0.1"}
        self.argv += ["-netdev", json.dumps({"id": name, **backend})]
        driver = {"virtio-net": "virtio-net-pci"}.get(values["model"], values["model"])
        self._pci(driver, device, netdev=name, mac=values["mac"], romfile="")

    def _fbuf(self, device: Device) -> None:
        self._pci("VGA", device, xres=device.values["width"], yres=device.values["height"], romfile="")

    def _xhci(self, device: Device) -> None:
        controller = self._pci("qemu-xhci", device)
        for _ in range(device.values["tablets"]):
            self._device("usb-tablet", bus=f"{controller}.0")

    def _virtio_rnd(self, device: Device) -> None:
        self._pci("virtio-rng-pci", device)

    def _hda(self, device: Device) -> None:
        controller = self._pci("intel-hda", device)
        self.argv += ["-audiodev", f"none,id=audio{self.count}"]
        self._device("hda-duplex", bus=f"{controller}.0", audiodev=f"audio{self.count}")
        self.count += 1

    def _virtio_9p(self, device: Device) -> None:
        name = f"fs{self.count}"
        self.count += 1
        values = device.values
        path = values["path"].replace(",", ",,")
        only = ",readonly=on" if values["read_only"] else ""
        self.argv += ["-fsdev", f"local,id={name},path={path},security_model=none{only}"]
        self._pci("virtio-9p-pci", device, fsdev=name, mount_tag=values["tag"])

    def _virtio_console(self, device: Device) -> None:
        controller = self._pci("virtio-serial-pci", device, max_ports=17)
        for port in device.values["ports"]:
            name = f"port{self.count}"
            self.count += 1
            path = port["path"].replace(",", ",,")
            self.argv += ["-chardev", f"socket,id={name},path={path},server=on,wait=off"]
            self._device("virtserialport", bus=f"{controller}.0", chardev=name, name=port["name"])

    def _uart(self, device: Device) -> None:
        name = f"uart{device.slot[1]}.{device.slot[2]}"
        if device.values["path"]:
            self._pci("pci-serial", device, chardev=name)


def _boot_key(device: Device) -> tuple[int, tuple[int, int, int]]:
    """bhyve's firmware tries the devices in the order of their slots; ``bootindex=`` goes before."""
    index = device.values.get("bootindex")
    return (int(index) if index and index.isdigit() else 1 << 30), device.slot


def template(rom: str, size: int) -> str:
    """Empty variables for the firmware ``rom`` of ``size`` bytes: beside it, or where Debian has OVMF's."""
    beside = os.path.dirname(rom) + "/BHYVE_UEFI_VARS.fd"
    for path in (beside, "/usr/share/OVMF/OVMF_VARS_4M.fd", "/usr/share/OVMF/OVMF_VARS.fd"):
        # Code and variables together fill a flash of 2 or 4 MiB.
        if os.path.exists(path) and (size + os.path.getsize(path)) in (2 << 20, 4 << 20):
            return path
    return core.fail(f"bhyve: no variables fit the firmware {rom}: install OVMF", 4)


class Monitor:
    """A QMP connection over a socket: commands with callbacks, events, no thread.

    The owner calls `receive` when the socket is readable, and gets events through ``on_event(name, data)``.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.buffer = b""
        self.ready = False
        self.waiting: list[Any] = []
        self.on_event: Any = lambda name, data: None

    def send(self, verb: str, answer: Any = None, **arguments: Any) -> None:
        """Ask QEMU; ``answer(reply)`` gets the reply's dict later. Nothing happens when QEMU is gone."""
        self.waiting.append(answer)
        text = json.dumps({"execute": verb, "arguments": arguments}) + "\n"
        try:
            self.connection.sendall(text.encode())
        except OSError:
            self.waiting.pop()

    def receive(self) -> bool:
        """Read what is there and hand it on; False when QEMU closed the connection."""
        try:
            data = self.connection.recv(65536)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self.buffer += data
        *lines, self.buffer = self.buffer.split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "QMP" in message:
                self.send("qmp_capabilities", self._greeted)
            elif "event" in message:
                self.on_event(message["event"], message.get("data", {}))
            elif self.waiting:
                answer = self.waiting.pop(0)
                if answer:
                    answer(message)
        return bool(data)

    def _greeted(self, reply: dict[str, Any]) -> None:
        self.ready = True

    def register(self, port: int, answer: Any) -> None:
        """Read 16 bits of an I/O port of the guest; ``answer(value)``, 0xffff when there is no answer."""

        def read(reply: dict[str, Any]) -> None:
            text = str(reply.get("return", ""))  # "portw[0x0602] = 0x0100"; in HMP /h is two bytes
            try:
                answer(int(text.rpartition("=")[2], 16))
            except ValueError:
                answer(0xFFFF)

        self.send("human-monitor-command", read, **{"command-line": f"i /h {port:#x}"})
