"""What the worker does with the disks of a pool: scrub, trim, replace, attach, detach, offline, online, add, clear."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from pydantic import BaseModel, Field

from bhype.freebsd import geom, names, smartctl, zpool
from bhype.freebsd.command import Command
from bhype.freebsd.zpool_layout import disk as disk_name
from bhype.freebsd.zpool_status import Member
from bhype.host import CommandFailed
from bhype.live import publish
from bhype.tasks import OperationFailed, Run, operation
from storage.models import PhysicalDisk, Pool

from .operations import (
    GroupParams,
    PoolParams,
    as_planned,
    do,
    pool_operation,
    status_of,
    take,
    the_pool,
    words,
)

Action = Literal["start", "pause", "stop"]


class ScanParams(PoolParams):
    action: Action = "start"


_VERBS = {"start": "Start", "pause": "Pause", "stop": "Stop"}


def _scan_words(params: ScanParams) -> dict[str, str]:
    return words(params) | {"verb": _VERBS[params.action]}


@pool_operation("storage.scrub", "{verb} scrubbing {pool}", describe=_scan_words)
def scrub(run: Run, params: ScanParams) -> None:
    """Let ZFS read and check everything in a pool, go on, pause or stop. It takes hours; this only begins it."""
    _scan(run, params, zpool.scrub, "currently scrubbing", "A scrub is running already.")


@pool_operation("storage.trim", "{verb} trimming {pool}", describe=_scan_words)
def trim(run: Run, params: ScanParams) -> None:
    """Tell the disks of a pool which blocks are free, go on, pause or stop. This only begins it."""
    _scan(run, params, zpool.trim, "currently trimming", "It is being trimmed already.")


def _scan(
    run: Run, params: ScanParams, command: Callable[[str, Action], Command], running: str, said: str
) -> None:
    """running: what zpool(8) answers where the scan is going on: a schedule met one, and what is wanted is so."""
    pool = the_pool(params)
    try:
        run.host.run(command(pool.name, params.action))
    except CommandFailed as error:
        if params.action != "start" or running not in error.result.stderr:
            do(run, command(pool.name, params.action))
        run.log(said)
    look(run, pool)


class MemberParams(PoolParams):
    """member: as `zpool status` names it."""

    member: str = Field(max_length=255)


def _member_words(params: MemberParams) -> dict[str, str]:
    return words(params) | {"member": params.member}


def the_member(run: Run, pool: Pool, name: str) -> Member:
    """The member as the host has it now. Raises OperationFailed."""
    status = status_of(run, pool)
    found = None
    if status is not None:
        found = next((one for one in status.members() if one.name == name and one is not status.root), None)
    try:
        zpool.device(name)
    except names.BadName as error:
        raise OperationFailed(str(error)) from error
    if found is None:
        raise OperationFailed(f"{pool.name} has no disk {name} any more.")
    return found


def look(run: Run, pool: Pool) -> None:
    """Write what has become of the pool, so that pages need not wait for the observer."""
    found = status_of(run, pool)
    if found is not None:
        Pool.objects.filter(pk=pool.pk).update(status=found.document(), health=found.state)
    publish(f"pool:{pool.pk}", "pools")


class NewDiskParams(MemberParams):
    """disk: a free one, such as da3; erase: what an earlier pool has left on it may be erased."""

    disk: str = Field(max_length=32)
    erase: bool = False


def _new_words(params: NewDiskParams) -> dict[str, str]:
    return _member_words(params) | {"disk": params.disk}


@pool_operation(
    "storage.replace_disk", "Replace {member} of {pool} by {disk}", lock="disks", describe=_new_words
)
def replace(run: Run, params: NewDiskParams) -> None:
    """Put a free disk in the place of another; the pool copies to it what belongs there and lets go of the old one."""
    pool = the_pool(params)
    _enter(run, pool, params, lambda: zpool.replace(pool.name, params.member, params.disk))


@pool_operation(
    "storage.attach_disk", "Attach {disk} to {member} of {pool}", lock="disks", describe=_new_words
)
def attach(run: Run, params: NewDiskParams) -> None:
    """Make a free disk a mirror of another, or let a group of RAID-Z grow by it where OpenZFS can (2.3)."""
    pool = the_pool(params)
    _enter(run, pool, params, lambda: zpool.attach(pool.name, params.member, params.disk))


def _enter(run: Run, pool: Pool, params: NewDiskParams, command: Any) -> None:
    the_member(run, pool, params.member)
    if _is_member(run, pool, params.disk):
        run.log(f"{params.disk} is in {pool.name} already.")
    else:
        take(run, [params.disk], [params.disk] if params.erase else [])
        run.stage("Bringing it in")
        do(run, command())
    note(pool, [params.disk])
    look(run, pool)


def _is_member(run: Run, pool: Pool, disk: str) -> bool:
    """After a kill: whether the disk is a part of the pool, but for a spare."""
    found = status_of(run, pool)
    return found is not None and any(leaf.name == disk and leaf.state != "AVAIL" for leaf in found.leaves())


def note(pool: Pool, disks: list[str]) -> None:
    """The disks are the pool's now, until the observer looks."""
    rows = PhysicalDisk.objects.filter(host=pool.host, name__in=disks)
    rows.update(used_by=f"in the pool {pool.name}", leftover="")


