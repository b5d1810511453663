"""``zfs mount`` and ``zfs unmount`` of one filesystem, and ``mount`` without one: what is mounted."""

from __future__ import annotations

from bhype.lab import core
from bhype.lab.openzfs.making import opened
from bhype.lab.openzfs.store import F, Store, changing
from bhype.lab.openzfs.usage import options, refuse


def mount(argv: list[str]) -> int:
    """``zfs mount``."""
    _, arguments = options("mount", argv, "flvO")
    if not arguments:
        store = Store(core.peek("zfs"))
        for name, dataset in sorted(store.datasets.items()):
            if dataset["type"] == F and dataset.get("shown"):
                print(f"{name:<30s}  {dataset['shown']}")
        return 0
    if len(arguments) > 1:
        refuse("mount", "too many arguments")
    name = arguments[0]
    with changing() as store:
        opened(store, name, (F,))
        mountpoint = store.lookup(name, "mountpoint")[0]
        if mountpoint == "legacy":
            core.fail(f"cannot mount '{name}': legacy mountpoint\nuse mount(8) to mount this filesystem")
        if mountpoint == "none":
            core.fail(f"cannot mount '{name}': no mountpoint set")
        if store.lookup(name, "canmount")[0] == "off":
            core.fail(f"cannot mount '{name}': 'canmount' property is set to 'off'")
        if store.datasets[name].get("shown"):
            core.fail(f"cannot mount '{name}': filesystem already mounted")
        store.datasets[name]["shown"] = mountpoint
        store.unsettled = True
    return 0


def unmount(argv: list[str]) -> int:
    """``zfs unmount``: of the filesystem and of those mounted inside it."""
    _, arguments = options("unmount", argv, "fu")
    if not arguments:
        refuse("unmount", "missing filesystem argument")
    if len(arguments) > 1:
        refuse("unmount", "too many arguments")
    name = arguments[0]
    with changing() as store:
        opened(store, name, (F,))
        if not store.datasets[name].get("shown"):
            core.fail(f"cannot unmount '{name}': not currently mounted")
        if store.busy(name):
            core.fail(f"cannot unmount '{store.datasets[name]['shown']}': pool or dataset is busy")
        inner = [each for each in store.below(name) if store.datasets[each]["type"] == F]
        for each in sorted(inner, reverse=True):
            if store.busy(each):
                core.fail(f"cannot unmount '{store.datasets[each]['shown']}': pool or dataset is busy")
            store.hide(each)
        store.hide(name)
    return 0
