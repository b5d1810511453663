"""``zpool create``, ``destroy``, ``add``, ``set``, ``labelclear``, ``upgrade`` and ``reguid``."""

from __future__ import annotations

import os
import sys

from bhype.lab import core
from bhype.lab.openzfs import (
    labels,
    making,
    names,
    pool_history,
    pool_properties,
    pool_status,
    pools,
    properties,
    vdevs,
)
from bhype.lab.openzfs.spec import Spec
from bhype.lab.openzfs.store import F, changing
from bhype.lab.zpool_show import opened
from bhype.lab.zpool_usage import options, refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from bhype.lab.openzfs.store import Store
    from bhype.lab.openzfs.vdevs import Pool, Vdev


def one(store: Store, name: str) -> Pool:
    """The pool, its devices looked at; fails unless it is there."""
    if opened(store, [name])[1]:
        raise core.Exit(1)
    pools.refresh(store, keep=True)
    return store.pools[name]


def answering(pool: Pool, prefix: str) -> None:
    """Fail if the pool is suspended: nothing can be written."""
    if vdevs.suspended(pool):
        core.fail(f"{prefix}: pool I/O is currently suspended")


def _assignment(letter: str, value: str, into: dict[str, str], kind: str) -> None:
    name, equals, setting = value.partition("=")
    if not equals:
        core.fail(f"missing '=' for -{letter} option")
    if kind == "pool":
        name = pool_properties.ALIASES.get(name, name)
        if not pools.exists(name) and not name.startswith("feature@"):
            core.fail(f"property '{name}' is not a valid pool or vdev property")
    elif ":" not in name and properties.full_name(name) not in properties.TABLE:
        core.fail(f"property '{name}' is not a valid filesystem property")
    if name in into:
        core.fail(f"property '{name}' specified multiple times", 1)
    into[name] = setting


def create(argv: list[str]) -> int:
    """``zpool create``."""
    found, words = options("create", argv, "fndR:m:o:O:t:")
    letters = {letter for letter, _ in found}
    props: dict[str, str] = {}
    given: dict[str, str] = {}
    mountpoint = altroot = ""
    for letter, value in found:
        if letter == "o":
            _assignment(letter, value, props, "pool")
        elif letter == "O" and value.partition("=")[::2][0] == "mountpoint":
            mountpoint = value.partition("=")[2]
        elif letter == "O":
            _assignment(letter, value, given, "dataset")
        elif letter == "m":
            mountpoint = value
        elif letter == "R":
            _assignment("o", f"altroot={value}", props, "pool")
            props.setdefault("cachefile", "none")
    altroot = props.get("altroot", "")
    if not words:
        refuse("create", "missing pool name argument")
    if len(words) < 2:
        refuse("create", "missing vdev specification")
    name = words[0]
    prefix = f"cannot create '{name}': "
    if "/" in name:
        core.fail(f"{prefix}invalid character '/' in pool name\nuse 'zfs create' to create a dataset")
    with changing() as store:
        pools.refresh(store, keep=True)
        spec = Spec(words[1:], props.get("ashift", "0"))
        spec.check(store, None, force="f" in letters, levels="f" not in letters)
        if altroot and not altroot.startswith("/"):
            core.fail(f"invalid alternate root '{altroot}': must be an absolute path")
        _check_mountpoint(name, mountpoint, altroot)
        if mountpoint:
            given["mountpoint"] = mountpoint
        if "n" in letters:
            print(f"would create '{name}' with the following layout:\n")
            for line in layout(name, spec):
                print(line)
            return 0
        _create(store, name, spec, props, given, prefix=prefix)
        if "d" in letters:
            store.pools[name]["props"] |= {f"feature@{each}": "disabled" for each in pool_properties.FEATURES}
        pool_history.log(name, ["zpool", "create", *argv])
    return 0


def _check_mountpoint(name: str, mountpoint: str, altroot: str) -> None:
    if mountpoint in ("legacy", "none"):
        return
    if mountpoint and not mountpoint.startswith("/"):
        core.fail(f"invalid mountpoint '{mountpoint}': must be an absolute path, 'legacy', or 'none'")
    path = altroot + (mountpoint or f"/{name}")
    try:
        filled = bool(os.listdir(core.root(path)))
    except FileNotFoundError:
        return
    except OSError as error:
        core.fail(f"mountpoint '{path}' : {error.strerror}\nuse '-m' option to provide a different default")
    if filled:
        core.fail(
            f"mountpoint '{path}' exists and is not empty\nuse '-m' option to provide a different default"
        )


def _create(
    store: Store, name: str, spec: Spec, props: dict[str, str], given: dict[str, str], *, prefix: str
) -> None:
    wrong = names.pool_reason(name)
    if wrong:
        core.fail(f"{prefix}{wrong}\npool name may have been omitted")
    for prop, value in props.items():
        try:
            props[prop] = pool_properties.check(prop, value, creating=True)
        except pool_properties.BadProperty as error:
            core.fail(prefix + str(error))
    filesystem = making.parsed(given, F, prefix)
    if name in store.pools:
        core.fail(prefix + "pool already exists")
    _refuse_devices(spec, prefix, "one or more devices is less than the minimum size (64M)")
    pools.make(store, name, spec, {k: v for k, v in props.items() if v != "enabled"}, filesystem=filesystem)


