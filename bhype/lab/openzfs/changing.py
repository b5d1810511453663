"""``zfs set``, ``inherit``, ``rename`` and ``promote``."""

from __future__ import annotations

import os

from bhype.lab import core
from bhype.lab.openzfs import files, names, properties, sizes, space
from bhype.lab.openzfs.making import check_parents, make_parents, opened
from bhype.lab.openzfs.store import F, S, Store, V, changing
from bhype.lab.openzfs.usage import assignments, options, refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bhype.lab.openzfs.store import Dataset

# What a refused property ends with: libzfs's -1.
FAILED = 255
# Setting one of these may move where a dataset shows.
PLACING = ("mountpoint", "canmount", "volmode")


class Refused(Exception):
    """The kernel refuses the change; the message is its reason."""


def set_(argv: list[str]) -> int:
    """``zfs set``."""
    found, arguments = options("set", argv, "u")
    if not arguments:
        refuse("set", "missing arguments")
    if len(arguments) < 2:
        refuse(
            "set", "missing dataset name(s)" if "=" in arguments[0] else "missing property=value argument(s)"
        )
    start = next((i for i, word in enumerate(arguments) if "=" not in word), -1)
    if not start:  # a property cannot be one, so the rest are datasets
        core.fail(f"cannot open '{arguments[1]}': {names.reason(arguments[1]) or 'dataset does not exist'}")
    if start >= 0 and any("=" in word for word in arguments[start:]):
        refuse("set", "invalid argument order")
    if start < 0:
        refuse("set", "missing dataset name(s)")
    given = assignments(arguments[:start], code=FAILED)
    code = 0
    with changing() as store:
        for name in arguments[start:]:
            wrong = names.reason(name)
            if wrong or name not in store.datasets:
                core.warn(f"cannot open '{name}': {wrong or 'dataset does not exist'}")
                code = 1
                continue
            try:
                _set(store, name, given, remount=not found)
            except (properties.BadProperty, Refused) as error:
                core.warn(f"cannot set property for '{name}': {error}")
                code = FAILED
    return code


def _set(store: Store, name: str, given: dict[str, str], *, remount: bool) -> None:
    dataset = store.datasets[name]
    kind = dataset["type"]
    volsize = int(dataset["props"].get("volsize", 0))
    checked = {}
    for prop, value in given.items():
        full = properties.full_name(prop)
        checked[full] = properties.parse(full, value, kind, creating=False, volsize=volsize)
    if "keylocation" in checked and store.key_root(name) != name:
        raise Refused("keylocation may only be set on encryption roots")
    if int(checked.get("special_small_blocks", 0)):
        core.warn("special_small_blocks: property requires a special device in the pool")
    if "volsize" in checked:
        _resize(store, name, int(checked["volsize"]), checked)
    else:
        _check_room(store, name, checked)
    if not remount or not set(checked) & set(PLACING):
        dataset["props"].update(checked)
        return
    if any(store.busy(each) for each in [name, *store.below(name)] if store.datasets[each].get("shown")):
        raise Refused("dataset is busy")
    shown = store.hide_tree(name)
    dataset["props"].update(checked)
    store.show_again([name, *shown])


def _check_room(store: Store, name: str, checked: dict[str, str]) -> None:
    if not {"quota", "refquota", "reservation", "refreservation"} & set(checked):
        return
    room = space.Space(store, name.partition("/")[0])
    for prop in ("quota", "refquota"):
        limit = int(checked.get(prop, 0))
        if limit and limit < (room.used if prop == "quota" else room.referenced)[name]:
            raise Refused("size is less than current used or reserved space")
    for prop in ("reservation", "refreservation"):
        wanted = int(checked.get(prop, 0))
        has = room.used[name] if prop == "reservation" else room.by_dataset[name] + room.by_reservation[name]
        if wanted - has > min(room.free, room.available(name) - room.by_reservation[name]):
            raise Refused("size is greater than available space")


