"""A vm.json as libvirt's domain XML, for its bhyve driver.

What the XML has no element for is given to bhyve as ``<bhyve:arg>``, which the driver puts before the VM's name; what
no argument says either is told in a note. Each device keeps the slot that it has here.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

from bhype.vmrun import fields, structures
from bhype.vmrun.config import Config, Document, parse

from .libvirt_out_devices import DeviceWriter, sub
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


def write(document: Document) -> tuple[str, tuple[str, ...]]:
    """The XML of a document's main part, and notes on what it does not say. Raises Unfit when the document is."""
    config = parse(document)
    writer = _Writer(config, document)
    text = render(writer.domain())
    if document.get("targets"):
        writer.left_out("the targets; libvirt has none")
    return text, tuple(dict.fromkeys(writer.notes))


class _Writer(DeviceWriter):
    """Writes one configuration; collects what becomes an argument, and notes."""

    def __init__(self, config: Config, document: Document) -> None:
        super().__init__(config)
        self.document = document
        self.root = ET.Element("domain", {"type": "bhyve"})

    def domain(self) -> ET.Element:
        config, root = self.config, self.root
        sub(root, "name", config.name)
        if config.uuid:
            sub(root, "uuid", config.uuid)
        sub(root, "memory", str(config.memory >> 10), unit="KiB")
        if config.flags["wire_guest_mem"]:
            sub(sub(root, "memoryBacking"), "locked")
        sub(root, "vcpu", str(config.cpu.cpus))
        self.tuning()
        self.sysinfo()
        self.boot()
        self.features()
        self.all_devices()
        if tpm := self.document.get("tpm"):
            self.tpm(tpm)
        root.append(self.devices)
        self.life()
        self.settings()
        if self.arguments:
            command = sub(root, f"{{{BHYVE}}}commandline")
            for word in self.arguments:
                sub(command, f"{{{BHYVE}}}arg", value=word)
            ET.register_namespace("bhyve", BHYVE)
        return root

    # The machine itself.

    def tuning(self) -> None:
        pinning: dict[int, list[int]] = {}
        for vcpu, cpu in self.config.pinning:
            pinning.setdefault(vcpu, []).append(cpu)
        if pinning:
            tune = sub(self.root, "cputune")
            for vcpu, cpus in pinning.items():
                sub(tune, "vcpupin", vcpu=vcpu, cpuset=",".join(map(str, cpus)))
        wanted = self.document.get("limits") or {}
        limits = {tag: fields.size(wanted[key]) for key, tag in _TUNE.items() if wanted.get(key)}
        if limits:
            device = sub(sub(self.root, "blkiotune"), "device")
            sub(device, "path", "*")
            for tag, value in limits.items():
                sub(device, tag, str(value))
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
                    holder = tables[table] = sub(info, table)
                sub(holder, "entry", variables.pop(variable), name=name)
        if tables:
            self.root.append(info)
        for variable, value in variables.items():
            self.arguments += ["-o", f"{variable}={value}"]
        if self.config.fw_cfg:
            items = sub(self.root, "sysinfo", type="fwcfg")
            for name, kind, content in self.config.fw_cfg:
                if kind == "file":
                    sub(items, "entry", name=name, file=content)
                else:
                    sub(items, "entry", content, name=name)

    def boot(self) -> None:
        config, loader = self.config, self.document.get("loader")
        if loader and loader["type"] == "grub":
            sub(self.root, "bootloader", "/usr/local/sbin/grub-bhyve")
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
        os = sub(self.root, "os")
        sub(os, "type", "hvm", arch="x86_64")
        if loader is None:
            sub(os, "loader", config.bootrom, readonly="yes", type="pflash")
            if config.varfile:
                sub(os, "nvram", config.varfile)
            if config.fwcfg == "qemu" and not config.fw_cfg and not self.has_order():
                self.left_out("the firmware interface of QEMU (fwcfg)")
        if self.root.find("sysinfo[@type='smbios']") is not None:
            sub(os, "smbios", mode="sysinfo")

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
        sub(self.root, "bootloader", "/usr/sbin/bhyveload")
        sub(self.root, "bootloader_args", " ".join(words))

    def features(self) -> None:
        flags = self.config.flags
        features = sub(self.root, "features")
        sub(features, "apic")
        if flags["generate_acpi"]:
            sub(features, "acpi")
        if flags["ignore_msr"]:
            sub(features, "msrs", unknown="ignore")
        cpu = self.config.cpu
        if cpu.sockets is not None:
            shape = {"sockets": cpu.sockets, "cores": cpu.cores, "threads": cpu.threads}
            sub(sub(self.root, "cpu"), "topology", **shape)
        sub(self.root, "clock", offset="utc" if flags["utc_clock"] else "localtime")
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
        sub(self.root, "on_poweroff", "restart" if 1 in reboot_on else "destroy")
        sub(self.root, "on_reboot", "restart" if 0 in reboot_on else "destroy")
        sub(self.root, "on_crash", "restart" if restart.get("on_crash") else "destroy")
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
