"""pfctl(8): loads anchors, fills tables, tells what is loaded. It has no output for programs on FreeBSD 13 to 15."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from bhype.freebsd import names, pf
from bhype.freebsd.command import Command, ParseError, Query
from bhype.freebsd.rows import number

PROGRAM = "/sbin/pfctl"
MAIN = "/etc/pf.conf"
# Only what lies below "bhype/" is ever loaded or flushed.
_ANCHOR = re.compile(r"bhype/[a-z]{1,20}")
_STATUS = re.compile(r"^Status: (Enabled|Disabled)\b", re.MULTILINE)
_CALL = re.compile(r'(nat-anchor|rdr-anchor|anchor) "([^"]*)"')


def anchor(name: str) -> str:
    """Return ``name`` if it is an anchor of bHype's. Raises BadName."""
    if not _ANCHOR.fullmatch(name):
        raise names.BadName(f"{name!r} is not an anchor of bHype's.")
    return name


def check(name: str, path: str) -> Command:
    """Read a file of rules and load nothing; fails with ``FILE:LINE: syntax error``."""
    return Command((PROGRAM, "-n", "-a", anchor(name), "-f", names.path(path)))


def check_main(path: str) -> Command:
    """The same for a whole pf.conf(5)."""
    return Command((PROGRAM, "-n", "-f", names.path(path)))


def load(name: str, path: str) -> Command:
    """Replace an anchor's rules and tables by those of a file, in one transaction of the kernel."""
    return Command((PROGRAM, "-a", anchor(name), "-f", names.path(path)))


def load_main(path: str = MAIN) -> Command:
    """Load the user's own rules. Anchors keep theirs."""
    return Command((PROGRAM, "-f", names.path(path)))


def flush_main(what: str) -> Command:
    """Forget the main rules of one kind, "rules" or "nat", as if no file had been loaded. Anchors keep theirs."""
    if what not in {"rules", "nat"}:
        raise names.BadName(f"{what!r} are not rules that can be flushed.")
    return Command((PROGRAM, "-F", what))


def enable() -> Command:
    """Let pf filter; status 1 with "pf already enabled" when it does."""
    return Command((PROGRAM, "-e"), ok_codes=frozenset({0, 1}))


def disable() -> Command:
    """Let everything pass; status 1 with "pf not enabled" when it does."""
    return Command((PROGRAM, "-d"), ok_codes=frozenset({0, 1}))


def is_enabled() -> Query[bool | None]:
    """Whether pf filters; None when there is no pf in the kernel."""
    return Query(Command((PROGRAM, "-s", "info"), ok_codes=frozenset({0, 1})), _is_enabled)


def _is_enabled(text: str) -> bool | None:
    match = _STATUS.search(text)
    if match is None and text.strip():
        raise ParseError(f"Status expected: {text[:80]!r}")
    return match[1] == "Enabled" if match else None


def called_translations() -> Query[tuple[frozenset[str], frozenset[str]]]:
    """The anchors that loaded nat-anchor and rdr-anchor lines call."""
    return Query(Command((PROGRAM, "-s", "nat"), ok_codes=frozenset({0, 1})), _translations)


def called_filters() -> Query[frozenset[str]]:
    """The anchors that loaded anchor lines call without a condition."""
    return Query(Command((PROGRAM, "-s", "rules"), ok_codes=frozenset({0, 1})), _filters)


def _translations(text: str) -> tuple[frozenset[str], frozenset[str]]:
    return _called(text, "nat-anchor"), _called(text, "rdr-anchor")


def _filters(text: str) -> frozenset[str]:
    return _called(text, "anchor")


def _called(text: str, word: str) -> frozenset[str]:
    """The names behind ``word``. pfctl prints "anchor "x" all", and what has a condition otherwise."""
    found = set()
    for line in text.splitlines():
        match = _CALL.match(line.strip())
        if match and match[1] == word and line.strip()[match.end() :].strip() in {"", "all"}:
            found.add(match[2])
    return frozenset(found)


def main_rules() -> Query[list[str]]:
    """The filter rules of the main rules, anchor lines included."""
    return Query(Command((PROGRAM, "-s", "rules"), ok_codes=frozenset({0, 1})), _lines)


def main_translations() -> Query[list[str]]:
    """The nat and rdr rules of the main rules, anchor lines included."""
    return Query(Command((PROGRAM, "-s", "nat"), ok_codes=frozenset({0, 1})), _lines)


def rules(name: str) -> Query[list[str]]:
    """The filter rules of an anchor, as pfctl prints them; [] when it is not loaded."""
    return Query(Command((PROGRAM, "-a", anchor(name), "-s", "rules"), ok_codes=frozenset({0, 1})), _lines)


def translations(name: str) -> Query[list[str]]:
    """The nat and rdr rules of an anchor."""
    return Query(Command((PROGRAM, "-a", anchor(name), "-s", "nat"), ok_codes=frozenset({0, 1})), _lines)


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


@dataclass(frozen=True, slots=True)
class Counter:
    """What rules with one label have met. packets, octets: also those that their states let pass."""

    evaluations: int = 0
    packets: int = 0
    octets: int = 0
    states: int = 0

    def __add__(self, other: Counter) -> Counter:
        return Counter(
            self.evaluations + other.evaluations,
            self.packets + other.packets,
            self.octets + other.octets,
            self.states + other.states,
        )


def counters(name: str) -> Query[dict[str, Counter]]:
    """By label: a rule that pfctl has made into several has several lines, which are added up."""
    return Query(
        Command((PROGRAM, "-a", anchor(name), "-s", "labels"), ok_codes=frozenset({0, 1})), _counters
    )


def _counters(text: str) -> dict[str, Counter]:
    """Lines of ``label evaluations packets bytes packets-in bytes-in packets-out bytes-out states``."""
    found: dict[str, Counter] = {}
    for line in text.splitlines():
        if not line.strip():
            continue
        words = line.split()
        if len(words) < 9:
            raise ParseError(f"a label and 8 numbers expected: {line!r}")
        evaluations, packets, octets, *_rest, states = (number(word, line) for word in words[-8:])
        one = Counter(evaluations, packets, octets, states)
        label = " ".join(words[:-8])
        found[label] = found.get(label, Counter()) + one
    return found


def replace_table(name: str, table: str, addresses: Iterable[str]) -> Command:
    """Let a table of an anchor hold these addresses and no others, at once."""
    words = pf.members(addresses)
    start = (PROGRAM, "-a", anchor(name), "-t", pf.table_name(table), "-T")
    return Command((*start, "replace", *words)) if words else Command((*start, "flush"))


def kill_from(address: str) -> Command:
    """End all connections that ``address`` has begun."""
    return Command((PROGRAM, "-k", pf.address(address)))


def kill_to(address: str) -> Command:
    """End all connections that were begun to ``address``."""
    word = pf.address(address)
    return Command((PROGRAM, "-k", "::/0" if ":" in word else "0.0.0.0/0", "-k", word))


def kill_labelled(label: str) -> Command:
    """End all connections that a rule with ``label`` has let pass."""
    return Command((PROGRAM, "-k", "label", "-k", pf.label(label)))