def _resize(store: Store, name: str, size: int, checked: dict[str, str]) -> None:
    """Change the volume's size at once, also under a running guest; its reservation follows."""
    props = store.datasets[name]["props"]
    block = int(props.get("volblocksize", properties.VOLBLOCKSIZE))
    if size == 0:
        raise Refused("'volsize' cannot be zero")
    if size % block:
        raise Refused(f"'volsize' must be a multiple of volume block size ({sizes.human(block)})")
    old = int(props.get("refreservation", 0))
    if old and old == properties.reservation_for(int(props["volsize"]), block):
        new = properties.reservation_for(size, block)
        if new - old > space.spare(store, name.rpartition("/")[0]):
            raise Refused("size is greater than available space")
        checked["refreservation"] = str(new)
    files.own(store.place(name))
    os.truncate(store.place(name), size)


def inherit(argv: list[str]) -> int:
    """``zfs inherit``."""
    found, arguments = options("inherit", argv, "rS")
    if not arguments:
        refuse("inherit", "missing property argument")
    if len(arguments) < 2:
        refuse("inherit", "missing dataset argument")
    prop = properties.full_name(arguments[0])
    letters = {letter for letter, _ in found}
    entry = properties.TABLE.get(prop)
    if entry is None and not properties.exists(prop):
        refuse("inherit", f"invalid property '{prop}'")
    if entry and entry.edit != "always":
        core.fail(f"{prop} property is read-only")
    if entry and not entry.inherits and "S" not in letters:
        hint = ""
        if prop in ("quota", "reservation", "refquota", "refreservation"):
            hint = (
                f"\nuse 'zfs set {prop}=none' to clear"
                f"\nuse 'zfs inherit -S {prop}' to revert to received value"
            )
        core.fail(f"'{prop}' property cannot be inherited{hint}")
    code = 0
    with changing() as store:
        for name in arguments[1:]:
            if name not in store.datasets:
                core.warn(f"cannot open '{name}': dataset does not exist")
                code = 1
                continue
            shown = store.hide_tree(name) if prop in PLACING else []
            for each in [name, *(store.below(name) if "r" in letters else [])]:
                _unset(store.datasets[each], prop, received="S" in letters)
            store.show_again(shown)
    return code


def _unset(row: Dataset, prop: str, *, received: bool) -> None:
    """Forget the own value; one that was received counts again, or is hidden as well."""
    row["props"].pop(prop, None)
    hidden = [each for each in row.get("unset", []) if each != prop]
    if prop in row.get("received", {}) and not received:
        hidden.append(prop)
    row["unset"] = hidden


def rename(argv: list[str]) -> int:
    """``zfs rename``."""
    found, arguments = options("rename", argv, "pruf")
    letters = {letter for letter, _ in found}
    if not arguments:
        refuse("rename", "missing source dataset argument")
    if len(arguments) < 2:
        refuse("rename", "missing target dataset argument")
    if len(arguments) > 2:
        refuse("rename", "too many arguments")
    old, new = arguments
    if {"p", "r"} <= letters:
        refuse("rename", "-p and -r options are mutually exclusive")
    if {"p", "u"} <= letters:
        refuse("rename", "-u and -p options are mutually exclusive")
    if "r" in letters and "@" not in old:
        refuse("rename", "source dataset for recursive rename must be a snapshot")
    with changing() as store:
        opened(store, old, (F,) if "u" in letters else (F, V) if "p" in letters else (F, V, S))
        if store.datasets[old]["type"] == S:
            _rename_snapshot(store, old, new, recursive="r" in letters)
        elif old != new:
            _rename_dataset(store, old, new, parents="p" in letters)
    return 0


