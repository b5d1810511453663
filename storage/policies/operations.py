"""What the worker does for policies: take what is due, destroy what is too old; and a snapshot of all at once."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone
from pydantic import BaseModel, Field

from bhype.freebsd import zfs_snapshots
from bhype.host import CommandFailed, CommandTimeout
from bhype.hosts.models import Host, this_host
from bhype.live import publish
from bhype.tasks import OperationFailed, Run, operation
from storage.models import Pool, SnapshotTier
from storage.snapshots import moments
from storage.snapshots.operations import require_whole

from . import plan
from .plan import Unit


class TierParams(BaseModel):
    """at: the moment that the snapshot is of; it is named by it."""

    tier_id: int
    at: datetime


class AllParams(BaseModel):
    note: str = Field("", max_length=zfs_snapshots.NOTE_MAX)


def _tier(params: TierParams) -> SnapshotTier | None:
    return SnapshotTier.objects.select_related("policy__host").filter(pk=params.tier_id).first()


def _words(params: TierParams) -> dict[str, str]:
    tier = _tier(params)
    return {
        "which": f"{tier.get_kind_display().lower()}, {tier.policy.name}" if tier else "a policy that is gone"
    }


@operation(
    "storage.run_tier",
    title="Snapshots: {which}",
    right="storage.change",
    lock="tier:{tier_id}",
    subject="tier:{tier_id}",
    target=_tier,
    describe=_words,
    recover="storage.run_tier",
)
def run_tier(run: Run, params: TierParams) -> None:
    """Take the tier's snapshot of everything that the policy is for, then destroy what it need not keep.

    Each step can be repeated: a snapshot of that moment that is there already is not taken again.
    """
    tier = _tier(params)
    if tier is None:
        run.log("The policy is gone.")
        return
    name = plan.snapshot_name(tier, params.at)
    found = plan.units(tier.policy)
    pools = Pool.objects.in_bulk({unit.pool_id for unit in found})
    taken, gone = 0, 0
    problems: dict[str, str] = {}
    for number, unit in enumerate(found):
        run.check_cancelled()
        run.stage(f"Snapshot of {unit.name}", percent=100 * number // len(found))
        pool = pools[unit.pool_id]
        try:
            taken += _take(run, pool, unit, name, tier)
        except (CommandFailed, CommandTimeout, OperationFailed) as error:
            problems[unit.name] = str(error)
        try:
            gone += _thin(run, pool, unit, tier)
        except (CommandFailed, CommandTimeout, OperationFailed) as error:
            problems.setdefault(unit.name, str(error))
    _note(tier, problems)
    run.result(taken=taken, destroyed=gone, problems=problems)
    if problems:
        first, why = next(iter(problems.items()))
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise OperationFailed(f"{first}{more}: {why}")


def _take(run: Run, pool: Pool, unit: Unit, name: str, tier: SnapshotTier) -> bool:
    require_whole(unit.owner.uuid if unit.owner else "")
    moments.require_ours(run, pool, unit.dataset)
    if moments.take(run, pool, unit.dataset, name, kind=tier.kind):
        return True
    run.log(f"{unit.dataset}@{name} was taken before.")
    return False


def _thin(run: Run, pool: Pool, unit: Unit, tier: SnapshotTier) -> int:
    """Destroy what the tier's kind has too much of; how many. Looked at on the host, and at once before."""
    keep = {tier.kind: tier.keep}
    known = moments.known(pool, unit.dataset)
    if not plan.decide(tier.policy, known, keep).goes:
        return 0
    require_whole(unit.owner.uuid if unit.owner else "")
    decision = plan.decide(tier.policy, moments.there(run, unit.dataset), keep)
    if not decision.goes:
        return 0
    choice = moments.choose(run, unit.dataset, decision.goes)
    if choice.goes:
        moments.drop(run, pool, choice)
    return len(choice.goes)


def _note(tier: SnapshotTier, problems: dict[str, str]) -> None:
    text = "; ".join(f"{name}: {why}" for name, why in list(problems.items())[:5])
    with transaction.atomic():
        SnapshotTier.objects.filter(pk=tier.pk).update(last_run=timezone.now(), problem=text)
        publish("policies", f"policy:{tier.policy_id}")


@operation(
    "storage.snapshot_all",
    title="Snapshot of all in production",
    right="storage.change",
    lock="storage.snapshot_all",
    subject="snapshots",
    target=this_host,
)
def snapshot_all(run: Run, params: AllParams) -> None:
    """Take one snapshot of everything that is marked as in production. One that fails does not hold up the others."""
    found = plan.production(Host.objects.this())
    if not found:
        raise OperationFailed("Nothing is marked as in production.")
    pools = Pool.objects.in_bulk({unit.pool_id for unit in found})
    name = moments.automatic_name(timezone.now(), "all")
    result: dict[str, Any] = {"snapshot": name, "taken": [], "problems": {}}
    for number, unit in enumerate(found):
        run.check_cancelled()
        run.stage(f"Snapshot of {unit.name}", percent=100 * number // len(found))
        try:
            require_whole(unit.owner.uuid if unit.owner else "")
            moments.require_ours(run, pools[unit.pool_id], unit.dataset)
            moments.take(run, pools[unit.pool_id], unit.dataset, name, note=params.note)
        except (CommandFailed, CommandTimeout, OperationFailed) as error:
            result["problems"][unit.name] = str(error)
        else:
            result["taken"].append(unit.name)
    run.result(**result)
    if result["problems"]:
        first, why = next(iter(result["problems"].items()))
        raise OperationFailed(f"{len(result['problems'])} of {len(found)} failed; {first}: {why}")
