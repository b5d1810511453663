"""Vdev specifications: the words behind ``zpool create``, ``add``, ``attach`` and ``replace`` (zpool_vdev.c)."""

from __future__ import annotations

import errno
import os

from bhype.lab import core, disks
from bhype.lab.openzfs import labels, vdevs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bhype.lab.openzfs.store import Store
    from bhype.lab.openzfs.vdevs import Pool, Vdev

FUZZ = 16 * 1024**2  # ZPOOL_FUZZ
INVALID = "invalid vdev specification"


def grouping(word: str) -> tuple[str, int, int] | None:
    """Type, fewest devices and parity if the word starts a group (is_grouping()); None for a device."""
    if word in ("raidz", "raidz1", "raidz2", "raidz3"):
        parity = int(word[5:] or 1)
        return "raidz", parity + 1, parity
    least = {"mirror": 2, "spare": 1, "log": 1, "special": 1, "dedup": 1, "cache": 1}.get(word)
    return (word, least, 0) if least else None


class Spec:
    """What the words say: top-level vdevs, cache devices and spares, all of them there and openable."""

    def __init__(self, words: list[str], ashift: str = "0") -> None:
        self._ashift = ashift
        self.tops: list[Vdev] = []
        self.cache: list[Vdev] = []
        self.spares: list[Vdev] = []
        self._errors: list[str] = []
        self._parse(words)

    def leaves(self) -> list[Vdev]:
        return [each for top in self.tops for each in vdevs.leaves(top)] + self.spares + self.cache

    def _parse(self, words: list[str]) -> None:
        kind, seen_log = "", False
        position = 0
        while position < len(words):
            word = words[position]
            position += 1
            group = grouping(word)
            if group is None:
                self.tops.append({**self._leaf(word), "class": kind})
                continue
            type_, least, parity = group
            if type_ in ("log", "special", "dedup"):
                if type_ == "log" and seen_log:
                    core.fail(f"{INVALID}: 'log' can be specified only once")
                seen_log = seen_log or type_ == "log"
                kind = type_
                continue
            if (type_ == "spare" and self.spares) or (type_ == "cache" and self.cache):
                core.fail(f"{INVALID}: '{type_}' can be specified only once")
            if type_ in ("spare", "cache"):
                kind = ""
            elif kind and type_ != "mirror":
                shown = "log" if kind == "log" else "special"
                core.fail(f"{INVALID}: unsupported '{shown}' device: {type_}")
            end = position
            while end < len(words) and grouping(words[end]) is None:
                end += 1
            children = [self._leaf(each) for each in words[position:end]]
            position = end
            if len(children) < least:
                core.fail(f"{INVALID}: {word} requires at least {least} devices")
            if type_ == "spare":
                self.spares = children
            elif type_ == "cache":
                self.cache = children
            else:
                top: Vdev = {"kind": type_, "guid": vdevs.guid(), "children": children, "class": kind}
                if parity:
                    top["parity"] = parity
                self.tops.append(top)
        if not (self.tops or self.spares or self.cache):
            core.fail(f"{INVALID}: at least one toplevel vdev must be specified")
        if seen_log and not any(top["class"] for top in self.tops):
            core.fail(f"{INVALID}: log requires at least 1 device")

    def _leaf(self, word: str) -> Vdev:
        found = _leaf(word)
        if not self._ashift.isdigit():
            core.fail("ashift must be a number.")
        if int(self._ashift) and not 9 <= int(self._ashift) <= 16:
            core.fail(f"invalid 'ashift={self._ashift}' property: only values between 9 and 16 are allowed.")
        return found

    # -- checks --------------------------------------------------------------------------------------

    def check(
        self, store: Store, pool: Pool | None, *, force: bool, levels: bool, replacing: bool = False
    ) -> None:
        """Fail unless the devices may be used: by nobody else, and (``levels``) as redundant as the pool's others.

        pool: that they are for, None for a new one. force: take those that only seem to be in use.
        """
        for each in self.leaves():
            self._in_use(store, pool, each, force=force, replacing=replacing)
        if self._errors:
            self._fail(force=force)
        if levels:
            self._replication(pool)
            if self._errors:
                self._fail(force=force)
        if pool is None and not any(not top["class"] for top in self.tops):
            self._errors.append("at least one general top-level vdev must be specified")
            self._fail(force=force)

    def _fail(self, *, force: bool) -> None:
        hint = "use '-f' to override the following errors:"
        if force:
            hint = "the following errors must be manually repaired:"
        core.fail("\n".join([INVALID, hint, *self._errors]))

    def _in_use(self, store: Store, pool: Pool | None, each: Vdev, *, force: bool, replacing: bool) -> None:
        found = labels.read(each["path"])
        if found is None or found["state"] == labels.DESTROYED:
            return
        owner = next((p for p in store.pools.values() if p["guid"] == found["pool_guid"]), None)
        if owner is not None:
            members = {leaf["guid"] for leaf in vdevs.all_leaves(owner)}
            if found["guid"] not in members:
                return
            spare = any(leaf["guid"] == found["guid"] for leaf in owner["spares"])
            if any(leaf["guid"] == found["guid"] for leaf in owner["cache"]):
                if not force:
                    self._errors.append(f"{each['path']} is part of unknown pool '{found['pool']}'")
                return
            if replacing and owner is pool and spare:
                return  # a pool's own spare may take a place in it
            if spare and any(leaf is each for leaf in self.spares):
                return  # pools may share spares
            shown = f"{each['path']} is part of active pool '{found['pool']}'"
            self._errors.append(
                f"{each['path']} is reserved as a hot spare for pool {found['pool']}" if spare else shown
            )
        elif not force:
            desc = "exported" if found["state"] == labels.EXPORTED else "potentially active"
            self._errors.append(f"{each['path']} is part of {desc} pool '{found['pool']}'")

    def _replication(self, pool: Pool | None) -> None:
        current = None
        if pool is not None:
            tops = [top for top in pool["tops"] if top["kind"] != "hole"]
            current = _level(tops, None)
            if current is None:
                return
        if all(top["class"] == "log" for top in self.tops):
            return
        new = _level(self.tops, self._errors)
        if new is None or current is None or new == current:
            return
        text = "mismatched replication level: "
        pair = _raidz_and_mirror(current, new)
        if pair:
            raidz, mirror = pair
            if raidz[2] != mirror[1] - 1:
                self._errors.append(
                    f"{text}pool and new vdev with different redundancy, raidz and mirror vdevs, "
                    f"{raidz[2]} vs. {mirror[1] - 1} ({mirror[1]}-way)"
                )
        elif current[0] != new[0]:
            self._errors.append(f"{text}pool uses {current[0]} and new vdev is {new[0]}")
        elif current[2] != new[2]:
            self._errors.append(f"{text}pool uses {current[2]} device parity and new vdev uses {new[2]}")
        else:
            self._errors.append(
                f"{text}pool uses {current[1]}-way {current[0]} and new vdev uses {new[1]}-way {new[0]}"
            )

    def refuse_small_or_same(self) -> str:
        """The kernel's reason against the devices, or ""; "busy" for one that is given twice or used by the host."""
        paths = [each["path"] for each in self.leaves()]
        for top in [*self.tops, *self.cache, *self.spares]:
            small = [each["size"] < labels.SMALLEST for each in vdevs.leaves(top)]
            if any(small):
                return "small" if all(small) else "closed"
        if len(set(paths)) < len(paths):
            return "same"
        return "closed" if any(is_open(path) for path in paths) else ""