def _refuse_devices(spec: Spec, prefix: str, small: str) -> None:
    match spec.refuse_small_or_same():
        case "small":
            core.fail(prefix + small)
        case "same":
            core.fail(
                f"{prefix}one or more vdevs refer to the same device, or one of\n"
                "the devices is part of an active md or lvm device"
            )
        case "closed":
            core.fail(f"{prefix}one or more devices is currently unavailable")


def layout(name: str, spec: Spec) -> Iterator[str]:
    """What ``zpool create -n`` prints (print_vdev_tree())."""
    yield f"\t{name}"
    yield from branches([top for top in spec.tops if not top["class"]])
    for key, head in pool_status.CLASSES.items():
        tops = [top for top in spec.tops if top["class"] == key]
        if tops:
            yield f"\t{head}"
        yield from branches(tops)
    for head, group in (("cache", spec.cache), ("spares", spec.spares)):
        if group:
            yield f"\t{head}"
        yield from branches(group)


def branches(tops: list[Vdev], *, numbered: bool = False, style: str = "", depth: int = 2) -> Iterator[str]:
    for index, vdev in enumerate(tops):
        at = None if depth == 2 else index
        yield f"\t{'':{depth}}{vdevs.name(vdev, index=at, numbered=numbered, style=style)}"
        yield from branches(vdev.get("children", []), numbered=numbered, style=style, depth=depth + 2)


def destroy(argv: list[str]) -> int:
    """``zpool destroy``."""
    _, words = options("destroy", argv, "f")
    if not words:
        refuse("destroy", "missing pool argument")
    if len(words) > 1:
        refuse("destroy", "too many arguments")
    with changing() as store:
        one(store, words[0])
        if pools.busy(store, words[0]):
            core.fail(f"cannot destroy '{words[0]}': pool is busy")
        pools.end(store, words[0])
    return 0


def add(argv: list[str]) -> int:
    """``zpool add``."""
    long = {"allow-in-use": "i", "allow-replication-mismatch": "r", "allow-ashift-mismatch": "a"}
    found, words = options("add", argv, "fgLno:Pira", long)
    letters = {letter for letter, _ in found}
    props: dict[str, str] = {}
    for letter, value in found:
        if letter == "o":
            if not value.startswith("ashift="):
                refuse("add", "" if "=" in value else "missing '=' for -o option")
            props["ashift"] = value.partition("=")[2]
    if not words:
        refuse("add", "missing pool name argument")
    if len(words) < 2:
        refuse("add", "missing vdev specification")
    name, force = words[0], "f" in letters
    with changing() as store:
        pool = one(store, name)
        spec = Spec(words[1:], props.get("ashift", "0"))
        spec.check(store, pool, force=force or "i" in letters, levels=not (force or "r" in letters))
        if "n" in letters:
            style = "g" if "g" in letters else "P" if "P" in letters else ""
            print(f"would update '{name}' to the following configuration:\n")
            for line in _updated(name, pool, spec, style):
                print(line)
            return 0
        prefix = f"cannot add to '{name}'"
        answering(pool, prefix)
        mine = {each["path"] for each in vdevs.all_leaves(pool) if each["state"] == "ONLINE"}
        if mine & {each["path"] for each in spec.leaves()}:
            core.fail(f"{prefix}: one or more vdevs refer to the same device")
        if not (force or "a" in letters) and _other_sectors(pool, spec, props.get("ashift", "0")):
            core.fail(f"{prefix}: adding devices with different physical sector sizes is not allowed")
        _refuse_devices(spec, f"{prefix}: ", "device is less than the minimum size (64M)")
        before = pool["props"].get("ashift")
        pool["props"] |= props
        pools.add(pool, spec, name)
        if props and before is None:
            del pool["props"]["ashift"]
        pool_history.log(name, ["zpool", "add", *argv])
    return 0


def _other_sectors(pool: Pool, spec: Spec, ashift: str) -> bool:
    """Whether the new vdevs have another sector size than all of the pool's."""
    old = {each["ashift"] for top in pool["tops"] for each in vdevs.leaves(top)}
    given = int(ashift) or int(pool["props"].get("ashift", 0))
    new = {given or each["ashift"] for top in spec.tops for each in vdevs.leaves(top)}
    return len(old) == 1 and bool(new - old)


def _updated(name: str, pool: Pool, spec: Spec, style: str) -> Iterator[str]:
    yield f"\t{name}"
    for key, head in {"": "", **pool_status.CLASSES}.items():
        old = [top for top in pool["tops"] if top["class"] == key and top["kind"] != "hole"]
        new = [top for top in spec.tops if top["class"] == key]
        if head and (old or new):
            yield f"\t{head}"
        yield from branches(old, numbered=True, style=style)
        yield from branches(new, style=style)
    for head, before, after in (
        ("cache", pool["cache"], spec.cache),
        ("spares", pool["spares"], spec.spares),
    ):
        if before or after:
            yield f"\t{head}"
        yield from branches(before + after, style=style)


