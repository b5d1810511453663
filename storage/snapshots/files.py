"""Looking into a snapshot of a filesystem: what has changed, what lies in a folder, and taking one file along.

The worker reads MOUNTPOINT/.zfs/snapshot/NAME (zfsprops(7), snapdir), which nobody can write to; it follows no link in
there. A file for a person is copied to exports/task-N in the pool's transfers, from where the web process, which has no
other way in, gives it to whoever asked for that task. It goes after a day.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import stat
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from django.conf import settings

from bhype.freebsd import names, zfs, zfs_snapshots
from bhype.host import CommandFailed, LocalHost
from bhype.tasks import OperationFailed, Run
from bhype.tasks.models import Task
from storage.models import Dataset, Pool, Snapshot
from storage.uploads import store as uploads
from storage.uploads import transfers

# Entries that a task's result holds.
MOST = 2000
KEEP_SECONDS = 24 * 3600
OPERATIONS = ("storage.fetch_from_snapshot", "vms.fetch_from_snapshot")
_COPY = 1 << 22
_FOLDER = re.compile(r"task-[0-9]{1,18}")
_UNFIT = re.compile(r"[^A-Za-z0-9._+ -]")


def top(run: Run, row: Snapshot) -> str:
    """Where the snapshot shows on this host. Raises OperationFailed for what shows nowhere."""
    dataset = row.dataset.name
    try:
        # A name with a "/" in it would lead through folders of the filesystem, and their links.
        names.snapshot(str(row))
    except names.BadName as error:
        raise OperationFailed(str(error)) from error
    info = run.host.query(zfs.list_datasets(dataset, depth=0))[0]
    if info.kind == Dataset.Kind.VOLUME:
        raise OperationFailed(
            f"{dataset} is a volume: what is on it is the guest's, and only a guest can read it. Make a new VM from the"
            " snapshot, or attach a clone of the disk to another VM."
        )
    if info.mountpoint != f"/{dataset}":
        raise OperationFailed(f"{dataset} is not mounted on /{dataset}.")
    path = f"/{dataset}/.zfs/snapshot/{row.name}"
    if not Path(run.host.path(path)).is_dir():
        raise OperationFailed(f"{path} is not there: is {dataset} mounted, and its snapdir not disabled?")
    return path


def parts_of(path: str) -> list[str]:
    """The names in a path below the snapshot. Raises OperationFailed for one that leads elsewhere."""
    found = [part for part in path.split("/") if part]
    if any(part in {".", ".."} or "\0" in part for part in found):
        raise OperationFailed("A path in a snapshot has no '.' or '..'.")
    return found


@contextlib.contextmanager
def _folder(base: str, parts: list[str]) -> Iterator[int]:
    """The opened folder; no link below ``base`` is followed."""
    here = os.open(base, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = inner
        yield here
    except OSError as error:
        raise OperationFailed(f"/{'/'.join(parts)}: {error.strerror}.") from error
    finally:
        os.close(here)


def listing(run: Run, row: Snapshot, path: str) -> dict[str, Any]:
    """What lies in a folder of the snapshot: {"path", "entries": [{"name", "kind", "size", "at"}], "more"}."""
    parts = parts_of(path)
    entries = []
    with _folder(run.host.path(top(run, row)), parts) as here, os.scandir(here) as found:
        for entry in found:
            status = entry.stat(follow_symlinks=False)
            entries.append(
                {
                    "name": _shown(entry.name),
                    "kind": _kind(status.st_mode),
                    "size": status.st_size if stat.S_ISREG(status.st_mode) else None,
                    "at": datetime.fromtimestamp(status.st_mtime, UTC).isoformat(),
                }
            )
    entries.sort(key=lambda entry: (entry["kind"] != "folder", str(entry["name"])))
    return {"path": "/".join(parts), "entries": entries[:MOST], "more": max(0, len(entries) - MOST)}


def _shown(name: str) -> str:
    """A name as JSON can hold it: what is no UTF-8 is shown, and cannot be asked for."""
    return os.fsencode(name).decode("utf-8", "replace")


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "link" if stat.S_ISLNK(mode) else "other"


def differences(run: Run, row: Snapshot, until: str = "") -> dict[str, Any]:
    """What has changed in the filesystem since the snapshot: {"changes": [{"change", "kind", "path", "target", "at"}],
    "more"}; paths are those of the host."""
    base = top(run, row)
    try:
        query = zfs_snapshots.diff(str(row), f"{row.dataset.name}@{until}" if until else "")
        found = run.host.query(query)
    except names.BadName as error:
        raise OperationFailed(str(error)) from error
    except CommandFailed as error:
        raise OperationFailed(error.result.stderr.strip() or str(error)) from error
    home = base.partition("/.zfs/snapshot/")[0]
    rows = [
        {
            "change": one.change,
            "kind": one.kind,
            "path": one.path.removeprefix(home) or "/",
            "target": one.target.removeprefix(home),
            "at": one.at.isoformat(),
        }
        for one in found
        if not one.path.startswith(f"{home}/.zfs")
    ]
    return {"changes": rows[:MOST], "more": max(0, len(rows) - MOST)}


# Taking a file along.


def export_folder(pool: Pool, task: int) -> str:
    """Where the file of a task lies."""
    return f"{transfers.folder(pool, transfers.EXPORTS)}/task-{task}"


def fetch(run: Run, row: Snapshot, path: str) -> None:
    """Copy a plain file of the snapshot to where the web process can read it. The result names it."""
    parts = parts_of(path)
    if not parts:
        raise OperationFailed("This is a folder: choose a file in it.")
    pool = row.dataset.pool
    transfers.ready(run, pool)
    _tidy(run, pool)
    place = Path(run.host.path(export_folder(pool, run.task.pk)))
    place.mkdir(0o750, exist_ok=True)
    name = _UNFIT.sub("_", parts[-1])[:100].strip(" .") or "file"
    with _folder(run.host.path(top(run, row)), parts[:-1]) as here:
        source = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=here)
        try:
            status = os.fstat(source)
            if not stat.S_ISREG(status.st_mode):
                raise OperationFailed(f"/{'/'.join(parts)} is not a plain file.")
            if shutil.disk_usage(place).free - status.st_size < uploads.SPARE:
                raise OperationFailed(f"{pool.name} has not enough room for a copy of it.")
            _copy(run, source, place / name, status.st_size)
        finally:
            os.close(source)
    for each in (place, place / name):
        _show(each)
    run.result(pool_id=pool.pk, file=name, bytes=status.st_size)


def _copy(run: Run, source: int, target: Path, size: int) -> None:
    out = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o440)
    try:
        done = 0
        while block := os.read(source, _COPY):
            run.check_cancelled()
            view = memoryview(block)
            while view:
                view = view[os.write(out, view) :]
            done += len(block)
            run.stage("Copying the file", percent=100 * done / max(size, 1))
    finally:
        os.close(out)


def _show(path: Path) -> None:
    with contextlib.suppress(KeyError, PermissionError):
        os.chown(path, -1, pwd.getpwnam(settings.SERVICE_USER).pw_gid)


def _tidy(run: Run, pool: Pool) -> None:
    """Remove the files of a day ago."""
    now = time.time()
    for path in Path(run.host.path(transfers.folder(pool, transfers.EXPORTS))).iterdir():
        with contextlib.suppress(FileNotFoundError):
            if _FOLDER.fullmatch(path.name) and now - path.lstat().st_mtime > KEEP_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


def fetched(task: Task) -> tuple[BinaryIO, str] | None:
    """The file that a task has fetched, opened, and its name; None when there is none (any more)."""
    pool = Pool.objects.filter(pk=task.result.get("pool_id") or 0).first()
    name = str(task.result.get("file", ""))
    if pool is None or task.operation not in OPERATIONS or not transfers.is_file(name) or "/" in name:
        return None
    path = LocalHost(settings.BHYPE_ROOT).path(f"{export_folder(pool, task.pk)}/{name}")
    try:
        return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb"), name
    except OSError:
        return None
