"""zpool-status(8) and the list of zpool-import(8), read into trees.

Both are written for people. What their lines are is in OpenZFS's cmd/zpool/zpool_main.c (status_callback,
print_status_config, print_scan_scrub_resilver_status, show_import); 2.1 to 2.4 differ in the words of a scan only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bhype.freebsd import names
from bhype.freebsd.command import Command, ParseError, Query

PROGRAM = "/sbin/zpool"
TIMEOUT = 60.0
# Looking for pools reads the labels of all disks.
SEARCH_TIMEOUT = 300.0
# What is said of one pool is kept as a row: a pool can have a million damaged files.
MOST_ERRORS = 200

# At most six blanks: labels are right-aligned to six characters, in a list of imports to seven or eight.
_LABEL = re.compile(
    r" {0,6}(pool|id|state|status|action|comment|see|scan|remove|checkpoint|expand|condense|config|errors|dedup)"
    r":(?: (.*))?"
)
STATES = frozenset(
    {
        "ONLINE", "DEGRADED", "FAULTED", "OFFLINE", "UNAVAIL", "REMOVED", "SUSPENDED", "SPLIT", "UNKNOWN",
        "AVAIL", "INUSE",
    }
)  # fmt: skip
_STATE = "|".join(sorted(STATES))
# A file's path may hold blanks: the state is the first word of STATES behind two of them, or what ends the line.
_ROW = re.compile(rf"( *)(\S.*?) +({_STATE})(?: +(\S+) +(\S+) +(\S+))?(?: +(\S.*))?")
# Caches and spares of an importable pool have a name only; a sentence may stand below its rows.
_BARE = re.compile(r" +\S+")
_ADDITIONAL = ("Additional devices are known", "exact configuration cannot")
_GROUPS = ("logs", "cache", "special", "dedup", "spares")
_COUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?)([KMGTPE]?)")
_SHIFT = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40, "P": 50, "E": 60}
_TRIM = re.compile(
    r"\((?:(trimming)|(untrimmed)|(trim unsupported)|([0-9]{1,3})% trimmed"
    r"(?:, (suspended, started|started|completed) at ([^)]*))?)\)"
)
_NUMBER = r"([0-9.]+[BKMGTPE]?)"
_DATE = r"((?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8} [0-9]{4})"
_RUNNING = re.compile(rf"(scrub|resilver)(?: \([^)]*\))? (in progress|paused) since {_DATE}")
_FINISHED = re.compile(
    rf"(scrub|resilver)(?:ed)?(?: \([^)]*\))?(?: repaired)? {_NUMBER} in (.+?) with ([0-9]+) errors on {_DATE}"
)
_CANCELED = re.compile(rf"(scrub|resilver)(?: \([^)]*\))? canceled on {_DATE}")
_PERCENT = re.compile(
    r"([0-9]{1,3}(?:\.[0-9]+)?)% done(?:, ((?:[0-9]+ days )?[0-9]{2}:[0-9]{2}:[0-9]{2}) to go)?"
)
_ISSUED = re.compile(rf"{_NUMBER}(?: / {_NUMBER})? issued(?: at [^\s,]+)?(?:, {_NUMBER} total)?")


@dataclass(frozen=True, slots=True)
class Member:
    """A pool, a group of disks or a disk. Counts of errors; note: what zpool(8) says behind them, such as
    "(resilvering)" or "was /dev/da1"; trim: what is known of its TRIM, "" where nothing was asked."""

    name: str
    state: str
    read: int = 0
    write: int = 0
    checksum: int = 0
    note: str = ""
    trim: str = ""
    children: tuple[Member, ...] = ()

    def leaves(self) -> Iterator[Member]:
        """The disks in it, itself where it is one."""
        if not self.children:
            yield self
        for child in self.children:
            yield from child.leaves()

    def walk(self) -> Iterator[Member]:
        yield self
        for child in self.children:
            yield from child.walk()

    def document(self) -> dict[str, Any]:
        return {
            "name": self.name, "state": self.state, "read": self.read, "write": self.write,
            "checksum": self.checksum, "note": self.note, "trim": self.trim,
            "children": [child.document() for child in self.children],
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scan:
    """The last or running scrub or resilver. function: "scrub", "resilver" or "none"; state: "none", "running",
    "paused", "finished" or "canceled"; percent, issued, total and eta: of one that is not over, sizes and times as
    printed; at: when it began, paused or ended; text: all of it on one line."""

    function: str = "none"
    state: str = "none"
    percent: float | None = None
    issued: str = ""
    total: str = ""
    eta: str = ""
    errors: int = 0
    at: datetime | None = None
    text: str = ""

    def document(self) -> dict[str, Any]:
        return {
            "function": self.function, "state": self.state, "percent": self.percent, "issued": self.issued,
            "total": self.total, "eta": self.eta, "errors": self.errors,
            "at": self.at.isoformat() if self.at else None, "text": self.text,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """What is said of one pool. root: the pool itself, its children the data groups; groups: "logs", "cache",
    "special", "dedup" and "spares", those that it has; guid: of an importable one; status, action, see, comment and
    notes (removal, checkpoint, expansion): its own sentences; errors: a sentence, or the damaged files."""

    name: str
    state: str
    root: Member
    guid: str = ""
    status: str = ""
    action: str = ""
    see: str = ""
    comment: str = ""
    scan: Scan = Scan()
    groups: dict[str, tuple[Member, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    errors: str | tuple[str, ...] = ""
    is_destroyed: bool = False

    def members(self) -> Iterator[Member]:
        """Everything that has a row: the pool, its groups and disks."""
        yield from self.root.walk()
        for found in self.groups.values():
            for one in found:
                yield from one.walk()

    def leaves(self) -> Iterator[Member]:
        """All disks, spares and caches included."""
        yield from self.root.leaves()
        for found in self.groups.values():
            for one in found:
                yield from one.leaves()

    def document(self) -> dict[str, Any]:
        """As `Pool.status` has it."""
        return {
            "state": self.state, "status": self.status, "action": self.action, "see": self.see,
            "comment": self.comment, "scan": self.scan.document(), "config": [self.root.document()],
            **{name: [one.document() for one in self.groups.get(name, ())] for name in _GROUPS},
            "notes": list(self.notes),
            "errors": self.errors if isinstance(self.errors, str) else list(self.errors),
        }  # fmt: skip


def status(pool: str = "") -> Query[list[PoolStatus]]:
    """All pools, or one. With the damaged files (-v), whole numbers (-p) and TRIM (-t)."""
    argv = (PROGRAM, "status", "-vpt", *([names.pool(pool)] if pool else []))
    return Query(Command(argv, timeout=TIMEOUT), parse)


def importable(*, destroyed: bool = False) -> Query[list[PoolStatus]]:
    """The pools on this host's disks that are not imported; ``destroyed``: those that were destroyed instead."""
    argv = (PROGRAM, "import", *(["-D"] if destroyed else []))
    # Exit status 1 is that of none (zpool-import(8) says so on standard error).
    return Query(Command(argv, ok_codes=frozenset({0, 1}), timeout=SEARCH_TIMEOUT), parse)


