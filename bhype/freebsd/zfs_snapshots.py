"""zfs(8): snapshots in detail, holds, differences, and what goes when some are destroyed.

Facts: zfs-list(8), zfsprops(7), zfs-hold(8), zfs-diff(8), zfs-destroy(8).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from bhype.freebsd import names
from bhype.freebsd.command import Command, ParseError, Query
from bhype.freebsd.rows import number, present, rows
from bhype.freebsd.zfs import CHANGE_TIMEOUT, ID_PROPERTY, LIST_TIMEOUT, PROGRAM

# User properties of the snapshots that bHype takes; a snapshot inherits org.bhype:id from its dataset.
KIND_PROPERTY = "org.bhype:kind"
NOTE_PROPERTY = "org.bhype:note"
# Set by whoever replicates: the last snapshot that a replica has, too. Without it no increment can be sent.
COMMON_PROPERTY = "org.bhype:common"
NOTE_MAX = 1000
# Datasets named in one command: argv has an end (ARG_MAX).
MOST_DATASETS = 200

_COLUMNS = (
    "name", "guid", "createtxg", "creation", "used", "referenced", "written", "userrefs", "defer_destroy", "clones",
    ID_PROPERTY, KIND_PROPERTY, COMMON_PROPERTY, NOTE_PROPERTY,
)  # fmt: skip
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")
_KIND = re.compile(r"[a-z][a-z-]{0,15}")
_STAMP = re.compile(r"([0-9]{1,11})\.[0-9]{9}")
# As zfs-diff(8) writes what is no plain letter: a backslash and four octal digits.
_ESCAPE = re.compile(r"\\([0-7]{4})")


@dataclass(frozen=True, slots=True)
class SnapshotDetail:
    """A snapshot as zfs(8) lists it; sizes in bytes.

    name: DATASET@SNAPSHOT; txg: those that were taken at one moment share it; used: what only it holds; written: since
    the snapshot before; holds: how many; clones: the datasets that live on it; kind, note, common: what bHype has set.
    """

    name: str
    guid: str
    txg: int
    created: datetime
    used: int
    referenced: int
    written: int
    holds: int
    is_deferred: bool
    clones: tuple[str, ...]
    bhype_id: str
    kind: str
    is_common: bool
    note: str

    @property
    def dataset(self) -> str:
        return self.name.partition("@")[0]

    @property
    def tail(self) -> str:
        """What follows the @."""
        return self.name.partition("@")[2]


@dataclass(frozen=True, slots=True)
class Hold:
    """tag: who keeps the snapshot, in a word."""

    snapshot: str
    tag: str


@dataclass(frozen=True, slots=True)
class Difference:
    """One line of zfs-diff(8). change: "+", "-", "M" or "R" (renamed to ``target``); kind: "F" file, "/" folder, "@"
    link and so on; path: absolute, below the mountpoint; at: when the file's inode changed last."""

    change: str
    kind: str
    path: str
    target: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Loss:
    """What a destruction would take. bytes: that come free."""

    names: tuple[str, ...]
    bytes: int


def details(*datasets: str, recursive: bool = False) -> Query[list[SnapshotDetail]]:
    """The snapshots of the datasets, with ``recursive`` also of all below them; oldest first within a dataset."""
    if not 0 < len(datasets) <= MOST_DATASETS:
        raise ValueError(f"one to {MOST_DATASETS} datasets are asked for at once")
    reach = ["-r"] if recursive else ["-d", "1"]
    words = ("list", "-Hp", *reach, "-t", "snapshot", "-o", ",".join(_COLUMNS))
    return Query(_command(*words, *(names.dataset(name) for name in datasets)), _details)


