"""Sizes and dates as zfs(8) reads and prints them."""

from __future__ import annotations

import time

UNITS = "BKMGTPE"
SUFFIXES = "BKMGTPEZ"


class BadSize(ValueError):
    """Not a size; the message is libzfs's reason."""


def human(number: int, base: str = "B") -> str:
    """At most five characters, base 1024: ``0B``, ``96K``, ``1.50G``. ``base`` stands behind plain units.

    As zfs_nicenum_format() in libzutil: exact multiples have no decimals, others as many as fit.
    """
    index = 0
    rest = number
    while rest >= 1024 and index < 6:
        rest //= 1024
        index += 1
    unit = UNITS[index] if index else base
    if index == 0 or number % 1024**index == 0:
        return f"{rest}{unit}"
    text = ""
    for digits in (2, 1, 0):
        text = f"{number / 1024**index:.{digits}f}{unit}"
        if len(text) <= 5:
            break
    return text


def parse(text: str) -> int:
    """Bytes in ``20G``, ``1.5T``, ``512``, ``10MiB``. Raises BadSize (zfs_nicestrtonum() in libzfs)."""
    if not text or not (text[0] in "0123456789" or text[0] == "."):
        raise BadSize(f"bad numeric value '{text}'")
    end = 0
    while end < len(text) and text[end] in "0123456789":
        end += 1
    whole = text[:end] or "0"
    decimals = ""
    if text[end : end + 1] == ".":
        start = end = end + 1
        while end < len(text) and text[end] in "0123456789":
            end += 1
        decimals = text[start:end]
    if int(whole) >= 2**64:
        raise BadSize("numeric value is too large")
    shift = _shift(text[end:])
    number = int(whole) << shift
    if decimals:
        number += int(decimals) * 2**shift // 10 ** len(decimals)
    if number >= 2**64:
        raise BadSize("numeric value is too large")
    return number


def _shift(suffix: str) -> int:
    if not suffix:
        return 0
    letter = suffix[0].upper()
    tail = suffix[1:].upper()
    if letter not in SUFFIXES or tail not in (("",) if letter == "B" else ("", "B", "IB")):
        raise BadSize(f"invalid numeric suffix '{suffix}'")
    return 10 * SUFFIXES.index(letter)


def date(seconds: int, hour: str = "%k") -> str:
    """``Fri Aug 21  9:58 2026``, as zfs(8) prints a creation without -p; of holds the hour is "%H"."""
    return time.strftime(f"%a %b %e {hour}:%M %Y", time.localtime(seconds))
