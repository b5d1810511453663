"""The devices of a vm.json as elements of libvirt's domain XML, or as arguments of bhyve where it has none."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

from bhype.freebsd.bhyve import Address
from bhype.vmrun.config import Config
from bhype.vmrun.devices import NETWORK, Device
from bhype.vmrun.machine import machine

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
# The options of disks that have an attribute of their own; a disk with others is told as an argument.
_DRIVE = frozenset({"path", "ser", "bootindex", "logical_sector_size", "physical_sector_size"})
_KNOWN = {
    "virtio-blk": _DRIVE,
    "ahci-hd": _DRIVE | {"nmrr"},
    "ahci-cd": _DRIVE | {"nmrr"},
    "ahci": frozenset({"ports"}),
    "nvme": _DRIVE | {"maxq", "qsz"},
    "virtio-scsi": frozenset({"dev"}),
    "virtio-9p": frozenset({"share", "path", "ro"}),
    "virtio-rnd": frozenset[str](),
    "virtio-console": frozenset({"ports"}),
    "hda": frozenset({"play", "rec"}),
    "passthru": frozenset({"src", "rom", "bootindex"}),
}


def sub(parent: ET.Element, tag: str, text: str = "", /, **attributes: Any) -> ET.Element:
    child = ET.SubElement(parent, tag, {key: str(value) for key, value in attributes.items()})
    child.text = text or None
    return child


class DeviceWriter:
    """Writes the devices of one configuration; collects what becomes an argument, and notes."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.arguments: list[str] = []
        self.notes: list[str] = []
        self.devices = ET.Element("devices")
        self.controllers: dict[str, int] = {}
        # Whether the first disk has yet to be marked as the one to boot from.
        self.first_disk = False
        self.targets: dict[str, int] = {}

    def left_out(self, what: str) -> None:
        self.notes.append(f"Left out: {what}.")

    def all_devices(self) -> None:
        slots = machine(self.config).slots
        self.address(self.controller("isa"), slots[1].address)
        for device, slot in zip(self.config.devices, slots[2:], strict=False):
            self.device(device, slot.address)
        if graphic := self.config.graphic:
            places = [slot.address for slot in slots[2 + len(self.config.devices) :]]
            self.screen(places)
            if self.config.loader:
                self.notes.append("libvirt gives a screen to guests with a boot ROM only.")
            if not graphic.password:
                self.notes.append("The screen has no password in it.")
        for key, line in self.config.com:
            self.serial(int(key[3]) - 1, line)

    def address(self, element: ET.Element, place: Address) -> None:
        values = {
            "bus": f"0x{place.bus:02x}",
            "slot": f"0x{place.slot:02x}",
            "function": f"0x{place.function:x}",
        }
        sub(element, "address", type="pci", domain="0x0000", **values)

    def controller(self, kind: str, **more: str) -> ET.Element:
        index = self.controllers.get(kind, 0)
        self.controllers[kind] = index + 1
        return sub(self.devices, "controller", type=kind, index=index, **more)

    def device(self, device: Device, place: Address) -> None:
        kind, values = device.kind, device.values
        known = _KNOWN.get(kind)
        if kind in NETWORK:
            self.nic(device, place)
        elif known is None or values.keys() - known - self.negligible(values) or not self.can_say(device):
            if (
                kind == "xhci"
                and not (self.config.graphic and self.config.graphic.xhci_table)
                and not self.controllers.get("usb")
            ):
                self.tablet(place)
            else:
                self.arguments += ["-s", f"{place},{device.argument}"]
        elif kind in {"ahci", "ahci-hd", "ahci-cd"}:
            ports = values["ports"] if kind == "ahci" else [{"type": kind[5:], **values}]
            index = self.controllers.get("sata", 0)
            self.address(self.controller("sata"), place)
            for unit, port in enumerate(ports):
                disk = self.disk(port, "sata", is_cd=port["type"] == "cd")
                sub(disk, "address", type="drive", controller=index, bus=0, target=0, unit=unit)
        elif kind == "nvme":
            index = self.controllers.get("nvme", 0)
            controller = self.controller("nvme")
            if "ser" in values:
                sub(controller, "serial", values["ser"])
            self.address(controller, place)
            disk = self.disk({key: value for key, value in values.items() if key != "ser"}, "nvme")
            sub(disk, "address", type="drive", controller=index, bus=0, target=0, unit=0)
        elif kind == "virtio-blk":
            self.address(self.disk(values, "virtio"), place)
        elif kind == "virtio-scsi":
            disk = sub(self.devices, "disk", type="ctl", device="disk")
            sub(disk, "source", dev=values["dev"])
            sub(disk, "target", dev=self.target("sd"), bus="scsi")
            self.address(disk, place)
        else:
            self.other(kind, values, place)

    @staticmethod
    def negligible(values: dict[str, Any]) -> set[str]:
        """Flags that are off."""
        return {key for key, value in values.items() if value is False}

    def can_say(self, device: Device) -> bool:
        values = device.values
        holders = values["ports"] if device.kind == "ahci" else [values]
        if device.kind == "ahci" and any(
            port.keys() - _KNOWN["ahci-hd"] - {"type"} - self.negligible(port) for port in holders
        ):
            return False
        if device.kind in {"ahci-cd", "nvme"} and "path" not in values:
            return False
        if device.kind == "passthru" and "src" not in values:
            return False
        # An order counts from 1.
        return all(values.get("bootindex") != 0 for values in holders)

    def target(self, prefix: str) -> str:
        number = self.targets.get(prefix, 0)
        self.targets[prefix] = number + 1
        if prefix == "nvme":
            return f"nvme{number}n1"
        first, second = divmod(number, 26)
        return f"{prefix}{_LETTERS[first - 1] if first else ''}{_LETTERS[second]}"

    def disk(self, values: dict[str, Any], bus: str, *, is_cd: bool = False) -> ET.Element:
        is_block = values["path"].startswith("/dev/")
        disk = sub(
            self.devices, "disk", type="block" if is_block else "file", device="cdrom" if is_cd else "disk"
        )
        queues = {"queues": values.get("maxq"), "queue_size": values.get("qsz")}
        kind = {"name": "file", "type": "raw", **{key: value for key, value in queues.items() if value}}
        sub(disk, "driver", **kind)
        sub(disk, "source", **{"dev" if is_block else "file": values["path"]})
        rotation = {"rotation_rate": values["nmrr"]} if "nmrr" in values else {}
        prefix = {"sata": "sd", "virtio": "vd", "nvme": "nvme"}[bus]
        sub(disk, "target", dev=self.target(prefix), bus=bus, **rotation)
        sizes = {
            f"{size}_block_size": values[f"{size}_sector_size"]
            for size in ("logical", "physical")
            if f"{size}_sector_size" in values
        }
        if sizes:
            sub(disk, "blockio", **sizes)
        if is_cd:
            sub(disk, "readonly")
        if "ser" in values:
            sub(disk, "serial", values["ser"])
        if "bootindex" in values:
            sub(disk, "boot", order=values["bootindex"])
        elif self.first_disk and not is_cd:
            sub(disk, "boot", order=1)
            self.first_disk = False
        return disk

    def nic(self, device: Device, place: Address) -> None:
        values, backend = device.values, device.backend
        model = "virtio" if device.kind == "virtio-net" else "e1000"
        is_bridged = backend == "tap" and "bridge" in values
        if not is_bridged and (
            backend != "slirp" or values.keys() - {"type", "mac"} - self.negligible(values)
        ):
            self.arguments += ["-s", f"{place},{device.argument}"]
            if backend == "tap":
                self.notes.append(f"Nobody makes the interface {values['name']} for libvirt.")
            return
        element = sub(self.devices, "interface", type="bridge" if is_bridged else "user")
        if "mac" in values:
            sub(element, "mac", address=values["mac"])
        if is_bridged:
            sub(element, "source", bridge=values["bridge"])
            sub(element, "target", dev=values["name"])
        sub(element, "model", type=model)
        if values.get("link") == "down":
            sub(element, "link", state="down")
        if "mtu" in values:
            sub(element, "mtu", size=values["mtu"])
        rates = {"inbound": values.get("rate_in"), "outbound": values.get("rate_out")}
        if any(rates.values()):
            bandwidth = sub(element, "bandwidth")
            for tag, rate in rates.items():
                if rate:
                    sub(bandwidth, tag, average=max(1, rate // 8000))
                    if rate % 8000:
                        self.notes.append("libvirt counts rates in kilobytes per second: they were rounded.")
        self.address(element, place)

    def other(self, kind: str, values: dict[str, Any], place: Address) -> None:
        if kind == "virtio-9p":
            element = sub(self.devices, "filesystem", type="mount")
            sub(element, "source", dir=values["path"])
            sub(element, "target", dir=values["share"])
            if values.get("ro"):
                sub(element, "readonly")
        elif kind == "virtio-rnd":
            element = sub(self.devices, "rng", model="virtio")
            sub(element, "backend", "/dev/random", model="random")
        elif kind == "hda":
            element = sub(self.devices, "sound", model="ich7")
            number = self.targets.setdefault("audio", 0) + 1
            self.targets["audio"] = number
            sub(element, "audio", id=number)
            audio = sub(self.devices, "audio", id=number, type="oss")
            # As libvirt's bhyve driver has it: the input is what is played.
            for tag, key in (("input", "play"), ("output", "rec")):
                if key in values:
                    sub(audio, tag, dev=values[key])
        elif kind == "passthru":
            element = sub(self.devices, "hostdev", mode="subsystem", type="pci", managed="no")
            bus, slot, function = (int(part) for part in values["src"].split("/"))
            parts = {"bus": f"0x{bus:02x}", "slot": f"0x{slot:02x}", "function": f"0x{function:x}"}
            sub(sub(element, "source"), "address", domain="0x0000", **parts)
            if "rom" in values:
                sub(element, "rom", file=values["rom"])
            if "bootindex" in values:
                sub(element, "boot", order=values["bootindex"])
        else:
            index = self.controllers.get("virtio-serial", 0)
            element = self.controller("virtio-serial")
            for number, port in enumerate(values["ports"], 1):
                channel = sub(self.devices, "channel", type="unix")
                sub(channel, "source", mode="bind", path=port["path"])
                sub(channel, "target", type="virtio", name=port.get("name", f"port{number}"))
                sub(channel, "address", type="virtio-serial", controller=index, bus=0, port=number)
        self.address(element, place)

    def tablet(self, place: Address) -> None:
        self.address(self.controller("usb", model="nec-xhci"), place)
        sub(self.devices, "input", type="tablet", bus="usb")

    def screen(self, places: list[Address]) -> None:
        graphic = self.config.graphic
        if graphic is None:
            return
        attributes: dict[str, Any] = {"type": "vnc", "port": graphic.port, "autoport": "no"}
        attributes |= {"passwd": graphic.password} if graphic.password else {}
        attributes |= {"wait": "yes"} if graphic.wait else {}
        sub(sub(self.devices, "graphics", **attributes), "listen", type="address", address=graphic.host)
        video = sub(self.devices, "video")
        if graphic.vga:
            sub(video, "driver", vgaconf=graphic.vga)
        model = sub(video, "model", type="gop", heads=1, primary="yes")
        if graphic.width and graphic.height:
            sub(model, "resolution", x=graphic.width, y=graphic.height)
        self.address(video, places[0])
        if graphic.xhci_table:
            self.tablet(places[1])

    def serial(self, port: int, line: str) -> None:
        if line == "stdio":
            self.arguments += ["-l", f"com{port + 1},stdio"]
            return
        if line.startswith("tcp="):
            host, _, service = line.removeprefix("tcp=").rpartition(":")
            element = sub(self.devices, "serial", type="tcp")
            sub(element, "source", mode="bind", host=host.strip("[]"), service=service)
        else:
            element = sub(self.devices, "serial", type="nmdm")
            other = line[:-1] + ("B" if line.endswith("A") else "A")
            sub(element, "source", master=line, slave=other)
        sub(element, "target", type="serial", port=port)

    def tpm(self, tpm: dict[str, Any]) -> None:
        element = sub(self.devices, "tpm", model="tpm-crb")
        version = {"version": tpm["version"]} if "version" in tpm else {}
        if tpm["type"] == "passthru":
            sub(sub(element, "backend", type="passthrough", **version), "device", path=tpm["path"])
        elif "path" in tpm:
            sub(sub(element, "backend", type="external", **version), "source", type="unix", path=tpm["path"])
        else:
            backend = sub(element, "backend", type="emulator", **version)
            sub(backend, "source", type="dir", path=tpm["state"])