def is_open(path: str) -> bool:
    """Whether the host itself uses the disk, or the partition, at ``path``: GEOM then lets nobody else write."""
    owner = disks.of(path)
    if not owner:
        return False
    disk = core.peek("disks")[owner]
    if path == f"/dev/{owner}":
        return bool(disks.users(disk))
    index = disks.partitions(disk, owner).index(path[5:])
    return bool(disk["parts"][index]["use"])


def _leaf(word: str) -> Vdev:
    """The device that a word names; fails unless it is there (make_leaf_vdev())."""
    path = word if word.startswith("/") else f"/dev/{word}"
    try:
        status = os.stat(core.root(path))
    except OSError as error:
        if not word.startswith("/") and error.errno == errno.ENOENT:
            core.fail(
                f"cannot open '{word}': no such device in /dev\nmust be a full path or shorthand device name"
            )
        core.fail(f"cannot resolve path '{word}'")
    if (status.st_mode & 0o170000) == 0o040000:
        core.fail(f"cannot use '{path}': must be a block device or regular file")
    return vdevs.leaf(path, size_of(path))


def size_of(path: str) -> int:
    """Bytes of the disk, partition or file; 0 if it is not there."""
    owner = disks.of(path)
    if owner and path != f"/dev/{owner}":
        disk = core.peek("disks")[owner]
        return int(disk["parts"][disks.partitions(disk, owner).index(path[5:])]["count"] * disk["sector"])
    try:
        return os.path.getsize(core.root(path))
    except OSError:
        return 0


