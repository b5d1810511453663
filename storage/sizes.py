"""Sizes as people write them: "2G", "2 GiB", "1.5T". Always powers of 1024; plain numbers are bytes."""

from __future__ import annotations

import re

KIB, MIB, GIB, TIB = 2**10, 2**20, 2**30, 2**40
_UNITS = {"": 1, "b": 1, "k": KIB, "m": MIB, "g": GIB, "t": TIB}
_SIZE = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,6}))?[ ]?([kmgt]?)(?:i?b)?", re.IGNORECASE | re.ASCII)


class BadSize(ValueError):
    """Text that is not a size. The message is a sentence for the person who typed it."""


def parse(text: str | int) -> int:
    """The number of bytes that ``text`` names. Raises BadSize."""
    if isinstance(text, int):
        text = str(text)
    match = _SIZE.fullmatch(text.strip(" "))
    if match is None:
        raise BadSize("Give a size such as 2G, 512M or 1.5T.")
    whole, fraction, unit = match.groups()
    factor = _UNITS[unit.lower()]
    if fraction and factor == 1:
        raise BadSize("A number of bytes has no fraction.")
    size = int(whole) * factor
    return size + (int(fraction) * factor // 10 ** len(fraction) if fraction else 0)


def text(size: int) -> str:
    """The shortest exact way to write ``size`` that ``parse`` reads back: 2147483648 -> "2G"."""
    for unit, factor in (("T", TIB), ("G", GIB), ("M", MIB), ("K", KIB)):
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)


def human(size: int) -> str:
    """About one decimal, for sentences: 1610612736 -> "1.5 GiB"."""
    for unit, factor in (("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if size >= factor:
            number = f"{size / factor:.1f}".removesuffix(".0")
            return f"{number} {unit}"
    return f"{size} bytes"
