"""The admin's own pf.conf(5): where bHype's anchors are named in it, and where they would have to be.

Its statements are told apart, not understood: what order they must have is all that is needed. Facts: pf.conf(5)
STATEMENT ORDER and GRAMMAR; S:sbin/pfctl/parse.y yylex() (quotes, comments, line ends) and check_rulestate(). Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

PATH = "/etc/pf.conf"
NAME = '"bhype/*"'
# What is needed, in the order in which it must stand.
NEEDED = (f"nat-anchor {NAME}", f"rdr-anchor {NAME}", f"anchor {NAME}")

OTHER, OPTIONS, ETHERNET, SCRUB, QUEUES, TRANSLATION, FILTER = range(7)
_SECTIONS = {
    "set": OPTIONS, "ether": ETHERNET, "scrub": SCRUB, "altq": QUEUES, "queue": QUEUES,
    "nat": TRANSLATION, "rdr": TRANSLATION, "binat": TRANSLATION, "nat-anchor": TRANSLATION,
    "rdr-anchor": TRANSLATION, "binat-anchor": TRANSLATION,
    "pass": FILTER, "block": FILTER, "match": FILTER, "anchor": FILTER, "antispoof": FILTER,
}  # fmt: skip
# Words of a rule that leave nothing out but perhaps a direction.
_EVERYTHING = {
    "pass", "block", "drop", "return", "quick", "log", "all", "from", "any", "to", "in", "out",
    "keep", "modulate", "state", "flags", "S/SA", "(", ")",
}  # fmt: skip


class Unreadable(ValueError):
    """The file is none that pfctl(8) would take. Names the line."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. words: quoted ones keep a quote before them; first, last: its lines, from 1."""

    words: tuple[str, ...]
    first: int
    last: int

    @property
    def section(self) -> int:
        """Where in the order it belongs; OTHER may stand anywhere (macros, tables, load anchor, include)."""
        if len(self.words) > 1 and self.words[1] == "=":
            return OTHER
        word = self.words[1] if self.words[0] == "no" and len(self.words) > 1 else self.words[0]
        return _SECTIONS.get(word, OTHER)

    @property
    def anchor(self) -> str:
        """The line of `NEEDED` that this is, without conditions; else empty."""
        words = tuple(word for word in self.words if word != "all")
        return next((line for line in NEEDED if words == tuple(_words(line))), "")

    @property
    def ends_all(self) -> bool:
        """Whether no packet of its direction comes past it, so that what follows is never asked about them."""
        is_rule = self.words[0] in {"pass", "block"} and "quick" in self.words
        return is_rule and set(self.words) <= _EVERYTHING


@dataclass(frozen=True, slots=True)
class Insertion:
    """A line that is missing. after: the number of the line behind which it belongs, 0 for the file's begin."""

    line: str
    after: int


def statements(text: str) -> list[Statement]:
    """The statements of a pf.conf. Raises Unreadable."""
    found: list[Statement] = []
    words: list[str] = []
    first, depth, line = 0, 0, 1
    for word, number in _tokens(text):
        line = number
        if word == "\n":
            if words and depth == 0:
                found.append(Statement(tuple(words), first, number))
                words = []
            continue
        first = first if words else number
        words.append(word)
        depth += {"{": 1, "}": -1}.get(word, 0)
        if depth < 0:
            raise Unreadable(f"Line {number}: a brace is closed that was never opened.")
    if depth:
        raise Unreadable(f"Line {first}: a brace is never closed.")
    if words:
        found.append(Statement(tuple(words), first, line))
    return found


def missing(text: str) -> list[Insertion]:
    """The lines that must be added for bHype's anchors to be asked, and where. Raises Unreadable.

    What stands in the file goes before: of translation the first rule that is met decides, so bHype's come behind the
    file's own; of filter rules "quick" ones decide, so bHype's come last as well, but before a rule that lets nothing
    past it.
    """
    rows = statements(text)
    there = {row.anchor for row in rows}
    translation = _behind(rows, TRANSLATION)
    end = next((row.first - 1 for row in rows if row.section == FILTER and row.ends_all), None)
    places = (translation, translation, _last(text) if end is None else end)
    return [Insertion(line, place) for line, place in zip(NEEDED, places, strict=True) if line not in there]


def insert(text: str, comment: str = "Anchors of bHype, for the networks of its guests.") -> str:
    """The file with the missing lines in their places; as it is when none is missing. Raises Unreadable."""
    wanted = missing(text)
    if not wanted:
        return text
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    for place in sorted({each.after for each in wanted}, reverse=True):
        added = [each.line for each in wanted if each.after == place]
        lines[place:place] = [f"# {comment}", *added]
    return "\n".join(lines) + "\n"


def _behind(rows: Sequence[Statement], section: int) -> int:
    """The line behind which the next statement of ``section`` may stand."""
    before = [row for row in rows if OTHER < row.section <= section]
    after = [row for row in rows if row.section > section]
    if before:
        return max(row.last for row in before)
    if after:
        return min(row.first for row in after) - 1
    return max((row.last for row in rows), default=0)


def _last(text: str) -> int:
    return len(text.split("\n")) - (1 if text.endswith("\n") or not text else 0)


def _words(line: str) -> Iterator[str]:
    return (word for word, _ in _tokens(line))


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    """(word, line number of its end) of a file; "\\n" where a line ends that is not continued."""
    position, line = 0, 1
    while position < len(text):
        letter = text[position]
        if letter == "\\" and text.startswith("\\\n", position):
            line, position = line + 1, position + 2
        elif letter == "\n":
            yield "\n", line
            line, position = line + 1, position + 1
        elif letter.isspace():
            position += 1
        elif letter == "#":
            # As everywhere, a backslash joins it with the next line.
            end = position
            while end < len(text) and (text[end] != "\n" or text[end - 1] == "\\"):
                end += 1
            line += text.count("\n", position, end)
            position = end
        elif letter in "\"'":
            end = _closing(text, position, line)
            line += text.count("\n", position, end)
            yield '"' + text[position + 1 : end].replace("\\\n", "").replace("\n", "") + '"', line
            position = end + 1
        elif letter in "{}=(),<>!":
            yield letter, line
            position += 1
        else:
            begin = position
            while position < len(text) and not (
                text[position].isspace() or text[position] in "{}=(),<>!#\"'\\"
            ):
                position += 1
            # A backslash that continues no line belongs to the word.
            position = max(position, begin + 1)
            yield text[begin:position], line


def _closing(text: str, position: int, line: int) -> int:
    quote = text[position]
    end = position + 1
    while end < len(text) and text[end] != quote:
        end += 2 if text.startswith("\\" + quote, end) else 1
    if end >= len(text):
        raise Unreadable(f"Line {line}: a quote is never closed.")
    return end