def _details(text: str) -> list[SnapshotDetail]:
    found = []
    for row in rows(text, len(_COLUMNS)):
        (
            name,
            guid,
            txg,
            creation,
            used,
            referenced,
            written,
            holds,
            deferred,
            clones,
            mark,
            kind,
            common,
            note,
        ) = row
        if "@" not in name:
            raise ParseError(f"a snapshot expected: {row!r}")
        if "%" in name:  # of a running zfs receive or zfs diff
            continue
        try:
            created = datetime.fromtimestamp(number(creation, row), UTC)
        except (ValueError, OverflowError, OSError) as error:
            raise ParseError(f"a time expected: {row!r}") from error
        found.append(
            SnapshotDetail(
                name=name,
                guid=guid,
                txg=number(txg, row),
                created=created,
                used=number(used, row),
                referenced=number(referenced, row),
                written=number(written, row),
                holds=number(holds, row),
                is_deferred=deferred == "on",
                clones=tuple(filter(None, (present(clones) or "").split(","))),
                bhype_id=present(mark) or "",
                kind=kind if _KIND.fullmatch(kind) else "",
                is_common=present(common) is not None,
                note=present(note) or "",
            )
        )
    return found


def changes(root: str) -> Query[dict[str, int]]:
    """Of ``root`` and all below it the second in which a snapshot came or went last, 0 for never.

    OpenZFS 2.2 and later; earlier ones fail with exit status 2 (zfsprops(7), snapshots_changed).
    """
    words = ("get", "-Hp", "-r", "-t", "filesystem,volume", "-o", "name,value", "snapshots_changed")
    return Query(_command(*words, names.dataset(root)), _changes)


def _changes(text: str) -> dict[str, int]:
    return {name: number(value, name) for name, value in rows(text, 2) if "%" not in name}


def kinds(dataset: str) -> Query[dict[str, str]]:
    """The kinds of a dataset's snapshots by full name, of those that bHype has set on the snapshot itself."""
    words = (
        "get",
        "-Hp",
        "-d",
        "1",
        "-t",
        "snapshot",
        "-s",
        "local,received",
        "-o",
        "name,value",
        KIND_PROPERTY,
    )
    return Query(_command(*words, names.dataset(dataset)), lambda text: dict(rows(text, 2)))


def properties(kind: str, note: str = "") -> dict[str, str]:
    """What a snapshot of bHype is taken with. Raises BadName for what cannot stand in a property."""
    if not _KIND.fullmatch(kind):
        raise names.BadName(f"{kind!r} is no kind of snapshot.")
    line = one_line(note)
    return {KIND_PROPERTY: kind} | ({NOTE_PROPERTY: line} if line else {})


def one_line(note: str) -> str:
    """A note as a property can hold it: one line, without "%", which zfs(8) takes for its own in names."""
    line = " ".join(note.replace("%", " percent ").split())
    if not all(letter.isprintable() for letter in line) or len(line) > NOTE_MAX:
        raise names.BadName(f"A note is one line of at most {NOTE_MAX} characters.")
    return line


def annotate(snapshot: str, note: str) -> Command:
    """Give a snapshot another note; an empty one takes it away."""
    line = one_line(note)
    words = ("set", f"{NOTE_PROPERTY}={line}") if line else ("inherit", NOTE_PROPERTY)
    return _command(*words, names.snapshot(snapshot), timeout=CHANGE_TIMEOUT)


def destroy(dataset: str, tails: Sequence[str], *, recursive: bool = False) -> Command:
    """Destroy snapshots of one dataset by one command, all or none; with ``recursive`` also those of the same names
    below it. Never a dataset. See `pattern`."""
    flags = ["-r"] if recursive else []
    return _command("destroy", *flags, _spec(dataset, tails), timeout=CHANGE_TIMEOUT)


def destroy_all(dataset: str) -> Command:
    """Destroy all snapshots of one dataset, all or none, and none of what lies below it: "%" without ends is the range
    from the oldest to the newest (zfs-destroy(8)). Fails where there are none."""
    return _command("destroy", f"{names.dataset(dataset)}@%", timeout=CHANGE_TIMEOUT)


def loss(dataset: str, tails: Sequence[str], *, recursive: bool = False) -> Query[Loss]:
    """What `destroy` would take, and the bytes that come free: more than the sum of each (zfs-destroy(8) -nvp)."""
    flags = "-rnvp" if recursive else "-nvp"
    return Query(_command("destroy", flags, _spec(dataset, tails), timeout=CHANGE_TIMEOUT), _loss)


