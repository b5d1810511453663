"""Policies: of what snapshots are taken, when, and which go again. Rows in, plans out; the host is not asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.utils import timezone

from bhype.freebsd.zfs_snapshots import SnapshotDetail
from bhype.hosts.models import Host
from bhype.hosts.observer import Sweep
from bhype.live import publish
from bhype.tasks import ask, schedules
from bhype.tasks.models import Task
from storage import owners
from storage.models import Dataset, Snapshot, SnapshotPolicy, SnapshotTarget, SnapshotTier
from storage.owners import Owner
from storage.snapshots import moments, retention
from storage.snapshots.moments import Moment
from storage.snapshots.retention import Decision

TAG, PRODUCTION, DATASET = "tag", "production", "dataset"
# What each kind of snapshot is taken and kept by, unless somebody says otherwise.
DEFAULTS: dict[str, tuple[str, int]] = {
    "frequent": ("every 15 minutes", 4),
    "hourly": ("every hour", 24),
    "daily": ("every day 00:30", 7),
    "weekly": ("sun 01:00", 4),
    "monthly": ("monthly 1 01:30", 12),
    "yearly": ("0 2 1 1 *", 3),
}
# A dry run shows so many things at most.
MOST_SHOWN = 20
# In sweeps: clocks that were set back are noticed within a minute.
CHECK_EVERY = 30


# Of what.


@dataclass(frozen=True, slots=True)
class Unit:
    """A dataset of which snapshots are taken with all below it. owner: the thing that it holds, if it is one's."""

    pool_id: int
    dataset: str
    owner: Owner | None = None

    @property
    def name(self) -> str:
        return self.owner.name if self.owner else self.dataset

    @property
    def url(self) -> str:
        return self.owner.url if self.owner else ""


def target_kinds() -> list[tuple[str, str]]:
    """The kinds of targets and what they are called: each kind of thing with tags, and what chooses among them."""
    things = [(kind.name, kind.label.capitalize()) for kind in owners.kinds() if kind.name in _whole_kinds()]
    return [
        (PRODUCTION, "Everything in production"),
        (TAG, "Everything with the tag"),
        *things,
        (DATASET, "Dataset"),
    ]


def _whole_kinds() -> set[str]:
    # Images and templates do not change.
    return {kind.name for kind in owners.kinds() if kind.name not in {"image", "template"}}


def units(policy: SnapshotPolicy) -> list[Unit]:
    """What a policy is for now, by name, each once: nothing that lies within another."""
    return chosen(policy.host, ((target.kind, target.value) for target in policy.targets.all()))


def chosen(host: Host, targets: Iterable[tuple[str, str]]) -> list[Unit]:
    """As `units`, of targets that no policy has (yet)."""
    wanted = set(targets)
    by_mark = any(kind in {TAG, PRODUCTION} for kind, _ in wanted)
    things = owners.find(None if by_mark else {value for _, value in wanted})
    mine = [one for one in things if one.host_id == host.pk and one.kind in _whole_kinds()]
    found = {one.dataset: Unit(one.pool_id, one.dataset, one) for one in mine if _is_meant(one, wanted)}
    names = {value for kind, value in wanted if kind == DATASET}
    by_dataset = {one.dataset: one for one in mine}
    for row in Dataset.objects.filter(pool__host=host, pool__is_adopted=True, name__in=names).exclude(
        bhype_id=""
    ):
        found.setdefault(row.name, Unit(row.pool_id, row.name, by_dataset.get(row.name)))
    return [found[name] for name in sorted(found) if not any(other in found for other in _above(name))]


def _above(dataset: str) -> Iterator[str]:
    """The datasets that it lies in, the nearest first."""
    while "/" in dataset:
        dataset = dataset.rpartition("/")[0]
        yield dataset


def _is_meant(one: Owner, wanted: set[tuple[str, str]]) -> bool:
    by_tag = any((TAG, tag) in wanted for tag in one.tags)
    return by_tag or (one.kind, one.uuid) in wanted or (one.is_production and (PRODUCTION, "") in wanted)


