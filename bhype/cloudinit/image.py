"""A small ISO 9660 image with Rock Ridge and Joliet names, for the few files of a seed.

The same files give the same bytes: nothing in the image tells when or where it was made. Sources: ECMA-119 for the
volume, the Rock Ridge Interchange Protocol 1.10 with SUSP 1.10 for names as they are, the Joliet specification for
Windows. A host needs no tool for it: FreeBSD's makefs(8) writes the label in capitals, where nuageinit does not find
it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

SECTOR = 2048
# After the system area: both volume descriptors and their end; the path table of each tree, little and big endian;
# what has no room in the first record of the root folder; and the root folders.
_PRIMARY, _JOLIET, _END = 16, 17, 18
_PATH_TABLES, _CONTINUED, _FOLDERS = 19, 23, 24
NAME_MAX = 64
# 1 January 2000: of a file that has no time, some readers make strange ones.
_WHEN = bytes((100, 1, 1, 0, 0, 0, 0))
_WHEN_TEXT = b"2000010100000000\0"
_NEVER_TEXT = b"0000000000000000\0"
_EXTENSION = (
    b"RRIP_1991A",
    b"THE ROCK RIDGE INTERCHANGE PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS",
    b"PLEASE CONTACT DISC PUBLISHER FOR SPECIFICATION SOURCE.  SEE PUBLISHER IDENTIFIER IN PRIMARY VOLUME DESCRIPTOR "
    b"FOR CONTACT INFORMATION.",
)
# In the guest, only root reads it.
_FOLDER_MODE, _FILE_MODE = 0o040500, 0o100400


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    short: str
    data: bytes
    sector: int


def iso(files: Mapping[str, bytes], label: str) -> bytes:
    """The image. files: by name, all in the root folder; label: as it is found again, 1 to 16 characters.

    Raises ValueError for names that are no plain file names."""
    if not 1 <= len(label) <= 16 or not label.isascii() or not label.isprintable():
        raise ValueError(f"{label!r} is not a label of 1 to 16 characters.")
    if not all(_is_name(name) for name in files):
        raise ValueError(f"A file's name has 1 to {NAME_MAX} letters, digits, and . _ -")
    folders = _folder_sectors(files)
    placed = _place(files, _FOLDERS + folders[0] + folders[1])
    size = max([_FOLDERS + sum(folders), *(each.sector + _sectors(len(each.data)) for each in placed)])
    roots = (_FOLDERS, _FOLDERS + folders[0])
    blocks = {
        _PRIMARY: _descriptor(label, size, roots[0], folders[0], _PATH_TABLES, joliet=False),
        _JOLIET: _descriptor(label, size, roots[1], folders[1], _PATH_TABLES + 2, joliet=True),
        _END: b"\xffCD001\x01",
        _CONTINUED: _extension(),
        roots[0]: _folder(placed, roots[0], folders[0], joliet=False),
        roots[1]: _folder(placed, roots[1], folders[1], joliet=True),
        **{each.sector: each.data for each in placed if each.data},
    }
    for number, root in enumerate(roots):
        blocks[_PATH_TABLES + 2 * number] = struct.pack("<BBIH", 1, 0, root, 1) + b"\0\0"
        blocks[_PATH_TABLES + 2 * number + 1] = struct.pack(">BBIH", 1, 0, root, 1) + b"\0\0"
    image = bytearray(size * SECTOR)
    for sector, block in blocks.items():
        image[sector * SECTOR : sector * SECTOR + len(block)] = block
    return bytes(image)


def _is_name(name: str) -> bool:
    plain = name.isascii() and all(char.isalnum() or char in "._-" for char in name)
    return plain and 1 <= len(name) <= NAME_MAX and name not in {".", ".."}


def _sectors(length: int) -> int:
    return -(-length // SECTOR)


def _place(files: Mapping[str, bytes], first: int) -> list[_File]:
    """In the order of their short names, as ECMA-119 wants the records of a folder; an empty file has no sector."""
    placed = []
    for short, name in _short_names(files):
        placed.append(_File(name, short, files[name], first if files[name] else 0))
        first += _sectors(len(files[name]))
    return placed


def _short_names(files: Mapping[str, bytes]) -> list[tuple[str, str]]:
    """For readers that know no other names: capitals, 8.3, told apart by a number."""
    found: dict[str, str] = {}
    for name in sorted(files):
        stem, _, ending = name.upper().replace("-", "_").partition(".")
        stem, ending = stem.replace(".", "_"), ending.replace(".", "_")[:3]
        number = 0
        while (short := f"{stem[: 8 - len(str(number or ''))]}{number or ''}.{ending};1") in found:
            number += 1
        found[short] = name
    return sorted(found.items())


def _both(value: int, size: str = "I") -> bytes:
    """A number as ECMA-119 has it, little endian and big endian behind each other."""
    return struct.pack(f"<{size}", value) + struct.pack(f">{size}", value)


def _descriptor(label: str, size: int, root: int, folder: int, tables: int, *, joliet: bool) -> bytes:
    """A volume descriptor, ECMA-119 8.4 and 8.5; Joliet's has UCS-2 level 3 as its character set."""

    def text(value: str, length: int) -> bytes:
        if joliet:
            raw = value.encode("utf-16-be")
            return (raw + b"\0 " * (length // 2))[: length // 2 * 2].ljust(length, b"\0")
        return value.encode().ljust(length)

    return b"".join(
        (
            b"\x02" if joliet else b"\x01", b"CD001\x01\x00",
            text("", 32), text(label, 32), bytes(8), _both(size),
            b"%/E".ljust(32, b"\0") if joliet else bytes(32),
            _both(1, "H"), _both(1, "H"), _both(SECTOR, "H"), _both(10),
            struct.pack("<II", tables, 0), struct.pack(">II", tables + 1, 0),
            _record(b"\0", root, folder * SECTOR, b"", is_folder=True),
            text("", 128), text("", 128), text("", 128), text("", 128),
            text("", 37), text("", 37), text("", 37),
            _WHEN_TEXT, _WHEN_TEXT, _NEVER_TEXT, _NEVER_TEXT, b"\x01\x00",
        )
    )  # fmt: skip


def _record(
    identifier: bytes, sector: int, length: int, system_use: bytes, *, is_folder: bool = False
) -> bytes:
    """A directory record, ECMA-119 9.1; ``system_use`` begins at an even place."""
    padding = b"" if len(identifier) % 2 else b"\0"
    body = b"".join(
        (
            b"\0", _both(sector), _both(length), _WHEN, b"\x02" if is_folder else b"\x00", b"\0\0", _both(1, "H"),
            bytes((len(identifier),)), identifier, padding, system_use,
        )
    )  # fmt: skip
    if (len(body) + 1) % 2:
        body += b"\0"
    return bytes((len(body) + 1,)) + body


def _folder(placed: list[_File], root: int, sectors: int, *, joliet: bool) -> bytes:
    """The root folder: itself, its parent (which is itself), and the files. No record crosses a sector's end."""
    return b"".join(_filled(_records(placed, root, sectors, joliet=joliet)))


def _records(placed: list[_File], root: int, sectors: int, *, joliet: bool) -> list[bytes]:
    own = above = b""
    if not joliet:
        above = _posix(_FOLDER_MODE, 2)
        # The first record says that System Use fields are there, and where the rest of them is.
        rest = _both(_CONTINUED) + _both(0) + _both(len(_extension()))
        own = _field(b"SP", b"\xbe\xef\0") + above + _field(b"CE", rest)
    found = [
        _record(b"\0", root, sectors * SECTOR, own, is_folder=True),
        _record(b"\x01", root, sectors * SECTOR, above, is_folder=True),
    ]
    for each in sorted(placed, key=lambda file: file.name) if joliet else placed:
        identifier = each.name.encode("utf-16-be") if joliet else each.short.encode()
        names = b"" if joliet else _posix(_FILE_MODE, 1) + _field(b"NM", b"\0" + each.name.encode())
        found.append(_record(identifier, each.sector, len(each.data), names))
    return found


def _field(signature: bytes, data: bytes) -> bytes:
    """A System Use field: signature, length, version."""
    return signature + bytes((4 + len(data), 1)) + data


def _posix(mode: int, links: int) -> bytes:
    """Mode, links, and root as owner and group."""
    return _field(b"PX", _both(mode) + _both(links) + _both(0) + _both(0))


def _extension() -> bytes:
    """Says that the fields are those of Rock Ridge."""
    return _field(b"ER", bytes((*map(len, _EXTENSION), 1)) + b"".join(_EXTENSION))


def _filled(records: list[bytes]) -> list[bytes]:
    """The records in sectors, each filled up with zeros where the next does not fit."""
    found, used = [], 0
    for record in records:
        if used + len(record) > SECTOR:
            found.append(bytes(SECTOR - used))
            used = 0
        found.append(record)
        used += len(record)
    return found


def _folder_sectors(files: Mapping[str, bytes]) -> tuple[int, int]:
    """Of both root folders."""
    placed = _place(files, 0)
    plain, joliet = (
        _sectors(len(b"".join(_filled(_records(placed, 0, 0, joliet=joliet))))) for joliet in (False, True)
    )
    return plain, joliet
