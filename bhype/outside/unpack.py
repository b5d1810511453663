"""Unpacks one file: xz, gzip, zstd, bzip2, or a ZIP archive with one file in it. What is not packed is told so.

The request: source, target (made anew), limit (bytes of what comes out), spare (bytes that stay free on the disk),
seconds. The answer: kind ("" when it is not packed: then there is no target), size, name (of the file in an archive).
zstd is the program of FreeBSD's base system (zstd(1)), as Python has none before 3.14; the others are Python's own.
"""

from __future__ import annotations

import bz2
import lzma
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, Protocol

from bhype.outside import cage
from bhype.outside.cage import Refused, Unable

BLOCK = 1 << 20
ROOM_STEP = 64 << 20
# xz -9 takes 65 MiB; zstd --ultra --long=31 takes 2 GiB and is refused.
LZMA_MEMORY = 512 << 20
MEMORY = 2 << 30
ZSTD = ("/usr/bin/zstd", "/usr/local/bin/zstd")
MAGIC = {
    b"\xfd7zXZ\0": "xz",
    b"\x1f\x8b": "gz",
    b"\x28\xb5\x2f\xfd": "zst",
    b"BZh": "bz2",
    b"PK\x03\x04": "zip",
}
LONGEST_MAGIC = max(len(magic) for magic in MAGIC)
_PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html)\b", re.IGNORECASE)
ZERO = bytes(1 << 16)
CUT = "It is cut off or broken."


class _Decoder(Protocol):
    """What lzma, bz2 and zlib have in common."""

    eof: bool
    unused_data: bytes

    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


def kind_of(head: bytes) -> str:
    """How a file with these first bytes is packed; "" when it is not."""
    return next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), "")