def set_(argv: list[str]) -> int:
    """``zpool set``; vdevs have no properties here."""
    if argv and argv[0].startswith("-"):
        refuse("set", f"invalid option '{argv[0][1:2]}'")
    if not argv:
        refuse("set", "missing property=value argument")
    if len(argv) < 2:
        refuse("set", "missing pool name")
    if len(argv) > 3:
        refuse("set", "too many pool names")
    prop, equals, value = argv[0].partition("=")
    if not equals:
        refuse("set", "missing value in property=value argument")
    prop = pool_properties.ALIASES.get(prop, prop)
    with changing() as store:
        if argv[1] not in store.pools:
            core.fail(f"cannot open '{argv[1]}': is not a pool", 22)
        pool = one(store, argv[1])
        if not pools.exists(prop):
            core.fail(f"cannot set property for '{argv[1]}': invalid property '{prop}'")
        prefix = f"cannot set property for '{argv[1]}'"
        try:
            value = pool_properties.check(prop, value)
        except pool_properties.BadProperty as error:
            core.fail(f"{prefix}: {error}")
        answering(pool, prefix)
        if prop.startswith("feature@"):
            pool["props"].pop(prop, None)
        elif value or ":" not in prop:
            pool["props"][prop] = value
        else:
            pool["props"].pop(prop, None)
        pool_history.log(argv[1], ["zpool", "set", *argv])
    return 0


def upgrade(argv: list[str]) -> int:
    """``zpool upgrade``: which pools lack features; ``-a`` or names enable all."""
    found, words = options("upgrade", argv, ":avV:")
    letters = {letter for letter, _ in found}
    with changing() as store:
        chosen, code = opened(store, words)
        print("This system supports ZFS pool feature flags.\n")
        for name in chosen:
            props = store.pools[name]["props"]
            lacking = [
                each for each in list(props) if each.startswith("feature@") and props[each] == "disabled"
            ]
            if not words and "a" not in letters:
                continue
            for each in lacking:
                del props[each]
            if lacking:
                print(f"Enabled the following features on '{name}':")
                print("".join(f"  {each[8:]}\n" for each in lacking))
            else:
                print(f"Pool '{name}' already has all supported and requested features enabled.")
        if not words and "a" not in letters:
            print("All pools are formatted using feature flags.\n")
            print("Every feature flags pool has all supported and requested features enabled.")
    return code


def reguid(argv: list[str]) -> int:
    """``zpool reguid``."""
    _, words = options("reguid", argv, "")
    if not words:
        refuse("reguid", "missing pool name")
    if len(words) > 1:
        refuse("reguid", "too many arguments")
    with changing() as store:
        pool = one(store, words[0])
        answering(pool, f"cannot reguid '{words[0]}'")
        pool["guid"] = vdevs.guid()
        pool_history.log(words[0], ["zpool", "reguid", *argv])
        vdevs.relabel(pool, words[0])
    return 0


def labelclear(argv: list[str]) -> int:
    """``zpool labelclear [-f] DEVICE``."""
    found, words = options("labelclear", argv, "f")
    force = bool(found)
    if not words:
        refuse("labelclear", "missing vdev name")
    if len(words) > 1:
        refuse("labelclear", "too many arguments")
    word = words[0]
    path = word if word.startswith("/") else f"/dev/{word}"
    if not os.path.exists(core.root(path)):
        if word.startswith("/"):
            core.fail(f"failed to open {word}: No such file or directory")
        core.fail(f"failed to find device {word}, try specifying absolute path instead")
    with changing() as store:
        pools.refresh(store, keep=True)
        label = labels.read(path)
        if label is None:
            core.fail(f"failed to clear label for {path}", 255)
        owner = next((p for p in store.pools.values() if p["guid"] == label["pool_guid"]), None)
        member = owner and next((e for e in vdevs.all_leaves(owner) if e["guid"] == label["guid"]), None)
        if member and not (force and (member["state"] != "ONLINE" or member["kind"] == "file")):
            state = {labels.SPARE: "SPARE", labels.L2CACHE: "L2CACHE"}.get(label["state"], "ACTIVE")
            hint = ". Offline the disk first to clear its label." if force else ""
            sys.stderr.write(f'{path} is a member ({state}) of pool "{label["pool"]}"{hint}')
            print()
            raise core.Exit(1)
        if owner is None and label["state"] != labels.DESTROYED and not force:
            desc = "exported" if label["state"] == labels.EXPORTED else "potentially active"
            core.fail(
                f"use '-f' to override the following error:\n{path} is a member of {desc} pool \"{label['pool']}\""
            )
        labels.clear(path)
        pools.forget(store)
    return 0
