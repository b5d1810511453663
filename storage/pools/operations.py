"""What the worker does to whole pools: adopt, make, destroy, export, find and import them.

Rows are written by the web process and say nothing about what root may do: what counts is looked at again here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Literal

from django.conf import settings
from django.db import transaction
from django.db.models import ProtectedError
from pydantic import BaseModel, Field

from bhype.freebsd import names, ps, zfs, zpool, zpool_status
from bhype.freebsd.command import Command
from bhype.freebsd.zfs import DatasetInfo
from bhype.freebsd.zpool_layout import Group, disk
from bhype.freebsd.zpool_status import PoolStatus
from bhype.host import CommandFailed
from bhype.hosts.models import Host
from bhype.live import publish
from bhype.tasks import OperationFailed, Run, operation
from bhype.tasks.models import Schedule
from storage import owners, plan
from storage.models import PhysicalDisk, Pool

from . import inventory

# More than this directly in a pool's root filesystem are somebody's files.
EMPTY_ROOT = 2**20
_HINTS = {
    "pool is busy": "Something of it is open: a VM, a mounted file system, or a console in one of its folders.",
    "is part of exported pool": "Let what is left on these disks be erased, if that pool is not needed any more.",
    "is part of potentially active pool": "Another host may use it. Let what is left be erased only if none does.",
    "no valid replicas": "The data on it is nowhere else.",
    "currently suspended": "Connect the missing disks again, then clear the errors of the pool.",
    "device is too small": "A disk is replaced by one that is at least as large.",
}
# What zpool(8) has against groups that are made up so; the plan has warned of it.
_MEANT = ("mismatched replication level", "devices of different sizes")


class PoolParams(BaseModel):
    pool_id: int


def find_pool(params: BaseModel) -> Pool | None:
    """The pool that an operation is about; None when it is gone."""
    return Pool.objects.select_related("host").filter(pk=int(getattr(params, "pool_id", 0))).first()


def words(params: BaseModel) -> dict[str, str]:
    pool = find_pool(params)
    return {"pool": pool.name if pool else f"pool {getattr(params, 'pool_id', '')}"}


def check_name(name: str) -> None:
    """Whether a command may be given this name, and this host leaves the pool to bHype. Raises OperationFailed."""
    try:
        names.pool(name)
    except names.BadName as error:
        raise OperationFailed(str(error)) from error
    if settings.POOLS and name not in settings.POOLS:
        raise OperationFailed(f"This host keeps bHype off the pool {name}: add it to its BHYPE_POOLS.")


def the_pool(params: BaseModel) -> Pool:
    """The pool, with a name that may reach a command, and left to bHype. Raises OperationFailed."""
    pool = find_pool(params)
    if pool is None:
        raise OperationFailed("The pool is not on this host any more.")
    check_name(pool.name)
    return pool


def status_of(run: Run, pool: Pool) -> PoolStatus | None:
    """What the host says of the pool now."""
    found = run.host.query(zpool_status.status(pool.name))
    return found[0] if found else None


def do(run: Run, command: Command) -> None:
    """Run a command of zpool(8) or zfs(8); its own words, and what to do, when it fails."""
    try:
        run.host.run(command)
    except CommandFailed as error:
        raise _failure(error) from error


def _failure(error: CommandFailed) -> OperationFailed:
    said = " ".join(error.result.stderr.split())
    hint = next((hint for reason, hint in _HINTS.items() if reason in said), "")
    return OperationFailed(f"{said[:1000].rstrip('.')}. {hint}".strip() if said else str(error))


def is_ours(run: Run, pool: Pool) -> bool:
    """Whether bHype has made or adopted the pool: POOL/bhype carries its mark itself."""
    found = run.host.query(zfs.list_datasets(pool.name, depth=1))
    if pool.home not in {info.name for info in found}:
        return False
    mark = run.host.query(zfs.get_property(pool.home, zfs.ID_PROPERTY))
    return mark.is_local and mark.value == plan.HOME_ID


# An operation on one pool, of which one runs at a time.
pool_operation = partial(
    operation, right="storage.change", lock="pool:{pool_id}", subject="pool:{pool_id}", target=find_pool,
    describe=words,
)  # fmt: skip


@pool_operation("storage.adopt", "Adopt the pool {pool}")
def adopt(run: Run, params: PoolParams) -> None:
    """Make POOL/bhype and its parts, each with org.bhype:id. May be repeated; what is there is kept.

    Refuses a POOL/bhype that bHype did not make: nothing of it would ever be safe to destroy.
    """
    pool = the_pool(params)
    found = {info.name: info for info in run.host.query(zfs.list_datasets(pool.name, depth=1))}
    home = found.get(pool.home)
    if home is not None:
        if problem := plan.refusal(home, is_ours=is_ours(run, pool)):
            raise OperationFailed(problem)
        found |= {info.name: info for info in run.host.query(zfs.list_datasets(pool.home, depth=1))}
    wanted = plan.layout(pool.home)
    for number, name in enumerate(wanted):
        run.stage(f"Making {name}", percent=100 * number // len(wanted))
        if name not in found:
            run.host.run(zfs.create_filesystem(name, plan.properties(name, pool.home)))
    Pool.objects.filter(pk=pool.pk).update(is_adopted=True)
    publish(f"pool:{pool.pk}", "pools")


# Disks that become a part of a pool.


class GroupParams(BaseModel):
    """One group of disks, as bhype.freebsd.zpool_layout.Group."""

    role: Literal["data", "special", "dedup", "log", "cache", "spare"]
    kind: Literal["stripe", "mirror", "raidz1", "raidz2", "raidz3"]
    disks: list[str] = Field(min_length=1, max_length=64)

    def group(self) -> Group:
        return Group(self.role, self.kind, tuple(self.disks))


def take(run: Run, disks: Iterable[str], erase: Sequence[str]) -> None:
    """See that the disks are there and free now, and let those of ``erase`` forget an earlier pool.

    Raises OperationFailed for a disk that is gone or in use. What is left on other disks stays: zpool(8) refuses them.
    """
    run.stage("Looking at the disks")
    found = {one.info.name: one for one in inventory.look(run.host.query)}
    wanted = list(disks)
    for name in wanted:
        try:
            disk(name)
        except names.BadName as error:
            raise OperationFailed(str(error)) from error
        if name not in found:
            raise OperationFailed(f"The host has no disk {name} any more.")
        if found[name].used_by:
            raise OperationFailed(f"{name} is not free: it {_verb(found[name].used_by)}.")
    for name in (name for name in wanted if name in erase):
        run.log(f"Erasing what an earlier pool has left on {name}.")
        try:
            run.host.run(zpool.labelclear(name))
        except CommandFailed as error:
            # Nothing was left after all (zpool_do_labelclear).
            if not any(
                words in error.result.stderr for words in ("failed to clear label", "failed to read label")
            ):
                raise


def _verb(used_by: str) -> str:
    return f"is {used_by}" if used_by.startswith("in ") else used_by


def as_planned(run: Run, careful: Command, forced: Command) -> None:
    """Run ``careful``; if all that zpool(8) has against it is how the groups are made up, which was meant, ``forced``.

    zpool(8) looks whether disks are in use before it compares groups (make_root_vdev of zpool_vdev.c), so that its
    complaint about the latter says that they are free.
    """
    try:
        run.host.run(careful)
    except CommandFailed as error:
        said = error.result.stderr
        if not any(words in said for words in _MEANT) or "is part of" in said or "in use" in said:
            raise _failure(error) from error
        run.log("The groups differ in size or redundancy, as was planned.")
        do(run, forced)


class CreateParams(BaseModel):
    """erase: disks on which an exported or destroyed pool may be erased; compression and autotrim as zfsprops(7) and
    zpoolprops(7) have them."""

    name: str = Field(max_length=80)
    groups: list[GroupParams] = Field(min_length=1, max_length=64)
    erase: list[str] = []
    ashift: int = Field(12, ge=9, le=16)
    compression: Literal["on", "off", "lz4", "zstd"] = "lz4"
    autotrim: bool = False


@operation(
    "storage.create_pool", title="Make the pool {name}", right="storage.change", lock="disks", subject="pools"
)
def create(run: Run, params: CreateParams) -> None:
    """Make a pool of free disks and adopt it. After a kill it may be repeated: a pool of these disks is adopted."""
    check_name(params.name)
    groups = [group.group() for group in params.groups]
    properties = {"ashift": str(params.ashift), "autotrim": "on" if params.autotrim else "off"}
    filesystem = {"compression": params.compression, "atime": "off"}
    try:
        careful = zpool.create(params.name, groups, properties, filesystem)
        forced = zpool.create(params.name, groups, properties, filesystem, force=True)
    except names.BadName as error:
        raise OperationFailed(str(error)) from error
    disks = [name for group in groups for name in group.disks]
    there = {pool.name: pool for pool in run.host.query(zpool_status.status())}
    if params.name not in there:
        take(run, disks, params.erase)
        run.stage("Making the pool", percent=30)
        as_planned(run, careful, forced)
    elif {leaf.name.removeprefix("/dev/") for leaf in there[params.name].leaves()} != set(disks):
        raise OperationFailed(f"There is a pool called {params.name} already.")
    with transaction.atomic():
        pool, _ = Pool.objects.get_or_create(host=Host.objects.this(), name=params.name)
        PhysicalDisk.objects.filter(host=pool.host, name__in=disks).update(
            used_by=f"in the pool {pool.name}", leftover=""
        )
    adopt(run, PoolParams(pool_id=pool.pk))


@pool_operation("storage.destroy_pool", "Destroy the pool {pool}")
def destroy(run: Run, params: PoolParams) -> None:
    """Destroy a pool that bHype has made or adopted and in which nothing lies any more. May be repeated."""
    pool = the_pool(params)
    if pool.name in {info.name for info in run.host.query(zpool.list_pools())}:
        if not is_ours(run, pool):
            raise OperationFailed(
                f"{pool.name} does not belong to bHype. Destroy it on the host, if that is meant."
            )
        if inside := contents(run.host.query(zfs.list_datasets(pool.name)), pool):
            raise OperationFailed(f"{pool.name} is not empty. It holds {', '.join(inside[:10])}.")
        _refuse_boot(run, pool)
        do(run, zpool.destroy(pool.name))
    subject = f"pool:{pool.pk}"
    try:
        pool.delete()
    except ProtectedError as error:
        raise OperationFailed(
            f"VMs or images of this panel lie in {pool.name}: remove them first."
        ) from error
    Schedule.objects.filter(subject=subject).delete()
    publish("pools")


def contents(found: list[DatasetInfo], pool: Pool) -> list[str]:
    """What lies in a pool besides bHype's own empty layout: names of datasets, and words for files."""
    own = set(plan.layout(pool.home))
    said = [info.name for info in found if info.name not in own and info.name != pool.name]
    if any(info.name == pool.name and info.referenced > EMPTY_ROOT for info in found):
        said.append(f"files in /{pool.name}")
    said += [f"files in /{info.name}" for info in found if info.name in own and info.referenced > EMPTY_ROOT]
    return said