def main(request: Mapping[str, Any]) -> dict[str, Any]:
    source = os.open(request["source"], os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    head = os.pread(source, 256, 0)
    kind = kind_of(head)
    if _PAGE.match(head):
        raise Refused(
            "It is a web page, not a disk: the URL may be that of a page about the file, or want a sign-in."
        )
    if not kind:
        return {"kind": ""}
    target = os.open(
        request["target"], os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    limit = int(request["limit"])
    cage.enter(seconds=int(request["seconds"]), memory=MEMORY, size=limit + BLOCK)
    out = Sink(source, target, limit, int(request["spare"]))
    name = ""
    try:
        if kind == "zip":
            name = _zip(source, out)
        elif kind == "zst":
            _zstd(source, out)
        else:
            _stream(source, out, kind)
    except (lzma.LZMAError, zlib.error, zipfile.BadZipFile, EOFError, ValueError) as error:
        raise Refused(CUT) from error
    return {"kind": kind, "size": out.close(), "name": name}


class Sink:
    """Writes what comes out; blocks of zeros become holes."""

    def __init__(self, source: int, target: int, limit: int, spare: int) -> None:
        self._source, self._target = source, target
        self._limit, self._spare = limit, spare
        self._size = self._written = self._checked = 0
        self._packed = max(1, os.fstat(source).st_size)
        self._progress = cage.Progress()

    def write(self, block: bytes) -> None:
        if self._size + len(block) > self._limit:
            raise Refused(f"More comes out of it than the {self._limit} bytes that are allowed.")
        for start in range(0, len(block), len(ZERO)):
            self._put(memoryview(block)[start : start + len(ZERO)])
        self._progress.tell(read=self._read(), of=self._packed, size=self._size)

    def _put(self, piece: memoryview) -> None:
        if piece != memoryview(ZERO)[: len(piece)]:
            if self._written - self._checked >= ROOM_STEP or not self._written:
                self._check_room()
                self._checked = self._written
            self._written += len(piece)
            place = self._size
            rest = piece
            try:
                while rest:
                    count = os.pwrite(self._target, rest, place)
                    rest, place = rest[count:], place + count
            except OSError as error:
                raise Unable(f"It cannot be written: {error.strerror}.") from error
        self._size += len(piece)

    def _read(self) -> int:
        return min(self._packed, os.lseek(self._source, 0, os.SEEK_CUR))

    def _check_room(self) -> None:
        room = os.fstatvfs(self._target)
        if room.f_bavail * room.f_frsize < self._spare:
            raise Unable("The pool has not enough room for what comes out of it.")

    def close(self) -> int:
        os.ftruncate(self._target, self._size)
        os.fsync(self._target)
        return self._size


def _stream(source: int, out: Sink, kind: str) -> None:
    """One stream or several behind each other, as xz(1), gzip(1) and bzip2(1) take them."""
    make: dict[str, Callable[[], Any]] = {
        "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, LZMA_MEMORY),
        "gz": _Gzip,
        "bz2": bz2.BZ2Decompressor,
    }
    rest = b""
    while True:
        decoder: _Decoder = make[kind]()
        for block in _decode(decoder, source, rest):
            out.write(block)
        rest = decoder.unused_data.lstrip(b"\0") if kind == "xz" else decoder.unused_data
        while len(rest) < LONGEST_MAGIC and (more := os.read(source, BLOCK)):
            rest += more
            if kind == "xz":
                rest = rest.lstrip(b"\0")  # padding between streams
        if kind_of(rest) != kind:
            # gzip(1) takes no notice of what follows either.
            return


def _decode(decoder: _Decoder, source: int, first: bytes) -> Iterator[bytes]:
    """What one stream holds, in pieces of bounded size. Raises EOFError when it is cut off."""
    data = first or os.read(source, BLOCK)
    while True:
        try:
            block = decoder.decompress(data, BLOCK)
        except OSError as error:  # bz2's word for broken data
            raise EOFError from error
        if block:
            yield block
        if decoder.eof:
            return
        data = b""
        if getattr(decoder, "needs_input", not block):
            data = os.read(source, BLOCK)
            if not data:
                raise EOFError


class _Gzip:
    """zlib's decompressor with the manners of the other two."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    def decompress(self, data: bytes, most: int = 0, /) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, most)


def _zip(source: int, out: Sink) -> str:
    """The one file in the archive, or the one that is a disk by its name; its name."""
    with os.fdopen(os.dup(source), "rb") as file, zipfile.ZipFile(file) as archive:
        members = [one for one in archive.infolist() if _is_file(one)]
        disks = [one for one in members if one.filename.lower().endswith((".img", ".raw", ".qcow2", ".iso"))]
        chosen = members if len(members) == 1 else disks
        if len(chosen) != 1:
            raise Refused(f"The archive holds {len(members)} files; one disk image was expected.")
        if chosen[0].flag_bits & 1:
            raise Refused("The archive is encrypted.")
        try:
            with archive.open(chosen[0]) as member:
                _copy(member, out)
        except (NotImplementedError, RuntimeError) as error:
            raise Refused("The archive is packed in a way that is not known.") from error
        return chosen[0].filename.rpartition("/")[2][:255]


def _is_file(member: zipfile.ZipInfo) -> bool:
    mode = member.external_attr >> 16
    plain = not stat.S_IFMT(mode) or stat.S_ISREG(mode)
    return plain and not member.is_dir() and not member.filename.startswith("__MACOSX/")


def _copy(member: IO[bytes], out: Sink) -> None:
    while block := member.read(BLOCK):
        out.write(block)


def _zstd(source: int, out: Sink) -> None:
    program = next((place for place in ZSTD if os.access(place, os.X_OK)), "")
    if not program:
        raise Unable("zstd(1) is not on this host.")
    inner, outer = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    actions = [
        (os.POSIX_SPAWN_DUP2, source, 0),
        (os.POSIX_SPAWN_DUP2, outer, 1),
        (os.POSIX_SPAWN_DUP2, null, 2),
    ]
    words = [program, "--decompress", "--stdout", "--quiet", "--memory=512MB", "--no-progress"]
    child = os.posix_spawn(program, words, {"LC_ALL": "C"}, file_actions=actions)
    os.close(outer)
    os.close(null)
    try:
        while block := os.read(inner, BLOCK):
            out.write(block)
    finally:
        os.close(inner)  # it ends with a broken pipe when it is not done
        _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise EOFError
