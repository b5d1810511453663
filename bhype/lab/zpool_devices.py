"""``zpool attach``, ``detach``, ``replace``, ``online``, ``offline``, ``clear``, ``remove`` and ``reopen``."""

from __future__ import annotations

import time

from bhype.lab import core
from bhype.lab.openzfs import labels, pool_history, pools, scanning, spec, vdevs
from bhype.lab.openzfs.space import Space
from bhype.lab.openzfs.store import changing
from bhype.lab.zpool_make import answering, one
from bhype.lab.zpool_usage import options, refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bhype.lab.openzfs.store import Store
    from bhype.lab.openzfs.vdevs import Pool, Vdev

NO_DEVICE = "no such device in pool"
SPARE = "device is reserved as a hot spare"
FAILED = 255  # what libzfs returns, -1, is the exit status of these commands


def _device(pool: Pool, word: str, prefix: str, *, caches: bool = False, code: int = FAILED) -> Vdev:
    """The device of the pool that ``word`` names; fails for spares and, unless ``caches``, for caches."""
    found = vdevs.find(pool, word)
    if found is None:
        core.fail(f"{prefix}: {NO_DEVICE}", code)
    vdev, role = found
    if role == "spare":
        core.fail(f"{prefix}: {SPARE}", code)
    if role == "cache" and not caches:
        core.fail(f"{prefix}: device is in use as a cache", code)
    return vdev


def attach(argv: list[str]) -> int:
    """``zpool attach``."""
    return _attach("attach", argv)


def replace(argv: list[str]) -> int:
    """``zpool replace``."""
    return _attach("replace", argv)


def _attach(command: str, argv: list[str]) -> int:
    found, words = options(command, argv, "fo:sw", names_missing=False)
    letters = {letter for letter, _ in found}
    for letter, value in found:
        if letter == "o" and not value.startswith("ashift="):
            refuse(command, "" if "=" in value else "missing '=' for -o option")
    replacing = command == "replace"
    if not words:
        refuse(command, "missing pool name argument")
    if len(words) < 2:
        refuse(command, "missing <device> specification")
    if len(words) < 3 and not replacing:
        refuse(command, "missing <new_device> specification")
    if len(words) > 3:
        refuse(command, "too many arguments")
    name, old = words[0], words[1]
    new = words[2] if len(words) > 2 else old
    with changing() as store:
        pool = one(store, name)
        wanted = spec.Spec([new])
        wanted.check(store, pool, force="f" in letters, levels=False, replacing=replacing)
        prefix = f"cannot replace {old} with {new}" if replacing else f"cannot attach {new} to {old}"
        target = _device(pool, old, prefix)
        answering(pool, prefix)
        fresh = _fresh(pool, wanted, target, new, prefix)
        if replacing:
            _replace(pool, target, fresh, prefix)
        else:
            _mirror(pool, target, fresh, prefix)
        labels.write(fresh["path"], fresh["guid"], pool["guid"], name)
        vdevs.measure(pool)
        scanning.resilver(pool, pools.allocated(store, name))
        pool_history.log(name, ["zpool", command, *argv])
        pool_history.event(name, "sysevent.fs.zfs.vdev_attach")
    if "w" in letters:
        wait_for(name, "RESILVER")
    return 0


def _fresh(pool: Pool, wanted: spec.Spec, target: Vdev, new: str, prefix: str) -> Vdev:
    """The new leaf, once its device is good for the place of ``target``; a spare of the pool keeps its guid."""
    (fresh,) = wanted.leaves()
    fresh.pop("class", None)
    spare = next((each for each in pool["spares"] if each["path"] == fresh["path"]), None)
    used = [each for top in pool["tops"] for each in vdevs.leaves(top)] + pool["cache"]
    taken = any(each["path"] == fresh["path"] and each["state"] == "ONLINE" for each in used)
    if taken or spec.is_open(fresh["path"]):
        core.fail(f"{prefix}: {new} is busy, or device removal is in progress", FAILED)
    if target["kind"] in vdevs.LEAVES:
        needed = _needed(pool, target)
        if labels.usable(fresh["size"]) < needed:
            core.fail(f"{prefix}: device is too small", FAILED)
    if spare is not None:
        fresh["guid"] = spare["guid"]
    fresh["ashift"] = next(vdevs.leaves(target))["ashift"]
    fresh["dirty"] = True
    return fresh


