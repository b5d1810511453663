"""``zpool export`` and ``zpool import``: pools are found again by the labels on their devices."""

from __future__ import annotations

import os

from bhype.lab import core
from bhype.lab.openzfs import (
    guard,
    labels,
    names,
    pool_history,
    pool_properties,
    pool_status,
    pools,
    scanning,
    vdevs,
)
from bhype.lab.openzfs.store import changing
from bhype.lab.zpool_show import opened
from bhype.lab.zpool_usage import options, refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from bhype.lab.openzfs.store import Store
    from bhype.lab.openzfs.vdevs import Pool, Vdev

STATUS = {
    "missing": "One or more devices are missing from the system.",
    "label": "One or more devices contains corrupted data.",
    "offline": "One or more devices are offlined.",
    "faulted": "One or more devices are faulted.",
    "resilvering": "One or more devices were being resilvered.",
}


def export(argv: list[str]) -> int:
    """``zpool export``."""
    found, words = options("export", argv, "afF")
    everything = ("a", "") in found
    if everything and words:
        refuse("export", "too many arguments")
    if not everything and not words:
        refuse("export", "missing pool argument")
    with changing() as store:
        pools.refresh(store, keep=True)
        chosen, code = opened(store, words)
        for name in chosen:
            if vdevs.suspended(store.pools[name]):
                core.warn(f"cannot export '{name}': pool I/O is currently suspended")
                code = 1
            elif pools.busy(store, name):
                core.warn(f"cannot export '{name}': pool is busy")
                code = 1
            else:
                pool_history.log(name, ["zpool", "export", *argv])
                pools.put_away(store, name)
    return code


def _scan(places: list[str]) -> dict[int, str]:
    """Path of each device with a label, by the leaf's guid. places: folders and devices, [] for all in /dev."""
    found: dict[int, str] = {}
    for place in places or ["/dev"]:
        path = place if place.startswith("/") else f"/{place}"
        there = core.root(path)
        paths = [f"{path}/{name}" for name in sorted(os.listdir(there))] if os.path.isdir(there) else [path]
        for each in paths:
            if os.path.isfile(core.root(each)):
                label = labels.read(each)
                if label:
                    found.setdefault(label["guid"], each)
    return found


def _looked_for(row: dict[str, Any], found: dict[int, str]) -> bool:
    """Tell the devices of a pool away where they are; whether one of them was found.

    Those that are nowhere are absent, what has come back is ONLINE again.
    """
    seen = False
    for each in vdevs.all_leaves(row["pool"]):
        path = found.get(each["guid"])
        if path:
            seen = True
            each["path"] = path
            each.pop("absent", None)
            if each["state"] in ("UNAVAIL", "REMOVED"):
                each["state"], each["aux"] = "ONLINE", ""
        elif os.path.exists(core.root(each["path"])) and labels.read(each["path"]):
            each.update(state="UNAVAIL", aux=vdevs.CORRUPT, absent=True, dirty=True)
        elif each["state"] != "OFFLINE":
            each.update(state="UNAVAIL", aux=vdevs.OPEN_FAILED, absent=True, dirty=True)
    row["pool"].pop("suspended", None)
    return seen


def _candidates(store: Store, places: list[str], *, destroyed: bool) -> dict[str, dict[str, Any]]:
    devices = _scan(places)
    return {
        key: row
        for key, row in store.data.get(pools.EXPORTED, {}).items()
        if _looked_for(row, devices) and bool(row["pool"].get("destroyed")) == destroyed
    }


def import_(argv: list[str]) -> int:
    """``zpool import``."""
    long = {"rewind-to-checkpoint": "X"}
    found, words = options("import", argv, "aCc:d:DEfFlmnNo:R:s:tT:VX", long)
    letters = {letter for letter, _ in found}
    places = [value for letter, value in found if letter == "d"]
    props = _properties(found)
    if "a" in letters and words:
        refuse("import", "too many arguments")
    if len(words) > 2:
        refuse("import", "too many arguments")
    if "n" in letters and "F" not in letters:
        refuse("import", "-n or -X only meaningful with -F")
    with changing() as store:
        pools.refresh(store, keep=True)
        away = _candidates(store, places, destroyed="D" in letters)
        if not words and "a" not in letters:
            for index, row in enumerate(away.values()):
                print("\n" if index else "", end="")
                print(_shown(row), end="")
            if not away:
                core.fail("no pools available to import", 0)
            raise core.Exit(0)  # what was seen is not kept
        if "a" in letters:
            return max(
                [
                    _bring(store, key, row["name"], props, letters=letters, argv=argv)
                    for key, row in away.items()
                ]
                or [0]
            )
        return _import_one(store, away, words, props, letters=letters, argv=argv)


def _properties(found: list[tuple[str, str]]) -> dict[str, str]:
    props: dict[str, str] = {}
    for letter, value in found:
        name, equals, setting = value.partition("=")
        if letter == "R":
            props |= {"altroot": value, "cachefile": "none"}
        elif letter == "o" and equals:
            if not pools.exists(name):
                # zpool_do_import() goes to its end without an error set.
                core.fail(f"property '{name}' is not a valid pool or vdev property", 0)
            props[name] = setting
    return props


