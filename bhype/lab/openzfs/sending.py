"""``zfs send``: snapshots as a stream on standard output (zfs-send(8), lib/libzfs/libzfs_sendrecv.c).

Options that choose how blocks are encoded (-c -e -L -w -D) change nothing: the lab's blocks are neither compressed
nor encrypted. A snapshot that is destroyed while it is sent ends the send with an error, and its stream has no end.
"""

from __future__ import annotations

import os
import sys
import time

from bhype.lab import core
from bhype.lab.openzfs import difference, files, names, properties, resuming, sizes
from bhype.lab.openzfs.database import head
from bhype.lab.openzfs.making import opened
from bhype.lab.openzfs.reading import MISSING
from bhype.lab.openzfs.store import F, S, Store, V, reading
from bhype.lab.openzfs.stream import Writer
from bhype.lab.openzfs.usage import options, refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    # A snapshot, and the earlier one it is sent relative to ("" for all of it).
    Step = tuple[str, str]
# A BEGIN and an END, of which any stream has one.
HEADERS = 624
# Parts of the data itself, not of the settings that -p and -R send along.
IN_DATA = ("volsize", "volblocksize")


class Failed(Exception):
    """The stream cannot be made; the message is libzfs's whole line."""


def send(argv: list[str]) -> int:
    """``zfs send``."""
    found, arguments = options("send", argv, "i:I:RsDpVvnPLeht:cwbd:SX:U", MISSING)
    letters = {letter for letter, _ in found}
    sources = [(letter, value) for letter, value in found if letter in "iI"]
    if len(sources) > 1:
        refuse("send")
    if letters & {"S", "d"}:
        core.fail("the lab sends no saved streams and no redactions: zfs send -S and -d do nothing here", 70)
    if "t" in letters:
        return _resume(dict(found)["t"], arguments, letters)
    if "X" in letters and "R" not in letters:
        core.fail("Cannot specify dataset exclusion (-X) on a non-recursive send.")
    if not arguments:
        refuse("send", "missing snapshot argument")
    if len(arguments) > 1:
        refuse("send", "too many arguments")
    if "n" not in letters and os.isatty(1):
        core.fail("Error: Stream can not be written to a terminal.\nYou must redirect standard output.")
    if "s" in letters and "R" not in letters:
        refuse("send", "skip-missing flag can only be used in conjunction with replicate")
    excluded = [name for letter, value in found if letter == "X" for name in value.split(",")]
    for name in excluded:
        if names.reason(name, snapshot=False) or "/" not in name:
            refuse("send", f"-X {name}: not a valid non-root dataset name.")
    letter, source = sources[0] if sources else ("", "")
    sender = Sender(reading(), letters, excluded)
    try:
        if "R" in letters or letter == "I":
            sender.many(arguments[0], letter, source)
        else:
            sender.one(arguments[0], source)
    except Failed as failed:
        core.fail(str(failed))
    except FileNotFoundError:
        core.fail(f"cannot send '{arguments[0]}': dataset is busy")
    return sender.code


def _resume(text: str, arguments: list[str], letters: set[str]) -> int:
    """``zfs send -t``: the rest of what a token says has come in part (zfs_send_resume())."""
    if arguments:
        refuse("send", "too many arguments")
    if "n" not in letters and os.isatty(1):
        core.fail("Error: Stream can not be written to a terminal.\nYou must redirect standard output.")
    try:
        found = resuming.parse(text)
    except resuming.BadToken as error:
        core.fail(f"cannot resume send: resume token is corrupt ({error})", 255)
    store = reading()
    name = _by_guid(store, found["toguid"], found["toname"])
    source = _by_guid(store, found["fromguid"], name) if found.get("fromguid") else ""
    if not name or (found.get("fromguid") and not source):
        what = f"'{found['toname']}'" if not name else f"incremental source {found['fromguid']:#x}"
        core.fail(f"cannot resume send: {what} used in the initial send no longer exists", 255)
    sender = Sender(store, letters, [])
    sender.came = found
    if sender.verbose:
        (sys.stdout if "n" in letters else sys.stderr).write(resuming.describe(found))
    try:
        sender.deliver_one(name, source)
    except FileNotFoundError:
        core.fail(f"cannot send '{name}': dataset is busy")
    return 0