def _needed(pool: Pool, target: Vdev) -> int:
    """Bytes that a device in the place of ``target`` must offer (vdev_get_min_asize())."""
    top = vdevs.top_of(pool, target)
    if top["kind"] == "raidz":
        return int(top["asize"]) // len(top["children"])
    return int(top["asize"])


def _put(pool: Pool, old: Vdev, new: Vdev) -> None:
    """Let ``new`` take the place of ``old`` in the tree; a top-level vdev hands over its id, class and size."""
    above = vdevs.parent(pool, old)
    if above is None:
        index = next(i for i, top in enumerate(pool["tops"]) if top is old)
        for key in ("id", "class", "asize"):
            new[key] = old.pop(key)
        pool["tops"][index] = new
    else:
        index = next(i for i, child in enumerate(above["children"]) if child is old)
        above["children"][index] = new


def _mirror(pool: Pool, target: Vdev, fresh: Vdev, prefix: str) -> None:
    top = vdevs.top_of(pool, target)
    if target is top and target["kind"] in vdevs.LEAVES:
        mirror: Vdev = {"kind": "mirror", "guid": vdevs.guid(), "children": []}
        _put(pool, target, mirror)
        mirror["children"] = [target, fresh]
    elif top["kind"] == "mirror" and vdevs.parent(pool, target) is top:
        top["children"].append(fresh)
    else:
        core.fail(f"{prefix}: can only attach to mirrors and top-level disks", FAILED)


def _replace(pool: Pool, target: Vdev, fresh: Vdev, prefix: str) -> None:
    above = vdevs.parent(pool, target)
    if target["kind"] not in vdevs.LEAVES or (above and above["kind"] == "replacing"):
        core.fail(
            f"{prefix}: already in replacing/spare config; wait for completion or use 'zpool detach'", FAILED
        )
    is_spare = any(each["guid"] == fresh["guid"] for each in pool["spares"])
    if is_spare and vdevs.top_of(pool, target)["class"] == "log":
        core.fail(f"{prefix}: cannot replace a log with a spare", FAILED)
    if target["path"] == fresh["path"]:
        target = _aside(pool, target)
    box: Vdev = {"kind": "spare" if is_spare else "replacing", "guid": vdevs.guid(), "children": []}
    _put(pool, target, box)
    box["children"] = [target, fresh]


def _aside(pool: Pool, target: Vdev) -> Vdev:
    """A device that is replaced by another at the same path is known as PATH/old from then on."""
    target["path"] += "/old"
    target["state"], target["aux"] = "UNAVAIL", vdevs.CORRUPT
    return target


def detach(argv: list[str]) -> int:
    """``zpool detach``."""
    _, words = options("detach", argv, "")
    if not words:
        refuse("detach", "missing pool name argument")
    if len(words) < 2:
        refuse("detach", "missing <device> specification")
    name, word = words[0], words[1]
    prefix = f"cannot detach {word}"
    with changing() as store:
        pool = one(store, name)
        target = _device(pool, word, prefix)
        above = vdevs.parent(pool, target)
        if above is None or above["kind"] not in ("mirror", "replacing", "spare"):
            core.fail(f"{prefix}: only applicable to mirror and replacing vdevs", FAILED)
        others = [child for child in above["children"] if child is not target]
        if not any(
            each["state"] == "ONLINE" and not each.get("dirty") for o in others for each in vdevs.leaves(o)
        ):
            core.fail(f"{prefix}: no valid replicas", FAILED)
        answering(pool, prefix)
        above["children"] = others
        if len(others) == 1:
            _put(pool, above, others[0])
        if not any(each["guid"] == target["guid"] for each in pool["spares"]):
            labels.clear(target["path"])
        if not any(each.get("dirty") for each in vdevs.all_leaves(pool)) and scanning.running(
            pool, "RESILVER"
        ):
            pool["scan"] |= {"state": "CANCELED", "end": int(time.time())}
        _forget_spare(pool, others)
        vdevs.measure(pool)
        pool_history.log(name, ["zpool", "detach", *argv])
    return 0


def _forget_spare(pool: Pool, left: list[Vdev]) -> None:
    """A spare whose partner was detached is a device of the pool like the others."""
    left_guids = {each["guid"] for vdev in left for each in vdevs.leaves(vdev)}
    in_boxes = {
        each["guid"]
        for top in pool["tops"]
        for box in _boxes(top)
        for each in vdevs.leaves(box)
    }  # fmt: skip
    pool["spares"] = [e for e in pool["spares"] if e["guid"] not in left_guids or e["guid"] in in_boxes]


