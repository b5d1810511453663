"""``zfs send``: snapshots as a stream on standard output (zfs-send(8), lib/libzfs/libzfs_sendrecv.c).

Options that choose how blocks are encoded (-c -e -L -w -D) change nothing: the lab's blocks are neither compressed
nor encrypted. A snapshot that is destroyed while it is sent ends the send with an error, and its stream has no end.
"""

from __future__ import annotations

import os
import sys
import time

from bhype.lab import core
from bhype.lab.openzfs import difference, files, names, properties, sizes
from bhype.lab.openzfs.making import opened
from bhype.lab.openzfs.reading import MISSING
from bhype.lab.openzfs.store import F, S, Store, V
from bhype.lab.openzfs.stream import Writer
from bhype.lab.openzfs.usage import options, refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    # A snapshot, and the earlier one it is sent relative to ("" for all of it).
    Step = tuple[str, str]
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
    if letters & {"t", "S", "d"}:
        core.fail(
            "the lab keeps no partial receives and no redactions: zfs send -t, -S and -d do nothing here", 70
        )
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
    sender = Sender(Store(core.peek("zfs")), letters, excluded)
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
        if "#" in source:
            raise Failed(prefix + f"incremental source ({source}) does not exist")
        if source:
            opened(self.store, source, (F, V, S))
            if not self._is_before(source, name):
                raise Failed(prefix + "not an earlier snapshot from the same fs")
        self._deliver([(name, source)], package=bool(self.letters & {"p", "b", "h"}), top=name, shown=source)

    def _is_before(self, source: str, name: str) -> bool:
        if "@" not in source:
            return False
        line = [name]
        while line[-1]:
            dataset = line[-1].partition("@")[0]
            if source.partition("@")[0] == dataset:
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
        if not steps:
            raise Failed(f"cannot send '{dataset}': no such pool or dataset")
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

    def _steps(self, owner: str, source: str, tail: str, *, every: bool, origin: bool) -> list[Step]:
        snapshots = self.store.snapshots(owner)
        if f"{owner}@{tail}" not in snapshots:
            return []
        chosen = snapshots[: snapshots.index(f"{owner}@{tail}") + 1]
        before = f"{owner}@{source}" if source else ""
        if before in snapshots:
            if before not in chosen or before == chosen[-1]:
                core.warn(
                    f"WARNING: could not send {owner}@{tail}:\n"
                    f"incremental source ({before}) is not earlier than it"
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
            return files.blocks(new)
        return sum(len(data) for _, _, data in difference.records(new, old))

    def _tell_sizes(self, steps: list[Step], shown: str) -> None:
        out = sys.stdout if "n" in self.letters else sys.stderr
        total = 0
        for name, source in steps:
            size = self._estimate((name, source))
            total += size
            # With -i the source is told as a whole name, with -I and -R the snapshot's alone.
            before = shown or source.partition("@")[2]
            if "P" in self.letters:
                out.write(f"incremental\t{before}\t{name}\t{size}\n" if source else f"full\t{name}\t{size}\n")
                continue
            words = (
                f"send from {before if '@' in before else '@' + before} to {name}"
                if source
                else f"full send of {name}"
            )
            out.write(words + (f" estimated size is {sizes.human(size)}" if size else "") + "\n")
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
        }

    def _substream(self, writer: Writer, name: str, source: str) -> None:
        row = self.store.datasets[name]
        same = source.partition("@")[0] == name.partition("@")[0]
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
        )
        for kind, values, data in difference.records(
            self.store.shelf(name), self.store.shelf(source) if source else ""
        ):
            writer.write(kind, values, data)
        writer.end()
