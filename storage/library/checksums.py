"""Checksum files as vendors publish them: which digest a file must have. Pure.

Known are lines of BSD's sha256(1), ``SHA256 (NAME) = HEX``, lines of GNU's sha256sum(1), ``HEX  NAME`` and
``HEX *NAME``, a single digest alone, and all of them in a text that OpenPGP has signed in clear (RFC 9580, 7).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_BSD = re.compile(r"(SHA-?(?:256|512)) ?\((.{1,300})\) ?= ?([0-9a-fA-F]{64,128})", re.IGNORECASE)
_GNU = re.compile(r"\\?([0-9a-fA-F]{64,128})[ \t]+\*?(.{1,300})")
_ALONE = re.compile(r"[0-9a-fA-F]{64,128}")
_BY_LENGTH = {64: "sha256", 128: "sha512"}
_BEGIN = "-----BEGIN PGP SIGNED MESSAGE-----"
_SIGNATURE = "-----BEGIN PGP SIGNATURE-----"


class BadChecksum(ValueError):
    """No digest can be had of it. A sentence for people."""


@dataclass(frozen=True, slots=True)
class Digest:
    """algorithm: "sha256" or "sha512"; value: in lower-case hexadecimals."""

    algorithm: str
    value: str

    @property
    def label(self) -> str:
        return self.algorithm.upper().replace("SHA", "SHA-")


def parse(text: str) -> Digest:
    """A digest that somebody has typed: hexadecimals, perhaps with "sha256:" before them. Raises BadChecksum."""
    word = text.strip().lower()
    named, separator, value = word.rpartition(":")
    if not _ALONE.fullmatch(value) or len(value) not in _BY_LENGTH:
        raise BadChecksum("A checksum is SHA-256 or SHA-512: 64 or 128 hexadecimals.")
    algorithm = _BY_LENGTH[len(value)]
    if separator and named.replace("-", "") != algorithm:
        raise BadChecksum(f"It is said to be {named}, but has the length of {algorithm}.")
    return Digest(algorithm, value)


def find(text: str, *names: str) -> Digest:
    """The strongest digest that a checksum file has for a file of one of these names; a file that holds one digest
    and no name is about whatever it lies beside. Raises BadChecksum, also when it contradicts itself."""
    found: set[Digest] = set()
    alone: set[Digest] = set()
    for line in _lines(text):
        digest, name = _entry(line)
        if digest is None:
            continue
        if not name:
            alone.add(digest)
        elif name.rpartition("/")[2] in names:
            found.add(digest)
    chosen = found or (alone if len(alone) == 1 else set())
    if not chosen:
        raise BadChecksum(f"The checksum file does not name {names[0] if names else 'it'}.")
    strongest = max(len(digest.value) for digest in chosen)
    best = {digest for digest in chosen if len(digest.value) == strongest}
    if len(best) > 1:
        raise BadChecksum(f"The checksum file has two different digests for {names[0]}.")
    return best.pop()


def _entry(line: str) -> tuple[Digest | None, str]:
    if bsd := _BSD.fullmatch(line):
        algorithm, name, value = bsd[1].lower().replace("-", ""), bsd[2], bsd[3].lower()
        fits = _BY_LENGTH.get(len(value)) == algorithm
        return (Digest(algorithm, value) if fits else None), name
    if gnu := _GNU.fullmatch(line):
        value = gnu[1].lower()
        return (Digest(_BY_LENGTH[len(value)], value) if len(value) in _BY_LENGTH else None), gnu[2]
    if _ALONE.fullmatch(line) and len(line) in _BY_LENGTH:
        return Digest(_BY_LENGTH[len(line)], line.lower()), ""
    return None, ""


def _lines(text: str) -> list[str]:
    """The lines of the file, of a signed one only those that are signed."""
    lines = [line.rstrip(" \t\r") for line in text.lstrip("\ufeff").split("\n")]
    if _BEGIN not in lines:
        return [line.strip() for line in lines]
    lines = lines[lines.index(_BEGIN) + 1 :]
    if "" not in lines or _SIGNATURE not in lines:
        raise BadChecksum("The signed checksum file is cut off.")
    body = lines[lines.index("") + 1 : lines.index(_SIGNATURE)]
    # A line that begins with a dash was given "- " before it.
    return [line.removeprefix("- ").strip() for line in body]
