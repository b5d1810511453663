"""Reading tables that a command writes for programs: one row per line, one TAB between columns."""

from __future__ import annotations

from collections.abc import Iterator

from bhype.freebsd.command import ParseError


def rows(text: str, columns: int) -> Iterator[list[str]]:
    """Split the output of ``zfs -H`` and the like. The last column may hold TABs: free text goes there.

    Raises ParseError for a line with fewer columns.
    """
    # Not splitlines(): a property's value may hold form feeds and other line ends of Unicode.
    for number, line in enumerate(text.split("\n"), 1):
        if not line:
            continue
        row = line.split("\t", columns - 1)
        if len(row) != columns:
            raise ParseError(f"line {number}: {columns} columns expected: {line!r}")
        yield row


def number(word: str, row: object = "") -> int:
    """A count or a size in bytes; 0 for "-" and "none", which mean that there is none. Raises ParseError."""
    if word in {"-", "none"}:
        return 0
    if not (word.isascii() and word.isdigit()):
        raise ParseError(f"a number expected, not {word!r}: {row!r}")
    # int() itself refuses thousands of digits with a ValueError of its own.
    if len(word) > 20:
        raise ParseError(f"not a 64-bit number: {word[:30]!r}")
    return int(word)


def present(word: str) -> str | None:
    """None for "-", the word that stands for no value."""
    return None if word == "-" else word
