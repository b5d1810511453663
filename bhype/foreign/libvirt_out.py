"""A vm.json as libvirt's domain XML, for its bhyve driver.

What the XML has no element for is given to bhyve as ``<bhyve:arg>``, which the driver puts before the VM's name; what
no argument says either is told in a note. Each device keeps the slot that it has here.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

from bhype.freebsd.bhyve import Address
from bhype.vmrun import fields, structures
from bhype.vmrun.config import Config, Document, parse
from bhype.vmrun.devices import NETWORK, Device
from bhype.vmrun.machine import machine

from .markup import render

BHYVE = "http://libvirt.org/schemas/domain/bhyve/1.0"
SMBIOS = {
    ("bios", "vendor"): "bios.vendor",
    ("bios", "version"): "bios.version",
    ("bios", "date"): "bios.release_date",
    ("system", "manufacturer"): "system.manufacturer",
    ("system", "product"): "system.product_name",
    ("system", "version"): "system.version",
    ("system", "serial"): "system.serial_number",
    ("system", "sku"): "system.sku",
    ("system", "family"): "system.family_name",
    ("baseBoard", "manufacturer"): "board.manufacturer",
    ("baseBoard", "product"): "board.product_name",
    ("baseBoard", "version"): "board.version",
    ("baseBoard", "serial"): "board.serial_number",
    ("baseBoard", "asset"): "board.asset_tag",
    ("baseBoard", "location"): "board.location",
    ("chassis", "manufacturer"): "chassis.manufacturer",
    ("chassis", "version"): "chassis.version",
    ("chassis", "serial"): "chassis.serial_number",
    ("chassis", "asset"): "chassis.asset_tag",
    ("chassis", "sku"): "chassis.sku",
}
_TUNE = {
    "readbps": "read_bytes_sec",
    "writebps": "write_bytes_sec",
    "readiops": "read_iops_sec",
    "writeiops": "write_iops_sec",
}
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
_NIC = frozenset({"name", "type", "mac", "mtu", "bridge", "description", "rate_in", "rate_out", "link"})


def write(document: Document) -> tuple[str, tuple[str, ...]]:
    """The XML of a document's main part, and notes on what it does not say. Raises Unfit when the document is."""
    config = parse(document)
    writer = _Writer(config, document)
    text = render(writer.domain())
    if document.get("targets"):
        writer.left_out("the targets; libvirt has none")
    return text, tuple(dict.fromkeys(writer.notes))


def _sub(parent: ET.Element, tag: str, text: str = "", /, **attributes: Any) -> ET.Element:
    child = ET.SubElement(parent, tag, {key: str(value) for key, value in attributes.items()})
    child.text = text or None
    return child


