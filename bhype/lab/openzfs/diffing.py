"""``zfs diff``: which files differ between a snapshot and a later one, or the filesystem as it is (libzfs_diff.c)."""

from __future__ import annotations

import os
import stat
import sys

from bhype.lab import core
from bhype.lab.openzfs import names
from bhype.lab.openzfs.database import head
from bhype.lab.openzfs.making import opened
from bhype.lab.openzfs.store import F, Store, reading
from bhype.lab.openzfs.usage import options, refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

UNABLE = "Unable to obtain diffs: "
NOT_EARLIER = "Not an earlier snapshot from the same fs"
CLASSES = {stat.S_IFREG: "F", stat.S_IFDIR: "/", stat.S_IFLNK: "@", stat.S_IFIFO: "|", stat.S_IFSOCK: "="}


def diff(argv: list[str]) -> int:
    """``zfs diff``."""
    found, arguments = options("diff", argv, "FHth")
    letters = {letter for letter, _ in found}
    if not arguments:
        refuse("diff", "must provide at least one snapshot name")
    if len(arguments) > 2:
        refuse("diff", "too many arguments")
    first = arguments[0]
    store = reading()
    wrong = names.reason(first, snapshot=True)
    if wrong:
        core.fail(f"Badly formed snapshot name {first}: {wrong}")
    second = arguments[1] if len(arguments) == 2 else head(first)
    if second.startswith("@"):
        second = head(first) + second
    if head(first) in store.datasets:
        opened(store, head(first), (F,))
    _check(store, first, second)
    shown = store.datasets[head(second)].get("shown")
    if not shown:
        core.fail(f"{UNABLE}\n   Cannot diff an unmounted snapshot")
    old = store.shelf(first)
    new = store.shelf(second) if "@" in second else store.place(second)
    skip = frozenset() if "@" in second else store.inner_mounts(second)
    for line in _lines(_walked(old, frozenset()), _walked(new, skip), shown.rstrip("/"), letters):
        sys.stdout.buffer.write(line)
    return 0


def _check(store: Store, first: str, second: str) -> None:
    for name in (first, second):
        if name not in store.datasets:
            core.fail(f"{UNABLE}No such file or directory")
    if head(first) != head(second):
        if store.origin(head(second)) != first:
            core.fail(f"{NOT_EARLIER}: invalid name")
        return
    if "@" in second and store.datasets[first]["txg"] >= store.datasets[second]["txg"]:
        core.fail(f"{UNABLE}\n   {NOT_EARLIER}")


def _walked(top: str, skip: frozenset[str]) -> dict[str, os.stat_result]:
    """All entries below ``top`` by their path, which begins with "/"; the top itself is "/"."""
    found = {"/": os.lstat(top)}
    waiting = [top]
    while waiting:
        for entry in os.scandir(waiting.pop()):
            if entry.path in skip:
                continue
            found[entry.path[len(top) :]] = entry.stat(follow_symlinks=False)
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
    return found


def _lines(
    old: dict[str, os.stat_result], new: dict[str, os.stat_result], top: str, letters: set[str]
) -> Iterator[bytes]:
    gone, come = set(old) - set(new), set(new) - set(old)
    moved = _moved(old, new, gone, come)
    for path in sorted(gone - set(moved)):
        yield _line("-", old[path], top, letters, path)
    for path in sorted(set(new)):
        if path in come:
            source = next((before for before, after in moved.items() if after == path), "")
            yield _line("R" if source else "+", new[path], top, letters, *([source] if source else []), path)
        elif _differs(old[path], new[path]) or (
            stat.S_ISDIR(new[path].st_mode) and any(os.path.dirname(each) == path for each in gone | come)
        ):
            yield _line("M", new[path], top, letters, path)


def _moved(
    old: dict[str, os.stat_result], new: dict[str, os.stat_result], gone: set[str], come: set[str]
) -> dict[str, str]:
    """Files that have another name: copies have no common inode here, so by their size and time."""
    marks = {
        (new[path].st_size, new[path].st_mtime_ns): path for path in come if stat.S_ISREG(new[path].st_mode)
    }
    found = {}
    for path in sorted(gone):
        mark = (old[path].st_size, old[path].st_mtime_ns)
        if stat.S_ISREG(old[path].st_mode) and mark in marks:
            found[path] = marks.pop(mark)
    return found


def _differs(old: os.stat_result, new: os.stat_result) -> bool:
    if old.st_mode != new.st_mode or (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        return True
    return stat.S_ISREG(new.st_mode) and (old.st_size, old.st_mtime_ns) != (new.st_size, new.st_mtime_ns)


def _line(change: str, status: os.stat_result, top: str, letters: set[str], *paths: str) -> bytes:
    parts = []
    if "t" in letters:
        seconds, rest = divmod(status.st_mtime_ns, 10**9)
        parts.append(f"{seconds:10d}.{rest:09d}".encode())
    parts.append(change.encode())
    if "F" in letters:
        parts.append(CLASSES.get(stat.S_IFMT(status.st_mode), "?").encode())
    between = b"\t" if "H" in letters else b" -> "
    shown = between.join(_shown(top + path, mangle="h" not in letters) for path in paths)
    return b"\t".join([*parts, shown]) + b"\n"


def _shown(path: str, *, mangle: bool) -> bytes:
    """A path; what is no plain character is told in octal (stream_bytes())."""
    data = os.fsencode(path)
    if not mangle:
        return data
    plain = (bytes([byte]) if 0x20 < byte < 0x7F and byte != 0x5C else b"\\%04o" % byte for byte in data)
    return b"".join(plain)