def _import_one(
    store: Store,
    away: dict[str, dict[str, Any]],
    words: list[str],
    props: dict[str, str],
    *,
    letters: set[str],
    argv: list[str],
) -> int:
    word = words[0]
    keys = [key for key, row in away.items() if word in (row["name"], key)]
    exists = word in store.pools or any(str(pool["guid"]) == word for pool in store.pools.values())
    if exists and (len(words) == 1 or words[0] == words[1]):
        core.fail(
            f"cannot import '{word}': a pool with that name already exists\n"
            "use the form 'zpool import <pool | id> <newpool>' to give it a new name"
        )
    if not keys:
        core.fail(f"cannot import '{word}': no such pool available")
    if len(keys) > 1:
        core.fail(f"cannot import '{word}': more than one matching pool\nimport by numeric ID instead")
    new = words[1] if len(words) > 1 else away[keys[0]]["name"]
    return _bring(store, keys[0], new, props, letters=letters, argv=argv)


def _bring(
    store: Store, key: str, new: str, props: dict[str, str], *, letters: set[str], argv: list[str]
) -> int:
    row = store.data[pools.EXPORTED][key]
    old, pool = row["name"], row["pool"]
    shown = f"cannot import '{old}' as '{new}'" if new != old else f"cannot import '{old}'"
    wrong = names.pool_reason(new)
    if wrong:
        core.fail(f"cannot import '{new}': {wrong}")
    if new in store.pools:
        core.warn(f"{shown}: pool already exists")
        return 1
    for name, value in props.items():
        try:
            pool_properties.check(name, value, importing=True)
        except pool_properties.BadProperty as error:
            core.fail(f"cannot import pool '{old}': {error}")
    logs = [top for top in pool["tops"] if top.get("class") == "log" and vdevs.state(top)[0] == "UNAVAIL"]
    if vdevs.health(pool)[0] == "UNAVAIL" or (logs and "m" not in letters):
        if logs and "m" not in letters:
            print("The devices below are missing or corrupted, use '-m' to import the pool anyway:")
            print("".join(f"    {vdevs.name(top)} [log]\n" for top in logs))
            core.warn(f"{shown}: one or more devices is currently unavailable")
            return 1
        print("\tDestroy and re-create the pool from\n\ta backup source.")
        core.warn(f"{shown}: no such pool or dataset")
        return 1
    pools.bring_back(store, key, new, mount="N" not in letters)
    pool["props"] |= props
    pool["health"] = vdevs.health(pool)[0]
    scanning.resilver(pool, pools.allocated(store, new))
    pool_history.log(new, ["zpool", "import", *argv])
    guard.keep(store.pools)
    return 0


def _shown(row: dict[str, Any]) -> str:
    """What ``zpool import`` tells of a pool that it could import (show_import())."""
    name, pool = row["name"], row["pool"]
    state, aux = vdevs.health(pool)
    why = pool_status.reason({**pool, "damaged": []})
    why = "missing" if state == "UNAVAIL" and why == "label" else why
    lines = [f"   pool: {name}\n", f"     id: {pool['guid']}\n"]
    lines.append(f"  state: {state}{' (DESTROYED)' if pool.get('destroyed') else ''}\n")
    if why in STATUS:
        lines.append(f"status: {STATUS[why]}\n")
    if state == "ONLINE":
        lines.append(" action: The pool can be imported using its name or numeric identifier.\n")
    elif state == "DEGRADED":
        lines.append(
            " action: The pool can be imported despite missing or damaged devices.  The\n"
            "\tfault tolerance of the pool may be compromised if imported.\n"
        )
    else:
        lines.append(" action: The pool cannot be imported. Attach the missing\n\tdevices and try again.\n")
    comment = pool["props"].get("comment")
    if comment:
        lines.append(f"comment: {comment}\n")
    see = {"missing": "ZFS-8000-3C" if state == "UNAVAIL" else "ZFS-8000-2Q", "label": "ZFS-8000-4J"}.get(why)
    if see:
        lines.append(f"   see: {pool_status.SEE}{see}\n")
    style = pool_status.Style(set())
    style.name = "i"
    width = pool_status.width(name, pool, style)
    lines.append(f" config:\n\n{_config(pool, name, width, state, aux)}")
    return "".join(lines)


def _config(pool: Pool, name: str, width: int, state: str, aux: str) -> str:
    lines = [_line(name, width, 0, state, aux)]

    def walk(vdev: Vdev, label: str, depth: int) -> None:
        lines.append(_line(label, width, depth, *vdevs.state(vdev)))
        for index, child in enumerate(vdev.get("children", ())):
            walk(child, vdevs.name(child, index=index, style="i"), depth + 2)

    for top in pool["tops"]:
        if top["class"] == "" and top["kind"] != "hole":
            walk(top, vdevs.name(top, style="i"), 2)
    for head, group in (("cache", pool["cache"]), ("spares", pool["spares"])):
        if group:
            lines.append(f"\t{head}\n")
        lines += [f"\t  {vdevs.name(each, style='i')}\n" for each in group]
    for key, head in pool_status.CLASSES.items():
        tops = [top for top in pool["tops"] if top["class"] == key]
        if tops:
            lines.append(f"\t{head}\t\n")
        for top in tops:
            walk(top, vdevs.name(top, style="i"), 2)
    return "".join(lines)


def _line(label: str, width: int, depth: int, state: str, aux: str) -> str:
    shown = "FAULTED" if aux == vdevs.CORRUPT else state
    return f"\t{'':{depth}}{label:<{width - depth}}  {shown}{'  ' + aux if aux else ''}\n"
