"""The words of rules: endpoints and ports, as rows have them. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from bhype.freebsd import pf

Kind = Literal["any", "host", "internet", "guest", "tag", "switch", "alias", "address"]
# What may have rules of its own.
SUBJECTS = frozenset({"guest", "tag", "switch"})
# As vms has them, and no more: a tag's name never reaches pf, it is only compared.
TAG_MAX = 70
MOST_PORTS = 30
_ALIAS = re.compile(r"alias:([0-9]{1,18})")
_PORTS = re.compile(r"([0-9]{1,5})(?:[-:]([0-9]{1,5}))?")
_WORDS: tuple[Kind, ...] = ("any", "host", "internet")


class BadWord(ValueError):
    """Not an endpoint, or not ports. The message is a sentence for the person who typed it."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """kind and value: of a guest its whole word ("vm:UUID"), of a tag its name, of a switch its UUID, of an alias its
    number, else the address or network."""

    kind: Kind
    value: str = ""


def endpoint(word: str) -> Endpoint:
    """Read a word of network.models.firewall. Raises BadWord."""
    for known in _WORDS:
        if word == known:
            return Endpoint(known)
    kind, _, value = word.partition(":")
    if kind in {"vm", "jail", "switch"} and value.count(":") == 0:
        number = _uuid(value)
        return Endpoint("switch", number) if kind == "switch" else Endpoint("guest", f"{kind}:{number}")
    if kind == "tag":
        if not 0 < len(value) <= TAG_MAX or not value.isprintable():
            raise BadWord("A tag has a name.")
        return Endpoint("tag", value)
    if kind == "alias":
        return Endpoint("alias", str(_alias(word)))
    try:
        return Endpoint("address", pf.address(word))
    except pf.BadRule as error:
        # Names are read before: see the forms.
        raise BadWord(f"{error} Nor is there a VM, tag, switch or alias of this name.") from None


def _uuid(value: str) -> str:
    try:
        return str(UUID(value))
    except ValueError:
        raise BadWord(f"{value!r} is not the number of a VM, jail or switch.") from None


def _alias(word: str) -> int:
    match = _ALIAS.fullmatch(word)
    if not match:
        raise BadWord(f"{word!r} is not an alias.")
    return int(match[1])


@dataclass(frozen=True, slots=True)
class PortWords:
    """ranges with both ends, and the numbers of aliases that are to be added to them."""

    ranges: tuple[tuple[int, int], ...] = ()
    aliases: tuple[int, ...] = ()


def ports(text: str) -> PortWords:
    """Read "22,8000-8010,alias:3"; empty for all. Raises BadWord."""
    ranges, aliases = [], []
    for word in (one.strip() for one in text.split(",")) if text.strip() else ():
        if word.startswith("alias:"):
            aliases.append(_alias(word))
            continue
        match = _PORTS.fullmatch(word)
        if not match:
            raise BadWord(f"{word!r} is not a port such as 22, or several such as 8000-8010.")
        first, last = int(match[1]), int(match[2] or match[1])
        if not 0 < first <= last <= 65535:
            raise BadWord(f"{word!r} are not ports: they go from 1 to 65535, the smaller one first.")
        ranges.append((first, last))
    return PortWords(tuple(ranges), tuple(aliases))


def merged(ranges: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    """The same ports, sorted, each once. Raises BadWord for more than a rule should have."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    if len(found) > MOST_PORTS:
        raise BadWord(f"A rule has at most {MOST_PORTS} ports or ranges of ports.")
    return tuple(found)