def _boxes(vdev: Vdev) -> list[Vdev]:
    found = [vdev] if vdev["kind"] == "spare" else []
    for child in vdev.get("children", ()):
        found += _boxes(child)
    return found


def online(argv: list[str]) -> int:
    """``zpool online``."""
    found, words = options("online", argv, "e", {"power": "e"})
    if not words:
        refuse("online", "missing pool name")
    if len(words) < 2:
        refuse("online", "missing device name")
    expand = bool(found)
    code = 0
    with changing() as store:
        pool = one(store, words[0])
        for word in words[1:]:
            prefix = f"cannot {'expand' if expand else 'online'} {word}"
            match = vdevs.find(pool, word)
            if match is None:
                code = 1  # zpool_do_online() says nothing
                continue
            if match[1] == "spare":
                core.warn(f"{prefix}: {SPARE}")
                code = 1
                continue
            if vdevs.suspended(pool):
                core.fail(f"{prefix}: pool I/O is currently suspended")
            _online(pool, match[0], word, expand=expand)
        vdevs.measure(pool)
        scanning.resilver(pool, pools.allocated(store, words[0]))
        pool_history.log(words[0], ["zpool", "online", *argv])
    return code


def _online(pool: Pool, each: Vdev, word: str, *, expand: bool) -> None:
    if each["state"] == "REMOVED":
        each["state"] = "OFFLINE"
    if each["state"] == "FAULTED" or not vdevs.reopen(each):
        print(f"warning: device '{word}' onlined, but remains in faulted state")
        if each["state"] == "FAULTED":
            print("use 'zpool clear' to restore a faulted device")
        else:
            print("use 'zpool replace' to replace devices that are no longer present")
    elif (above := vdevs.parent(pool, each)) and above["kind"] == "spare":
        each["unspare"] = True
    elif expand or pool["props"].get("autoexpand") == "on":
        top = vdevs.top_of(pool, each)
        for leaf in vdevs.leaves(top):
            leaf["size"] = spec.size_of(leaf["path"]) or leaf["size"]
        top["asize"] = max(top["asize"], vdevs.asize(top))


def offline(argv: list[str]) -> int:
    """``zpool offline``."""
    found, words = options("offline", argv, "ft", {"power": "t"})
    letters = {letter for letter, _ in found}
    if not words:
        refuse("offline", "missing pool name")
    if len(words) < 2:
        refuse("offline", "missing device name")
    code = 0
    with changing() as store:
        pool = one(store, words[0])
        for word in words[1:]:
            code = max(code, _offline(pool, word, fault="f" in letters))
        pool_history.log(words[0], ["zpool", "offline", *argv])
    return code


def _offline(pool: Pool, word: str, *, fault: bool) -> int:
    prefix = f"cannot {'fault' if fault else 'offline'} {word}"
    match = vdevs.find(pool, word)
    if match is None:
        core.warn(f"{prefix}: {NO_DEVICE}")
        return 1
    each, role = match
    if role == "spare":
        core.warn(f"{prefix}: {SPARE}")
        return 1
    answering(pool, prefix)
    before = each.get("state"), each.get("aux")
    if each["kind"] not in vdevs.LEAVES:
        core.warn(f"{prefix}: operation not supported on this type of pool")
        return 1
    each["state"], each["aux"] = ("FAULTED", vdevs.EXTERNAL) if fault else ("OFFLINE", "")
    if role != "cache" and not _enough(pool, each):
        each["state"], each["aux"] = before
        core.warn(f"{prefix}: no valid replicas")
        return 1
    each["dirty"] = True
    return 0


def _enough(pool: Pool, gone: Vdev) -> bool:
    """Whether what is left of the vdev of ``gone`` has all data."""
    top = vdevs.top_of(pool, gone)
    unsure = [each for each in vdevs.leaves(top) if each.get("dirty") and each["state"] == "ONLINE"]
    for each in unsure:
        each["state"] = "UNAVAIL"
    enough = vdevs.state(top)[0] != "UNAVAIL" and vdevs.state(top)[0] in ("ONLINE", "DEGRADED")
    for each in unsure:
        each["state"] = "ONLINE"
    return enough