def production(host: Host) -> list[Unit]:
    """Everything that is marked as in production."""
    return chosen(host, [(PRODUCTION, "")])


def target_words(host: Host, targets: Iterable[SnapshotTarget]) -> list[str]:
    """The targets as people know them."""
    labels, found = dict(target_kinds()), []
    names = {one.uuid: one.name for one in owners.find(row.value for row in targets)}
    for row in targets:
        label = labels.get(row.kind, row.kind)
        value = names.get(row.value, row.value)
        is_gone = owners.is_uuid(row.value) and row.value not in names
        found.append(f"{label} {'that is gone' if is_gone else value}".strip())
    return found


# When.


@dataclass(frozen=True, slots=True)
class Due:
    """slot: the moment of the snapshot that is to be taken now, None for not now; next_run: when to look again."""

    slot: datetime | None
    next_run: datetime


def due(when: str, zone: str, next_run: datetime | None, now: datetime) -> Due:
    """What a tier has to do now. However many runs were missed, the last is made up for. A clock that was set back
    does not keep it waiting. Raises BadSchedule."""
    following = schedules.upcoming(when, zone, now, 1)[0].astimezone(UTC)
    if next_run is None or next_run > now:
        return Due(None, following)
    last = schedules.latest(when, zone, now + timedelta(seconds=1))
    slot = max(next_run, last.astimezone(UTC)) if last else next_run
    return Due(slot, following)


def snapshot_name(tier: SnapshotTier, slot: datetime) -> str:
    """What the tier's snapshot of this moment is called: once taken it is not taken again."""
    return f"{tier.kind}-{slot.astimezone(UTC):%Y%m%dT%H%M%SZ}-p{tier.policy_id}"


def is_of(policy: SnapshotPolicy, moment: Moment) -> bool:
    """Whether the policy took it: by its name and by what bHype wrote on it."""
    kind, _, rest = moment.name.partition("-")
    return kind == moment.root.kind and rest.endswith(f"Z-p{policy.pk}")


def observe(sweep: Sweep) -> None:
    """Ask for the tiers of this host that are due."""
    tick(sweep.row, sweep.now, check=sweep.every(CHECK_EVERY))


def tick(host: Host, now: datetime, *, check: bool = False) -> list[Task]:
    """Ask for what is due, in the system's own name: a policy outlives who made it. check: also look at those that are
    not, as the clock may have been set back."""
    rows = SnapshotTier.objects.filter(policy__host=host, policy__is_enabled=True).select_related("policy")
    if not check:
        rows = rows.exclude(next_run__gt=now)
    tiers = list(rows)
    subjects = [_subject(tier) for tier in tiers]
    busy = set(Task.objects.filter(subject__in=subjects).unfinished().values_list("subject", flat=True))
    return [task for tier in tiers if _subject(tier) not in busy and (task := _step(tier, now))]


def _subject(tier: SnapshotTier) -> str:
    return f"tier:{tier.pk}"


def _step(tier: SnapshotTier, now: datetime) -> Task | None:
    try:
        step = due(tier.when, tier.policy.time_zone, tier.next_run, now)
    except schedules.BadSchedule as error:
        SnapshotTier.objects.filter(pk=tier.pk).exclude(problem=str(error)).update(problem=str(error))
        return None
    if step.slot is None and step.next_run == tier.next_run:
        return None
    with transaction.atomic():
        # Whoever moves it on asks.
        mine = SnapshotTier.objects.filter(pk=tier.pk, next_run=tier.next_run, policy__is_enabled=True)
        if not mine.update(next_run=step.next_run) or step.slot is None:
            return None
        return ask("storage.run_tier", {"tier_id": tier.pk, "at": step.slot.isoformat()}, None)