def _loss(text: str) -> Loss:
    gone, freed = [], 0
    for word, value in rows(text, 2):
        if word == "destroy":
            gone.append(value)
        elif word == "reclaim":
            freed = number(value, word)
    return Loss(tuple(gone), freed)


def pattern(tails: Sequence[str], there: Sequence[str]) -> list[str]:
    """``tails`` in zfs(8)'s shorthand: neighbours of ``there``, all snapshots of the dataset from the oldest on, become
    FIRST%LAST. What is not there is left out."""
    wanted = set(tails)
    found: list[list[str]] = []
    is_open = False
    for name in there:
        if name not in wanted:
            is_open = False
        elif is_open:
            found[-1] = [found[-1][0], name]
        else:
            found.append([name])
            is_open = True
    return ["%".join(pair) for pair in found]


def _spec(dataset: str, tails: Sequence[str]) -> str:
    if not tails:
        raise names.BadName("No snapshot is named.")
    for tail in tails:
        ends = tail.split("%")
        if len(ends) > 2:
            raise names.BadName(f"{tail!r} is no range of snapshots.")
        for end in ends:
            names.snapshot(f"{dataset}@{end}")
    return f"{names.dataset(dataset)}@{','.join(tails)}"


def tag(word: str) -> str:
    """``word`` if a hold may be called so. Raises BadName."""
    if not _TAG.fullmatch(word):
        raise names.BadName(
            "A tag has letters, digits and _ . : -, starts with a letter or digit, at most 64."
        )
    return word


def hold(word: str, snapshot: str, *, recursive: bool = False) -> Command:
    """Keep a snapshot from being destroyed, in the name of the tag ``word``; with ``recursive`` those below, too."""
    flags = ["-r"] if recursive else []
    return _command("hold", *flags, tag(word), names.snapshot(snapshot), timeout=CHANGE_TIMEOUT)


def release(word: str, snapshot: str, *, recursive: bool = False) -> Command:
    """Take a hold back."""
    flags = ["-r"] if recursive else []
    return _command("release", *flags, tag(word), names.snapshot(snapshot), timeout=CHANGE_TIMEOUT)


def holds(*snapshots: str) -> Query[list[Hold]]:
    """The holds of snapshots."""
    return Query(_command("holds", "-H", *(names.snapshot(name) for name in snapshots)), _holds)


def _holds(text: str) -> list[Hold]:
    return [Hold(name, word) for name, word, _when in rows(text, 3)]


def diff(snapshot: str, until: str = "") -> Query[list[Difference]]:
    """What has changed in a mounted filesystem since a snapshot, until another one of it or now."""
    ends = (
        names.snapshot(snapshot),
        names.snapshot(until) if until else names.dataset(snapshot.partition("@")[0]),
    )
    return Query(_command("diff", "-FHt", *ends, timeout=CHANGE_TIMEOUT), _differences)


def _differences(text: str) -> list[Difference]:
    found = []
    for line in text.split("\n"):
        if not line:
            continue
        words = line.split("\t")
        match = _STAMP.fullmatch(words[0].strip())
        if len(words) not in {4, 5} or match is None or words[1] not in set("+-MR"):
            raise ParseError(f"not a line of zfs diff: {line[:200]!r}")
        # A fifth word that is no name tells by how much the number of a file's links has changed.
        target = unescape(words[4]) if len(words) == 5 and words[1] == "R" else ""
        at = datetime.fromtimestamp(int(match[1]), UTC)
        found.append(Difference(words[1], words[2], unescape(words[3]), target, at))
    return found


def unescape(word: str) -> str:
    """A path as zfs-diff(8) writes it: bytes above and below ASCII's letters stand as \\0ooo (libzfs_diff.c)."""
    raw = _ESCAPE.sub(lambda match: chr(int(match[1], 8) & 0xFF), word)
    return raw.encode("latin-1", "replace").decode("utf-8", "replace")


def _command(*words: str, timeout: float = LIST_TIMEOUT) -> Command:
    return Command((PROGRAM, *words), timeout=timeout)
