"""What goes out of a VM, and what comes in as a whole dataset: in the folders of storage's transfers."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import stat
from pathlib import Path

from django.conf import settings

from bhype import live
from bhype.tasks import OperationFailed, Run
from storage.uploads.transfers import EXPORTS, folder, is_file, is_made, ready, take, workspace
from vms.models import VM

__all__ = [
    "export_folder",
    "export_path",
    "is_file",
    "make_roots_own",
    "plain_files",
    "publish",
    "ready",
    "require_roots_own",
    "take",
    "withdraw",
    "workspace",
]


def export_folder(vm: VM) -> str:
    """Where the exported files of a VM lie. Neither number nor UUID is ever another's in one panel and its host."""
    return f"{folder(vm.pool, EXPORTS)}/{vm.pk}-{vm.uuid}"


def export_path(vm: VM, name: str) -> str:
    """Where an exported file lies. Raises ValueError for what is no name of one."""
    if not is_file(name) or "/" in name:
        raise ValueError(f"{name!r} is not the name of an exported file.")
    return f"{export_folder(vm)}/{name}"


def _at(run: Run, path: str) -> Path:
    return Path(run.host.path(path))


def _show(path: Path) -> None:
    """Let the web process read it, by its group, and nobody else but root."""
    with contextlib.suppress(KeyError, PermissionError):
        os.chown(path, -1, pwd.getpwnam(settings.SERVICE_USER).pw_gid)


def publish(run: Run, vm: VM, path: str, name: str) -> str:
    """Move a finished file from the workspace to the VM's exports; its path there. An older one of the name is
    replaced."""
    target = export_path(vm, name)
    place = _at(run, export_folder(vm))
    if not place.is_dir():
        place.mkdir(0o750)
        place.chmod(0o750)
        _show(place)
    made = _at(run, path)
    made.chmod(0o440)
    _show(made)
    made.rename(_at(run, target))
    run.result(file=name, path=target, bytes=run.host.size(target))
    live.publish(vm.subject)
    return target


def withdraw(run: Run, vm: VM, name: str = "") -> None:
    """Remove an exported file of a VM, or all of them. What is not there is removed already."""
    if not os.path.lexists(run.host.path(export_folder(vm))) or not is_made(run, vm.pool):
        return
    if name:
        run.host.unlink(export_path(vm, name))
    else:
        shutil.rmtree(run.host.path(export_folder(vm)), ignore_errors=True)


def make_roots_own(run: Run, path: str) -> None:
    """Take a folder that somebody else has filled, and all in it, from whoever it belonged to: owners and modes come
    along in a stream, and who may write there could put links in root's way later (T7). Raises as `plain_files`."""
    for each in (path, *plain_files(run, path)):
        place = _at(run, each)
        os.chown(place, os.geteuid(), os.getegid(), follow_symlinks=False)
        place.chmod(0o700 if place.is_dir() else 0o600)


def require_roots_own(run: Run, path: str) -> None:
    """Raise OperationFailed where somebody else may write in a folder or to a file in it, and as `plain_files`."""
    for each in (path, *plain_files(run, path)):
        found = _at(run, each).lstat()
        if found.st_uid not in {0, os.geteuid()} or found.st_mode & 0o022:
            raise OperationFailed(
                f"Others than root may write to {each}. Run: chown -R root {path}; chmod -R go-w {path}"
            )


def plain_files(run: Run, path: str, most: int = 10_000) -> list[str]:
    """Everything below a folder that somebody else has filled, as paths. Raises OperationFailed for links, devices
    and whatever else would lead root's steps out of it (T7)."""
    found: list[str] = []
    waiting = [path]
    while waiting:
        here = waiting.pop()
        with os.scandir(run.host.path(here)) as entries:
            for entry in entries:
                inner = f"{here}/{entry.name}"
                # Listed where snapdir=visible; what is in there is the past's, and nobody can write to it.
                if entry.name == ".zfs" and here == path:
                    continue
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    waiting.append(inner)
                elif not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
                    raise OperationFailed(
                        f"{inner} is a link or a device: what holds such things is not imported."
                    )
                found.append(inner)
                if len(found) > most:
                    raise OperationFailed(f"{path} holds more than {most} files.")
    return found