Level = tuple[str, int, int]  # type, children, parity


def _level(tops: list[Vdev], errors: list[str] | None) -> Level | None:
    """How redundant the vdevs are, None if they differ (get_replication()). errors: gets the reasons."""
    last: Level | None = None
    good = True
    for top in tops:
        if top["class"] == "log":
            continue
        children = top.get("children")
        rep = (top["kind"], len(children) if children else 1, top.get("parity", 0))
        if children and not _alike(top, errors):
            if errors is None:
                return None
            good = False
        if last is not None and not _same(last, rep, errors):
            if errors is None:
                return None
            good = False
        last = rep
    return last if good else None


def _alike(top: Vdev, errors: list[str] | None) -> bool:
    kind, size = "", -1
    for child in top["children"]:
        each = next(vdevs.leaves(child))
        try:
            found = os.path.getsize(core.root(each["path"]))
        except OSError:
            continue
        if not found:
            continue  # what cannot be told is not compared
        if kind and each["kind"] != kind:
            if errors is not None:
                errors.append(f"mismatched replication level: {top['kind']} contains both files and devices")
            return False
        if size >= 0 and abs(found - size) > FUZZ:
            if errors is not None:
                errors.append(f"{top['kind']} contains devices of different sizes")
            return False
        kind, size = each["kind"], found
    return True


def _raidz_and_mirror(a: Level, b: Level) -> tuple[Level, Level] | None:
    if {a[0], b[0]} == {"raidz", "mirror"}:
        return (a, b) if a[0] == "raidz" else (b, a)
    return None


def _same(last: Level, rep: Level, errors: list[str] | None) -> bool:
    if last == rep:
        return True
    text = "mismatched replication level: both "
    pair = _raidz_and_mirror(last, rep)
    if pair:
        raidz, mirror = pair
        if raidz[2] == mirror[1] - 1:
            return True
        text = (
            f"mismatched replication level: raidz and mirror vdevs with different redundancy, "
            f"{raidz[2]} vs. {mirror[1] - 1} ({mirror[1]}-way) are present"
        )
    elif last[0] == rep[0] == "raidz":  # is_raidz_draid(): their widths may differ
        if last[2] == rep[2]:
            return True
        text = (
            f"mismatched replication level: raidz and raidz vdevs with different redundancy, "
            f"{last[2]} vs. {rep[2]} are present"
        )
    elif last[0] != rep[0]:
        text += f"{last[0]} and {rep[0]} vdevs are present"
    else:
        text += f"{last[1]}-way and {rep[1]}-way {rep[0]} vdevs are present"
    if errors is not None:
        errors.append(text)
    return False
