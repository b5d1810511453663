"""Looking for pools on the disks, and taking them in."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field

from bhype.freebsd import names, zfs, zpool, zpool_status
from bhype.freebsd.zpool_status import PoolStatus
from bhype.host import CommandFailed
from bhype.hosts.models import Host
from bhype.live import publish
from bhype.tasks import OperationFailed, Run, operation
from storage.models import PhysicalDisk, Pool

from . import inventory
from .operations import check_name, do, is_ours


class FindParams(BaseModel):
    """No parameters."""


@operation(
    "storage.find_pools",
    title="Look for pools on the disks",
    right="storage.change",
    lock="disks",
    subject="pools",
)
def find(run: Run, _params: FindParams) -> None:
    """Which pools could be imported. Notes on each disk what is left on it.

    result: ``pools``, each {"name", "guid", "state", "status", "action", "is_destroyed", "disks"}.
    """
    run.stage("Reading the labels of all disks")
    found: list[PoolStatus] = [
        *run.host.query(zpool_status.importable()),
        *run.host.query(zpool_status.importable(destroyed=True)),
    ]
    for row in PhysicalDisk.objects.filter(host=Host.objects.this()):
        left = inventory.left_on(row.name, found)
        if left != row.leftover:
            PhysicalDisk.objects.filter(pk=row.pk).update(leftover=left)
    run.result(
        pools=[
            {
                "name": pool.name, "guid": pool.guid, "state": pool.state, "status": pool.status,
                "action": pool.action, "is_destroyed": pool.is_destroyed,
                "disks": [{"name": leaf.name, "state": leaf.state, "note": leaf.note} for leaf in pool.leaves()],
            }
            for pool in found
        ]
    )  # fmt: skip
    publish("pools")


class ImportParams(BaseModel):
    """name: what it is called here. force: although another host seems to use it; mount: all of its file systems at
    their places where nothing lies yet, not only those of bHype; readonly: nothing is written to it."""

    guid: str = Field(pattern=r"^[0-9]{1,20}$")
    name: str = Field(max_length=80)
    force: bool = False
    mount: bool = False
    readonly: bool = False


@operation(
    "storage.import_pool",
    title="Import the pool {name}",
    right="storage.change",
    lock="disks",
    subject="pools",
)
def import_(run: Run, params: ImportParams) -> None:
    """Take in a pool that lies on this host's disks. One that was bHype's is bHype's again. May be repeated."""
    check_name(params.name)
    try:
        # Nothing is mounted by zpool(8): what comes on a disk says itself where it wants to be, be it /etc.
        command = zpool.import_(
            params.guid, params.name, force=params.force, mounted=False, readonly=params.readonly
        )
    except names.BadName as error:
        raise OperationFailed(str(error)) from error
    there = {info.name: info for info in run.host.query(zpool.list_pools())}
    if params.name not in there:
        run.stage("Importing")
        do(run, command)
    elif there[params.name].guid != params.guid:
        raise OperationFailed(f"There is a pool called {params.name} already: import it under another name.")
    pool, _ = Pool.objects.get_or_create(host=Host.objects.this(), name=params.name)
    is_own = is_ours(run, pool)
    if is_own or params.mount:
        _mount(run, pool, pool.name if params.mount else pool.home)
    if is_own:
        Pool.objects.filter(pk=pool.pk).update(is_adopted=not params.readonly)
    publish(f"pool:{pool.pk}", "pools")


def _mount(run: Run, pool: Pool, root: str) -> None:
    """Mount ``root`` and what is below it, parents first: what is bHype's at its own place, and nothing else over files
    that are there. What is locked is mounted when it is unlocked."""
    for name, folder in run.host.query(zfs.list_folders(root)).items():
        is_home = f"{name}/".startswith(f"{pool.home}/")
        if (is_home and folder != f"/{name}") or (not is_home and _is_taken(run, folder)):
            run.log(f"{name} is not mounted on {folder}: that is not its place, or has files of this host.")
            continue
        try:
            run.host.run(zfs.mount(name))
        except CommandFailed as error:
            if not any(
                word in error.result.stderr
                for word in ("already mounted", "key not loaded", "encryption key")
            ):
                run.log(f"{name} is not mounted: {' '.join(error.result.stderr.split())[:300]}")


def _is_taken(run: Run, folder: str) -> bool:
    """Whether something lies at a folder of this host, or a link leads elsewhere from there."""
    if ".." in folder.split("/"):
        return True
    path = Path(run.host.path(folder))
    return path.is_symlink() or (path.exists() and (not path.is_dir() or any(path.iterdir())))