def parse(text: str) -> list[PoolStatus]:
    """The pools that ``zpool status`` or ``zpool import`` tell of. Raises ParseError."""
    blocks: list[list[tuple[str, list[str]]]] = []
    for line_number, line in enumerate(text.split("\n"), 1):
        match = _LABEL.fullmatch(line)
        if match and match[1] == "pool":
            blocks.append([])
        if match and blocks:
            blocks[-1].append((match[1], [match[2]] if match[2] else []))
        elif line.strip():
            if not blocks or not blocks[-1]:
                raise ParseError(f"line {line_number}: the label of a pool expected: {line[:200]!r}")
            blocks[-1][-1][1].append(line)
    return [_pool(block) for block in blocks]


def _pool(block: list[tuple[str, list[str]]]) -> PoolStatus:
    def sentence(label: str) -> str:
        return " ".join(line.strip() for key, lines in block if key == label for line in lines)

    labels = {key for key, _ in block}
    for needed in ("pool", "state", "config"):
        if needed not in labels:
            raise ParseError(f"no line {needed!r} of the pool {sentence('pool')[:80]!r}")
    root, groups = _config([line for key, lines in block if key == "config" for line in lines])
    scans = [_scan(" ".join(line.strip() for line in lines)) for key, lines in block if key == "scan"]
    moving = [scan for scan in scans if scan.state in {"running", "paused"}]
    errors = [line for key, lines in block if key == "errors" for line in lines]
    files = tuple(line.strip() for line in errors[1:])
    return PoolStatus(
        name=sentence("pool"),
        state=sentence("state").split(" ", 1)[0],
        guid=sentence("id") if sentence("id").isdigit() else "",
        status=sentence("status"),
        action=sentence("action"),
        see=sentence("see"),
        comment=sentence("comment"),
        scan=(moving or scans or [Scan()])[-1],
        root=root,
        groups=groups,
        notes=tuple(text for key in ("remove", "checkpoint", "expand") if (text := sentence(key))),
        errors=files[:MOST_ERRORS] or (errors[0].strip() if errors else ""),
        is_destroyed=sentence("state").endswith("(DESTROYED)"),
    )


