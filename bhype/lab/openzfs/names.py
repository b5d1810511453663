"""Which names ZFS accepts, and why not (zfs_namecheck.c, zfs_validate_name())."""

from __future__ import annotations

ALLOWED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.: ")
MAX_LENGTH = 255
MAX_DEPTH = 50
USER_PROPERTY = frozenset("abcdefghijklmnopqrstuvwxyz0123456789:+._-")

TOO_LONG = "name is too long"
EMPTY = "empty component or misplaced '@' or '#' delimiter in name"


def reason(name: str, *, snapshot: bool | None = None, creating: bool = False, bookmark: bool = False) -> str:
    """Why ``name`` is no dataset name, or "". snapshot: it must (True), must not (False) or may be one; bookmark: it
    may be one."""
    if snapshot is False and "@" in name:
        return "snapshot delimiter '@' is not expected here"
    if snapshot is True and "@" not in name:
        return "missing '@' delimiter in snapshot name"
    if "#" in name and not bookmark:
        return "bookmark delimiter '#' is not expected here"
    if creating and "%" in name:
        return "invalid character % in name"
    return _entity(name) or (too_deep(name) if creating else "")


def _entity(name: str) -> str:
    if len(name.encode(errors="surrogateescape")) > MAX_LENGTH:
        return TOO_LONG
    if name.startswith("/"):
        return "leading slash in name"
    if not name:
        return EMPTY
    start = 0
    delimited = False
    while True:
        end = start
        while end < len(name) and name[end] not in "/@#":
            end += 1
        last = end == len(name)
        if last and name[end - 1] == "/":
            return "trailing slash in name"
        part = name[start:end]
        for character in part:
            if character not in ALLOWED and character != "%":
                return f"invalid character '{character}' in name"
        if last or name[end] == "/":
            if part == ".":
                return "self reference, '.' is found in name"
            if part == "..":
                return "parent reference, '..' is found in name"
        else:
            if delimited:
                return "multiple '@' and/or '#' delimiters in name"
            delimited = True
        if not part:
            return EMPTY
        if last:
            return ""
        if name[end] == "/" and delimited:
            return "trailing slash in name"
        start = end + 1


def too_deep(name: str) -> str:
    return "maximum name nesting depth exceeded" if name.count("/") >= MAX_DEPTH else ""


def pool_reason(name: str) -> str:
    """Why ``name`` is no name for a new pool, or ""."""
    if len(name.encode(errors="surrogateescape")) >= 256 - 2 - 2 * len("$ORIGIN"):
        return TOO_LONG
    for character in name:
        if character not in ALLOWED:
            return f"invalid character '{character}' in pool name"
    if not name[:1].isalpha():
        return "name must begin with a letter"
    if name == "log" or name.startswith(("mirror", "raidz", "draid", "spare")):
        return "name is reserved"
    return ""


def is_user_property(name: str) -> bool:
    """Whether ``name`` can be a user property (zfs_prop_user())."""
    return ":" in name and all(character in USER_PROPERTY for character in name)
