"""What pools this host has, how they are, and which disks there are."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, ProtectedError

from bhype.freebsd import smartctl, zpool, zpool_status
from bhype.freebsd.command import ParseError
from bhype.freebsd.zpool import PoolInfo
from bhype.host import CommandError
from bhype.hosts.observer import Sweep
from bhype.live import publish
from bhype.tasks.models import Schedule
from storage.models import PhysicalDisk, Pool

from . import advice, capacity, inventory

COLUMNS = ("guid", "size", "allocated", "free", "fragmentation", "health", "status", "properties")
# In sweeps: half a minute. Disks come and go seldom; a few of them are asked for their health each time.
DISKS_EVERY = 15
PROPERTIES_EVERY = 150
HEALTH_AGE = timedelta(minutes=30)
ASKED_AT_ONCE = 4


def pools(sweep: Sweep) -> list[Pool]:
    """Rows for what zpool(8) lists; a pool that is gone keeps its row while something of the panel lies in it."""
    rows = {pool.name: pool for pool in Pool.objects.filter(host=sweep.row)}
    found: list[PoolInfo] = sweep.ask(zpool.list_pools())
    states = _states(sweep) if found else {}
    # They change seldom, and the operation that sets one writes it.
    wants = sweep.every(PROPERTIES_EVERY) or any(not pool.properties for pool in rows.values())
    properties = sweep.ask(zpool.get_properties()) if found and wants else {}
    seen = []
    for info in found:
        pool = rows.pop(info.name, None) or Pool(host=sweep.row, name=info.name)
        before = _coarse(pool)
        values: dict[str, Any] = {column: getattr(info, column) for column in COLUMNS[:6]}
        values["status"] = states.get(info.name, pool.status)
        if info.name in properties:
            values["properties"] = {key: list(value) for key, value in properties[info.name].items()}
        for column, value in values.items():
            setattr(pool, column, value)
        pool.seen_at = sweep.now
        with transaction.atomic():
            # Only what is observed: an operation may adopt the pool at this moment.
            pool.save(update_fields=[*COLUMNS, "seen_at"] if pool.pk else None)
            if before != _coarse(pool):
                publish(f"pool:{pool.pk}", "pools")
        seen.append(pool)
    for pool in rows.values():
        _gone(sweep, pool)
    for pool in seen:
        _problems(sweep, pool)
    return seen


def _states(sweep: Sweep) -> dict[str, dict[str, Any]]:
    """What `zpool status` says of each pool. That of a suspended one may never come: then the last one stands."""
    try:
        return {status.name: status.document() for status in sweep.ask(zpool_status.status())}
    except (CommandError, ParseError) as error:
        sweep.problem(f"zpool status: {error}")
        return {}


def _coarse(pool: Pool) -> tuple[Any, ...]:
    """What is worth telling open pages."""
    return pool.pk, pool.health, pool.size, 200 * pool.allocated // (pool.size or 1), pool.status


def _gone(sweep: Sweep, pool: Pool) -> None:
    if not (pool.vms.exists() or Schedule.objects.filter(subject=f"pool:{pool.pk}").exists()):
        try:
            pool.delete()
        except ProtectedError:
            pass  # images, templates or the like lie in it
        else:
            publish("pools")
            return
    sweep.problem(
        f"The pool {pool.name} is not there, but VMs, images or schedules are its own: import it again, "
        "or remove them."
    )
    if Pool.objects.filter(pk=pool.pk).exclude(health="UNAVAIL").update(health="UNAVAIL", status={}):
        publish(f"pool:{pool.pk}", "pools")


def _problems(sweep: Sweep, pool: Pool) -> None:
    """What is wrong with a pool, for the host's list."""
    said = advice.advice(pool.health, pool.status)
    if pool.health != "ONLINE" or said:
        how = f"is {pool.health}" if pool.health != "ONLINE" else "is not well"
        sweep.problem(f"The pool {pool.name} {how}. {said[0] if said else 'See its page.'}")
    if sentence := capacity.sentence(pool.name, pool.percent_full):
        sweep.problem(sentence)


def disks(sweep: Sweep) -> bool:
    """Rows of this host's disks, and the health of a few of them. False when it did not look."""
    if not sweep.every(DISKS_EVERY) and sweep.row.physical_disks.exists():
        return False
    found = {one.info.name: one for one in inventory.look(sweep.ask)}
    rows = {row.name: row for row in sweep.row.physical_disks.all()}
    changed = False
    for name, one in found.items():
        row = rows.pop(name, None)
        values = {
            "size": one.info.size, "sector_size": one.info.sector_size or 512,
            "description": one.info.description[:200], "serial": one.info.serial[:100],
            "is_rotating": one.info.is_rotating, "used_by": one.used_by,
        }  # fmt: skip
        if row is None or any(getattr(row, column) != value for column, value in values.items()):
            PhysicalDisk.objects.update_or_create(
                host=sweep.row, name=name[:64], defaults=values | {"seen_at": sweep.now}
            )
            changed = True
    if rows:
        PhysicalDisk.objects.filter(pk__in=[row.pk for row in rows.values()]).delete()
    if changed or rows:
        publish("pools")
    if sweep.host.exists(smartctl.PROGRAM):
        _health(sweep)
    return True


def _health(sweep: Sweep) -> None:
    """Ask the few disks that were not asked for longest; tell of all that do not feel well."""
    rows = sweep.row.physical_disks.order_by(F("health_at").asc(nulls_first=True), "name")
    for row in rows[:ASKED_AT_ONCE]:
        if row.health_at is not None and sweep.now - row.health_at < HEALTH_AGE:
            break
        try:
            found = sweep.ask(smartctl.health(row.name))
        except (CommandError, ParseError, ValueError) as error:
            said: dict[str, Any] = {"passed": None, "warnings": [], "problem": str(error)[:300]}
        else:
            # A disk that sleeps keeps what it said when it was awake.
            said = row.health | {"is_asleep": True} if found.is_asleep else found.document()
        PhysicalDisk.objects.filter(pk=row.pk).update(health=said, health_at=sweep.now)
        if said != row.health:
            publish("pools")
    for name, health in rows.values_list("name", "health"):
        for warning in health.get("warnings", [])[:1]:
            sweep.problem(f"The disk {name}: {warning}")
