"""Locking and unlocking what is encrypted, for the operations of datasets and of what lies in them.

The dataset whose key others have as well is their encryption root: it is what is locked and unlocked, with all of them.
A clone has the root of what it was made from, wherever it lies.
"""

from __future__ import annotations

from typing import Protocol

from bhype.freebsd import zfs, zfs_keys
from bhype.freebsd.command import Command
from bhype.freebsd.zfs_keys import KeyInfo
from bhype.host import CommandFailed, LocalHost
from bhype.tasks import OperationFailed, Run
from storage.models import Dataset, Pool

from .observe import refresh


class Hook(Protocol):
    """Told of datasets that can be reached again. start: whether what starts with the host is to start."""

    def __call__(self, run: Run, pool: Pool, names: list[str], *, start: bool) -> None: ...


_hooks: list[Hook] = []


def on_unlocked(hook: Hook) -> None:
    """Call ``hook`` when datasets have been unlocked: what waited for them goes on."""
    if hook not in _hooks:
        _hooks.append(hook)


def members(host: LocalHost, pool: Pool, root: str) -> list[KeyInfo]:
    """What has the key of ``root``, parents first. Raises OperationFailed when that is no encryption root of bHype's
    in the pool."""
    infos = host.query(zfs_keys.status(pool.home))
    found = sorted((info for info in infos if info.root == root), key=lambda info: info.name)
    if not any(info.name == root for info in found):
        raise OperationFailed(f"{root} is not encrypted with a key of its own, or is gone.")
    return found


def unlock(run: Run, pool: Pool, root: str, passphrase: str | None, *, start: bool = True) -> None:
    """Load the key, mount what has it, and let go on what has waited. What is unlocked already is only mounted.

    passphrase: None where the key lies in a file of the host. start: also what starts with the host."""
    found = members(run.host, pool, root)
    if not found[0].is_loaded:
        run.stage(f"Unlocking {root}", percent=10)
        if passphrase is None and _location(found, root) == "prompt":
            raise OperationFailed("Give its passphrase.")
        _run(run, zfs_keys.load(root, passphrase))
    _let_go_on(run, pool, found, start=start)


def _let_go_on(run: Run, pool: Pool, found: list[KeyInfo], *, start: bool) -> None:
    _mount(run, found)
    refresh(run.host, pool)
    for hook in _hooks:
        hook(run, pool, [info.name for info in found], start=start)


def lock(run: Run, pool: Pool, root: str) -> None:
    """Unmount what has the key, and unload it. Where something is in use, everything is as before."""
    found = members(run.host, pool, root)
    if found[0].is_loaded:
        try:
            for info in reversed(found):
                if info.is_mounted:
                    run.stage(f"Unmounting {info.name}", percent=20)
                    _run(run, zfs_keys.unmount(info.name))
            _run(run, zfs_keys.unload(root))
        except OperationFailed:
            _mount(run, members(run.host, pool, root))
            raise
    refresh(run.host, pool)


def change(run: Run, pool: Pool, root: str, passphrase: str, new: str) -> None:
    """Give a key that is loaded another passphrase, for whoever knows the one that it has."""
    found = members(run.host, pool, root)
    if not found[0].is_loaded:
        raise OperationFailed(f"{root} is locked. Unlock it first.")
    if _location(found, root) == "prompt":
        _run(run, zfs_keys.check(root, passphrase))
    _run(run, zfs_keys.change(root, new))
    refresh(run.host, pool)


def settle(run: Run, pool: Pool, root: str, *, start: bool = False) -> None:
    """Bring what was broken off to an end: what is unlocked is mounted, what is locked stays so."""
    found = members(run.host, pool, root)
    if found[0].is_loaded:
        _let_go_on(run, pool, found, start=start)
    else:
        refresh(run.host, pool)


def require_unlocked(host: LocalHost, pool: Pool, name: str, what: str) -> None:
    """Raise OperationFailed when the dataset, or one below it, is locked. What is not encrypted by its row is not asked
    about: nothing becomes encrypted afterwards."""
    rows = Dataset.objects.filter(pool=pool, name__startswith=name).exclude(encryption__in=["", "off"])
    if not any(row.name == name or row.name.startswith(f"{name}/") for row in rows):
        return
    try:
        locked = [info for info in host.query(zfs_keys.status(name)) if not info.is_loaded]
    except CommandFailed as error:
        if "does not exist" in error.result.stderr:
            return
        raise
    if locked:
        raise OperationFailed(
            f"{what} is locked: {locked[0].root} waits for its passphrase. Unlock it first."
        )


def roots(pool: Pool, name: str) -> list[str]:
    """The encryption roots that a dataset and what is below it need, as observed; the own one first."""
    rows = Dataset.objects.filter(pool=pool, name__startswith=name).exclude(encryption_root="")
    found = {row.encryption_root for row in rows if row.name == name or row.name.startswith(f"{name}/")}
    return sorted(found, key=lambda root: (root != name, root))


def _location(found: list[KeyInfo], root: str) -> str:
    return next(info.location for info in found if info.name == root)


def _mount(run: Run, found: list[KeyInfo]) -> None:
    """Mount those that are not there, each at its own place: a pool of another host may say otherwise."""
    for info in found:
        if info.kind == "filesystem" and info.mountpoint == f"/{info.name}" and not info.is_mounted:
            _run(run, zfs.mount(info.name))


def _run(run: Run, command: Command) -> None:
    """Run a command about keys; what zfs(8) says is told in a sentence."""
    try:
        run.host.run(command)
    except CommandFailed as error:
        said = error.result.stderr
        if zfs_keys.is_done_already(said):
            return
        if reason := zfs_keys.reason(said):
            raise OperationFailed(reason) from error
        raise
