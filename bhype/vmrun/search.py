"""Looking for words in a log, from its end, with bounded memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

BLOCK = 64 * 1024
# A guest may write megabytes without a line end.
LONGEST = 4096


@dataclass(frozen=True, slots=True)
class Found:
    """A line that has the words. offset: of its first byte in the file."""

    offset: int
    line: str


def find(path: str, text: str, limit: int = 100) -> list[Found]:
    """The last ``limit`` lines of the file that contain ``text``, the newest first, whatever the case of letters.

    path: of this process (``host.path``). Of a line longer than LONGEST bytes only pieces of that size are
    looked at. Empty ``text`` finds every line; a missing file has none. Raises OSError.
    """
    wanted = text.encode().lower()
    found: list[Found] = []
    try:
        with open(path, "rb") as file:
            for offset, line in _backwards(file.fileno()):
                if len(found) >= limit:
                    break
                if wanted in line.lower():
                    found.append(Found(offset, line.decode("utf-8", "replace").rstrip("\r")))
    except FileNotFoundError:
        return []
    return found


def _backwards(descriptor: int) -> Iterator[tuple[int, bytes]]:
    """The lines of a file and where they begin, the last one first."""
    position = os.fstat(descriptor).st_size
    # The beginning of a line that an earlier block ends in is not known yet.
    rest, at_end = b"", True
    while position > 0:
        size = min(BLOCK, position)
        position -= size
        block = os.pread(descriptor, size, position) + rest
        if at_end:
            block = block.removesuffix(b"\n")
            at_end = False
        head, *lines = block.split(b"\n")
        end = position + len(block)
        for line in reversed(lines):
            start = end - len(line)
            yield from _pieces(start, line)
            end = start - 1
        rest = head
        while len(rest) > BLOCK:
            # No line end in sight: give the end of what there is, in pieces.
            cut = len(rest) - LONGEST
            yield position + cut, rest[cut:]
            rest = rest[:cut]
    if rest or not at_end:
        yield from _pieces(0, rest)


def _pieces(start: int, line: bytes) -> Iterator[tuple[int, bytes]]:
    if len(line) <= LONGEST:
        yield start, line
        return
    for cut in range((len(line) - 1) // LONGEST * LONGEST, -1, -LONGEST):
        yield start + cut, line[cut : cut + LONGEST]