def _refuse_boot(run: Run, pool: Pool) -> None:
    value = run.host.query(zpool.get_properties()).get(pool.name, {}).get("bootfs", ("-", ""))[0]
    if value not in {"-", ""}:
        raise OperationFailed(f"The host boots from {pool.name}.")


@pool_operation("storage.export_pool", "Export the pool {pool}")
def export(run: Run, params: PoolParams) -> None:
    """Let go of a pool that bHype has made or adopted, so that its disks can be moved. Refused while a VM is on."""
    pool = the_pool(params)
    if pool.name in {info.name for info in run.host.query(zpool.list_pools())}:
        if not is_ours(run, pool):
            raise OperationFailed(
                f"{pool.name} does not belong to bHype. Export it on the host, if that is meant."
            )
        if on := running(run, pool):
            raise OperationFailed(
                f"In {pool.name} are VMs that are on: {', '.join(on[:10])}. Stop them first."
            )
        _refuse_boot(run, pool)
        run.stage("Exporting")
        do(run, zpool.export(pool.name))
    Pool.objects.filter(pk=pool.pk).update(health="UNAVAIL", status={})
    publish(f"pool:{pool.pk}", "pools")


def running(run: Run, pool: Pool) -> list[str]:
    """The names of the pool's things that are on, as the rows or the host's processes say."""
    alive = {process.vm for process in run.host.query(ps.processes()) if process.vm}
    inside = [owner for owner in owners.find() if owner.pool_id == pool.pk]
    return sorted(owner.name for owner in inside if owner.is_on or owner.name in alive)
