"""``.zfs/snapshot/NAME`` in mounted filesystems: links to the snapshots' bytes (zfsprops(7), snapdir).

On FreeBSD the folder is there without being listed; here it is listed, as with ``snapdir=visible``.
"""

from __future__ import annotations

import os

from bhype.lab import core
from bhype.lab.openzfs import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bhype.lab.openzfs.store import Store


def show(store: Store) -> None:
    """Bring the folders of the filesystems whose snapshots or mountpoints have changed up to date."""
    for name in store.looked_into:
        row = store.datasets.get(name)
        if row is None or row["type"] != "filesystem" or not row.get("shown"):
            continue
        top = core.root(row["shown"])
        wanted = {each.partition("@")[2]: store.shelf(each) for each in store.snapshots(name)}
        if os.path.isdir(top) and (wanted or os.path.isdir(f"{top}/.zfs")):
            _link(f"{top}/.zfs/snapshot", wanted)


def _link(folder: str, wanted: dict[str, str]) -> None:
    stamps = os.stat(os.path.dirname(os.path.dirname(folder)))
    os.makedirs(folder, exist_ok=True)
    # Relative, as a lab may be moved as a whole.
    targets = {name: os.path.relpath(shelf, folder) for name, shelf in wanted.items()}
    for name in os.listdir(folder):
        if name not in targets or os.readlink(f"{folder}/{name}") != targets[name]:
            files.remove(f"{folder}/{name}")
    for name, target in targets.items():
        if not os.path.lexists(f"{folder}/{name}"):
            os.symlink(target, f"{folder}/{name}")
    # No folder of a real filesystem changes by that.
    os.utime(os.path.dirname(os.path.dirname(folder)), ns=(stamps.st_atime_ns, stamps.st_mtime_ns))
