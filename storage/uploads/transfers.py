"""POOL/bhype/transfers: where files come in from and go out to.

    imports/USER/FILE   what a person brought; imports/FILE is for those who may change storage (an admin's scp)
    exports/VM/FILE     what operations wrote of a VM, for the web process to read; it goes with the VM
    fetches/            root's alone: what is being fetched, kept when it stops, so that it can go on
    work/               root's alone: what an operation works on

What lies in imports may belong to the unprivileged web process, which could change it while root reads it. So an
operation works on its own: a file of root's is linked into ``work``, any other is copied there (T7).
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
from pathlib import Path

from django.conf import settings

from bhype.freebsd import zfs
from bhype.host import CommandFailed
from bhype.tasks import OperationFailed, Run
from bhype.tasks.models import Task
from storage import plan
from storage.models import Pool

PART = "transfers"
IMPORTS, EXPORTS, FETCHES, WORK = "imports", "exports", "fetches", "work"
_FILE = re.compile(r"(?:([1-9][0-9]{0,17})/)?([A-Za-z0-9][A-Za-z0-9._+ -]{0,120})")
_COPY = 1 << 22
# Seconds after which what was fetched in part is not gone on with.
FETCH_KEPT = 7 * 86400


def home(pool: Pool) -> str:
    """The dataset of a pool's transfers."""
    return f"{pool.home}/{PART}"


def folder(pool: Pool, part: str) -> str:
    """The host's path of one of the folders."""
    return f"/{home(pool)}/{part}"


def is_file(name: str) -> bool:
    """Whether ``name`` is that of a file for import: FILE or USER/FILE."""
    found = _FILE.fullmatch(name)
    return bool(found) and not name.endswith((" ", "."))


def ready(run: Run, pool: Pool) -> None:
    """Make the dataset and its folders where they are missing; remove what ended tasks have left in ``work``."""
    if not is_made(run, pool):
        with contextlib.suppress(_Exists):
            _make(run, home(pool))
    for part, mode in ((IMPORTS, 0o700), (EXPORTS, 0o711), (FETCHES, 0o700), (WORK, 0o700)):
        path = _at(run, folder(pool, part))
        if not path.is_symlink() and not path.exists():
            path.mkdir(mode)
            path.chmod(mode)
            if part == IMPORTS:
                _give(path)
        if path.is_symlink() or not path.is_dir():
            raise OperationFailed(f"{folder(pool, part)} is not a folder.")
    _tidy(run, pool)


def is_made(run: Run, pool: Pool) -> bool:
    """Whether the dataset is there. Raises OperationFailed when what is there is not bHype's: a row of a pool may name
    any folder, also one that others fill with links (T7)."""
    found = {info.name: info for info in run.host.query(zfs.list_datasets(pool.home, depth=1))}
    for name in (pool.home, home(pool)):
        info = found.get(name)
        if info is None and name != pool.home:
            return False
        if info is None or info.bhype_id != plan.HOME_ID or info.mountpoint != f"/{name}":
            raise OperationFailed(f"{name} is not a dataset that bHype made, mounted on /{name}.")
    return True


class _Exists(Exception):
    """Another task was faster."""


def _make(run: Run, name: str) -> None:
    try:
        run.host.run(zfs.create_filesystem(name, {zfs.ID_PROPERTY: plan.HOME_ID}))
    except CommandFailed as error:
        if "already exists" in error.result.stderr:
            raise _Exists from error
        raise


def _at(run: Run, path: str) -> Path:
    return Path(run.host.path(path))


def _give(path: Path) -> None:
    """Let the web process have it, where there is a user for that."""
    with contextlib.suppress(KeyError, PermissionError):
        user = pwd.getpwnam(settings.SERVICE_USER)
        os.chown(path, user.pw_uid, user.pw_gid)


def _tidy(run: Run, pool: Pool) -> None:
    """Remove what ended tasks have left, and what nobody has gone on fetching."""
    old = time.time() - FETCH_KEPT
    for path in _at(run, folder(pool, FETCHES)).iterdir():
        if path.lstat().st_mtime < old:
            path.unlink(missing_ok=True)
    at_work = {str(pk) for pk in Task.objects.unfinished().values_list("pk", flat=True)}
    for path in _at(run, folder(pool, WORK)).iterdir():
        if path.name.partition("-")[0] not in at_work:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def workspace(run: Run, pool: Pool) -> Iterator[str]:
    """A folder of root's own for this task, as the host's path; it goes with all that is in it."""
    ready(run, pool)
    path = f"{folder(pool, WORK)}/{run.task.pk}-{os.getpid()}"
    shutil.rmtree(run.host.path(path), ignore_errors=True)
    _at(run, path).mkdir(0o700)
    try:
        yield path
    finally:
        shutil.rmtree(run.host.path(path), ignore_errors=True)


def take(run: Run, pool: Pool, file: str, space: str) -> str:
    """Bring a file for import into the workspace ``space``; its path there.

    Raises OperationFailed where there is no such plain file, or where it is not this user's to take.
    """
    if not is_file(file):
        raise OperationFailed(f"{file!r} is not the name of a file for import.")
    if run.user is not None and not file.startswith(f"{run.user.pk}/") and not run.user.can("storage.change"):
        raise OperationFailed("There is no such file, or it is not yours.")
    source, target = f"{folder(pool, IMPORTS)}/{file}", f"{space}/import"
    descriptor = _open(run, pool, file)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OperationFailed(f"{source} is not a plain file.")
        if status.st_uid in {0, os.geteuid()} and not status.st_mode & 0o022:
            _link(run, source, target, status)
        else:
            _copy(run, descriptor, target, status.st_size)
    finally:
        os.close(descriptor)
    return target


def discard(run: Run, pool: Pool, file: str) -> None:
    """Remove a file for import that is used up; no error when it is gone already."""
    if not is_file(file):
        return
    *folders, name = file.split("/")
    with contextlib.suppress(FileNotFoundError):
        top = _enter(run, pool, folders)
        try:
            os.unlink(name, dir_fd=top)
        finally:
            os.close(top)


def _enter(run: Run, pool: Pool, folders: list[str]) -> int:
    """The opened folder below the imports, reached without following any link. Raises OSError."""
    top = os.open(run.host.path(folder(pool, IMPORTS)), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    for each in folders:
        try:
            inner = os.open(each, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
        finally:
            os.close(top)
        top = inner
    return top


def _open(run: Run, pool: Pool, file: str) -> int:
    """The opened file, reached without following any link."""
    *folders, name = file.split("/")
    try:
        top = _enter(run, pool, folders)
        try:
            return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=top)
        finally:
            os.close(top)
    except OSError as error:
        path = f"{folder(pool, IMPORTS)}/{file}"
        raise OperationFailed(f"There is no file {path}, or it is a link: {error.strerror}.") from error


def _link(run: Run, source: str, target: str, wanted: os.stat_result) -> None:
    os.link(run.host.path(source), run.host.path(target), follow_symlinks=False)
    found = os.lstat(run.host.path(target))
    if (found.st_dev, found.st_ino) != (wanted.st_dev, wanted.st_ino):
        raise OperationFailed(f"{source} was replaced while it was taken.")


def _copy(run: Run, descriptor: int, target: str, size: int) -> None:
    out = os.open(run.host.path(target), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        done = 0
        while block := os.read(descriptor, _COPY):
            done += os.write(out, block)
            run.stage("Copying the file", percent=100 * done / max(size, 1))
            run.check_cancelled()
    finally:
        os.close(out)