def _by_guid(store: Store, guid: int, near: str) -> str:
    """The snapshot or bookmark that tells the guid, best the one called ``near``, else ""."""
    if near in store.datasets and store.guid(near) == guid:
        return near
    where = "type IN ('snapshot', 'bookmark') AND (guid = ? OR json_extract(row, '$.came_as') IS NOT NULL)"
    found = [each for each in store.datasets.find(where, str(guid)) if store.guid(each) == guid]
    return next((each for each in found if head(each) == head(near)), found[0] if found else "")


class Sender:
    """One ``zfs send``: what goes into the stream, and what is told of it."""

    def __init__(self, store: Store, letters: set[str], excluded: list[str]) -> None:
        self.store = store
        self.letters = letters
        self.excluded = excluded
        self.verbose = bool(letters & {"v", "P", "V"})
        self.code = 0
        self.snapshot = ""
        self.told_at = time.monotonic()
        # Of a send that goes on: what the token says has come.
        self.came: dict[str, Any] = {}

    def one(self, name: str, source: str) -> None:
        """A single snapshot, all of it or relative to ``source``, which may be its clone's origin."""
        if source and not set(source) & {"@", "#"}:
            core.warn(
                "Warning: incremental source didn't specify type, assuming snapshot."
                " Use '@' or '#' prefix to avoid ambiguity."
            )
            source = "@" + source
        if source.startswith(("@", "#")):
            source = name.partition("@")[0] + source
        opened(self.store, name, (F, V, S))
        prefix = f"warning: cannot send '{name}': "
        if "@" not in name:
            raise Failed(prefix + "target is busy; if a filesystem, it must not be mounted")
        if "#" in source and source not in self.store.datasets:
            raise Failed(prefix + f"incremental source ({source}) does not exist")
        self._check_keys([name])
        if source:
            if "#" not in source:
                opened(self.store, source, (F, V, S))
            if not self._is_before(source, name):
                raise Failed(prefix + "not an earlier snapshot from the same fs")
        self.deliver_one(name, source)

    def deliver_one(self, name: str, source: str) -> None:
        self._deliver([(name, source)], package=bool(self.letters & {"p", "b", "h"}), top=name, shown=source)

    def _check_keys(self, snapshots: list[str]) -> None:
        """What is encrypted is sent raw, or with its key loaded; settings of it only raw."""
        for name in snapshots:
            if "w" in self.letters or not self.store.key_root(name):
                continue
            if self.letters & {"p", "R"}:
                raise Failed(
                    f"cannot send {name}: encrypted dataset {head(name)} may not be sent with properties "
                    f"without the raw flag\nwarning: cannot send '{name}': backup failed"
                )
            if self.store.locked(name):
                raise Failed(f"warning: cannot send '{name}': dataset key must be loaded")

    def _is_before(self, source: str, name: str) -> bool:
        if not set(source) & {"@", "#"}:
            return False
        line = [name]
        while line[-1]:
            dataset = line[-1].partition("@")[0]
            if head(source) == dataset:
                return bool(self.store.datasets[source]["txg"] < self.store.datasets[line[-1]]["txg"]) or (
                    len(line) > 1 and source == line[-1]
                )
            line.append(self.store.origin(dataset))
        return False

    def many(self, argument: str, letter: str, source: str) -> None:
        """All snapshots up to one (-I, -R), of all datasets below as well with -R."""
        if "#" in source:
            raise Failed("Error: multiple snapshots cannot be sent from a bookmark.")
        dataset, at, tail = argument.partition("@")
        if not at:
            raise Failed("Error: Unsupported flag with filesystem or bookmark.")
        opened(self.store, dataset, (F, V))
        from_origin = False
        if "@" in source:
            from_origin = source == self.store.origin(dataset)
            head, _, end = source.partition("@")
            if not from_origin and head not in ("", dataset):
                refuse("send", "incremental source must be in same filesystem")
            source = "" if from_origin else end
        replicate = "R" in self.letters
        for name in [f"{dataset}@{source}"] * bool(source) + [f"{dataset}@{tail}"]:
            opened(self.store, name, (S,))
        every = letter == "I" or (replicate and not source)
        owners = self._in_order([dataset, *(self.store.below(dataset) if replicate else [])])
        steps: list[Step] = []
        for owner in owners:
            steps += self._steps(owner, source, tail, every=every, origin=replicate or from_origin)
        if not steps and self.code:
            return
        if not steps:
            raise Failed(f"cannot send '{dataset}': no such pool or dataset")
        self._check_keys([name for name, _ in steps])
        if self.verbose and replicate:
            self._tell_skipped(owners, tail)
        if not (self.verbose and "n" in self.letters):
            self._told_of_missing(owners, tail)
        self._deliver(steps, package=True, top=f"{dataset}@{tail}", fromsnap=source, recursive=replicate)

    def _in_order(self, owners: list[str]) -> list[str]:
        """Parents first, and a clone after the dataset that has its origin (dump_filesystems())."""
        kept = [
            name for name in owners if not any(f"{name}/".startswith(each + "/") for each in self.excluded)
        ]
        done: list[str] = []
        while len(done) < len(kept):
            for name in kept:
                origin = self.store.origin(name).partition("@")[0]
                parent = name.rpartition("/")[0]
                if name in done or any(each in kept and each not in done for each in (origin, parent)):
                    continue
                done.append(name)
        return done

    def _told_of_missing(self, owners: list[str], tail: str) -> None:
        for owner in owners:
            if f"{owner}@{tail}" not in self.store.datasets and "s" not in self.letters:
                core.warn(f"WARNING: could not send {owner}@{tail}: does not exist")
                self.code = 1

    def _tell_skipped(self, owners: list[str], tail: str) -> None:
        for owner in owners:
            line = self.store.snapshots(owner)
            for name in line[line.index(f"{owner}@{tail}") + 1 :] if f"{owner}@{tail}" in line else []:
                core.warn(
                    f"skipping snapshot {name} because it was created after the destination snapshot ({tail})"
                )

    def _steps(self, owner: str, source: str, tail: str, *, every: bool, origin: bool) -> list[Step]:
        snapshots = self.store.snapshots(owner)
        if f"{owner}@{tail}" not in snapshots:
            return []
        chosen = snapshots[: snapshots.index(f"{owner}@{tail}") + 1]
        before = f"{owner}@{source}" if source else ""
        if before in snapshots:
            if before not in chosen or before == chosen[-1]:
                core.warn(
                    f"WARNING: could not send {owner}@{tail}:\nincremental source ({before}) does not exist"
                )
                self.code = 1
                return []
            chosen = chosen[chosen.index(before) + 1 :]
        else:
            before = self.store.origin(owner) if origin else ""
        if not every:
            chosen = [name for name in chosen[:-1] if self.store.clones(name)] * bool(
                "R" in self.letters
            ) + chosen[-1:]
        return list(zip(chosen, [before, *chosen[:-1]], strict=True))

    # -- what is told --------------------------------------------------------------------------------

    def _estimate(self, step: Step) -> int:
        """Bytes of the snapshot's data that the stream will hold."""
        new, old = self.store.shelf(step[0]), self.store.shelf(step[1]) if step[1] else ""
        if not old:
            return HEADERS + files.blocks(new)
        return HEADERS + sum(len(data) for _, _, data in difference.records(new, old))

    def _tell_sizes(self, steps: list[Step], shown: str) -> None:
        out = sys.stdout if "n" in self.letters else sys.stderr
        total = 0
        for name, source in steps:
            size = max(HEADERS, self._estimate((name, source)) - self.came.get("bytes", 0))
            total += size
            # With -i the source is told as a whole name, with -I and -R the snapshot's alone.
            before = shown or source.partition("@")[2] or source
            if "P" in self.letters:
                out.write(f"incremental\t{before}\t{name}\t{size}\n" if source else f"full\t{name}\t{size}\n")
                continue
            words = (
                f"send from {before if set(before) & {'@', '#'} else '@' + before} to {name}"
                if source
                else f"full send of {name}"
            )
            out.write(words + f" estimated size is {sizes.human(size)}\n")
        out.write(
            f"size\t{total}\n" if "P" in self.letters else f"total estimated size is {sizes.human(total)}\n"
        )
        out.flush()

    def _progress(self, sent: int) -> None:
        now = time.monotonic()
        if "v" not in self.letters or now - self.told_at < 1:
            return
        self.told_at = now
        clock = time.strftime("%H:%M:%S")
        if "P" in self.letters:
            core.warn(f"{clock}\t{sent}\t{self.snapshot}")
        else:
            core.warn(f"{clock}   {sizes.human(sent):>5}   {self.snapshot}")

    # -- the stream ----------------------------------------------------------------------------------

    def _deliver(
        self,
        steps: list[Step],
        *,
        package: bool,
        top: str,
        fromsnap: str = "",
        recursive: bool = False,
        shown: str = "",
    ) -> None:
        if self.verbose:
            self._tell_sizes(steps, shown)
        if "n" in self.letters:
            return
        writer = Writer(1, self._progress)
        if package:
            owners = dict.fromkeys(name.partition("@")[0] for name, _ in steps)
            writer.begin(
                toname=top,
                package=True,
                fromsnap=fromsnap,
                recursive=recursive,
                datasets={name: self._described(name, steps) for name in owners},
            )
            writer.end()
        for name, source in steps:
            self.snapshot = name
            if "v" in self.letters and "P" not in self.letters:
                core.warn(f"TIME        SENT   SNAPSHOT {name}")
            self._substream(writer, name, source)
        if package:
            writer.end()

    def _described(self, owner: str, steps: list[Step]) -> dict[str, Any]:
        """The settings of a dataset and its snapshots, as -p and -R send them."""
        if not self.letters & {"p", "R", "b"}:
            return {"props": {}, "snapshots": {}}
        row = self.store.datasets[owner]
        props = {**row.get("received", {}), **row["props"]}
        sent = [name for name, _ in steps if name.partition("@")[0] == owner]
        return {
            "props": {key: value for key, value in props.items() if key not in IN_DATA},
            "snapshots": {name.partition("@")[2]: self.store.datasets[name]["props"] for name in sent},
            "every": [self.store.guid(name) for name in self.store.snapshots(owner)],
        }

    def _substream(self, writer: Writer, name: str, source: str) -> None:
        row = self.store.datasets[name]
        same = head(source) == head(name)
        raw = {}
        if "w" in self.letters and self.store.key_root(name):
            owner = self.store.datasets[head(name)]
            raw = {"suite": owner["suite"], "key": self.store.datasets[self.store.key_root(name)]["key"]}
        writer.begin(
            toname=name,
            type=V if "volsize" in row else F,
            toguid=self.store.guid(name),
            fromguid=self.store.guid(source) if source else 0,
            clone=bool(source) and not same,
            creation=row["creation"],
            volsize=row.get("volsize", 0),
            volblocksize=row.get("volblocksize", str(properties.VOLBLOCKSIZE)),
            holds=list(row["holds"]) if "h" in self.letters else [],
            raw=raw,
            resumed=self.came.get("object", 0) if self.came else None,
        )
        skip = self.came.get("object", 0)
        for kind, values, data in difference.records(
            self.store.shelf(name), self.store.shelf(source) if source else ""
        ):
            if kind == "data" and skip:
                skip -= 1
                continue
            writer.write(kind, values, data)
        writer.end()