class _Writer:
    """Writes one configuration; collects what becomes an argument, and notes."""

    def __init__(self, config: Config, document: Document) -> None:
        self.config, self.document = config, document
        self.arguments: list[str] = []
        self.notes: list[str] = []
        self.root = ET.Element("domain", {"type": "bhyve"})
        self.devices = ET.Element("devices")
        self.controllers: dict[str, int] = {}
        # Whether the first disk has yet to be marked as the one to boot from.
        self.first_disk = False
        self.targets: dict[str, int] = {}

    def domain(self) -> ET.Element:
        config, root = self.config, self.root
        _sub(root, "name", config.name)
        if config.uuid:
            _sub(root, "uuid", config.uuid)
        _sub(root, "memory", str(config.memory >> 10), unit="KiB")
        if config.flags["wire_guest_mem"]:
            _sub(_sub(root, "memoryBacking"), "locked")
        _sub(root, "vcpu", str(config.cpu.cpus))
        self.tuning()
        self.sysinfo()
        self.boot()
        self.features()
        self.all_devices()
        root.append(self.devices)
        self.life()
        self.settings()
        if self.arguments:
            command = _sub(root, f"{{{BHYVE}}}commandline")
            for word in self.arguments:
                _sub(command, f"{{{BHYVE}}}arg", value=word)
            ET.register_namespace("bhyve", BHYVE)
        return root

    def left_out(self, what: str) -> None:
        self.notes.append(f"Left out: {what}.")

    # The machine itself.

    def tuning(self) -> None:
        pinning: dict[int, list[int]] = {}
        for vcpu, cpu in self.config.pinning:
            pinning.setdefault(vcpu, []).append(cpu)
        if pinning:
            tune = _sub(self.root, "cputune")
            for vcpu, cpus in pinning.items():
                _sub(tune, "vcpupin", vcpu=vcpu, cpuset=",".join(map(str, cpus)))
        wanted = self.document.get("limits") or {}
        limits = {tag: fields.size(wanted[key]) for key, tag in _TUNE.items() if wanted.get(key)}
        if limits:
            device = _sub(_sub(self.root, "blkiotune"), "device")
            _sub(device, "path", "*")
            for tag, value in limits.items():
                _sub(device, tag, str(value))
        if wanted.get("pcpu"):
            self.left_out("the limit of the CPU")

    def sysinfo(self) -> None:
        variables = dict(self.config.options)
        tables: dict[str, ET.Element] = {}
        info = ET.Element("sysinfo", {"type": "smbios"})
        for (table, name), variable in SMBIOS.items():
            if variable in variables:
                holder = tables.get(table)
                if holder is None:
                    holder = tables[table] = _sub(info, table)
                _sub(holder, "entry", variables.pop(variable), name=name)
        if tables:
            self.root.append(info)
        for variable, value in variables.items():
            self.arguments += ["-o", f"{variable}={value}"]
        if self.config.fw_cfg:
            items = _sub(self.root, "sysinfo", type="fwcfg")
            for name, kind, content in self.config.fw_cfg:
                if kind == "file":
                    _sub(items, "entry", name=name, file=content)
                else:
                    _sub(items, "entry", content, name=name)

    def boot(self) -> None:
        config, loader = self.config, self.document.get("loader")
        if loader and loader["type"] == "grub":
            _sub(self.root, "bootloader", "/usr/local/sbin/grub-bhyve")
            kinds = [kind for kind, _ in config.drives]
            root = loader.get("root", "hd0,msdos1")
            # libvirt takes the CD where there is one, unless a drive is the first of the boot order.
            self.first_disk = root == "hd0,msdos1" and "cd" in kinds
            if root != "hd0,msdos1" and not (root == "cd0" and "cd" in kinds):
                self.left_out(f"grub's root {root}; libvirt chooses the first drive")
            if loader.keys() & {"directory", "config"}:
                self.left_out("where grub's configuration is")
        elif loader:
            self.bhyveload(loader)
        os = _sub(self.root, "os")
        _sub(os, "type", "hvm", arch="x86_64")
        if loader is None:
            _sub(os, "loader", config.bootrom, readonly="yes", type="pflash")
            if config.varfile:
                _sub(os, "nvram", config.varfile)
            if config.fwcfg == "qemu" and not config.fw_cfg and not self.has_order():
                self.left_out("the firmware interface of QEMU (fwcfg)")
        if self.root.find("sysinfo[@type='smbios']") is not None:
            _sub(os, "smbios", mode="sysinfo")

    def has_order(self) -> bool:
        holders = [device.values for device in self.config.devices]
        holders += [
            port for device in self.config.devices if device.kind == "ahci" for port in device.values["ports"]
        ]
        return any("bootindex" in values for values in holders)

    def bhyveload(self, loader: dict[str, Any]) -> None:
        first = next((path for kind, path in self.config.drives if kind == "hd"), None)
        words = ["-m", f"{self.config.memory >> 20}M"]
        # libvirt's own choice is the first drive, of whatever kind; here it is the first disk.
        drive = next((path for _, path in self.config.drives), None)
        disk = str(loader.get("disk") or first or drive)
        if not (loader.get("env") or loader.get("os_loader") or disk != drive):
            return
        for key, value in structures.variables(loader.get("env") or {}):
            words += ["-e", f"{key}={value}"]
        if loader.get("os_loader"):
            words += ["-l", loader["os_loader"]]
        words += ["-d", disk, self.config.name]
        if any(" " in word for word in words):
            self.left_out("what bhyveload is told; libvirt knows no quotation there")
            return
        _sub(self.root, "bootloader", "/usr/sbin/bhyveload")
        _sub(self.root, "bootloader_args", " ".join(words))

    def features(self) -> None:
        flags = self.config.flags
        features = _sub(self.root, "features")
        _sub(features, "apic")
        if flags["generate_acpi"]:
            _sub(features, "acpi")
        if flags["ignore_msr"]:
            _sub(features, "msrs", unknown="ignore")
        cpu = self.config.cpu
        if cpu.sockets is not None:
            shape = {"sockets": cpu.sockets, "cores": cpu.cores, "threads": cpu.threads}
            _sub(_sub(self.root, "cpu"), "topology", **shape)
        _sub(self.root, "clock", offset="utc" if flags["utc_clock"] else "localtime")
        for flag, word in (
            ("force_msi", "-W"),
            ("disable_mptable_gen", "-Y"),
            ("power_off_destroy_vm", "-D"),
            ("guest_in_core", "-C"),
            ("x2apic", "-x"),
            ("strict_io", "-e"),
        ):
            if flags[flag]:
                self.arguments.append(word)
        if not flags["yield_on_hlt"]:
            self.notes.append("libvirt always passes -H: an idle guest leaves the CPU to others.")
        if not flags["yield_on_pause"]:
            self.notes.append("libvirt always passes -P: a spinning guest leaves the CPU to others.")

    def life(self) -> None:
        restart = self.document.get("restart") or {}
        reboot_on = structures.statuses(restart.get("reboot_on", [0]))
        _sub(self.root, "on_poweroff", "restart" if 1 in reboot_on else "destroy")
        _sub(self.root, "on_reboot", "restart" if 0 in reboot_on else "destroy")
        _sub(self.root, "on_crash", "restart" if restart.get("on_crash") else "destroy")
        if reboot_on - {0, 1} or restart.keys() - {"reboot_on", "on_crash"}:
            self.left_out("how often and how fast it is started again")
        # libvirt's order of elements: these stand before the devices.
        self.root.remove(self.devices)
        self.root.append(self.devices)

    def settings(self) -> None:
        config = self.config
        for flag, word in (("-G", config.gdb), ("-K", config.keyboard)):
            if word:
                self.arguments += [flag, word]
        self.arguments += config.extra_options
        if config.hostbridge != "hostbridge":
            self.left_out(f"the host bridge {config.hostbridge}")
        for what, value in (
            ("the priority", config.nice),
            ("the protection from running out of memory", config.protect),
            ("the next target", config.next_target),
            ("the script after the start", config.post_start_script),
        ):
            if value:
                self.left_out(what)

    # Devices.

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
        if tpm := self.document.get("tpm"):
            self.tpm(tpm)

    def address(self, element: ET.Element, place: Address) -> None:
        values = {
            "bus": f"0x{place.bus:02x}",
            "slot": f"0x{place.slot:02x}",
            "function": f"0x{place.function:x}",
        }
        _sub(element, "address", type="pci", domain="0x0000", **values)

    def controller(self, kind: str, **more: str) -> ET.Element:
        index = self.controllers.get(kind, 0)
        self.controllers[kind] = index + 1
        return _sub(self.devices, "controller", type=kind, index=index, **more)

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
                _sub(disk, "address", type="drive", controller=index, bus=0, target=0, unit=unit)
        elif kind == "nvme":
            index = self.controllers.get("nvme", 0)
            controller = self.controller("nvme")
            if "ser" in values:
                _sub(controller, "serial", values["ser"])
            self.address(controller, place)
            disk = self.disk({key: value for key, value in values.items() if key != "ser"}, "nvme")
            _sub(disk, "address", type="drive", controller=index, bus=0, target=0, unit=0)
        elif kind == "virtio-blk":
            self.address(self.disk(values, "virtio"), place)
        elif kind == "virtio-scsi":
            disk = _sub(self.devices, "disk", type="ctl", device="disk")
            _sub(disk, "source", dev=values["dev"])
            _sub(disk, "target", dev=self.target("sd"), bus="scsi")
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
        disk = _sub(
            self.devices, "disk", type="block" if is_block else "file", device="cdrom" if is_cd else "disk"
        )
        queues = {"queues": values.get("maxq"), "queue_size": values.get("qsz")}
        kind = {"name": "file", "type": "raw", **{key: value for key, value in queues.items() if value}}
        _sub(disk, "driver", **kind)
        _sub(disk, "source", **{"dev" if is_block else "file": values["path"]})
        rotation = {"rotation_rate": values["nmrr"]} if "nmrr" in values else {}
        prefix = {"sata": "sd", "virtio": "vd", "nvme": "nvme"}[bus]
        _sub(disk, "target", dev=self.target(prefix), bus=bus, **rotation)
        sizes = {
            f"{size}_block_size": values[f"{size}_sector_size"]
            for size in ("logical", "physical")
            if f"{size}_sector_size" in values
        }
        if sizes:
            _sub(disk, "blockio", **sizes)
        if is_cd:
            _sub(disk, "readonly")
        if "ser" in values:
            _sub(disk, "serial", values["ser"])
        if "bootindex" in values:
            _sub(disk, "boot", order=values["bootindex"])
        elif self.first_disk and not is_cd:
            _sub(disk, "boot", order=1)
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
        element = _sub(self.devices, "interface", type="bridge" if is_bridged else "user")
        if "mac" in values:
            _sub(element, "mac", address=values["mac"])
        if is_bridged:
            _sub(element, "source", bridge=values["bridge"])
            _sub(element, "target", dev=values["name"])
        _sub(element, "model", type=model)
        if values.get("link") == "down":
            _sub(element, "link", state="down")
        if "mtu" in values:
            _sub(element, "mtu", size=values["mtu"])
        rates = {"inbound": values.get("rate_in"), "outbound": values.get("rate_out")}
        if any(rates.values()):
            bandwidth = _sub(element, "bandwidth")
            for tag, rate in rates.items():
                if rate:
                    _sub(bandwidth, tag, average=max(1, rate // 8000))
                    if rate % 8000:
                        self.notes.append("libvirt counts rates in kilobytes per second: they were rounded.")
        self.address(element, place)

    def other(self, kind: str, values: dict[str, Any], place: Address) -> None:
        if kind == "virtio-9p":
            element = _sub(self.devices, "filesystem", type="mount")
            _sub(element, "source", dir=values["path"])
            _sub(element, "target", dir=values["share"])
            if values.get("ro"):
                _sub(element, "readonly")
        elif kind == "virtio-rnd":
            element = _sub(self.devices, "rng", model="virtio")
            _sub(element, "backend", "/dev/random", model="random")
        elif kind == "hda":
            element = _sub(self.devices, "sound", model="ich7")
            number = self.targets.setdefault("audio", 0) + 1
            self.targets["audio"] = number
            _sub(element, "audio", id=number)
            audio = _sub(self.devices, "audio", id=number, type="oss")
            # As libvirt's bhyve driver has it: the input is what is played.
            for tag, key in (("input", "play"), ("output", "rec")):
                if key in values:
                    _sub(audio, tag, dev=values[key])
        elif kind == "passthru":
            element = _sub(self.devices, "hostdev", mode="subsystem", type="pci", managed="no")
            bus, slot, function = (int(part) for part in values["src"].split("/"))
            parts = {"bus": f"0x{bus:02x}", "slot": f"0x{slot:02x}", "function": f"0x{function:x}"}
            _sub(_sub(element, "source"), "address", domain="0x0000", **parts)
            if "rom" in values:
                _sub(element, "rom", file=values["rom"])
            if "bootindex" in values:
                _sub(element, "boot", order=values["bootindex"])
        else:
            index = self.controllers.get("virtio-serial", 0)
            element = self.controller("virtio-serial")
            for number, port in enumerate(values["ports"], 1):
                channel = _sub(self.devices, "channel", type="unix")
                _sub(channel, "source", mode="bind", path=port["path"])
                _sub(channel, "target", type="virtio", name=port.get("name", f"port{number}"))
                _sub(channel, "address", type="virtio-serial", controller=index, bus=0, port=number)
        self.address(element, place)

    def tablet(self, place: Address) -> None:
        self.address(self.controller("usb", model="nec-xhci"), place)
        _sub(self.devices, "input", type="tablet", bus="usb")

    def screen(self, places: list[Address]) -> None:
        graphic = self.config.graphic
        if graphic is None:
            return
        attributes: dict[str, Any] = {"type": "vnc", "port": graphic.port, "autoport": "no"}
        attributes |= {"passwd": graphic.password} if graphic.password else {}
        attributes |= {"wait": "yes"} if graphic.wait else {}
        _sub(_sub(self.devices, "graphics", **attributes), "listen", type="address", address=graphic.host)
        video = _sub(self.devices, "video")
        if graphic.vga:
            _sub(video, "driver", vgaconf=graphic.vga)
        model = _sub(video, "model", type="gop", heads=1, primary="yes")
        if graphic.width and graphic.height:
            _sub(model, "resolution", x=graphic.width, y=graphic.height)
        self.address(video, places[0])
        if graphic.xhci_table:
            self.tablet(places[1])

    def serial(self, port: int, line: str) -> None:
        if line == "stdio":
            self.arguments += ["-l", f"com{port + 1},stdio"]
            return
        if line.startswith("tcp="):
            host, _, service = line.removeprefix("tcp=").rpartition(":")
            element = _sub(self.devices, "serial", type="tcp")
            _sub(element, "source", mode="bind", host=host.strip("[]"), service=service)
        else:
            element = _sub(self.devices, "serial", type="nmdm")
            other = line[:-1] + ("B" if line.endswith("A") else "A")
            _sub(element, "source", master=line, slave=other)
        _sub(element, "target", type="serial", port=port)

    def tpm(self, tpm: dict[str, Any]) -> None:
        element = _sub(self.devices, "tpm", model="tpm-crb")
        version = {"version": tpm["version"]} if "version" in tpm else {}
        if tpm["type"] == "passthru":
            _sub(_sub(element, "backend", type="passthrough", **version), "device", path=tpm["path"])
        elif "path" in tpm:
            _sub(
                _sub(element, "backend", type="external", **version), "source", type="unix", path=tpm["path"]
            )
        else:
            backend = _sub(element, "backend", type="emulator", **version)
            _sub(backend, "source", type="dir", path=tpm["state"])
