"""``zfs list``, ``zfs get`` and ``zfs holds``: they wait for nobody and change nothing."""

from __future__ import annotations

import os
import sys
from itertools import zip_longest

from bhype.lab import core
from bhype.lab.openzfs import names, properties, sizes
from bhype.lab.openzfs.database import head
from bhype.lab.openzfs.properties import B
from bhype.lab.openzfs.store import F, S, Store, V, order, reading
from bhype.lab.openzfs.usage import options, refuse
from bhype.lab.openzfs.values import Values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

TYPES = {
    **{"filesystem": {F}, "fs": {F}, "volume": {V}, "vol": {V}, "snapshot": {S}, "snap": {S}},
    **{"bookmark": {B}, "all": {F, V, S, B}},
}
FIELDS = ("name", "property", "value", "received", "source")
SOURCES = ("local", "default", "inherited", "received", "temporary", "none")
# All snapshots and bookmarks of a dataset and of those below it.
BELOW = "(head = ? OR (head >= ? || '/' AND head < ? || '0'))"
MISSING = "missing argument for '%c' option"


class Selection:
    """Which datasets a command is about, from its options and arguments (zfs_for_each() in zfs_iter.c)."""

    def __init__(self, command: str) -> None:
        self.command = command
        self.types = {F, V, S} if command == "list" else {F, V, S, B}
        self.typed = False
        self.recursive = False
        self.depth: int | None = None

    def take(self, letter: str, value: str) -> bool:
        """Understand -r, -d and -t; whether the option was one of them."""
        if letter == "r":
            self.recursive = True
        elif letter == "d":
            self.recursive = True
            if not value.lstrip("-").isdigit():
                refuse(self.command, f"{value} is not an integer")
            self.depth = int(value)
            if self.depth < 0:
                refuse(self.command, "Depth can not be negative.")
        elif letter == "t":
            self.types, self.typed = set(), True
            for word in value.split(","):
                if word not in TYPES:
                    refuse(self.command, f"invalid type '{word}'")
                self.types |= TYPES[word]
        else:
            return False
        return True

    def find(self, store: Store, arguments: list[str]) -> tuple[list[str], int]:
        """Names in zfs(8)'s order, and 1 if an argument names nothing (told on stderr)."""
        if self.typed and self.types <= {S, B} and arguments and not self.recursive:
            self.recursive, self.depth = True, 1
        found: dict[str, None] = {}
        code = 0
        if not arguments:
            self.recursive = True
            for pool in store.pools:
                self._collect(store, pool, found)
        for argument in arguments:
            name = self._open(store, argument)
            if name:
                self._collect(store, name, found)
            else:
                code = 1
        return sorted(found, key=lambda name: order(name, store.datasets[name])), code

    def _open(self, store: Store, argument: str) -> str:
        allowed = set(self.types)
        if self.recursive:
            allowed |= {F, V} if S in self.types else {F}
        name = argument
        if argument.startswith(("/", "./")):
            name = _owner(store, argument)
            if not name:
                core.warn(f"cannot open '{argument}': No such file or directory")
                return ""
        else:
            snapshot = None if S in allowed else False
            wrong = names.reason(name, snapshot=snapshot, bookmark=B in allowed)
            if not wrong and name not in store.datasets:
                wrong = "dataset does not exist"
            if wrong:
                core.warn(f"cannot open '{argument}': {wrong}")
                return ""
        if store.datasets[name]["type"] not in allowed:
            core.warn(f"cannot open '{argument}': operation not applicable to datasets of this type")
            return ""
        return name

    def _collect(self, store: Store, name: str, found: dict[str, None]) -> None:
        kind = store.datasets[name]["type"]
        if kind in self.types:
            found[name] = None
        if not self.recursive or kind in (S, B):
            return
        depth = self.depth if self.depth is not None else 99
        level = name.count("/")
        live = [name, *(store.below(name) if depth else [])]
        for each in live:
            steps = each.count("/") - level
            if steps and steps <= depth and store.datasets[each]["type"] in self.types:
                found[each] = None
        if not self.typed:
            return
        heads = {each for each in live if each.count("/") - level < depth}
        for kind in self.types & {S, B}:
            store.datasets.load(f"type = '{kind}' AND {BELOW}", *(name,) * 3)
            inner = store.datasets.find(f"type = '{kind}' AND {BELOW}", *(name,) * 3)
            found.update(dict.fromkeys(each for each in inner if head(each) in heads))


def _owner(store: Store, path: str) -> str:
    """The filesystem that holds ``path``, "" if there is no such file."""
    place = os.path.normpath(core.root(path))
    if not os.path.lexists(place):
        return ""
    mounts = ((core.root(shown), name) for name, shown in store.mounts())
    found = [(len(top), name) for top, name in mounts if place == top or place.startswith(top + "/")]
    return max(found)[1] if found else ""


