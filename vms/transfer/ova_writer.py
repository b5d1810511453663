"""Writing OVA packages: the OVF description of a VM, its manifest, and the archive. Pure, as vms.transfer.ova.

What is written is OVF 1.0 as VirtualBox and VMware read it: one virtual system, disks as streamOptimized VMDK, the
description first, then the manifest, then the disks.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO, Any

Document = dict[str, Any]
OVF = "http://schemas.dmtf.org/ovf/envelope/1"
RASD = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
VSSD = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData"
VMW = "http://www.vmware.com/schema/ovf"
VMDK_FORMAT = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"
CHUNK = 1 << 20
_NICS = {"virtio-net": "virtio", "e1000": "E1000"}


@dataclass(frozen=True, slots=True)
class WrittenDisk:
    """An image for the package. name: of the member; size: its bytes; capacity: bytes that the guest sees; sha256:
    of the image; bus: as in vm.json."""

    name: str
    size: int
    capacity: int
    sha256: str
    bus: str


def envelope(document: Document, disks: Sequence[WrittenDisk]) -> str:
    """The OVF description of a vm.json whose disks are ``disks``."""
    for prefix, uri in (("", OVF), ("ovf", OVF), ("rasd", RASD), ("vssd", VSSD), ("vmw", VMW)):
        ET.register_namespace(prefix or "ovf", uri)
    root = ET.Element(f"{{{OVF}}}Envelope")
    references = _add(root, "References")
    for number, disk in enumerate(disks, 1):
        _add(references, "File", href=disk.name, id=f"file{number}", size=str(disk.size))
    section = _add(root, "DiskSection")
    _add(section, "Info", "List of the virtual disks")
    for number, disk in enumerate(disks, 1):
        _add(
            *(section, "Disk"),
            capacity=str(disk.capacity),
            diskId=f"vmdisk{number}",
            fileRef=f"file{number}",
            format=VMDK_FORMAT,
        )
    nics = [entry for entry in document.get("emulations", ()) if entry.get("device") in _NICS]
    networks = _add(root, "NetworkSection")
    _add(networks, "Info", "The networks of the virtual machine")
    for name in dict.fromkeys(_network(nic) for nic in nics):
        _add(_add(networks, "Network", name=name), "Description", f"The network {name}")
    _system(root, document, disks, nics)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _network(nic: Document) -> str:
    return str(nic.get("bridge") or "network")


def _add(parent: ET.Element, tag: str, text: str = "", /, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, f"{{{OVF}}}{tag}")
    for key, value in attributes.items():
        element.set(f"{{{OVF}}}{key}", value)
    if text:
        element.text = text
    return element


def _system(root: ET.Element, document: Document, disks: Sequence[WrittenDisk], nics: list[Document]) -> None:
    name = str(document.get("name", "vm"))
    system = _add(root, "VirtualSystem", id=name)
    _add(system, "Info", "A virtual machine")
    _add(system, "Name", name)
    kind = _add(system, "OperatingSystemSection", id="1")
    _add(kind, "Info", "The kind of guest is not known")
    hardware = _add(system, "VirtualHardwareSection")
    _add(hardware, "Info", "Virtual hardware requirements")
    about = _add(hardware, "System")
    for key, value in (
        *(("ElementName", "Virtual Hardware Family"), ("InstanceID", "0")),
        *(("VirtualSystemIdentifier", name), ("VirtualSystemType", "vmx-13")),
    ):
        ET.SubElement(about, f"{{{VSSD}}}{key}").text = value
    _Items(hardware).write(document, disks, nics)
    if "BHYVE_UEFI_CSM" not in str(document.get("bootrom", "")) and "loader" not in document:
        config = ET.SubElement(hardware, f"{{{VMW}}}Config")
        config.set(f"{{{OVF}}}required", "false")
        config.set(f"{{{VMW}}}key", "firmware")
        config.set(f"{{{VMW}}}value", "efi")


class _Items:
    """The rasd:Items of a VM, numbered in turn; the elements of each come in the order of their names."""

    def __init__(self, hardware: ET.Element) -> None:
        self.hardware = hardware
        self.number = 0

    def item(self, **values: object) -> int:
        self.number += 1
        element = _add(self.hardware, "Item")
        for key, value in sorted({**values, "InstanceID": self.number}.items()):
            ET.SubElement(element, f"{{{RASD}}}{key}").text = str(value)
        return self.number

    def write(self, document: Document, disks: Sequence[WrittenDisk], nics: list[Document]) -> None:
        cpu = document.get("cpu", 1)
        count = cpu if isinstance(cpu, int) else cpu["sockets"] * cpu["cores"] * cpu.get("threads", 1)
        memory = _mebibytes(document.get("mem", "1M"))
        self.item(
            AllocationUnits="hertz * 10^6",
            Description="Number of virtual CPUs",
            ElementName=f"{count} virtual CPU(s)",
            ResourceType=3,
            VirtualQuantity=count,
        )
        self.item(
            AllocationUnits="byte * 2^20",
            Description="Memory Size",
            ElementName=f"{memory}MB of memory",
            ResourceType=4,
            VirtualQuantity=memory,
        )
        controllers: dict[str, int] = {}
        for number, disk in enumerate(disks, 1):
            subtype = {"nvme": "vmware.nvme.controller", "virtio-blk": "VirtIO"}.get(disk.bus, "AHCI")
            if subtype not in controllers:
                name = {"AHCI": "SATA Controller", "VirtIO": "VirtIO Controller"}.get(
                    subtype, "NVMe Controller"
                )
                controllers[subtype] = self.item(
                    Address=len(controllers), ElementName=name, ResourceSubType=subtype, ResourceType=20
                )
            self.item(
                AddressOnParent=number - 1,
                ElementName=f"Hard Disk {number}",
                HostResource=f"ovf:/disk/vmdisk{number}",
                Parent=controllers[subtype],
                ResourceType=17,
            )
        for nic in nics:
            self.item(
                AutomaticAllocation="true",
                Connection=_network(nic),
                ElementName=f"Ethernet adapter on {_network(nic)}",
                ResourceSubType=_NICS[nic["device"]],
                ResourceType=10,
            )


def _mebibytes(text: str) -> int:
    units = {"K": 10, "M": 20, "G": 30, "T": 40}
    word = str(text).strip().upper()
    shift = units.get(word[-1:], 20 if word.isdigit() else 0)
    return max(1, int("".join(c for c in word if c.isdigit()) or 0) << shift >> 20)


def digest(file: IO[bytes], told: Callable[[int], None] | None = None) -> tuple[str, int]:
    """SHA-256 and length of a file's rest."""
    found, length = hashlib.sha256(), 0
    while piece := file.read(CHUNK):
        found.update(piece)
        length += len(piece)
        if told is not None:
            told(length)
    return found.hexdigest(), length


