"""Disk images: what they are, and what is in them written to a disk. Both run as nobody.

A raw image is copied here. For the others there is qemu-img, which opens nothing: it is given the image and the disk
as NBD on inherited sockets (`bhype.outside.nbd`), and their formats with them.

`examine`, the request: path (the image), seconds. The answer: kind (as `bhype.freebsd.qemu_img.sniff` names it), size
(bytes of the disk in it, whole sectors).

`write`, the request: path, kind and size as `examine` told, target (a volume's device or a file, at least that large),
is_zero (all of the target reads as zeros), seconds. The answer: size.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bhype.freebsd import qemu_img
from bhype.freebsd.command import ParseError
from bhype.outside import cage, nbd
from bhype.outside.cage import Refused, Unable

PROGRAMS = (qemu_img.PROGRAM, "/usr/bin/qemu-img")
# qcow2's tables of a disk of many TiB take some hundred MiB.
MEMORY = 2 << 30
BLOCK, SECTOR = 1 << 20, 512
ZERO = bytes(BLOCK)
_OPEN = os.O_NOFOLLOW | os.O_CLOEXEC


class Image:
    """A file that is read only."""

    is_read_only = True

    def __init__(self, file: int) -> None:
        self.file = file
        self.size = os.fstat(file).st_size

    def read(self, place: int, count: int) -> bytes:
        return nbd.read_fully(self.file, place, count)

    def write(self, place: int, data: bytes) -> None:
        raise OSError(errno.EPERM, "read only")

    def zero(self, place: int, count: int) -> None:
        raise OSError(errno.EPERM, "read only")


class Disk(Image):
    """What is written to. problem: why it could not be, if so."""

    is_read_only = False

    def __init__(self, file: int, size: int, *, is_zero: bool) -> None:
        self.file, self.size, self._is_zero = file, size, is_zero
        self.problem = ""

    def write(self, place: int, data: bytes | memoryview) -> None:
        rest = memoryview(data)
        try:
            while rest:
                count = os.pwrite(self.file, rest, place)
                rest, place = rest[count:], place + count
        except OSError as error:
            self.problem = error.strerror or "error"
            raise

    def zero(self, place: int, count: int) -> None:
        """Holes stay holes."""
        if self._is_zero:
            return
        end = place + count
        while place < end:
            step = min(BLOCK, end - place)
            if self.read(place, step) != ZERO[:step]:
                self.write(place, ZERO[:step])
            place += step


def examine(request: Mapping[str, Any]) -> dict[str, Any]:
    image = Image(os.open(request["path"], os.O_RDONLY | _OPEN))
    cage.enter(seconds=int(request["seconds"]), memory=MEMORY, size=0)
    try:
        if not image.size:
            raise qemu_img.BadImage("It is empty.")
        head = image.read(0, min(qemu_img.HEAD, image.size))
        kind = qemu_img.sniff(head, os.pread(image.file, qemu_img.TAIL, max(0, image.size - qemu_img.TAIL)))
        if kind == "raw":
            return {"kind": kind, "size": -(-image.size // SECTOR) * SECTOR}
        text = _run(lambda ends: qemu_img.info(kind, *ends), [image])
        return {"kind": kind, "size": qemu_img.read_info(text, kind)}
    except (qemu_img.BadImage, ParseError) as error:
        raise Refused(f"This disk image cannot be imported. {error}") from error


def write(request: Mapping[str, Any]) -> dict[str, Any]:
    image = Image(os.open(request["path"], os.O_RDONLY | _OPEN))
    size, is_zero = int(request["size"]), bool(request["is_zero"])
    disk = Disk(os.open(request["target"], os.O_RDWR | _OPEN), size, is_zero=is_zero)
    cage.enter(seconds=int(request["seconds"]), memory=MEMORY, size=size)
    progress = cage.Progress()
    try:
        if request["kind"] == "raw":
            _copy(image, disk, progress)
        else:

            def heard(piece: str) -> None:
                if (percent := qemu_img.progress(piece)) is not None:
                    progress.tell(percent=percent)

            kind = str(request["kind"])
            _run(lambda ends: qemu_img.convert_in(kind, *ends, is_zero=is_zero), [image, disk], heard)
        os.fsync(disk.file)
    except OSError as error:
        raise Unable(f"It cannot be written: {error.strerror}.") from error
    except Refused as refused:
        if disk.problem:
            raise Unable(f"It cannot be written: {disk.problem}.") from refused
        raise
    return {"size": size}


def _copy(image: Image, disk: Disk, progress: cage.Progress) -> None:
    place = 0
    for start, end in _extents(image.file, image.size):
        disk.zero(place, start - place)
        for place in range(start, end, BLOCK):
            block = image.read(place, min(BLOCK, end - place))
            if block == ZERO[: len(block)]:
                disk.zero(place, len(block))
            else:
                disk.write(place, block.ljust(-(-len(block) // SECTOR) * SECTOR, b"\0"))
            progress.tell(percent=100 * place / image.size)
        place = -(-end // SECTOR) * SECTOR if end == image.size else end
    disk.zero(place, disk.size - place)


def _extents(file: int, size: int) -> Iterator[tuple[int, int]]:
    """The parts of a sparse file that hold data, each from the beginning of a sector on."""
    end = 0
    while end < size:
        try:
            start = os.lseek(file, end, os.SEEK_DATA) // SECTOR * SECTOR
            end = min(size, -(-os.lseek(file, max(start, end), os.SEEK_HOLE) // SECTOR) * SECTOR)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            start, end = end, size  # this file system does not tell
        yield start, end


Words = Callable[[list[int]], Sequence[str]]


def _run(words: Words, served: Sequence[Image], heard: Callable[[str], None] | None = None) -> str:
    """What qemu-img prints, given the ends of sockets behind which the images are. Raises Refused when it fails."""
    program = next((place for place in PROGRAMS if os.access(place, os.X_OK)), "")
    if not program:
        raise Unable("qemu-img is not on this host: pkg install qemu-tools.")
    pairs = [nbd.pair() for _ in served]
    ends = [there.detach() for _, there in pairs]
    inner, outer = os.pipe()
    null = os.open(os.devnull, os.O_RDONLY)
    try:
        for end in ends:
            os.set_inheritable(end, True)  # noqa: FBT003 - it takes no keyword
        actions = [(os.POSIX_SPAWN_DUP2, null, 0)] + [(os.POSIX_SPAWN_DUP2, outer, to) for to in (1, 2)]
        argv = [program, *words(ends)]
        child = os.posix_spawn(program, argv, {"LC_ALL": "C", "HOME": "/"}, file_actions=actions)
    finally:
        for descriptor in (*ends, outer, null):
            os.close(descriptor)
    servers = [
        threading.Thread(target=nbd.serve, args=(here, image), daemon=True)
        for (here, _), image in zip(pairs, served, strict=True)
    ]
    for server in servers:
        server.start()
    said = ""
    while block := os.read(inner, 1 << 16):
        said = (said + block.decode("utf-8", "replace"))[-(1 << 20) :]
        if heard:
            heard(said[-200:])
    os.close(inner)
    _, status = os.waitpid(child, 0)
    for server in servers:
        server.join()
    code = os.waitstatus_to_exitcode(status)
    if code:
        raise Refused(_why(said, code))
    return said


def _why(said: str, code: int) -> str:
    lines = [line.strip() for line in said.replace("\r", "\n").split("\n") if line.startswith("qemu-img: ")]
    return (
        f"qemu-img cannot read it: {lines[-1][10:][:200]}" if lines else f"qemu-img has ended: status {code}."
    )
