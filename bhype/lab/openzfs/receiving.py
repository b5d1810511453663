"""``zfs receive``: snapshots from a stream on standard input (zfs-receive(8), lib/libzfs/libzfs_sendrecv.c).

The bytes of a substream are collected in state/zfs-recv without holding the state, and become a snapshot at once
when its END was right: of what is cut off or damaged, nothing is left unless -s keeps it for a stream that goes on
(see partial.py). As of the real one, the substreams of a package that came whole stay. -c has no work: nothing rots.
"""

from __future__ import annotations

import fcntl
import os
import time

from bhype.lab import core
from bhype.lab.openzfs import crypt, difference, files, names, partial, properties, sizes, space
from bhype.lab.openzfs.database import head
from bhype.lab.openzfs.destroying import drop
from bhype.lab.openzfs.making import make_parents
from bhype.lab.openzfs.reading import MISSING
from bhype.lab.openzfs.store import F, S, Store, V, changing, reading
from bhype.lab.openzfs.stream import BadStream, Reader
from bhype.lab.openzfs.usage import options, refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Record = dict[str, Any]


def receive(argv: list[str]) -> int:
    """``zfs receive``."""
    found, arguments = options("receive", argv, "o:x:dehMnuvFsAc", MISSING)
    letters = {letter for letter, _ in found}
    changes: dict[str, str | None] = {}
    for letter, value in found:
        name, equals, text = value.partition("=")
        if letter == "o" and not equals:
            refuse("receive", "missing '=' for property=value argument")
        if letter in "ox":
            full = properties.full_name(name)
            if full in changes:
                refuse("receive", f"property '{name}' specified multiple times")
            changes[full] = text if letter == "o" else None
    if {"d", "e"} <= letters:
        refuse("receive", "invalid option combination: -d and -e are mutually exclusive")
    if not arguments:
        refuse("receive", "missing snapshot argument")
    if len(arguments) > 1:
        refuse("receive", "too many arguments")
    if "A" in letters:
        return partial.abort(arguments[0])
    if os.isatty(0):
        core.fail("Error: Backup stream can not be read from a terminal.\nYou must redirect standard input.")
    receiver = Receiver(arguments[0], letters, changes)
    try:
        receiver.run()
    except BadStream as error:
        core.fail(f"cannot receive: {error}")
    finally:
        receiver.close()
    return 0


