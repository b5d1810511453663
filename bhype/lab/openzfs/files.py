"""The bytes of datasets: copying them without filling holes, moving them, measuring them."""

from __future__ import annotations

import errno
import fcntl
import os

FICLONE = 0x40049409
CHUNK = 1024**2


def copy(source: str, target: str, skip: frozenset[str] = frozenset()) -> None:
    """Copy a file or a folder with modes, times and holes; folders whose path is in ``skip`` stay behind."""
    if os.path.islink(source):
        os.symlink(os.readlink(source), target)
    elif os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
        for entry in os.scandir(source):
            if entry.path not in skip:
                copy(entry.path, f"{target}/{entry.name}", skip)
        _dress(source, target)
    elif os.path.isfile(source):
        _copy_file(source, target)
        _dress(source, target)


# A volume with more data than this is shared by its snapshot and their clones until somebody writes to it.
SHARED = 16 * 1024**2


def clone(source: str, target: str) -> None:
    """As `copy`, but a large volume is only linked: bhyve, qemu-img and diskinfo call `own`.

    Whoever else writes to a clone's device in the lab has to do that, too.
    """
    if os.path.isfile(source) and os.stat(source).st_blocks * 512 > SHARED:
        os.link(source, target)
    else:
        copy(source, target)


def link(source: str, target: str) -> None:
    """The same files once more, none copied: for what nobody writes to."""
    if os.path.isdir(source) and not os.path.islink(source):
        os.makedirs(target, exist_ok=True)
        for entry in os.scandir(source):
            link(entry.path, f"{target}/{entry.name}")
    else:
        os.link(source, target, follow_symlinks=False)


def own(path: str) -> None:
    """Give a volume that shares its file with snapshots a file of its own, as it is about to be written to."""
    if os.path.isfile(path) and os.stat(path).st_nlink > 1:
        draft = f"{path}.own"
        remove(draft)
        copy(path, draft)
        os.rename(draft, path)


def _dress(source: str, target: str) -> None:
    status = os.stat(source)
    os.chmod(target, status.st_mode & 0o7777)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
    if os.geteuid() == 0:
        os.chown(target, status.st_uid, status.st_gid)


def _copy_file(source: str, target: str) -> None:
    inward = os.open(source, os.O_RDONLY)
    outward = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        try:
            fcntl.ioctl(outward, FICLONE, inward)
            return
        except OSError:  # this file system has no reflinks
            pass
        size = os.fstat(inward).st_size
        os.truncate(outward, size)
        for start, end in extents(inward, size):
            place = start
            while place < end:
                block = os.pread(inward, min(CHUNK, end - place), place)
                if not block:
                    return
                os.pwrite(outward, block, place)
                place += len(block)
    finally:
        os.close(inward)
        os.close(outward)


def extents(handle: int, size: int) -> list[tuple[int, int]]:
    """The parts of a sparse file that hold data."""
    found = []
    place = 0
    while place < size:
        try:
            start = os.lseek(handle, place, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break
            raise
        place = os.lseek(handle, start, os.SEEK_HOLE)
        found.append((start, place))
    return found


def make_volume(path: str, size: int) -> None:
    """A file of ``size`` bytes that takes no room yet."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
    try:
        os.truncate(handle, size)
    finally:
        os.close(handle)


def move(source: str, target: str) -> None:
    """Rename, making the folders above the target; a source that is gone is no error."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    try:
        os.rename(source, target)
    except FileNotFoundError:
        return


def remove(path: str) -> None:
    """Remove a file or a whole folder; what is gone, or goes meanwhile by another command, is no error."""
    try:
        if os.path.islink(path) or not os.path.isdir(path):
            os.unlink(path)
            return
        for entry in os.scandir(path):
            remove(entry.path)
        os.rmdir(path)
    except FileNotFoundError:
        return


def prune(path: str, top: str) -> None:
    """Remove the empty folders from ``path`` upwards, below ``top``."""
    while path.startswith(top + "/"):
        try:
            os.rmdir(path)
        except OSError:
            return
        path = os.path.dirname(path)


def blocks(path: str, skip: frozenset[str] = frozenset()) -> int:
    """Bytes that the file or the folder's files take on disk; folders in ``skip`` are not looked into."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return 0
    if (status.st_mode & 0o170000) != 0o040000:
        return status.st_blocks * 512
    total = 0
    waiting = [path]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except FileNotFoundError:
            continue
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                try:
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                except FileNotFoundError:
                    continue
            elif entry.path not in skip:
                waiting.append(entry.path)
    return total
