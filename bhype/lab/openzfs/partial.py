"""Receives that were cut off: what -s keeps of them, beside the dataset, and what goes on from there.

The dataset's row has "partial": what is told by `resuming`, and "new" for a dataset that has no other content. The
bytes lie at state/zfs-data/GUID.partial.
"""

from __future__ import annotations

import os

from bhype.lab import core
from bhype.lab.openzfs import crypt, files, resuming
from bhype.lab.openzfs.database import head
from bhype.lab.openzfs.difference import Draft
from bhype.lab.openzfs.store import Store, V, changing
from bhype.lab.openzfs.usage import refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Record = dict[str, Any]

IN_THE_WAY = 'destination {} contains partially-complete state from "zfs receive -s".'
KEPT = (
    "checksum mismatch or incomplete stream.\n"
    "Partially received snapshot is saved.\n"
    "A resuming stream can be generated on the sending system by running:\n"
    "    zfs send -t "
)


def place(store: Store, name: str) -> str:
    """Where the bytes lie that have come."""
    return f"{core.folder()}/state/zfs-data/{store.datasets[name]['guid']}.partial"


def keep(store: Store, begin: Record, name: str, draft: Draft, count: int) -> str:
    """Keep the draft; returns libzfs's words. count: bytes of the stream that were read."""
    if name not in store.datasets:
        inherited = crypt.chosen(store, name.rpartition("/")[0], {}, "cannot receive new filesystem stream: ")
        row = store.add(name, begin["type"], **inherited)
        if begin["type"] == V:
            row["props"].update(volsize=str(begin["volsize"]), volblocksize=str(begin["volblocksize"]))
            files.make_volume(store.shelf(name), 0)
        else:
            os.makedirs(store.shelf(name))
        row["partial"] = {"new": True}
    row = store.datasets[name]
    before = row.get("partial", {})
    row["partial"] = {
        **{"new": before.get("new", False), "toguid": begin["toguid"], "fromguid": begin["fromguid"] or None},
        **{"object": before.get("object", 0) + draft.blocks, "offset": draft.offset},
        **{"bytes": before.get("bytes", 0) + count, "toname": begin["toname"]},
    }
    store.begin()
    files.remove(place(store, name))
    os.rename(draft.path, place(store, name))
    return KEPT + resuming.token(row["partial"])


def check(store: Store, begin: Record, name: str, prefix: str) -> str:
    """Fail unless the stream goes on where the dataset's state ends; returns the snapshot it builds upon, or ""."""
    state = store.datasets[name].get("partial") if name in store.datasets else None
    if not state:
        core.fail(
            prefix + f"destination '{name}' does not exist" if name not in store.datasets else KEPT_NOTHING
        )
    same = (state["toguid"], state.get("fromguid"), state.get("object")) == (
        *(begin["toguid"], begin["fromguid"] or None),
        begin["resumed"],
    )
    if not same:
        core.fail(
            prefix + f"kernel modules must be upgraded to receive this stream: it is not the rest of {name}"
        )
    line = store.snapshots(name)
    return next((each for each in line if store.guid(each) == begin["fromguid"]), "")


KEPT_NOTHING = "cannot receive resume stream: most recent snapshot does not\nmatch incremental source"


def forget(store: Store, name: str) -> None:
    """The dataset's state is over: the stream has come whole, or is not wanted any more."""
    if store.datasets[name].pop("partial", None):
        store.doomed.append(place(store, name))


def abort(name: str) -> int:
    """``zfs receive -A``."""
    with changing() as store:
        if head(name) not in store.datasets:
            refuse("receive", f"cannot open '{name}': dataset does not exist")
        state = store.datasets[name].get("partial")
        if not state:
            core.fail(f"'{name}' does not have any resumable receive state to abort")
        forget(store, name)
        if state["new"]:
            store.drop(name)
    return 0