class Receiver:
    """One ``zfs receive`` into ``target``. changes: what -o sets, None for what -x takes out."""

    def __init__(self, target: str, letters: set[str], changes: dict[str, str | None]) -> None:
        self.target = target
        self.letters = letters
        self.changes = changes
        self.reader = Reader(0)
        self.top = ""
        self.package: Record | None = None
        self.folder = f"{core.folder()}/state/zfs-recv"
        os.makedirs(self.folder, exist_ok=True)
        self._tidy()
        self.lock = os.open(f"{self.folder}/{os.getpid()}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.draft = f"{self.folder}/{os.getpid()}.draft"
        files.remove(self.draft)

    def close(self) -> None:
        files.remove(self.draft)
        files.remove(f"{self.folder}/{os.getpid()}.lock")
        os.close(self.lock)

    def _tidy(self) -> None:
        """Remove what receivers that were killed have left: their locks are free."""
        for name in os.listdir(self.folder):
            if not name.endswith(".lock"):
                continue
            try:
                lock = os.open(f"{self.folder}/{name}", os.O_RDWR)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                files.remove(f"{self.folder}/{name.removesuffix('.lock')}.draft")
                files.remove(f"{self.folder}/{name}")
            except BlockingIOError:
                pass
            finally:
                os.close(lock)

    def run(self) -> None:
        first = self.reader.begin()
        if first is None:
            raise BadStream("invalid stream (bad magic number)")
        if not first.get("package"):
            self._one(first, first["toname"].partition("@")[0])
            return
        self.package = first
        if "@" in self.target and first.get("recursive"):
            raise BadStream("cannot specify snapshot name for multi-snapshot stream")
        for _ in self.reader.rest():
            raise BadStream("invalid backup stream")
        while True:
            begin = self.reader.begin()
            if begin is None:
                self._prune(first)
                return
            self._one(begin, first["toname"].partition("@")[0])

    def _prune(self, package: Record) -> None:
        """After -R into -F: snapshots that the source does not have are gone here as well."""
        if not package.get("recursive") or "F" not in self.letters or "n" in self.letters:
            return
        with changing() as store:
            for source, described in package["datasets"].items():
                name = head(self._destination(f"{source}@-", head(package["toname"])))
                for each in store.snapshots(name):
                    row = store.datasets[each]
                    if (
                        store.guid(each) not in described["every"]
                        and not row["holds"]
                        and not store.clones(each)
                    ):
                        drop(store, each)

    # -- one substream -------------------------------------------------------------------------------

    def _destination(self, toname: str, sendfs: str) -> str:
        """The snapshot that the substream becomes."""
        if self.letters & {"d", "e"}:
            option = "e" if "e" in self.letters else "d"
            if self.target not in reading().datasets:
                core.fail(f"cannot receive: specified fs ({self.target}) does not exist")
            if option == "e":
                cut = sendfs.rfind("/")
                tail = "/" + toname if cut < 0 else toname[cut:]
            else:
                cut = toname.find("/")
                tail = toname[cut if cut >= 0 else toname.index("@") :]
            return self.target + tail
        return self.target if "@" in self.target else self.target + toname[len(sendfs) :]

    def _one(self, begin: Record, sendfs: str) -> None:
        toname = begin["toname"]
        snapshot = self._destination(toname, sendfs)
        if names.reason(snapshot, snapshot=True, creating=True):
            core.fail("cannot receive: invalid name")
        name = snapshot.partition("@")[0]
        self.top = self.top or name
        new = not begin["fromguid"] or begin["clone"]
        resumed = begin.get("resumed") is not None
        what = "resume" if resumed else "new filesystem" if new else "incremental"
        prefix = f"cannot receive {what} stream: "
        store = reading()
        if not new and name != self.top and name not in store.datasets:
            # Of a package: a dataset that was never received as a whole.
            for _ in self.reader.rest():
                pass
            return
        base = self._check(store, begin, name, prefix, new=new)
        if "v" in self.letters:
            verb = "would receive" if "n" in self.letters else "receiving"
            kind = "incremental" if begin["fromguid"] else "full"
            print(f"{verb} {kind} stream of {toname} into {snapshot}", flush=True)
        if "n" in self.letters:
            for _ in self.reader.rest():
                pass
            return
        if self._is_known(store, name, begin["toguid"]):
            if "v" in self.letters:
                print(f"snap {snapshot} already exists; ignoring", flush=True)
            for _ in self.reader.rest():
                pass
            return
        began, already = time.monotonic(), self.reader.read_bytes
        self._collect(begin, snapshot, base, prefix)
        with changing() as store:
            base = self._check(store, begin, name, prefix, new=new)
            self._settle(store, begin, snapshot, prefix, base)
        if "v" in self.letters:
            seconds = max(time.monotonic() - began, 0.001)
            size = self.reader.read_bytes - already
            speed = sizes.human(int(size / seconds))
            print(f"received {sizes.human(size)} stream in {seconds:.2f} seconds ({speed}/sec)", flush=True)

    def _is_known(self, store: Store, name: str, guid: int) -> bool:
        there = name in store.datasets
        return there and any(store.guid(each) == guid for each in store.snapshots(name))

    def _check(self, store: Store, begin: Record, name: str, prefix: str, *, new: bool) -> str:
        """Fail as zfs_receive_one() does; returns the snapshot that the stream builds upon, or ""."""
        pool = name.partition("/")[0]
        if begin.get("resumed") is not None:
            return partial.check(store, begin, name, prefix)
        known = _snapshots_by_guid(store, pool, name)
        there = name in store.datasets
        if new:
            base = known.get(begin["fromguid"], "")
            if begin["clone"] and not base:
                snapshot = f"{name}@{begin['toname'].partition('@')[2]}"
                core.fail(f"cannot receive: local origin for clone {snapshot} does not exist")
            if there:
                self._check_overwriting(store, name, prefix)
            elif "/" not in name:
                core.fail(prefix + f"destination '{name}' does not exist")
            else:
                self._check_parent(store, name, prefix)
            return base
        if not there:
            core.fail(prefix + f"destination '{name}' does not exist")
        if store.datasets[name].get("partial"):
            core.fail(prefix + partial.IN_THE_WAY.format(name))
        if self._is_known(store, name, begin["toguid"]):
            return ""
        wanted = known.get(begin["fromguid"], "")
        if wanted not in store.snapshots(name):
            core.fail(prefix + f"most recent snapshot of {name} does not\nmatch incremental source")
        if "F" not in self.letters and difference.differs(
            store.place(name), store.shelf(wanted), store.inner_mounts(name)
        ):
            core.fail(prefix + f"destination {name} has been modified\nsince most recent snapshot")
        if store.busy(name) and store.datasets[name]["type"] == V:
            core.fail(prefix + "dataset is busy")
        return wanted

    def _check_overwriting(self, store: Store, name: str, prefix: str) -> None:
        if "F" not in self.letters:
            core.fail(prefix + f"destination '{name}' exists\nmust specify -F to overwrite it")
        if store.datasets[name].get("partial"):
            core.fail(prefix + partial.IN_THE_WAY.format(name))
        snapshots = store.snapshots(name)
        if snapshots:
            core.fail(
                prefix + f"destination has snapshots (eg. {snapshots[-1]})\nmust destroy them to overwrite it"
            )
        if store.origin(name):
            core.fail(prefix + f"destination '{name}' is a clone\nmust destroy it to overwrite it")
        if store.busy(name):
            core.fail(prefix + "dataset is busy")

    def _check_parent(self, store: Store, name: str, prefix: str) -> None:
        parent = name.rpartition("/")[0]
        if parent.partition("/")[0] not in store.pools:
            core.fail(
                f"cannot open '{parent}': dataset does not exist\n{prefix}unable to restore to destination"
            )
        if "d" in self.letters and "e" not in self.letters:
            return
        if parent not in store.datasets:
            core.fail(
                f"cannot open '{parent}': dataset does not exist\n{prefix}unable to restore to destination"
            )
        if store.datasets[parent]["type"] != F:
            core.fail(prefix + f"parent '{parent}' is not a filesystem")

    def _collect(self, begin: Record, snapshot: str, base: str, prefix: str) -> None:
        """Put the substream's bytes into the draft, made from those of the snapshot ``base``."""
        files.remove(self.draft)
        volume = begin["type"] == V
        resumed = begin.get("resumed") is not None
        store = reading()
        if resumed:
            files.copy(partial.place(store, head(snapshot)), self.draft)
        elif base:
            files.copy(store.shelf(base), self.draft)
        elif volume:
            files.make_volume(self.draft, 0)
        else:
            os.makedirs(self.draft)
        draft = difference.Draft(self.draft, volume=volume, resumed=resumed)
        try:
            for record, data in self.reader.rest():
                draft.take(record, data)
            draft.finish()
        except (BadStream, OSError) as error:
            if "s" in self.letters and draft.blocks:
                with changing() as store:
                    base = self._check(store, begin, head(snapshot), prefix, new=not begin["fromguid"])
                    text = partial.keep(store, begin, head(snapshot), draft, self.reader.read_bytes)
                core.fail(prefix + text)
            # Damaged records do not fit together in all kinds of ways.
            core.fail(prefix + (str(error) if isinstance(error, BadStream) else "checksum mismatch"))

    # -- becoming a snapshot -------------------------------------------------------------------------

    def _settle(self, store: Store, begin: Record, snapshot: str, prefix: str, base: str) -> None:
        name = snapshot.partition("@")[0]
        kind = begin["type"]
        room = files.blocks(self.draft)
        if core.full() or room > space.spare(store, _nearest(store, name)):
            core.fail(prefix + "out of space")
        if "d" in self.letters:
            make_parents(store, name)
        fresh = name not in store.datasets
        if fresh:
            origin = {"origin": store.datasets[base]["guid"]} if begin["clone"] else {}
            store.add(name, kind, **origin, **self._crypt(store, begin, name, base))
        else:
            newer = store.snapshots(name)
            for each in newer[newer.index(base) + 1 :] if base in newer and "F" in self.letters else []:
                drop(store, each)
            partial.forget(store, name)
        row = store.datasets[name]
        props = self._properties(begin, name, kind, prefix)
        given = {key: value for key, value in props.items() if key in self.changes}
        row["props"].update(given)
        described = self._described(begin)
        if described is not None:
            row["received"] = {
                key: value for key, value in described["props"].items() if _may_arrive(key, kind)
            }
            # Below the top dataset -o stands aside for what is inherited from there, as -x does.
            row["unset"] = [key for key, value in self.changes.items() if value is None or name != self.top]
        if kind == V:
            row["props"].update(volsize=str(begin["volsize"]), volblocksize=str(begin["volblocksize"]))
        size = (space.EMPTY_VOLUME if kind == V else space.EMPTY_FILESYSTEM) + room
        told = {"came_as": begin["toguid"], "creation": begin["creation"], "referenced": size}
        taken = store.add(snapshot, S, props={}, holds={}, **told)
        if described is not None:
            taken["props"] = dict(described["snapshots"].get(begin["toname"].partition("@")[2], {}))
        if kind == V:
            taken.update(volsize=int(begin["volsize"]), volblocksize=str(begin["volblocksize"]))
        if "h" not in self.letters:
            taken["holds"] = {tag: int(time.time()) for tag in begin["holds"]}
        files.copy(self.draft, store.shelf(snapshot))
        if fresh:
            os.rename(self.draft, store.shelf(name))
        else:
            row["snapshots_changed"] = int(time.time())
            store.replace(name, self.draft)
        if kind == V or "u" not in self.letters:
            store.show(name)

    def _crypt(self, store: Store, begin: Record, name: str, base: str) -> dict[str, Any]:
        """What is sent raw brings its key along, locked; what is received below an encrypted dataset becomes so."""
        if begin.get("raw"):
            return {**begin["raw"], "key": {**begin["raw"]["key"], "loaded": False}}
        if begin["clone"]:
            return crypt.of_clone(store, base)
        return crypt.chosen(store, name.rpartition("/")[0], {}, "cannot receive new filesystem stream: ")

    def _described(self, begin: Record) -> Record | None:
        if self.package is None:
            return None
        found: Record | None = self.package["datasets"].get(begin["toname"].partition("@")[0])
        return found

    def _properties(self, begin: Record, name: str, kind: str, prefix: str) -> dict[str, str]:
        """What the stream brings, without -x, and on the top dataset with -o; those below inherit that."""
        described = self._described(begin)
        result = dict(described["props"]) if described else {}
        recursive = bool(self.package and self.package.get("recursive"))
        for key, value in self.changes.items():
            entry = properties.TABLE.get(key)
            if not properties.exists(key):
                core.fail(f"cannot receive: cannot receive: invalid property '{key}'")
            if entry is not None and kind not in entry.types:
                if value is not None and not recursive:
                    core.fail(f"cannot receive: cannot receive: invalid property '{key}'")
                continue
            if value is None or name != self.top:
                result.pop(key, None)
                continue
            try:
                result[key] = properties.parse(key, value, kind, creating=True, volsize=int(begin["volsize"]))
            except properties.BadProperty as error:
                core.fail(prefix + str(error))
        return {key: value for key, value in result.items() if key in self.changes or _may_arrive(key, kind)}


def _snapshots_by_guid(store: Store, pool: str, name: str) -> dict[int, str]:
    """The pool's snapshots; of several with one guid that of ``name``, else the one nearest to it."""
    inside = "(head = ? OR (head >= ? || '/' AND head < ? || '0'))"
    found = store.datasets.find(f"type = 'snapshot' AND {inside}", pool, pool, pool)
    found.sort(key=lambda each: (each.partition("@")[0] == name, len(os.path.commonpath([each, name]))))
    return {store.guid(each): each for each in found}


def _may_arrive(key: str, kind: str) -> bool:
    entry = properties.TABLE.get(key)
    return names.is_user_property(key) if entry is None else kind in entry.types and entry.edit != "never"


def _nearest(store: Store, name: str) -> str:
    """The dataset, or the nearest above it that exists."""
    while name not in store.datasets:
        name = name.rpartition("/")[0]
    return name