class MemberActionParams(MemberParams):
    action: Literal["offline", "online", "detach", "remove", "clear"]


_ACTIONS = {
    "offline": ("Take {member} of {pool} offline", zpool.offline),
    "online": ("Put {member} of {pool} online", zpool.online),
    "detach": ("Detach {member} from {pool}", zpool.detach),
    "remove": ("Take {member} out of {pool}", zpool.remove),
    "clear": ("Clear the errors of {member} of {pool}", zpool.clear),
}


def _action_words(params: MemberActionParams) -> dict[str, str]:
    found = _member_words(params)
    return found | {"what": _ACTIONS[params.action][0].format_map(found)}


@pool_operation("storage.change_disk", "{what}", describe=_action_words)
def change_member(run: Run, params: MemberActionParams) -> None:
    """Take a disk offline or online, detach it from its mirror, take a spare, log or cache out, or clear its errors.

    Raises OperationFailed where the pool would lose data: zpool(8) refuses it.
    """
    pool = the_pool(params)
    the_member(run, pool, params.member)
    do(run, _ACTIONS[params.action][1](pool.name, params.member))
    look(run, pool)


@pool_operation("storage.clear_errors", "Clear the errors of {pool}")
def clear(run: Run, params: PoolParams) -> None:
    """Forget the counted errors, and let a suspended pool go on once its disks are there again."""
    pool = the_pool(params)
    do(run, zpool.clear(pool.name))
    look(run, pool)


class AddParams(PoolParams):
    groups: list[GroupParams] = Field(min_length=1, max_length=64)
    erase: list[str] = []


def _add_words(params: AddParams) -> dict[str, str]:
    disks = ", ".join(name for group in params.groups for name in group.disks)
    return words(params) | {"disks": disks[:100]}


@pool_operation("storage.add_disks", "Add {disks} to {pool}", lock="disks", describe=_add_words)
def add(run: Run, params: AddParams) -> None:
    """Add groups of free disks to a pool for good. May be repeated: what is in it already is kept."""
    pool = the_pool(params)
    groups = [group.group() for group in params.groups]
    disks = [name for group in groups for name in group.disks]
    try:
        careful, forced = zpool.add(pool.name, groups), zpool.add(pool.name, groups, force=True)
    except names.BadName as error:
        raise OperationFailed(str(error)) from error
    status = status_of(run, pool)
    present = {leaf.name for leaf in status.leaves()} if status else set()
    if not set(disks) <= present:
        take(run, disks, params.erase)
        run.stage("Adding them")
        as_planned(run, careful, forced)
    note(pool, disks)
    look(run, pool)


class PropertyParams(PoolParams):
    name: Literal["autotrim", "autoexpand", "autoreplace", "comment"]
    value: str = Field(max_length=32)


@pool_operation("storage.set_pool_property", "Set {name} of {pool} to {value}")
def set_property(run: Run, params: PropertyParams) -> None:
    pool = the_pool(params)
    try:
        command = zpool.set_property(pool.name, params.name, params.value)
    except names.BadName as error:
        raise OperationFailed(str(error)) from error
    do(run, command)
    found = run.host.query(zpool.get_properties()).get(pool.name, {})
    Pool.objects.filter(pk=pool.pk).update(properties={key: list(value) for key, value in found.items()})
    publish(f"pool:{pool.pk}", "pools")


class TestParams(BaseModel):
    disk_id: int
    kind: Literal["short", "long"] = "short"


def _disk(params: TestParams) -> PhysicalDisk | None:
    return PhysicalDisk.objects.select_related("host").filter(pk=params.disk_id).first()


def _disk_words(params: TestParams) -> dict[str, str]:
    row = _disk(params)
    return {"disk": row.name if row else "a disk"}


@operation(
    "storage.test_disk", title="Let {disk} test itself ({kind})", right="storage.change", lock="disk:{disk_id}",
    subject="disk:{disk_id}", target=_disk, describe=_disk_words,
)  # fmt: skip
def test_disk(run: Run, params: TestParams) -> None:
    """Start the self-test of a disk; its outcome appears with the disk's health."""
    row = _disk(params)
    if row is None or not run.host.exists(smartctl.PROGRAM):
        raise OperationFailed("The disk is gone, or the host has no smartctl: pkg install smartmontools.")
    try:
        run.host.query(geom.size(disk_name(row.name)))
    except names.BadName as error:
        raise OperationFailed(str(error)) from error
    run.host.run(smartctl.self_test(row.name, params.kind))
    PhysicalDisk.objects.filter(pk=row.pk).update(health_at=None)
    publish("pools")