def list_(argv: list[str]) -> int:
    """``zfs list``."""
    selection = Selection("list")
    columns = ["name", "used", "available", "referenced", "mountpoint"]
    exact = scripted = False
    sorting: list[tuple[str, bool]] = []
    found, arguments = options("list", argv, "HS:d:o:prs:t:")
    for letter, value in found:
        if letter == "o":
            columns = list(properties.SPACE_COLUMNS) if value == "space" else value.split(",")
            if value == "all":
                columns = list(properties.TABLE)
            if value == "space" and not selection.typed:
                selection.types = {F, V}
        elif letter == "p":
            exact = True
        elif letter == "H":
            scripted = True
        elif letter in "sS":
            prop = properties.full_name(value)
            if not properties.exists(prop):
                refuse("list", f"invalid property '{value}'")
            sorting.append((prop, letter == "S"))
        else:
            selection.take(letter, value)
    columns = _checked("list", columns)
    store = reading()
    datasets, code = selection.find(store, arguments)
    values = Values(store, exact=exact)
    for prop, downward in reversed(sorting):
        keys = {name: _sort_key(values, name, prop) for name in datasets}
        datasets.sort(key=keys.__getitem__, reverse=downward)
        # What has no such property comes last, whatever the direction.
        datasets.sort(key=lambda name: keys[name][0])
    rows = [[values.get(name, column)[0] for column in columns] for name in datasets]
    if scripted:
        sys.stdout.writelines("\t".join(row) + "\n" for row in rows)
    elif rows:
        heads = [properties.TABLE[c].column if c in properties.TABLE else c.upper() for c in columns]
        right = [c in properties.TABLE and properties.TABLE[c].right for c in columns]
        table(
            heads, rows, right, [properties.TABLE[c].width if c in properties.TABLE else 0 for c in columns]
        )
    if not rows and not code and not scripted:
        core.warn("no datasets available")
    return code


def _sort_key(values: Values, name: str, prop: str) -> tuple[int, int, str]:
    if not values.applies(name, prop) or values.get(name, prop)[0] == "-":
        return (1, 0, "")
    number = values.number(name, prop)
    return (0, number or 0, "" if number is not None else values.get(name, prop)[0])


def _checked(command: str, columns: list[str]) -> list[str]:
    full = [properties.full_name(column) for column in columns]
    for column, name in zip(columns, full, strict=True):
        if not properties.exists(name):
            refuse(command, f"bad property list: invalid property '{column}'")
    return full


def table(heads: list[str], rows: list[list[str]], right: list[bool], least: Sequence[int] = ()) -> None:
    """Print columns as zfs(8) does: two blanks between them, none behind the last. least: their least widths."""
    widths = [max([len(word), *(len(row[i]) for row in rows)]) for i, word in enumerate(heads)]
    widths = [max(pair) for pair in zip_longest(widths, least, fillvalue=0)]
    for row in [heads, *rows]:
        cells = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)]
        if not right[-1]:
            cells[-1] = row[-1]
        sys.stdout.write("  ".join(cells) + "\n")


def get(argv: list[str]) -> int:
    """``zfs get``."""
    selection = Selection("get")
    fields = ["name", "property", "value", "source"]
    wanted_sources: set[str] = set(SOURCES)
    exact = scripted = False
    found, arguments = options("get", argv, "d:o:s:rt:Hp")
    selection.typed = True
    for letter, value in found:
        if letter == "p":
            exact = True
        elif letter == "H":
            scripted = True
        elif letter == "o":
            fields = _fields(value)
        elif letter == "s":
            wanted_sources = set(value.split(","))
            for word in value.split(","):
                if word not in SOURCES:
                    refuse("get", f"invalid source '{word}'")
        else:
            selection.take(letter, value)
    if not arguments:
        refuse("get", "missing property argument")
    everything = arguments[0] == "all"
    wanted = list(properties.TABLE) if everything else arguments[0].split(",")
    wanted = _checked("get", wanted)
    store = reading()
    datasets, code = selection.find(store, arguments[1:])
    values = Values(store, exact=exact)
    rows = []
    for name in datasets:
        own = values.user_properties(name) if everything else []
        for prop in [*wanted, *own]:
            if everything and (prop == "name" or not values.applies(name, prop)):
                continue
            value, source = values.get(name, prop)
            if everything and value == "-":
                continue
            kind = "none" if source == "-" else source.partition(" ")[0]
            if kind in wanted_sources:
                parts = {"name": name, "property": prop, "value": value, "source": source}
                parts["received"] = values.received(name, prop)
                rows.append([parts[field] for field in fields])
    if scripted:
        sys.stdout.writelines("\t".join(row) + "\n" for row in rows)
    elif rows:
        width = max([0, *(properties.TABLE[prop].width for prop in wanted if prop in properties.TABLE)])
        least = [width if field == "value" else 0 for field in fields]
        table([field.upper() for field in fields], rows, [False] * len(fields), least)
    return code


def _fields(text: str) -> list[str]:
    if text == "all":
        return list(FIELDS)
    fields = text.split(",")
    for field in fields:
        if field == "all":
            refuse("get", '"all" conflicts with specific fields given to -o option')
        if field not in FIELDS:
            refuse("get", f"invalid column name '{field}'")
    if len(fields) > len(FIELDS):
        refuse("get", "too many fields given to -o option")
    return fields


def holds(argv: list[str]) -> int:
    """``zfs holds``."""
    found, arguments = options("holds", argv, "rHp")
    letters = {letter for letter, _ in found}
    if not arguments:
        refuse("holds")
    store = reading()
    code = 0
    rows = []
    for argument in arguments:
        dataset, at, snapshot = argument.partition("@")
        if not at:
            core.warn(f"'{argument}' is not a snapshot")
            code = 1
            continue
        if (argument if "r" not in letters else dataset) not in store.datasets:
            missing = dataset if "r" in letters else argument
            core.warn(f"cannot open '{missing}': dataset does not exist")
            code = 1
            continue
        owners = [dataset, *store.below(dataset)] if "r" in letters else [dataset]
        for owner in owners:
            name = f"{owner}@{snapshot}"
            for tag, when in (store.datasets[name]["holds"] if name in store.datasets else {}).items():
                rows.append([name, tag, str(when) if "p" in letters else sizes.date(when, "%H")])
    if "H" in letters:
        sys.stdout.writelines("\t".join(row) + "\n" for row in rows)
    else:
        table(["NAME", "TAG", "TIMESTAMP"], rows, [False] * 3)
    if not rows and (code or "H" not in letters):
        core.warn("no datasets available")
    return code
