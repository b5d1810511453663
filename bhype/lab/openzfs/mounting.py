"""``zfs mount`` and ``zfs unmount``, and ``mount`` without a name: what is mounted."""

from __future__ import annotations

from bhype.lab import core
from bhype.lab.openzfs.making import opened
from bhype.lab.openzfs.store import F, Store, changing, reading
from bhype.lab.openzfs.usage import options, refuse


class Refused(Exception):
    """It cannot be mounted or unmounted; the message is libzfs's line."""


def mount(argv: list[str]) -> int:
    """``zfs mount``."""
    found, arguments = options("mount", argv, "aflvO")
    letters = {letter for letter, _ in found}
    if "a" in letters:
        if arguments:
            refuse("mount", "too many arguments")
        return _mount_all(letters)
    if not arguments:
        for name, path in reading().mounts():
            print(f"{name:<30s}  {path}")
        return 0
    if len(arguments) > 1:
        refuse("mount", "too many arguments")
    name = arguments[0]
    with changing() as store:
        opened(store, name, (F,))
        if "l" in letters and store.locked(name):
            from bhype.lab.openzfs import keys

            keys.load(store, store.key_root(name))
        try:
            _mount(store, name)
        except Refused as refused:
            core.fail(str(refused))
    return 0


def _mount_all(letters: set[str]) -> int:
    with changing() as store:
        for pool in store.pools:
            for name in [pool, *store.below(pool)]:
                if "l" in letters and store.locked(name):
                    from bhype.lab.openzfs import keys

                    keys.load(store, store.key_root(name))
                if store.datasets[name]["type"] == F:
                    store.show(name)
    return 0


def _mount(store: Store, name: str) -> None:
    mountpoint = store.lookup(name, "mountpoint")[0]
    if mountpoint == "legacy":
        raise Refused(f"cannot mount '{name}': legacy mountpoint\nuse mount(8) to mount this filesystem")
    if mountpoint == "none":
        raise Refused(f"cannot mount '{name}': no mountpoint set")
    if store.lookup(name, "canmount")[0] == "off":
        raise Refused(f"cannot mount '{name}': 'canmount' property is set to 'off'")
    if store.datasets[name].get("shown"):
        raise Refused(f"cannot mount '{name}': filesystem already mounted")
    if store.locked(name):
        raise Refused(f"cannot mount '{name}': encryption key not loaded")
    store.show_at(name, mountpoint)


def unmount(argv: list[str]) -> int:
    """``zfs unmount``: of a filesystem with those of its tree, or of what is mounted at a path."""
    found, arguments = options("unmount", argv, "afu")
    letters = {letter for letter, _ in found}
    if "a" in letters and arguments:
        refuse("unmount", "too many arguments")
    if "a" not in letters and not arguments:
        refuse("unmount", "missing filesystem argument")
    if len(arguments) > 1:
        refuse("unmount", "too many arguments")
    with changing() as store:
        if "a" in letters:
            return _unmount_all(store)
        name = arguments[0]
        if name.startswith("/"):
            at = {path: each for each, path in store.mounts()}
            if name not in at:
                core.fail(f"cannot open '{name}': No such file or directory")
            name = at[name]
        opened(store, name, (F,))
        if not store.datasets[name].get("shown"):
            core.fail(f"cannot unmount '{name}': not currently mounted")
        inner = [each for each in store.below(name) if store.datasets[each]["type"] == F]
        try:
            for each in [*sorted(inner, reverse=True), name]:
                _unmount(store, each)
        except Refused as refused:
            core.fail(str(refused))
    return 0


def _unmount(store: Store, name: str) -> None:
    shown = store.datasets[name].get("shown")
    if not shown:
        return
    inside = any(path.startswith(f"{shown.rstrip('/')}/") for each, path in store.mounts() if each != name)
    if inside or store.busy(name):
        raise Refused(f"cannot unmount '{shown}': pool or dataset is busy")
    store.hide(name)


def _unmount_all(store: Store) -> int:
    code = 0
    for name, _ in sorted(store.mounts(), key=lambda pair: pair[1], reverse=True):
        if store.lookup(name, "canmount")[0] != "on":
            continue
        try:
            _unmount(store, name)
        except Refused as refused:
            core.warn(str(refused))
            code = 1
    return code