def write(
    out: IO[bytes],
    name: str,
    ovf: str,
    disks: Sequence[tuple[WrittenDisk, IO[bytes]]],
    told: Callable[[int], None] | None = None,
) -> None:
    """The archive: description, manifest, disks. Sizes from 8 GiB on are written as GNU tar does, which all read."""
    raw = ovf.encode()
    lines = [
        (f"{name}.ovf", hashlib.sha256(raw).hexdigest()),
        *((disk.name, disk.sha256) for disk, _ in disks),
    ]
    manifest = "".join(f"SHA256({file})= {hash_}\n" for file, hash_ in lines).encode()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for file, data in ((f"{name}.ovf", raw), (f"{name}.mf", manifest)):
            archive.addfile(_entry(file, len(data)), io.BytesIO(data))
        for disk, source in disks:
            archive.addfile(_entry(disk.name, disk.size), _Told(source, told))


def _entry(name: str, size: int) -> tarfile.TarInfo:
    """The same whoever writes it, and whenever."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, 0o644, 0
    return entry


class _Told:
    """A file that tells how much of it was read."""

    def __init__(self, file: IO[bytes], told: Callable[[int], None] | None) -> None:
        self._file, self._told, self._done = file, told, 0

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self._done += len(piece)
        if self._told is not None:
            self._told(self._done)
        return piece
