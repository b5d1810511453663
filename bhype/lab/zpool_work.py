"""``zpool scrub``, ``resilver``, ``trim``, ``wait``, ``checkpoint`` and ``sync``."""

from __future__ import annotations

import time

from bhype.lab import core
from bhype.lab.openzfs import pool_history, pools, scanning, sizes, vdevs
from bhype.lab.openzfs.store import changing
from bhype.lab.zpool_devices import wait_for
from bhype.lab.zpool_make import answering, one
from bhype.lab.zpool_show import opened
from bhype.lab.zpool_usage import interval, options, refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bhype.lab.openzfs.store import Store
    from bhype.lab.openzfs.vdevs import Pool, Vdev

DATASET = (
    "'zpool checkpoint' doesn't work on datasets. To save the state of a dataset from a specific point in time "
    "please use 'zfs snapshot'"
)
ACTIVITIES = ("discard", "free", "initialize", "replace", "remove", "resilver", "scrub", "trim")


def scrub(argv: list[str]) -> int:
    """``zpool scrub``."""
    found, words = options("scrub", argv, "spwe")
    letters = {letter for letter, _ in found}
    if {"s", "p"} <= letters:
        refuse("scrub", "invalid option combination :-s and -p are mutually exclusive")
    if "w" in letters and letters & {"s", "p"}:
        refuse("scrub", "invalid option combination: -w cannot be used with -p or -s")
    if not words:
        refuse("scrub", "missing pool name argument")
    with changing() as store:
        pools.refresh(store, keep=True)
        chosen, code = opened(store, words)
        for name in chosen:
            wrong = _scrub(store, name, letters)
            if wrong:
                core.warn(wrong)
                code = 1
            else:
                pool_history.log(name, ["zpool", "scrub", *argv])
                if store.pools[name].get("checkpoint") and "s" not in letters:
                    print(f"warning: will not scrub state that belongs to the checkpoint of pool '{name}'")
                pool_history.event(name, f"sysevent.fs.zfs.scrub_{'abort' if 's' in letters else 'start'}")
    if "w" in letters and not code:
        for name in chosen:
            wait_for(name, "SCRUB")
    return code


def _scrub(store: Store, name: str, letters: set[str]) -> str:
    """Start, stop or pause a scrub; returns why not."""
    pool = store.pools[name]
    scan = pool["scan"]
    scrubbing = scanning.running(pool, "SCRUB")
    if "s" in letters:
        prefix = f"cannot cancel scrubbing {name}: "
    elif "p" in letters:
        prefix = f"cannot pause scrubbing {name}: "
    else:
        prefix = f"cannot scrub {name}: "
    if vdevs.suspended(pool):
        return prefix + "pool I/O is currently suspended"
    if scanning.running(pool, "RESILVER"):
        return prefix + ("there is no active scrub" if "s" in letters else "currently resilvering")
    if "s" in letters:
        if not scrubbing:
            return prefix + "there is no active scrub"
        scan |= {"state": "CANCELED", "end": int(time.time()), "paused": 0}
    elif "p" in letters:
        if scrubbing and scan["paused"]:
            return prefix + "scrub is paused; use 'zpool scrub' to resume scrub"
        if scrubbing:
            scan["paused"] = time.time()
    elif scrubbing and not scan["paused"]:
        return prefix + "currently scrubbing; use 'zpool scrub -s' to cancel scrub"
    elif scrubbing:
        scan["waited"] += time.time() - scan["paused"]
        scan["paused"] = 0
    else:
        scanning.start(pool, "SCRUB", pools.allocated(store, name))
    return ""


def resilver(argv: list[str]) -> int:
    """``zpool resilver``: start it again from the beginning."""
    _, words = options("resilver", argv, "")
    if not words:
        refuse("resilver", "missing pool name argument")
    with changing() as store:
        for name in words:
            pool = one(store, name)
            answering(pool, f"cannot restart resilver on {name}")
            if scanning.running(pool, "RESILVER"):
                scanning.resilver(pool, pools.allocated(store, name))
    return 0


def trim(argv: list[str]) -> int:
    """``zpool trim``."""
    long = {"cancel": "c", "secure": "d", "suspend": "s", "wait": "w"}
    found, words = options("trim", argv, "cdr:sw", long, names_missing=False)
    letters = {letter for letter, _ in found}
    if {"c", "s"} <= letters:
        refuse("trim", "-s cannot be combined with other options")
    for letter, value in found:
        if letter == "r":
            try:
                sizes.parse(value)
            except sizes.BadSize as error:
                refuse("trim", f"invalid value for rate: {error}")
    if not words:
        refuse("trim", "missing pool name argument")
    if "w" in letters and letters & {"c", "s"}:
        refuse("trim", "-w cannot be used with -c or -s")
    name = words[0]
    with changing() as store:
        if opened(store, [name])[1]:
            raise core.Exit(255)
        pool = one(store, name)
        targets = _targets(pool, words[1:])
        wrong = [text for each, word in targets if (text := _trim(each, word, letters, whole=not words[1:]))]
        if len(wrong) == len(targets) and not words[1:] and set(wrong) == {"unsupported"}:
            core.fail("cannot trim: no devices in pool support trim operations", 255)
        for text in wrong:
            if text != "unsupported":
                core.warn(text)
        if any(text != "unsupported" for text in wrong):
            raise core.Exit(255)
        pool_history.log(name, ["zpool", "trim", *argv])
    if "w" in letters:
        _wait(name, {"trim"})
    return 0


