"""What a terminal was sent, as text to read and to search: without colours, cursors and what else a guest may send."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Control sequences of ECMA-48: CSI; strings (OSC, DCS, SOS, PM, APC) up to their end; the short ones.
_SEQUENCES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"
    r"|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)?"
    r"|\x1b[PX^_][^\x1b\n]*(?:\x1b\\)?"
    r"|\x1b[ -/]*[0-~]?"
)
# What is left of control characters, and marks that turn the direction of text.
_UNSEEN = re.compile(r"[\x00-\x07\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")

HITS_MAX = 200
CONTEXT = 2


def text(data: bytes) -> str:
    """The lines as a terminal would have left them; the last one may be unfinished."""
    seen = _SEQUENCES.sub("", data.decode("utf-8", "replace").replace("\r\n", "\n"))
    lines = [_settle(line) if "\r" in line or "\b" in line else line for line in seen.split("\n")]
    return _UNSEEN.sub("", "\n".join(lines))


def _settle(line: str) -> str:
    """A line in which the cursor went back (CR, BS): what was written last is seen."""
    cells: list[str] = []
    at = 0
    for character in line:
        if character == "\r":
            at = 0
        elif character == "\b":
            at = max(0, at - 1)
        elif at < len(cells):
            cells[at] = character
            at += 1
        else:
            cells.append(character)
            at += 1
    return "".join(cells)


@dataclass(frozen=True, slots=True)
class Hit:
    """A line with the words in it. parts: its text in pieces, and whether each is what was looked for."""

    number: int
    before: list[str]
    parts: list[tuple[str, bool]]
    after: list[str]


def find(log: str, words: str) -> tuple[list[Hit], int]:
    """The last HITS_MAX lines with ``words``, the newest first, and how many there are; case does not count."""
    wanted = re.compile(f"({re.escape(words)})", re.IGNORECASE)
    lines = log.split("\n")
    found = [number for number, line in enumerate(lines) if wanted.search(line)]
    hits = [
        Hit(
            number + 1,
            lines[max(0, number - CONTEXT) : number],
            [(part, bool(place % 2)) for place, part in enumerate(wanted.split(lines[number]))],
            lines[number + 1 : number + 1 + CONTEXT],
        )
        for number in reversed(found[-HITS_MAX:])
    ]
    return hits, len(found)
