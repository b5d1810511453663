"""qemu-img(1), from the port emulators/qemu-tools: what a disk image is, and converting it.

A disk image is somebody's file, so nothing is left for qemu-img to guess: `sniff` decides the format from the bytes,
refuses whatever names another file (a backing file, an external data file, the extents of a VMDK descriptor: qemu-img
would open them), and that format is then given. An image that came from outside is read as nobody (bhype.outside.disk);
what is written out is a disk taken as it is (-f raw), by root, within limits(1). Sources: docs/interop/qcow2.txt,
block/vmdk.c, block/vpc.c, block/vdi.c, block/vhdx.c and qapi/sockets.json of QEMU; qemu-img(1).
"""

from __future__ import annotations

import json
import re
import struct

from bhype.freebsd import names
from bhype.freebsd.command import Command, ParseError

PROGRAM = "/usr/local/bin/qemu-img"
LIMITS = "/usr/bin/limits"
# qcow2's tables of a disk of many TiB take some hundred MiB.
MEMORY = "2048m"
CONVERT_SECONDS, CONVERT_TIMEOUT = 12 * 3600, 24 * 3600.0
# What `sniff` looks at: the beginning with a VMDK's descriptor (sector 1, at most 20 KiB in what tools write), and
# the last sector, a VHD's footer.
HEAD, TAIL = 1 << 20, 512
EXPORTS = {"raw": "raw", "qcow2": "qcow2", "vmdk": "vmdk", "vhdx": "vhdx"}
STREAM_OPTIMIZED = "subformat=streamOptimized"
FORMATS = {"raw": "raw", "qcow2": "qcow2", "vmdk": "VMDK", "vhdx": "VHDX", "vpc": "VHD", "vdi": "VDI"}

_PROGRESS = re.compile(r"\((\d{1,3}\.\d\d)/100%\)")
_SAFE = re.compile(r"/[A-Za-z0-9_.@+= /-]*")


class BadImage(ValueError):
    """A disk image that bHype does not take. The message is a sentence for the person who brought it."""


def sniff(head: bytes, tail: bytes) -> str:
    """QEMU's name of an image's format, by its first HEAD and last TAIL bytes. Raises BadImage.

    What has no known beginning is a raw disk.
    """
    if head[:4] == b"QFI\xfb":
        return _qcow2(head)
    if head[:4] == b"KDMV":
        return _vmdk(head)
    if head[:21] == b"# Disk DescriptorFile" or head[:4] == b"COWD":
        raise BadImage(
            "A VMDK in several files cannot be taken. Make it one file: qemu-img convert -O vmdk IN.vmdk OUT.vmdk"
        )
    if head[:8] == b"vhdxfile":
        return "vhdx"
    if head[64:68] == b"\x7f\x10\xda\xbe":
        return "vdi"
    if head[:8] == b"conectix" or tail[:8] == b"conectix":
        footer = head if head[:8] == b"conectix" else tail
        if int.from_bytes(footer[60:64], "big") not in (2, 3):
            raise BadImage("It is a differencing VHD, which is nothing without its parent.")
        return "vpc"
    for magic, what in _FOREIGN.items():
        if head.startswith(magic):
            raise BadImage(f"It is {what}, not a disk image: unpack it first.")
    return "raw"


_FOREIGN = {
    b"\x1f\x8b": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ\0": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"PK\x03\x04": "a ZIP archive",
    b"7z\xbc\xaf": "a 7z archive",
}


def _qcow2(head: bytes) -> str:
    if len(head) < 72:
        raise BadImage("It is cut off: a qcow2 image has a longer header.")
    version, backing = struct.unpack_from(">IQ", head, 4)
    crypt = struct.unpack_from(">I", head, 32)[0]
    if version not in (2, 3):
        raise BadImage(f"It is a qcow image of version {version}; 2 and 3 are known.")
    if backing:
        raise BadImage(
            "It has a backing file, without which it is nothing: merge them with qemu-img convert first."
        )
    if crypt:
        raise BadImage("It is encrypted: decrypt it first.")
    if version == 3:
        if len(head) < 104:
            raise BadImage("It is cut off: a qcow2 image has a longer header.")
        features = struct.unpack_from(">Q", head, 72)[0]
        if features & 0b100:
            raise BadImage("It keeps its data in another file.")
        if features & 0b10:
            raise BadImage("It is marked as corrupt.")
    return "qcow2"


