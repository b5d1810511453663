"""bhyve's devices as QEMU's: the part of its command line for each kind of `Device` (see qemu.py)."""

from __future__ import annotations

import ipaddress
import json
import os
import stat
import zlib
from typing import Any

from bhype.lab import core
from bhype.lab.bhyve_machine import Device, Machine

AHCI_PORTS = 6  # of QEMU's ich9-ahci; bhyve has up to 32 at one controller
_ROOT = "pcie.0"


class Devices:
    """Collects ``argv``; `add` puts in one device of the machine."""

    def __init__(self, machine: Machine, folder: str) -> None:
        self.machine = machine
        self.folder = folder
        self.argv: list[str] = []
        self.count = 0
        self.boot = 0
        self.buses: list[int] = []
        self.taken = {device.slot[1] for device in machine.devices if device.slot[0] == 0} | {0, 31}
        # Slots with several functions: the first must say so.
        self.shared = {device.slot[:2] for device in machine.devices if device.slot[2] > 0}

    def add(self, device: Device) -> None:
        getattr(self, "_" + device.kind.replace("-", "_"))(device)

    def device(self, driver: str, **properties: Any) -> None:
        """One ``-device``; properties that are None are left out."""
        # In JSON no value needs escaping.
        given = {name: value for name, value in properties.items() if value is not None}
        self.argv += ["-device", json.dumps({"driver": driver, **given})]

    def block(self, name: str, path: str, *, read_only: bool = False, discard: bool = False) -> None:
        """The image or block device ``path`` as a node of QEMU's."""
        # bhyve locks no image, so the lab does not either: two guests on one disk is the panel's fault to prevent.
        driver = "host_device" if stat.S_ISBLK(os.stat(path).st_mode) else "file"
        node = {
            "driver": "raw", "node-name": name, "read-only": read_only,
            "discard": "unmap" if discard else "ignore",
            "file": {"driver": driver, "filename": path, "locking": "off", "read-only": read_only},
        }  # fmt: skip
        self.argv += ["-blockdev", json.dumps(node)]

    def _pci(self, driver: str, device: Device | None, **properties: Any) -> str:
        """A device at bhyve's place; returns its id."""
        bus, slot, function = device.slot if device else (0, 0, 0)
        where = _ROOT
        if bus:
            where = self._bus(bus)
        elif slot in (0, 31):
            slot, function = self._free_slot(), 0
        if function == 0 and (bus, slot) in self.shared:
            properties["multifunction"] = True
        name = f"pci{bus}.{slot}.{function}" if bus else f"pci{slot}.{function}"
        self.device(driver, id=name, bus=where, addr=f"{slot:x}.{function}", **properties)
        return name

    def _free_slot(self) -> int:
        slot = next(slot for slot in range(1, 31) if slot not in self.taken)
        self.taken.add(slot)
        return slot

    def _bus(self, number: int) -> str:
        """The bus behind a bridge; firmware numbers the buses behind a root bus' bridges from its own number on."""
        if not self.buses:
            self.buses = sorted({device.slot[0] for device in self.machine.devices} - {0})
            root = _ROOT
            for place, bus in enumerate(self.buses):
                if bus - 1 not in self.buses and bus > 1:
                    root = f"root{bus}"
                    where = f"{self._free_slot():x}.0"
                    self.device("pxb-pcie", id=root, bus_nr=bus - 1, bus=_ROOT, addr=where)
                slot = self._free_slot() if root == _ROOT else place
                self.device("i82801b11-bridge", id=f"bus{bus}", bus=root, addr=f"{slot:x}.0")
        return f"bus{number}"

    def _next(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def _drive(self, values: dict[str, Any]) -> dict[str, Any]:
        """The block device of a disk; returns the properties of what it is attached to."""
        name = self._next("disk")
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
            self.block(
                name, path, read_only=values.get("read_only", False), discard=values.get("discard", False)
            )
        properties = {"drive": name, "bootindex": self.boot}
        properties["serial"] = (values.get("serial") or "")[:20] or None
        if values.get("logical"):
            properties["logical_block_size"] = values["logical"]
            properties["physical_block_size"] = values["physical"]
        return properties

    def _virtio_blk(self, device: Device) -> None:
        self._pci("virtio-blk-pci", device, **self._drive(device.values))

    def _nvme(self, device: Device) -> None:
        properties = self._drive(device.values)
        queues, eui64 = device.values.get("queues"), device.values.get("eui64")
        if eui64 is None:
            self._pci("nvme", device, max_ioqpairs=queues, **properties)
            return
        # QEMU's place of such a disk in the boot order is one that OVMF cannot read, and the whole order with it.
        del properties["bootindex"]
        controller = self._pci("nvme", device, max_ioqpairs=queues, serial=properties.pop("serial"))
        self.device("nvme-ns", bus=controller, nsid=1, eui64=eui64, **properties)

    def _virtio_scsi(self, device: Device) -> None:
        controller = self._pci("virtio-scsi-pci", device)
        disk = {"scsi-id": 0, "lun": 0, "vendor": "FREEBSD", "product": "CTLDISK"}  # as ctl(4) calls itself
        self.device("scsi-hd", bus=f"{controller}.0", **disk, **self._drive(device.values))

    def _ahci(self, device: Device) -> None:
        controller = self._pci("ich9-ahci", device)
        used = 0
        for port in device.values["ports"]:
            if used == AHCI_PORTS:
                controller, used = self._pci("ich9-ahci", None), 0
            # QEMU has no write-protected ATA disk: the guest's writes to one go to a file that is thrown away.
            drive = port | {"snapshot": port["type"] == "hd" and port.get("read_only")}
            properties = self._drive(drive)
            is_disk = port["type"] == "hd"
            properties.setdefault("serial", (port.get("serial") or "")[:20] or None)
            properties["model"] = port.get("model") or f"BHYVE SATA {'DISK' if is_disk else 'DVD ROM'}"
            properties["ver"] = (port.get("rev") or "001")[:8]
            if is_disk and port.get("ssd"):
                properties["rotation_rate"] = 1
            if "logical_block_size" in properties:
                properties["logical_block_size"] = 512
            self.device(f"ide-{port['type']}", bus=f"{controller}.{used}", **properties)
            used += 1

    def _nic(self, device: Device) -> None:
        values = device.values
        name = self._next("net")
        bridge = values.get("bridge")
        backend: dict[str, Any]
        if "wire" in values:
            backend = {"type": "tap", "fd": str(values["wire"])}
        elif "forward" in values:
            # Guests reach nobody, but may be reached ("inbound only").
            backend = {"type": "user", "restrict": True}
            backend["hostfwd"] = [{"str": rule} for rule in values["forward"]]
        elif bridge is None:
            backend = {"type": "hubport", "hubid": self.count}
        elif bridge["inet"]:
            address = ipaddress.IPv4Interface(bridge["inet"])
            backend = {"type": "user", "restrict": True, "net": str(address.network), "host": str(address.ip)}
        else:
            # One wire for all guests at this bridge of this lab.
            port = 20000 + zlib.crc32(f"{core.folder()}/{bridge['name']}".encode()) % 20000
            backend = {"type": "socket", "mcast": f"230.0.0.1:{port}", "localaddr": "127.0.0.1"}
        self.argv += ["-netdev", json.dumps({"id": name, **backend})]
        driver = {"virtio-net": "virtio-net-pci"}.get(values["model"], values["model"])
        self._pci(driver, device, netdev=name, mac=values["mac"], romfile="", host_mtu=values.get("mtu"))

    def _fbuf(self, device: Device) -> None:
        self._pci("VGA", device, xres=device.values["width"], yres=device.values["height"], romfile="")

    def _xhci(self, device: Device) -> None:
        controller = self._pci("qemu-xhci", device)
        for _ in range(device.values["tablets"]):
            self.device("usb-tablet", bus=f"{controller}.0")

    def _virtio_rnd(self, device: Device) -> None:
        self._pci("virtio-rng-pci", device)

    def _virtio_input(self, device: Device) -> None:
        self._pci("virtio-keyboard-pci", device)

    def _hda(self, device: Device) -> None:
        controller = self._pci("intel-hda", device)
        name = self._next("audio")
        self.argv += ["-audiodev", f"none,id={name}"]
        self.device("hda-duplex", bus=f"{controller}.0", audiodev=name)

    def _virtio_9p(self, device: Device) -> None:
        name = self._next("fs")
        values = device.values
        path = values["path"].replace(",", ",,")
        only = ",readonly=on" if values["read_only"] else ""
        # As bhyve, which is root: files get the owners that the guest asks for. Without root nobody can do that.
        model = "none" if os.geteuid() == 0 else "mapped-xattr"
        self.argv += ["-fsdev", f"local,id={name},path={path},security_model={model}{only}"]
        self._pci("virtio-9p-pci", device, fsdev=name, mount_tag=values["tag"])

    def _virtio_console(self, device: Device) -> None:
        controller = self._pci("virtio-serial-pci", device, max_ports=17)
        for port in device.values["ports"]:
            name = self._next("port")
            path = port["path"].replace(",", ",,")
            self.argv += ["-chardev", f"socket,id={name},path={path},server=on,wait=off"]
            self.device("virtserialport", bus=f"{controller}.0", chardev=name, name=port["name"])

    def _uart(self, device: Device) -> None:
        name = f"uart{device.slot[1]}.{device.slot[2]}"
        if device.values["path"]:
            self._pci("pci-serial", device, chardev=name)
