"""OVA packages: a tar archive with an OVF description, disk images and a manifest (DMTF DSP0243). Pure: works on
opened files, knows no rows and no host.

Names of elements are matched without their namespace: VirtualBox writes OVF 1.0, VMware 1.1, others 2.0, each with
its own. Nothing of the archive is unpacked by name: a member is a range of bytes in it.
"""

from __future__ import annotations

import hashlib
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any
from urllib.parse import unquote

from bhype.foreign import markup
from bhype.foreign.imported import Unreadable, usable_name

Document = dict[str, Any]
BLOCK = 512
MEMBERS_MAX = 128
# With what stands before them: other headers of the archive.
HEADERS_MAX = 4 * MEMBERS_MAX
DISKS_MAX = 32
OVF_MAX = 1 << 20
SIZE_MAX = 64 << 40
CHUNK = 1 << 20
NAME_MAX = 120
_DIGITS = {"SHA1": 40, "SHA256": 64, "SHA512": 128}
_HASH = re.compile(
    r"(SHA1|SHA256|SHA512)\s*\(([^()\r\n]+(?:\([^()\r\n]*\)[^()\r\n]*)*)\)\s*=\s*([0-9A-Fa-f]+)"
)
_UNITS = {
    "kilobytes": 1 << 10,
    "megabytes": 1 << 20,
    "gigabytes": 1 << 30,
    "kb": 1 << 10,
    "mb": 1 << 20,
    "gb": 1 << 30,
}
CSM = "/usr/local/share/uefi-firmware/BHYVE_UEFI_CSM.fd"
# rasd:ResourceType (DMTF CIM_ResourceAllocationSettingData)
_CPU, _MEMORY, _IDE, _SCSI, _NIC, _CD, _DVD, _DISK, _SATA = "3", "4", "5", "6", "10", "15", "16", "17", "20"


