"""Destroying datasets, and nothing that bHype did not make."""

from __future__ import annotations

import time

from bhype.freebsd import zfs, zfs_destroy, zfs_properties, zfs_snapshots
from bhype.freebsd.command import Command
from bhype.freebsd.zfs import DatasetInfo
from bhype.freebsd.zfs_destroy import Removal
from bhype.host import CommandFailed
from bhype.hosts.models import Host
from bhype.tasks import OperationFailed, Run
from storage.models import Dataset

# GEOM holds a volume a moment after its last close.
BUSY_SECONDS = 10.0


def listed(run: Run, name: str) -> dict[str, DatasetInfo]:
    """The dataset and all below it, by name; none when it is not there."""
    try:
        return {info.name: info for info in run.host.query(zfs.list_datasets(name))}
    except CommandFailed as error:
        if "does not exist" in error.result.stderr:
            return {}
        raise


def look(run: Run, name: str, mark: str) -> tuple[dict[str, DatasetInfo], Removal]:
    """What goes with the dataset. Raises OperationFailed when something among it was not made by bHype for the same
    thing (org.bhype:id is not ``mark``, or is only inherited), or when clones elsewhere live on it."""
    found = listed(run, name)
    if name not in found:
        raise OperationFailed(f"{name} is gone already.")
    marks = run.host.query(zfs_properties.of_all(name))
    for each, info in found.items():
        own = marks.get(each, {}).get(zfs.ID_PROPERTY)
        if info.bhype_id != mark or own is None or not own.is_local:
            raise OperationFailed(f"{each} was not made by bHype and is left alone. Move it away.")
    removal = run.host.query(zfs_destroy.preview(name))
    if clones := [each for each in removal.names if each.partition("@")[0] not in found]:
        raise OperationFailed(
            f"Linked clones live on the data of {name}: {', '.join(sorted(clones))}. "
            "Delete them first, or make them whole."
        )
    return found, removal


def tree(run: Run, name: str, mark: str) -> None:
    """Destroy a dataset with what is below it and all their snapshots, one by one. What was destroyed before the worker
    died is gone, the rest is as it was: it can be done again. Raises as `look`."""
    found, removal = look(run, name, mark)
    kept = {each.partition("@")[0] for each in removal.names if "@" in each}
    for number, each in enumerate(zfs_destroy.order(list(found.values()))):
        run.stage(f"Destroying {each}", percent=100 * number / len(found))
        # The others took their time: somebody may have put another in its place.
        own = run.host.query(zfs.get_property(each, zfs.ID_PROPERTY))
        if not own.is_local or own.value != mark:
            raise OperationFailed(f"{each} was replaced meanwhile and is left alone. Look again.")
        one(run, each, snapshots=each in kept)


def one(run: Run, name: str, *, snapshots: bool) -> None:
    """Destroy a dataset in which no others lie, with ``snapshots`` those that it has. What somebody has made in it
    since it was looked at stays, as zfs(8) then refuses; ``zfs destroy -r`` would take it along."""
    if snapshots:
        _patiently(run, zfs_snapshots.destroy_all(name))
    _patiently(run, zfs.destroy(name))
    # Its name is free at once, not with the observer's next look.
    pool = name.partition("/")[0]
    Dataset.objects.filter(pool__host=Host.objects.this(), pool__name=pool, name=name).delete()


def marked_snapshots(run: Run, dataset: str, name: str, mark: str) -> None:
    """Destroy the snapshots called ``name`` of the dataset and of all below it that are marked as this one's; others
    are left. Nothing is done where the dataset is gone."""
    try:
        found = run.host.query(zfs.list_snapshots(dataset))
    except CommandFailed as error:
        if "does not exist" in error.result.stderr:
            return
        raise
    for info in found:
        if info.name.endswith(f"@{name}") and info.bhype_id == mark:
            run.host.run(zfs.destroy(info.name))


def _patiently(run: Run, command: Command) -> None:
    """Run it, and again for a moment while something is still busy."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            run.host.run(command)
        except CommandFailed as error:
            if "busy" not in error.result.stderr or time.monotonic() > deadline:
                raise
            run.check_cancelled()
            time.sleep(0.5)
        else:
            return
