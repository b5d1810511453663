"""``zfs hold``, ``release`` and ``bookmark``: what keeps a snapshot, and what is left of it."""

from __future__ import annotations

import time

from bhype.lab import core
from bhype.lab.openzfs import files, names
from bhype.lab.openzfs.database import head
from bhype.lab.openzfs.properties import B
from bhype.lab.openzfs.store import Store, changing
from bhype.lab.openzfs.usage import options, refuse

LONGEST_TAG = 255


def hold(argv: list[str]) -> int:
    """``zfs hold``."""
    return _hold("hold", argv)


def release(argv: list[str]) -> int:
    """``zfs release``."""
    return _hold("release", argv)


def _hold(command: str, argv: list[str]) -> int:
    found, arguments = options(command, argv, "rt" if command == "hold" else "r")
    if len(arguments) < 2:
        refuse(command)
    tag = arguments[0]
    if command == "hold" and tag.startswith("."):
        refuse(command, "tag may not start with '.'")
    code = 0
    with changing() as store:
        for argument in arguments[1:]:
            problem = _hold_one(store, command, tag, argument, recursive=("r", "") in found)
            if problem:
                core.warn(problem)
                code = 1
    return code


def _hold_one(store: Store, command: str, tag: str, argument: str, *, recursive: bool) -> str:
    dataset, at, tail = argument.partition("@")
    if not at:
        return f"'{argument}' is not a snapshot"
    if dataset not in store.datasets:
        return f"cannot open '{dataset}': dataset does not exist"
    owners = [dataset, *(store.below(dataset) if recursive else [])]
    targets = [f"{owner}@{tail}" for owner in owners if f"{owner}@{tail}" in store.datasets]
    prefix = "cannot hold snapshot" if command == "hold" else "cannot release hold from snapshot"
    if not targets:
        return f"{prefix} '{argument}': dataset does not exist"
    if len(tag) > LONGEST_TAG:
        return f"{prefix} '{argument}': tag too long"
    tagged = [name for name in targets if tag in store.datasets[name]["holds"]]
    if command == "hold" and tagged:
        return f"{prefix} '{tagged[0]}': tag already exists on this dataset"
    if command == "release" and not tagged:
        return f"{prefix} '{argument}': no such tag on this dataset"
    for name in targets if command == "hold" else tagged:
        tags = store.datasets[name]["holds"]
        if command == "hold":
            tags[tag] = int(time.time())
        else:
            del tags[tag]
            if store.datasets[name].get("defer") and not tags and not store.clones(name):
                from bhype.lab.openzfs.destroying import drop

                drop(store, name)
    return ""


def bookmark(argv: list[str]) -> int:
    """``zfs bookmark`` (zfs_do_bookmark() in zfs_main.c)."""
    _, arguments = options("bookmark", argv, "")
    if not arguments:
        refuse("bookmark", "missing source argument")
    if len(arguments) < 2:
        refuse("bookmark", "missing bookmark argument")
    source, target = arguments[:2]
    if not set(source) & {"@", "#"}:
        refuse("bookmark", f"invalid source name '{source}': must contain a '@' or '#'")
    if "#" not in target:
        refuse("bookmark", f"invalid bookmark name '{target}': must contain a '#'")
    if target.startswith("#"):
        target = head(source) + target
    if source.startswith(("@", "#")):
        source = head(target) + source
    with changing() as store:
        wrong = names.reason(source, bookmark=True)
        if wrong or source not in store.datasets:
            refuse("bookmark", f"cannot open '{source}': {wrong or 'dataset does not exist'}")
        prefix = f"cannot create bookmark '{target}': "
        if names.reason(target, bookmark=True, creating=True):
            core.fail(prefix + "invalid argument")
        if head(target) not in store.datasets:
            core.fail(prefix + "dataset does not exist")
        if target in store.datasets:
            core.fail(prefix + "bookmark exists")
        if head(target) != head(source):
            core.fail(prefix + "bookmark is not related to the source")
        row = store.datasets[source]
        # What a stream can be relative to. The real one knows by the age of blocks what has changed since; here the
        # snapshot's files stay for that, linked, and count for nothing.
        kept = {key: row[key] for key in ("referenced", "creation", "volsize") if key in row}
        store.add(target, B, txg=row["txg"], came_as=store.guid(source), **kept)
        files.link(store.shelf(source), store.shelf(target))
    return 0