class BadOva(ValueError):
    """The archive is no OVA that bHype takes. The message is a sentence for the person who brought it."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file in the archive: its name, and where its bytes lie."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class OvaDisk:
    """A disk of the VM. member: its image; size: bytes that the guest sees; bus: ahci-hd, nvme or virtio-blk."""

    member: Member
    size: int
    bus: str


@dataclass(frozen=True, slots=True)
class OvaNic:
    """model: virtio-net or e1000; network: what the package calls its network; mac: "" for any."""

    model: str
    network: str
    mac: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a package describes. memory: bytes; firmware: "uefi" or "csm"; cds: how many CD drives; hashes: by member
    what the manifest says ("sha256", hex); notes: sentences on what was left out."""

    name: str
    cpus: int
    cores: int
    memory: int
    firmware: str
    disks: tuple[OvaDisk, ...] = ()
    nics: tuple[OvaNic, ...] = ()
    cds: int = 0
    hashes: dict[str, tuple[str, str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def document(self, disk_paths: Sequence[str], bridge: str) -> Document:
        """The machine as vm.json, its disks at ``disk_paths`` and its ports on the switch ``bridge`` ("": left out)."""
        emulations: list[Document] = [{"device": "ahci-cd"} for _ in range(self.cds)]
        emulations += [
            {"device": disk.bus, "path": path} for disk, path in zip(self.disks, disk_paths, strict=True)
        ]
        for nic in self.nics if bridge else ():
            entry: Document = {"device": nic.model, "type": "tap", "bridge": bridge}
            emulations.append({**entry, "mac": nic.mac} if nic.mac else entry)
        sockets = self.cpus // self.cores
        document: Document = {
            "cpu": {"sockets": sockets, "cores": self.cores, "threads": 1},
            "mem": f"{max(1, self.memory >> 20)}M",
            "graphic": {},
            "emulations": emulations,
        }
        if self.firmware == "csm":
            document["bootrom"] = CSM
        return document


# -- the archive ---------------------------------------------------------------------------------------------


def members(file: IO[bytes], size: int) -> list[Member]:
    """The files of a tar archive of ``size`` bytes. Raises BadOva for all that is not a plain file in its top folder:
    links, devices, folders, sparse files, names with a path, names that come twice."""
    found: dict[str, Member] = {}
    place = 0
    longer: dict[str, str] = {}
    headers = 0
    while place + BLOCK <= size:
        file.seek(place)
        header = file.read(BLOCK)
        if len(header) < BLOCK:
            raise BadOva("The archive is cut off.")
        if not header.strip(b"\0"):
            break
        headers += 1
        if headers > HEADERS_MAX:
            raise BadOva(f"The archive has more than {HEADERS_MAX} headers.")
        _check_sum(header)
        length = int(longer.pop("size", "") or _number(header[124:136]))
        kind, place = header[156:157], place + BLOCK
        if length < 0 or place + length > size:
            raise BadOva("The archive is cut off, or not a tar archive.")
        if kind == b"x":
            longer = _extended(file, length)
        elif kind in (b"0", b"\0"):
            name = longer.pop("path", "") or _tar_name(header)
            longer = {}
            _check_name(name, found)
            found[name] = Member(name, place, length)
            if len(found) > MEMBERS_MAX:
                raise BadOva(f"The archive holds more than {MEMBERS_MAX} files.")
        elif kind == b"g":
            _extended(file, length)
        else:
            what = {b"1": "a link", b"2": "a link", b"5": "a folder", b"L": "a very long name"}
            raise BadOva(f"The archive holds {what.get(kind, 'something that is no plain file')}.")
        place += -(-length // BLOCK) * BLOCK
    if not found:
        raise BadOva("The archive is empty, or not a tar archive.")
    return list(found.values())


def _check_sum(header: bytes) -> None:
    wanted = header[148:156].strip(b" \0")
    total = sum(header[:148]) + sum(header[156:]) + 8 * 0x20
    if not re.fullmatch(rb"[0-7]{1,8}", wanted) or int(wanted, 8) != total:
        raise BadOva("It is not a tar archive.")


def _number(raw: bytes) -> int:
    if raw[:1] == b"\x80":  # GNU's base 256, for files from 8 GiB on
        return int.from_bytes(raw[1:], "big")
    text = raw.strip(b" \0")
    if not re.fullmatch(rb"[0-7]{1,12}", text):
        raise BadOva("The size of a file in the archive cannot be read.")
    return int(text, 8)


def _tar_name(header: bytes) -> str:
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return (prefix + b"/" + name if prefix else name).decode("utf-8", "replace")


def _extended(file: IO[bytes], length: int) -> dict[str, str]:
    """size and path of a pax header (POSIX.1-2001); sparse files are refused."""
    if length > 1 << 16:
        raise BadOva("The archive has a header that is far too long.")
    found = {}
    rest = file.read(length)
    while rest:
        number, space, _ = rest.partition(b" ")
        if not space or not re.fullmatch(rb"[1-9][0-9]{0,5}", number) or int(number) > len(rest):
            raise BadOva("The archive has a header that cannot be read.")
        record, rest = rest[len(number) + 1 : int(number)], rest[int(number) :]
        key, equals, value = record.rstrip(b"\n").partition(b"=")
        if not equals or b"sparse" in key:
            raise BadOva("The archive has a header that cannot be read, or a sparse file.")
        if key == b"size" and not re.fullmatch(rb"[0-9]{1,18}", value):
            raise BadOva("The size of a file in the archive cannot be read.")
        if key in (b"size", b"path"):
            found[key.decode()] = value.decode("utf-8", "replace")
    return found


def _check_name(name: str, found: dict[str, Member]) -> None:
    # In any language: nothing on the host is ever called so.
    if not (0 < len(name) <= NAME_MAX and name.isprintable() and name[0] not in ".-") or (
        ".." in name or set(name) & {"/", "\\"}
    ):
        raise BadOva(f"The archive holds {name[:80]!r}: only plain names are taken.")
    if name.lower() in {known.lower() for known in found}:
        raise BadOva(f"The archive holds {name!r} twice.")


def content(file: IO[bytes], member: Member) -> Iterator[bytes]:
    """The bytes of a member, in pieces. Raises BadOva where the archive ends early."""
    file.seek(member.offset)
    left = member.size
    while left:
        piece = file.read(min(CHUNK, left))
        if not piece:
            raise BadOva("The archive is cut off.")
        left -= len(piece)
        yield piece


def extract(
    file: IO[bytes],
    machine: Machine,
    member: Member,
    out: IO[bytes] | None,
    told: Callable[[int], None] | None = None,
) -> None:
    """Write a member's bytes to ``out``, checking its hash. ``told`` hears the count of bytes."""
    kind, wanted = machine.hashes.get(member.name, ("sha256", ""))
    digest = hashlib.new(kind, usedforsecurity=False)
    done = 0
    for piece in content(file, member):
        digest.update(piece)
        if out is not None:
            out.write(piece)
        done += len(piece)
        if told is not None:
            told(done)
    if wanted and digest.hexdigest() != wanted:
        raise BadOva(f"{member.name} is damaged: its {kind.upper()} is not that of the manifest.")


# -- reading the description ---------------------------------------------------------------------------------


def read(file: IO[bytes], size: int) -> Machine:
    """The VM that the package describes; the description itself is checked against the manifest, a disk when it is
    extracted. Raises BadOva."""
    found = members(file, size)
    by_name = {member.name: member for member in found}
    described = [member for member in found if member.name.lower().endswith(".ovf")]
    if len(described) != 1:
        raise BadOva(
            "An OVA holds one .ovf file; this archive holds "
            + (f"{len(described)}." if described else "none.")
        )
    ovf = described[0]
    if ovf.size > OVF_MAX:
        raise BadOva("Its description is larger than 1 MiB; no description of a VM is.")
    raw = b"".join(content(file, ovf))
    hashes = _manifest(file, ovf, by_name)
    kind, wanted = hashes.get(ovf.name, ("sha256", ""))
    if wanted and hashlib.new(kind, raw, usedforsecurity=False).hexdigest() != wanted:
        raise BadOva(f"{ovf.name} is damaged: its {kind.upper()} is not that of the manifest.")
    try:
        root = markup.parse(_text(raw))
    except Unreadable as error:
        raise BadOva(str(error)) from error
    return _Reader(root, by_name, hashes).machine()


def _text(raw: bytes) -> str:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadOva("Its description is not UTF-8 text.") from None
    return re.sub(r"^\s*<\?xml[^>]*\?>", "", text)


def _manifest(file: IO[bytes], ovf: Member, found: dict[str, Member]) -> dict[str, tuple[str, str]]:
    manifest = found.get(ovf.name[: -len(".ovf")] + ".mf")
    if manifest is None:
        return {}
    if manifest.size > OVF_MAX:
        raise BadOva("Its manifest is larger than 1 MiB.")
    text = b"".join(content(file, manifest)).decode("utf-8", "replace")
    hashes: dict[str, tuple[str, str]] = {}
    for line in filter(None, (line.strip() for line in text.splitlines())):
        match = _HASH.fullmatch(line)
        if match is None or len(match[3]) != _DIGITS[match[1]]:
            raise BadOva(f"Its manifest has a line that cannot be read: {line[:80]!r}.")
        if match[2] in hashes:
            raise BadOva(f"Its manifest names {match[2][:80]!r} twice.")
        hashes[match[2]] = (match[1].lower(), match[3].lower())
    if ovf.name not in hashes:
        raise BadOva("Its manifest says nothing of its description.")
    return hashes


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _all(element: ET.Element, *names: str) -> list[ET.Element]:
    return [child for child in element if _local(child.tag) in names]


def _one(element: ET.Element, name: str) -> ET.Element | None:
    return next(iter(_all(element, name)), None)


def _attribute(element: ET.Element, name: str) -> str:
    return next((value for key, value in element.attrib.items() if _local(key) == name), "").strip()


def _word(item: ET.Element, name: str) -> str:
    found = _one(item, name)
    return (found.text or "").strip() if found is not None else ""


def _count(text: str, what: str, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,19}", text) or not 0 < int(text) <= most:
        raise BadOva(f"Its description says {text[:40]!r} for {what}.")
    return int(text)


def _factor(text: str) -> int:
    """Bytes of "byte * 2^20", "MegaBytes" or "" (bytes)."""
    plain = " ".join(text.lower().split())
    power = re.fullmatch(r"bytes?(?: ?\* ?2 ?\^ ?([0-9]{1,2}))?", plain)
    if power:
        return int(1 << int(power[1] or 0))
    if plain in _UNITS or not plain:
        return _UNITS.get(plain, 1)
    raise BadOva(f"Its description counts in {text[:40]!r}, which is not known.")


class _Reader:
    """Reads one OVF envelope."""

    def __init__(
        self, root: ET.Element, found: dict[str, Member], hashes: dict[str, tuple[str, str]]
    ) -> None:
        self.root, self.members, self.hashes = root, found, hashes
        self.notes: list[str] = []
        if _local(root.tag) != "Envelope":
            raise BadOva("Its description is not an OVF envelope.")
        if _one(root, "VirtualSystemCollection") is not None or len(_all(root, "VirtualSystem")) > 1:
            raise BadOva("It holds several VMs; packages with one are taken.")
        system = _one(root, "VirtualSystem")
        if system is None:
            raise BadOva("It describes no VM.")
        self.system = system
        hardware = _one(system, "VirtualHardwareSection")
        if hardware is None:
            raise BadOva("It says nothing of the VM's hardware.")
        self.hardware = hardware
        self.items = _all(hardware, "Item", "StorageItem", "EthernetPortItem")
        self.controllers = {
            _word(item, "InstanceID"): (_word(item, "ResourceType"), _word(item, "ResourceSubType").lower())
            for item in self.items
            if _word(item, "ResourceType") in {_IDE, _SCSI, _SATA}
        }

    def machine(self) -> Machine:
        cpus = cores = 1
        memory = 0
        nics = []
        disks = []
        cds = 0
        for item in self.items:
            kind = _word(item, "ResourceType")
            if kind == _CPU:
                cpus = _count(_word(item, "VirtualQuantity"), "its CPUs", 1024)
                per_socket = _word(item, "CoresPerSocket")
                cores = _count(per_socket, "its cores", 1024) if per_socket else 1
            elif kind == _MEMORY:
                unit = _factor(_word(item, "AllocationUnits") or "byte * 2^20")
                memory = _count(_word(item, "VirtualQuantity"), "its memory", 1 << 50) * unit
            elif kind == _NIC:
                nics.append(self._nic(item))
            elif kind in {_CD, _DVD}:
                cds += 1
            elif kind == _DISK:
                disks.append(self._disk(item))
                # Each is unpacked, however often a small archive names one.
                if len({disk.member for disk in disks}) < len(disks) or len(disks) > DISKS_MAX:
                    raise BadOva(f"It names a disk twice, or has more than {DISKS_MAX}.")
            elif kind not in {_IDE, _SCSI, _SATA}:
                self._left_out(item)
        if not memory:
            raise BadOva("Its description does not say how much memory it has.")
        if cpus % cores:
            cores = 1
        return Machine(
            name=self._name(),
            cpus=cpus,
            cores=cores if cores > 1 else cpus,
            memory=memory,
            firmware=self._firmware(),
            disks=tuple(disks),
            nics=tuple(nics),
            cds=min(cds, 4),
            hashes=self.hashes,
            notes=tuple(self.notes),
        )

    def _name(self) -> str:
        return usable_name(_word(self.system, "Name") or _attribute(self.system, "id"))

    def _left_out(self, item: ET.Element) -> None:
        name = _word(item, "ElementName") or f"resource type {_word(item, 'ResourceType')}"
        note = f"Left out: {' '.join(name.split())[:80]}."
        if note not in self.notes:
            self.notes.append(note)

    def _firmware(self) -> str:
        """VMware tells it in a Config element, VirtualBox in its own Machine; without either it is a BIOS."""
        for element in self.root.iter():
            name = _local(element.tag)
            if name == "Config" and _attribute(element, "key") == "firmware":
                return "uefi" if _attribute(element, "value").lower() == "efi" else "csm"
            if name == "Firmware" and _attribute(element, "type"):
                return "uefi" if _attribute(element, "type").upper().startswith("EFI") else "csm"
        return "csm"

    def _nic(self, item: ET.Element) -> OvaNic:
        kind = _word(item, "ResourceSubType").lower()
        model = "virtio-net" if kind.startswith(("virtio", "vmxnet")) else "e1000"
        return OvaNic(model, _word(item, "Connection")[:80], _mac(_word(item, "Address")))

    def _disk(self, item: ET.Element) -> OvaDisk:
        resource = _word(item, "HostResource")
        key = resource.rpartition("/")[2]
        section = _one(self.root, "DiskSection")
        rows = _all(section, "Disk") if section is not None else []
        row = next((each for each in rows if _attribute(each, "diskId") == key), None)
        if row is None:
            raise BadOva(f"Its description names a disk {resource[:80]!r} that it does not describe.")
        if _attribute(row, "parentRef"):
            raise BadOva("One of its disks is a difference to another one.")
        references = _one(self.root, "References")
        files = _all(references, "File") if references is not None else []
        wanted = _attribute(row, "fileRef")
        file = next((each for each in files if _attribute(each, "id") == wanted), None)
        if not wanted or file is None:
            raise BadOva("One of its disks is empty: there is no file for it.")
        if _attribute(file, "compression") not in {"", "identity"} or _attribute(file, "chunkSize"):
            raise BadOva("Its disks are compressed or cut into chunks: unpack them first.")
        name = _attribute(file, "href")
        if name not in self.members:
            # A reference is a URL; not all tools write it as one.
            name = unquote(name)
        if name not in self.members:
            raise BadOva(f"Its disk {name[:80]!r} is not in the archive.")
        if self.hashes and name not in self.hashes:
            raise BadOva(f"Its manifest says nothing of {name}.")
        unit = _factor(_attribute(row, "capacityAllocationUnits"))
        size = _count(_attribute(row, "capacity"), "the size of a disk", SIZE_MAX) * unit
        if size > SIZE_MAX:
            raise BadOva("One of its disks is larger than bHype's can be.")
        return OvaDisk(self.members[name], size, self._bus(_word(item, "Parent")))

    def _bus(self, parent: str) -> str:
        kind, subtype = self.controllers.get(parent, (_SATA, ""))
        if "nvme" in subtype:
            return "nvme"
        if "virtio" in subtype:
            return "virtio-blk"
        if kind == _SCSI:
            note = "Its disks were on a SCSI controller, which bhyve has not; they are on AHCI now."
            if note not in self.notes:
                self.notes.append(note)
        return "ahci-hd"


def _mac(text: str) -> str:
    """The address with colons; "" for none, and for what is none."""
    plain = re.sub(r"[:-]", "", text.lower())
    if not re.fullmatch(r"[0-9a-f]{12}", plain) or int(plain[:2], 16) & 1 or not int(plain, 16):
        return ""
    return ":".join(plain[i : i + 2] for i in range(0, 12, 2))