def _config(lines: list[str]) -> tuple[Member, dict[str, tuple[Member, ...]]]:
    """The rows of a configuration: the pool with its data groups, and the groups beside it."""
    found: list[tuple[int, Member]] = []
    parts: dict[str, list[tuple[int, Member]]] = {"": found}
    for line in lines:
        if not line.startswith("\t"):
            continue
        body = line[1:].rstrip()
        if body.split()[:2] == ["NAME", "STATE"]:
            continue
        if body in _GROUPS:
            parts[body] = found = []
        elif body.startswith(_ADDITIONAL):
            continue
        elif found is not parts[""] and _BARE.fullmatch(body):
            found.append((1, Member(body.strip(), "")))
        else:
            found.append(_row(body))
    if not parts[""]:
        raise ParseError(f"no pool in the configuration: {lines[:3]!r}")
    roots = _tree(parts.pop(""))
    if len(roots) != 1:
        raise ParseError(f"one pool expected: {[root.name for root in roots]!r}")
    return roots[0], {name: tuple(_tree(rows)) for name, rows in parts.items()}


def _row(body: str) -> tuple[int, Member]:
    match = _ROW.fullmatch(body)
    if not match:
        raise ParseError(f"a member of a pool expected: {body[:200]!r}")
    blanks, name, state, read, write, checksum, note = match.groups(default="")
    try:
        counts = _count(read), _count(write), _count(checksum)
    except ParseError:
        # A spare and what an import lists have no counts: all that follows the state is a note.
        counts, note = (0, 0, 0), " ".join(body[match.end(3) :].split())
    trim = _TRIM.search(note)
    if trim:
        note = " ".join((note[: trim.start()] + note[trim.end() :]).split())
    return len(blanks) // 2, Member(name, state, *counts, note, _trim(trim))


def _trim(match: re.Match[str] | None) -> str:
    if not match:
        return ""
    trimming, untrimmed, unsupported, percent, state, at = match.groups()
    if trimming:
        return "trimming"
    if untrimmed or unsupported:
        return "untrimmed" if untrimmed else "unsupported"
    if state == "completed":
        moment = _moment(at)
        return f"trimmed {moment:%Y-%m-%d %H:%M}" if moment else "trimmed"
    return f"{percent}% trimmed" + (", paused" if state and state.startswith("suspended") else "")


def _tree(rows: list[tuple[int, Member]]) -> list[Member]:
    """Members with their children, from rows with depths. Groups' members begin at any depth."""
    top: list[Member] = []
    at = 0
    while at < len(rows):
        depth, member = rows[at]
        end = at + 1
        while end < len(rows) and rows[end][0] > depth:
            end += 1
        children = tuple(_tree(rows[at + 1 : end]))
        top.append(
            Member(
                member.name, member.state, member.read, member.write, member.checksum, member.note, member.trim,
                children,
            )
        )  # fmt: skip
        at = end
    return top


def _count(word: str) -> int:
    """A count as printed: "0", "1200", or "1.2K" where it was not asked for whole numbers."""
    if not word:
        return 0
    match = _COUNT.fullmatch(word)
    if not match or len(word) > 24:
        raise ParseError(f"a count of errors expected: {word[:40]!r}")
    if match[1].isdigit():
        return int(match[1]) << _SHIFT[match[2]]
    return int(float(match[1]) * (1 << _SHIFT[match[2]]))


def _scan(text: str) -> Scan:
    """One scan from its lines. One that is not known keeps its text only."""
    if match := _RUNNING.search(text):
        percent, issued = _PERCENT.search(text), _ISSUED.search(text)
        return Scan(
            function=match[1],
            state="paused" if match[2] == "paused" else "running",
            percent=min(100.0, float(percent[1])) if percent else None,
            issued=issued[1] if issued else "",
            total=(issued[2] or issued[3] or "") if issued else "",
            eta=(percent[2] or "") if percent else "",
            at=_moment(match[3]),
            text=text,
        )
    if match := _FINISHED.search(text):
        return Scan(
            function=match[1], state="finished", errors=int(match[4][:18]), at=_moment(match[5]), text=text
        )
    if match := _CANCELED.search(text):
        return Scan(function=match[1], state="canceled", at=_moment(match[2]), text=text)
    return Scan(text=text)


def _moment(text: str | None) -> datetime | None:
    """A time of ctime(3); commands run with TZ=UTC."""
    try:
        return datetime.strptime(" ".join((text or "").split()), "%a %b %d %H:%M:%S %Y").replace(tzinfo=UTC)
    except ValueError:
        return None