def _vmdk(head: bytes) -> str:
    """A VMDK that is one sparse file (VMware Virtual Disk Format 1.1, hosted sparse extent)."""
    if len(head) < 512:
        raise BadImage("It is cut off: a VMDK has a longer header.")
    capacity, descriptor, size = struct.unpack_from("<Q", head, 12) + struct.unpack_from("<QQ", head, 28)
    if not capacity:
        raise BadImage("It is a VMDK that describes other files.")
    # QEMU looks for a parent here, wherever the header says that the descriptor is.
    if b"parentFileNameHint" in head[512 : 512 + 20 * 512]:
        raise BadImage("It is a snapshot of another VMDK, without which it is nothing.")
    if descriptor:
        text = head[descriptor * 512 : (descriptor + size) * 512]
        if descriptor * 512 + size * 512 > HEAD or not text:
            raise BadImage("Its descriptor is not where tools write it.")
        words = text.rstrip(b"\0").decode("utf-8", "replace")
        if "parentFileNameHint" in words or not re.search(r"^parentCID\s*=\s*f{8}\s*$", words, re.M | re.I):
            raise BadImage("It is a snapshot of another VMDK, without which it is nothing.")
        extents = re.findall(r"^\s*(?:RW|RDONLY|NOACCESS)\s+\d+\s+(\S+)", words, re.M)
        if any(extent != "SPARSE" for extent in extents) or len(extents) != 1:
            raise BadImage("It is a VMDK in several files.")
    return "vmdk"


def info(kind: str, source: int) -> tuple[str, ...]:
    """The arguments that ask what the image at the other end of the inherited socket ``source`` is, which speaks NBD.
    ``kind`` comes from `sniff`."""
    return ("info", "--image-opts", "--output=json", _served(kind, source))


def read_info(text: str, kind: str) -> int:
    """The size of the disk in the image, in bytes. Raises BadImage, and ParseError."""
    try:
        found = json.loads(text)
        size, known = int(found["virtual-size"]), found["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise ParseError(f"not what qemu-img tells of an image: {text[:200]!r}") from error
    special = found.get("format-specific") or {}
    data = special.get("data") if isinstance(special, dict) else None
    if found.get("backing-filename") or found.get("full-backing-filename"):
        raise BadImage(
            "It has a backing file, without which it is nothing: merge them with qemu-img convert first."
        )
    if found.get("encrypted"):
        raise BadImage("It is encrypted: decrypt it first.")
    if isinstance(data, dict) and (data.get("data-file") or data.get("corrupt")):
        raise BadImage("It keeps its data in another file, or is corrupt.")
    if isinstance(data, dict) and len(data.get("extents") or [0]) != 1:
        raise BadImage("It is a VMDK in several files.")
    if known != kind:
        raise BadImage(f"It is {known}, not {kind}.")
    if size <= 0:
        raise BadImage("There is no disk in it.")
    return size


def convert_in(kind: str, source: int, target: int, *, is_zero: bool) -> tuple[str, ...]:
    """The arguments that write the image behind the socket ``source`` to the disk behind ``target``, which is large
    enough. is_zero: that disk reads as zeros.

    The disk has its size already, so it may be written in any order (-W), by several at once (-m). Zeros are left out
    from 64 KiB on (-S): shorter ones would part what is written into pieces smaller than a volume's blocks.
    """
    zero = ("--target-is-zero",) if is_zero else ()
    told = (
        "convert",
        "-p",
        "-n",
        "-W",
        "-m",
        "16",
        "-S",
        "64k",
        *zero,
        "--image-opts",
        "--target-image-opts",
    )
    return (*told, _served(kind, source), _served("raw", target))


def _served(kind: str, end: int) -> str:
    return f"driver={_kind(kind)},file.driver=nbd,file.server.type=fd,file.server.str={end}"


def convert_out(source: str, path: str, kind: str, *, stream_optimized: bool = False) -> Command:
    """Write the raw disk ``source`` to the new image ``path``; stream_optimized: a VMDK as in an OVA."""
    if kind not in EXPORTS:
        raise names.BadName(f"{kind!r} is not a format of disk images that bHype writes.")
    options = ("-o", STREAM_OPTIMIZED) if stream_optimized else ()
    words = (PROGRAM, "convert", "-p", "-f", "raw", "-O", kind, *options, _path(source), _path(path))
    limits = (LIMITS, "-c", "0k", "-v", MEMORY, "-t", f"{CONVERT_SECONDS}s")
    return Command((*limits, *words), timeout=CONVERT_TIMEOUT)


def progress(piece: str) -> float | None:
    """The last percentage in a piece of what ``qemu-img convert -p`` prints, None when there is none."""
    found = _PROGRESS.findall(piece)
    return min(100.0, float(found[-1])) if found else None


def _kind(kind: str) -> str:
    if kind not in FORMATS:
        raise names.BadName(f"{kind!r} is not a format of disk images that bHype reads.")
    return kind


def _path(path: str) -> str:
    """A path that QEMU takes literally: no protocol, no commas, no options."""
    if not _SAFE.fullmatch(path) or ".." in path.split("/") or len(path) > 1000:
        raise names.BadName(f"{path!r} is not an absolute path that qemu-img can take.")
    return path
