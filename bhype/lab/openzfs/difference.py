"""What a snapshot's bytes are, or how they differ from an earlier one's, as records; and putting them back."""

from __future__ import annotations

import os

from bhype.lab.openzfs import files
from bhype.lab.openzfs.stream import BLOCK, BadStream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Record = dict[str, Any]

NOTHING = bytes(BLOCK)


def records(new: str, old: str = "") -> Iterator[tuple[str, Record, bytes]]:
    """Kind, values and bytes of all that makes ``new`` out of ``old``, a folder or file, or out of nothing."""
    if os.path.isdir(new):
        yield from _folder(new, old, ".")
    else:
        yield from _content(new, old)


def _folder(new: str, old: str, path: str) -> Iterator[tuple[str, Record, bytes]]:
    here, there = f"{new}/{path}", f"{old}/{path}" if old else ""
    yield "dir", {"path": path, **_dress(here)}, b""
    present = sorted(os.listdir(here))
    if there and os.path.isdir(there) and not os.path.islink(there):
        for name in sorted(set(os.listdir(there)) - set(present)):
            yield "gone", {"path": f"{path}/{name}"}, b""
    for name in present:
        entry, before = f"{here}/{name}", f"{there}/{name}" if there else ""
        inner = f"{path}/{name}"
        if os.path.islink(entry):
            yield "link", {"path": inner, "target": os.readlink(entry)}, b""
        elif os.path.isdir(entry):
            yield from _folder(new, old, inner)
        elif os.path.isfile(entry):
            plain = before if os.path.isfile(before) and not os.path.islink(before) else ""
            yield "file", {"path": inner, "keeps": bool(plain), **_dress(entry)}, b""
            yield from _content(entry, plain)


def _dress(path: str) -> Record:
    status = os.stat(path)
    return {
        "mode": status.st_mode & 0o7777,
        "mtime": status.st_mtime_ns,
        "uid": status.st_uid,
        "gid": status.st_gid,
    }


def _content(new: str, old: str) -> Iterator[tuple[str, Record, bytes]]:
    with open(new, "rb", buffering=0) as file, open(old or os.devnull, "rb", buffering=0) as before:
        size = os.fstat(file.fileno()).st_size
        yield "size", {"size": size}, b""
        for place in _places(file.fileno(), before.fileno() if old else -1, size):
            block = os.pread(file.fileno(), min(BLOCK, size - place), place)
            was = os.pread(before.fileno(), len(block), place) if old else b""
            if block != was + NOTHING[len(was) : len(block)]:
                yield "data", {"at": place}, block


def _places(new: int, old: int, size: int) -> Iterator[int]:
    """The offsets of the blocks below ``size`` that hold data in either file, each once."""
    last = -1
    extents = files.extents(new, size)
    if old >= 0:
        extents = sorted(extents + files.extents(old, min(size, os.fstat(old).st_size)))
    for start, end in extents:
        for place in range(max(start // BLOCK * BLOCK, last + BLOCK if last >= 0 else 0), end, BLOCK):
            last = place
            yield place


class Draft:
    """Bytes that are being received at ``path``, a volume's file or a filesystem's folder. resumed: a part of them was
    received before and is kept."""

    def __init__(self, path: str, *, volume: bool, resumed: bool = False) -> None:
        self.path = path
        self.volume = volume
        self.resumed = resumed
        self.file = ""
        self.dressed: list[tuple[str, Record]] = []
        # How many blocks of data have come, and the offset of the last one.
        self.blocks = self.offset = 0

    def take(self, record: Record, data: bytes) -> None:
        """Do what one record says. Raises BadStream and OSError."""
        try:
            self._take(record["kind"], record, data)
        except (KeyError, TypeError, ValueError):
            raise BadStream("invalid backup stream") from None

    def _take(self, kind: str, record: Record, data: bytes) -> None:
        if kind in ("size", "data"):
            target = self.path if self.volume else self.file
            if not target or (self.volume and not os.path.isfile(self.path)):
                raise BadStream("invalid backup stream")
            with open(target, "r+b", buffering=0) as file:
                if kind == "size":
                    os.truncate(file.fileno(), int(record["size"]))
                else:
                    os.pwrite(file.fileno(), data, int(record["at"]))
                    self.blocks += 1
                    self.offset = int(record["at"])
            return
        if self.volume:
            raise BadStream("invalid backup stream")
        place = self._place(str(record["path"]))
        is_folder = os.path.isdir(place) and not os.path.islink(place)
        if kind == "gone" or (
            os.path.lexists(place) and not (is_folder and kind == "dir") and kind != "file"
        ):
            files.remove(place)
        if kind == "dir":
            os.makedirs(place, exist_ok=True)
            self.dressed.append((place, record))
        elif kind == "link":
            os.symlink(str(record["target"]), place)
        elif kind == "file":
            if not (record["keeps"] or self.resumed) or is_folder or os.path.islink(place):
                files.remove(place)
            os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600))
            self.file = place
            self.dressed.append((place, record))

    def _place(self, path: str) -> str:
        """Where an entry lies; none leads out of the folder."""
        words = path.split("/")
        if words[0] != "." or any(word in ("", ".", "..") for word in words[1:]):
            raise BadStream("invalid backup stream")
        place = os.path.normpath(f"{self.path}/{path}")
        if os.path.realpath(os.path.dirname(place)) != os.path.dirname(
            os.path.realpath(self.path) + path[1:]
        ):
            raise BadStream("invalid backup stream")
        return place

    def finish(self) -> None:
        """Give files and folders their modes and times, innermost first."""
        for place, record in reversed(self.dressed):
            if os.path.islink(place) or not os.path.exists(place):
                continue
            if os.geteuid() == 0:
                os.chown(place, record["uid"], record["gid"])
            os.chmod(place, record["mode"])
            os.utime(place, ns=(record["mtime"], record["mtime"]))


def differs(new: str, old: str, skip: frozenset[str]) -> bool:
    """Whether a live dataset's bytes at ``new``, without the folders ``skip``, are not the snapshot's at ``old``."""
    if os.path.isdir(new):
        return {key: _stamp(new, key) for key in _walk(new, skip)} != {
            key: _stamp(old, key) for key in _walk(old, frozenset())
        }
    if os.stat(new).st_size != os.stat(old).st_size:
        return True
    return any(kind == "data" for kind, _, _ in _content(new, old))


def _walk(top: str, skip: frozenset[str]) -> set[str]:
    found = set()
    waiting = [top]
    while waiting:
        for entry in os.scandir(waiting.pop()):
            if entry.path in skip:
                continue
            found.add(entry.path[len(top) + 1 :])
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
    return found


def _stamp(top: str, path: str) -> tuple[int, int, int]:
    status = os.lstat(f"{top}/{path}")
    kind = status.st_mode & 0o170000
    return (
        status.st_mode,
        0 if kind == 0o040000 else status.st_size,
        status.st_mtime_ns if kind == 0o100000 else 0,  # links have no time that could be set
    )
