"""zstream(8): what a ZFS stream in a file holds, before zfs(8) receives it.

``zstream dump`` (cmd/zstream/zstream_dump.c, in FreeBSD's base since 13.0) checks the checksums and prints each BEGIN
record. A name in a stream may hold anything, also line ends, and so may the values of properties, which it prints as
well; so each record must read exactly as zstream prints it, and their count must be that of the one summary.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bhype.freebsd import names
from bhype.freebsd.command import Command, ParseError, Query

PROGRAM = "/usr/bin/zstream"
# It reads the whole file.
DUMP_TIMEOUT = 4 * 3600.0

_BEGIN = re.compile(
    r"BEGIN record\n"
    r"\thdrtype = (?P<package>\d+)\n"
    r"\tfeatures = [0-9a-f]+\n"
    r"\tmagic = 2f5bacbac\n"
    r"\tcreation_time = [0-9a-f]+\n"
    r"\ttype = (?P<type>\d+)\n"
    r"\tflags = 0x(?P<flags>[0-9a-f]+)\n"
    r"\ttoguid = (?P<to>[0-9a-f]{1,16})\n"
    r"\tfromguid = (?P<origin>[0-9a-f]{1,16})\n"
    r"\ttoname = (?P<name>[^\n]{1,255})\n"
    r"\tpayloadlen = \d+\n"
)
_BEGUN = re.compile(r"^BEGIN record$", re.M)
_SUMMARY = re.compile(r"^SUMMARY:\n\tTotal DRR_BEGIN records = (\d+) ", re.M)
_COMPOUND = 2
_KINDS = {2: "filesystem", 3: "volume"}


@dataclass(frozen=True, slots=True)
class Substream:
    """One snapshot in a stream. kind: "filesystem" or "volume"; base: the guid of the snapshot that it builds upon,
    0 when it is whole; is_clone: it becomes a clone of that."""

    name: str
    kind: str
    guid: int
    base: int
    is_clone: bool


@dataclass(frozen=True, slots=True)
class Contents:
    """top: the snapshot that was sent; is_package: made by -R, -I or -p; substreams: in their order."""

    top: str
    is_package: bool
    substreams: tuple[Substream, ...]


def dump(path: str) -> Query[Contents]:
    """What the stream in the file ``path`` holds. Fails when it is none, or is not whole."""
    if not path.startswith("/"):
        raise names.BadName(f"{path!r} is not an absolute path.")
    return Query(Command((PROGRAM, "dump", path), timeout=DUMP_TIMEOUT), contents)


def contents(text: str) -> Contents:
    """Read the output of ``zstream dump``. Raises ParseError."""
    found = list(_BEGIN.finditer(text))
    summaries = _SUMMARY.findall(text)
    if len(summaries) != 1 or int(summaries[0]) != len(found) or len(_BEGUN.findall(text)) != len(found):
        raise ParseError("what zstream(8) tells of this stream is not understood")
    if not found:
        raise ParseError("the stream is empty")
    is_package = int(found[0]["package"]) == _COMPOUND
    substreams = []
    for record in found[1 if is_package else 0 :]:
        kind = _KINDS.get(int(record["type"]))
        if kind is None or int(record["package"]) == _COMPOUND:
            raise ParseError("the stream holds something that is neither a filesystem nor a volume")
        substreams.append(
            Substream(
                record["name"],
                kind,
                int(record["to"], 16),
                int(record["origin"], 16),
                bool(int(record["flags"], 16) & 1),
            )
        )
    if not substreams:
        raise ParseError("the stream is empty")
    return Contents(found[0]["name"], is_package, tuple(substreams))


def problem_of(stream: Contents) -> str:
    """Why the stream must not be received as a thing of its own, as a sentence; "" when it may.

    Everything must be part of the one tree that was sent, and complete in itself: zfs(8) looks for the snapshot that
    a substream builds upon in the whole pool, and would so write into what belongs to somebody else, or clone it.
    """
    top = stream.top.partition("@")[0]
    known: set[int] = set()
    for number, each in enumerate(stream.substreams):
        try:
            names.snapshot(each.name)
        except names.BadName as error:
            return str(error)
        dataset = each.name.partition("@")[0]
        if number == 0 and dataset != top:
            return f"It begins with {dataset}, which is not {top}."
        if dataset != top and not dataset.startswith(top + "/"):
            return f"It holds {dataset}, which is not part of {top}."
        if (each.base and each.base not in known) or (each.is_clone and not each.base):
            return f"It is not complete: {each.name} builds upon a snapshot that is not in it."
        known.add(each.guid)
    return ""
