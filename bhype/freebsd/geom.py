"""The disks of a host and what lies on them: geom-disk(8), gpart(8)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bhype.freebsd import names, zpool_layout
from bhype.freebsd.command import Command, ParseError, Query

GEOM = "/sbin/geom"
GPART = "/sbin/gpart"
DISKINFO = "/usr/sbin/diskinfo"
_FIELD = re.compile(r"\s+(?:[0-9]+\. )?([A-Za-z]+): ?(.*)")
# The first column of a table's head is "=>"; a partition's row: start, size, name, type, (size), then flags.
_PART = re.compile(r"(=>)?\s+[0-9]+\s+[0-9]+\s+(\S+)\s+(.*?)\s+\([0-9.]+[BKMGTPE]?\)(.*)")


@dataclass(frozen=True, slots=True)
class DiskInfo:
    """A disk as geom(8) knows it. size and sector_size in bytes; is_open: something reads or writes it now;
    is_rotating: None where the disk does not tell."""

    name: str
    size: int
    sector_size: int
    description: str
    serial: str
    is_rotating: bool | None
    is_open: bool


@dataclass(frozen=True, slots=True)
class Table:
    """A partition table: what it is on, its scheme such as GPT, and the types of its partitions by their names."""

    name: str
    scheme: str
    parts: tuple[tuple[str, str], ...]


def list_disks() -> Query[list[DiskInfo]]:
    return Query(Command((GEOM, "disk", "list")), _disks)


def _disks(text: str) -> list[DiskInfo]:
    found = []
    for block in re.split(r"^Geom name: ", text, flags=re.MULTILINE)[1:]:
        name, _, rest = block.partition("\n")
        values: dict[str, str] = {}
        for line in rest.split("\n"):
            if match := _FIELD.fullmatch(line):
                values.setdefault(match[1], match[2].strip())
        found.append(_disk(name.strip(), values))
    return found


def _disk(name: str, values: dict[str, str]) -> DiskInfo:
    mode = re.fullmatch(r"r([0-9]+)w([0-9]+)e([0-9]+)", values.get("Mode", ""))
    if not mode:
        raise ParseError(f"the disk {name[:40]!r} has no mode: {values!r}")
    rotation = values.get("rotationrate", "")
    return DiskInfo(
        name=name,
        size=_number(name, values, "Mediasize"),
        sector_size=_number(name, values, "Sectorsize"),
        description=values.get("descr", "").replace("(null)", ""),
        serial=values.get("ident", "").replace("(null)", ""),
        is_rotating=int(rotation) > 0 if rotation.isascii() and rotation.isdigit() else None,
        is_open=any(int(count) for count in mode.groups()),
    )


def _number(name: str, values: dict[str, str], key: str) -> int:
    word = values.get(key, "").split(" ", 1)[0]
    if not (word.isascii() and word.isdigit() and len(word) <= 19):
        raise ParseError(f"the {key} of the disk {name[:40]!r} is no number: {word[:40]!r}")
    return int(word)


def list_partitions() -> Query[list[Table]]:
    """All partition tables of the host."""
    return Query(Command((GPART, "show", "-p")), _tables)


def _tables(text: str) -> list[Table]:
    found: list[Table] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.rstrip().endswith("(null)"):
            continue
        match = _PART.fullmatch(line)
        if not match:
            raise ParseError(f"line {number}: a partition expected: {line[:200]!r}")
        is_head, name, kind = bool(match[1]), match[2], match[3]
        if is_head:
            found.append(Table(name, kind, ()))
        elif name == "-":  # "- free -"
            continue
        elif not found:
            raise ParseError(f"line {number}: a partition before any table: {line[:200]!r}")
        else:
            last = found.pop()
            found.append(Table(last.name, last.scheme, (*last.parts, (name, kind))))
    return found


def size(disk: str) -> Query[int]:
    """The size of one disk in bytes (diskinfo(8)); fails when it is not there."""
    return Query(Command((DISKINFO, f"/dev/{zpool_layout.disk(disk)}")), _size)


def volume_size(dataset: str) -> Query[int]:
    """The size of a volume of ZFS in bytes, as its device has it; fails when that is not there."""
    return Query(Command((DISKINFO, f"/dev/zvol/{names.dataset(dataset)}")), _size)


def _size(text: str) -> int:
    words = text.split()
    if len(words) < 3 or not (words[2].isascii() and words[2].isdigit() and len(words[2]) <= 19):
        raise ParseError(f"a device, its sector and its size expected: {text[:200]!r}")
    return int(words[2])