def _rename_snapshot(store: Store, old: str, new: str, *, recursive: bool) -> None:
    head, _, old_tail = old.partition("@")
    new_head, at, tail = new.partition("@")
    if not at:
        new_head, tail = "", new
    if new_head and new_head != head:
        core.fail(f"cannot rename to '{new}': snapshots must be part of same dataset")
    wrong = names.reason(f"{head}@{tail}", snapshot=True, creating=True)
    if wrong:
        core.fail(f"cannot rename to '{head}@{tail}': {wrong}")
    owners = [head, *(store.below(head) if recursive else [])]
    pairs = [(f"{o}@{old_tail}", f"{o}@{tail}") for o in owners if f"{o}@{old_tail}" in store.datasets]
    for source, target in pairs:
        if source != target and target in store.datasets:
            reason = "a child dataset already has a snapshot with the new name"
            core.fail(f"cannot rename '{old}': {reason if recursive else 'dataset already exists'}")
    for source, target in pairs:
        store.datasets[target] = store.datasets.pop(source)
        store.looked_into.add(target.partition("@")[0])


def _rename_dataset(store: Store, old: str, new: str, *, parents: bool) -> None:
    wrong = names.reason(new, snapshot=False, creating=True)
    if parents and not wrong:
        make_parents(store, new)
    if wrong:
        core.fail(f"cannot rename to '{new}': {wrong}")
    check_parents(store, new)
    if new.partition("/")[0] != old.partition("/")[0]:
        core.fail(f"cannot rename to '{new}': datasets must be within same pool")
    if new.startswith(old + "/"):
        reason = "New dataset name cannot be a descendant of current dataset name"
        core.fail(f"cannot rename to '{new}': {reason}")
    if new in store.datasets:
        core.fail(f"cannot rename '{old}': dataset already exists")
    moving = [old, *store.below(old)]
    for name in moving:
        if store.busy(name):
            if store.datasets[name]["type"] == F:
                core.fail(f"cannot unmount '{store.datasets[name]['shown']}': pool or dataset is busy")
            core.fail(f"cannot rename '{old}': dataset is busy")
        longest = max([0, *(len(each) - len(name) for each in store.snapshots(name))])
        if len(new) + len(name) - len(old) + longest > names.MAX_LENGTH:
            core.fail(f"cannot rename '{old}': dataset name is too long")
    root = store.key_root(old)
    if root and root != old and store.key_root(new.rpartition("/")[0]) != root:
        core.fail(f"cannot rename '{old}': cannot move encrypted child outside of its encryption root")
    shown = store.hide_tree(old)
    for name in moving:
        for each in [name, *store.snapshots(name), *store.bookmarks(name)]:
            store.datasets[new + each[len(old) :]] = store.datasets.pop(each)
    store.show_again([new + name[len(old) :] for name in shown])


def promote(argv: list[str]) -> int:
    """``zfs promote``."""
    if argv and argv[0].startswith("-"):
        refuse("promote", f"invalid option '{argv[0][1:2]}'")
    if not argv:
        refuse("promote", "missing clone filesystem argument")
    if len(argv) > 1:
        refuse("promote", "too many arguments")
    clone = argv[0]
    with changing() as store:
        opened(store, clone, (F, V))
        origin = store.origin(clone)
        if not origin:
            core.fail(f"cannot promote '{clone}': not a cloned filesystem")
        parent = origin.partition("@")[0]
        moving = [
            name
            for name in store.snapshots(parent)
            if store.datasets[name]["txg"] <= store.datasets[origin]["txg"]
        ]
        for name in moving:
            tail = name.partition("@")[2]
            if f"{clone}@{tail}" in store.datasets:
                core.fail(f"cannot promote '{clone}': conflicting snapshot '{tail}' from parent '{origin}'")
        guid = store.datasets[origin]["guid"]
        above = store.datasets[parent].pop("origin", None)
        store.datasets[parent]["origin"] = guid
        store.datasets[clone].pop("origin")
        if above:
            store.datasets[clone]["origin"] = above
        store.changed(parent, clone)
        for name in moving:
            store.datasets[f"{clone}@{name.partition('@')[2]}"] = store.datasets.pop(name)
        store.looked_into |= {clone, parent}
    return 0