def write(
    policy: SnapshotPolicy, targets: Iterable[tuple[str, str]], tiers: dict[str, tuple[str, int]]
) -> None:
    """Make a saved policy's targets and tiers these, and let what is new or has changed begin from now on.

    tiers: times and how many stay, by kind. Raises BadSchedule. Called inside a transaction.
    """
    policy.targets.all().delete()
    rows = [SnapshotTarget(policy=policy, kind=kind, value=value) for kind, value in dict.fromkeys(targets)]
    SnapshotTarget.objects.bulk_create(rows)
    policy.tiers.exclude(kind__in=tiers).delete()
    for kind, (when, keep) in tiers.items():
        SnapshotTier.objects.update_or_create(policy=policy, kind=kind, defaults={"when": when, "keep": keep})
    begin(policy, timezone.now())


def begin(policy: SnapshotPolicy, now: datetime) -> None:
    """Let the tiers of a policy that was changed begin anew from now on; those of one that is off have no next run."""
    for tier in policy.tiers.all():
        following = schedules.upcoming(tier.when, policy.time_zone, now, 1)[0] if policy.is_enabled else None
        SnapshotTier.objects.filter(pk=tier.pk).update(next_run=following, problem="")
    publish("policies", f"policy:{policy.pk}")


def switch(policy: SnapshotPolicy, *, enabled: bool) -> None:
    """Turn a policy on, from now on, or off."""
    with transaction.atomic():
        SnapshotPolicy.objects.filter(pk=policy.pk).update(is_enabled=enabled)
        policy.is_enabled = enabled
        begin(policy, timezone.now())


# Which go.


def keeps(policy: SnapshotPolicy) -> dict[str, int]:
    return {tier.kind: tier.keep for tier in policy.tiers.all()}


def decide(policy: SnapshotPolicy, found: Iterable[Moment], keep: dict[str, int] | None = None) -> Decision:
    """Of the snapshots of one unit those of the policy that go, and why the others stay."""
    candidates = (moment.candidate(is_ours=is_of(policy, moment)) for moment in found)
    return retention.decide(candidates, keeps(policy) if keep is None else keep)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the policy would do to one unit if all its tiers ran now."""

    unit: Unit
    takes: tuple[str, ...]
    decision: Decision


def dry_run(policy: SnapshotPolicy, now: datetime) -> tuple[list[Forecast], int]:
    """What would be taken and destroyed, as far as the snapshots were seen; and how many units are not shown."""
    all_units = units(policy)
    shown, tiers = all_units[:MOST_SHOWN], list(policy.tiers.all())
    takes = tuple(snapshot_name(tier, now) for tier in tiers)
    keep, by_unit = keeps(policy), _known(shown, [tier.kind for tier in tiers])
    found = []
    for unit in shown:
        known = [
            moment.candidate(is_ours=is_of(policy, moment))
            for moment in moments.moments(unit.dataset, by_unit.get(unit.dataset, []))
        ]
        newest = max((one.txg for one in known), default=0)
        fresh = [
            retention.Candidate(name, tier.kind, newest + 1) for name, tier in zip(takes, tiers, strict=True)
        ]
        decision = retention.decide([*known, *fresh], keep)
        stays = {name: why for name, why in decision.stays.items() if name not in takes}
        found.append(Forecast(unit, takes, Decision(decision.goes, stays)))
    return found, max(0, len(all_units) - MOST_SHOWN)


def _known(shown: list[Unit], kinds: list[str]) -> dict[str, list[SnapshotDetail]]:
    """The snapshots of these kinds that the units have, by their datasets, in two queries."""
    roots: dict[int, str] = {}
    pools = {unit.pool_id for unit in shown}
    names = {(unit.pool_id, unit.dataset) for unit in shown}
    for key, pool, name in Dataset.objects.filter(pool__in=pools).values_list("pk", "pool", "name"):
        if root := next((one for one in (name, *_above(name)) if (pool, one) in names), ""):
            roots[key] = root
    rows = Snapshot.objects.filter(dataset__in=list(roots), kind__in=kinds).select_related("dataset")
    found: dict[str, list[SnapshotDetail]] = {}
    for row in rows:
        found.setdefault(roots[row.dataset_id], []).extend(moments.details_of([row]))
    return found