def _targets(pool: Pool, words: list[str]) -> list[tuple[Vdev, str]]:
    if not words:
        return [(each, vdevs.name(each)) for top in pool["tops"] for each in vdevs.leaves(top)]
    found = []
    for word in words:
        match = vdevs.find(pool, word)
        if match is None:
            core.fail(f"cannot trim '{word}': no such device in pool", 255)
        found.append((match[0], word))
    return found


def _trim(each: Vdev, word: str, letters: set[str], *, whole: bool) -> str:
    """Start, stop or suspend the trim of a leaf; returns why not, "unsupported" where that is not to be told."""
    state = each.get("trim", {}).get("state", "")
    if each.get("no_trim"):
        shown = "trim operations are not supported by this device"
        return "unsupported" if whole else f"cannot trim '{word}': {shown}"
    if letters & {"c", "s"}:
        if state not in ("ACTIVE", "SUSPENDED") or (state == "SUSPENDED" and "s" in letters):
            return f"cannot trim '{word}': there is no active trim"
        if "s" in letters:
            each["trim"] |= {"state": "SUSPENDED", "done": time.time() - each["trim"]["start"]}
        else:
            each["trim"]["state"] = "CANCELED"
        return ""
    if state == "ACTIVE":
        return f"cannot trim '{word}': currently trimming"
    done = each["trim"]["done"] if state == "SUSPENDED" else 0.0
    now = time.time()
    seconds = scanning.duration(scanning.TRIM_SECONDS, is_disk=each["kind"] == "disk")
    each["trim"] = {
        "state": "ACTIVE",
        "start": now,
        "at": int(now),
        "seconds": seconds,
        "done": done,
    }
    return ""


def wait(argv: list[str]) -> int:
    """``zpool wait``; its reports (``interval``) are not there."""
    found, words = options("wait", argv, "HpT:t:", names_missing=False)
    chosen = set(ACTIVITIES)
    for letter, value in found:
        if letter == "t":
            chosen = set(value.split(","))
            for word in value.split(","):
                if word not in ACTIVITIES:
                    refuse("wait", f"invalid activity '{word}'")
    words, _, count = interval("wait", words)
    if count or len(words) > 1:
        refuse("wait", "too many arguments")
    if not words:
        refuse("wait", "missing 'pool' argument")
    if opened(pools.opened(), words)[1]:
        return 1
    _wait(words[0], chosen)
    return 0


def _wait(name: str, activities: set[str]) -> None:
    while True:
        store = pools.opened()
        pool = store.pools.get(name)
        if pool is None:
            return
        scan = pool.get("scan") or {}
        busy = scan.get("state") == "SCANNING" and not scan["paused"] and (
            ("scrub" in activities and scan["function"] == "SCRUB")
            or (activities & {"resilver", "replace"} and scan["function"] == "RESILVER")
        )  # fmt: skip
        trims = any((each.get("trim") or {}).get("state") == "ACTIVE" for each in vdevs.all_leaves(pool))
        if not busy and not (trims and "trim" in activities):
            return
        time.sleep(0.05)


def checkpoint(argv: list[str]) -> int:
    """``zpool checkpoint``: that there is one is kept and told; the pool cannot be rewound to it."""
    found, words = options("checkpoint", argv, "dw", {"discard": "d", "wait": "w"})
    letters = {letter for letter, _ in found}
    if "w" in letters and "d" not in letters:
        refuse("checkpoint", "--wait only valid when --discard also specified")
    if not words:
        refuse("checkpoint", "missing pool argument")
    if len(words) > 1:
        refuse("checkpoint", "too many arguments")
    name = words[0]
    with changing() as store:
        if opened(store, words)[1]:
            if "/" in name:
                core.warn(DATASET)
            raise core.Exit(1)
        pool = one(store, name)
        if "d" in letters:
            prefix = f"cannot discard checkpoint in '{name}'"
            answering(pool, prefix)
            if not pool.pop("checkpoint", None):
                core.fail(f"{prefix}: checkpoint does not exist")
        else:
            prefix = f"cannot checkpoint '{name}'"
            answering(pool, prefix)
            if pool.get("checkpoint"):
                core.fail(f"{prefix}: checkpoint exists")
            pool["checkpoint"] = {"at": int(time.time()), "space": 64 * 1024}
        pool_history.log(name, ["zpool", "checkpoint", *argv])
    return 0


def sync(argv: list[str]) -> int:
    """``zpool sync``: everything is written already."""
    _, words = options("sync", argv, "f")
    return opened(pools.opened(), words)[1]