def clear(argv: list[str]) -> int:
    """``zpool clear``."""
    found, words = options("clear", argv, "FnX", {"power": "F"})
    letters = {letter for letter, _ in found}
    if not words:
        refuse("clear", "missing pool name")
    if len(words) > 2:
        refuse("clear", "too many arguments")
    if letters & {"n", "X"} and "F" not in letters:
        refuse("clear", "-n or -X only meaningful with -F")
    with changing() as store:
        pool = one(store, words[0])
        targets = list(vdevs.all_leaves(pool))
        if len(words) > 1:
            prefix = f"cannot clear errors for {words[1]}"
            targets = list(vdevs.leaves(_device(pool, words[1], prefix, caches=True, code=1)))
        _clear(store, pool, words[0], targets)
        pool_history.log(words[0], ["zpool", "clear", *argv])
    return 0


def _clear(store: Store, pool: Pool, name: str, targets: list[Vdev]) -> None:
    disks = core.peek("disks")
    for each in targets:
        each["errors"] = [0, 0, 0]
        each["cleared"] = time.time()
        if each["state"] in ("FAULTED", "REMOVED", "UNAVAIL"):
            vdevs.reopen(each)
    if pool.get("suspended"):
        still = vdevs.health(pool)[0] == "UNAVAIL" or any(
            disks.get(each["path"][5:], {}).get("broken") for each in targets if each["kind"] == "disk"
        )
        if still:
            # The pool's first write fails again.
            pool_history.event(name, "ereport.fs.zfs.io_failure")
            core.fail(f"cannot clear errors for {name}: I/O error")
        del pool["suspended"]
    pool.pop("damaged", None)
    scanning.resilver(pool, pools.allocated(store, name))


def remove(argv: list[str]) -> int:
    """``zpool remove``: all at once, also where a data device's blocks are to be moved to the others."""
    found, words = options("remove", argv, "npsw")
    letters = {letter for letter, _ in found}
    if not words:
        refuse("remove", "missing pool name argument")
    code = 0
    with changing() as store:
        pool = one(store, words[0])
        if "s" in letters:
            core.fail("cannot cancel removal: operation is not in progress")
        if len(words) < 2:
            refuse("remove", "missing device")
        for word in words[1:]:
            code = max(code, _remove(store, pool, words[0], word))
        vdevs.measure(pool)
        pool_history.log(words[0], ["zpool", "remove", *argv])
    return code


def _remove(store: Store, pool: Pool, name: str, word: str) -> int:
    prefix = f"cannot remove {word}"
    match = vdevs.find(pool, word)
    if match is None:
        core.warn(f"{prefix}: {NO_DEVICE}")
        return 1
    vdev, role = match
    if role == "spare" and any(
        each["guid"] == vdev["guid"] for top in pool["tops"] for each in vdevs.leaves(top)
    ):
        core.warn(f"{prefix}: Pool busy; removal may already be in progress")
        return 1
    if role:
        group = pool["spares" if role == "spare" else "cache"]
        group[:] = [each for each in group if each is not vdev]
        labels.clear(vdev["path"])
        return 0
    if not any(top is vdev for top in pool["tops"]):
        core.warn(f"{prefix}: operation not supported on this type of pool")
        return 1
    answering(pool, prefix)
    if vdev["class"] != "log":
        # spa_vdev_remove_top_check(): its blocks must have room elsewhere.
        if Space(store, name).free < vdevs.data(vdev):
            core.warn(f"{prefix}: out of space")
            return 1
        ashifts = {each["ashift"] for top in pool["tops"] for each in vdevs.leaves(top)}
        if any(top["kind"] == "raidz" for top in pool["tops"]) or len(ashifts) > 1:
            core.warn(
                f"{prefix}: invalid config; all top-level vdevs must have the same sector size and not be raidz."
            )
            return 1
    for each in vdevs.leaves(vdev):
        labels.clear(each["path"])
    hole: Vdev = {"kind": "hole", "guid": vdevs.guid(), "id": vdev["id"], "class": "", "asize": 0}
    pool["tops"] = [hole if top is vdev else top for top in pool["tops"]]
    return 0


def reopen(argv: list[str]) -> int:
    """``zpool reopen``: look again for devices that were away."""
    _, words = options("reopen", argv, "n")
    with changing() as store:
        names = words or sorted(store.pools)
        for name in names:
            pool = one(store, name)
            for each in vdevs.all_leaves(pool):
                if each["state"] in ("UNAVAIL", "REMOVED"):
                    vdevs.reopen(each)
            scanning.resilver(pool, pools.allocated(store, name))
    return 0


def wait_for(name: str, function: str) -> None:
    """Wait until the pool's scan is over, or the pool is."""
    while True:
        store = pools.opened()
        if name not in store.pools or not scanning.running(store.pools[name], function):
            return
        if store.pools[name]["scan"]["paused"]:
            return
        time.sleep(0.05)
