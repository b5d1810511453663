"""The API of policies: of what snapshots are taken, when, and how many stay."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest, QueryDict
from django.utils import timezone
from ninja import Router, Schema
from ninja.responses import Status
from pydantic import ConfigDict, Field

from bhype.accounts import audit
from bhype.accounts.access import lookup, signed_in
from bhype.accounts.errors import ApiError, invalid
from bhype.hosts.models import Host
from bhype.tasks.api import TaskOut
from bhype.tasks.models import Task
from bhype.tasks.requested import by_api
from storage.models import SnapshotPolicy, SnapshotTier
from storage.snapshots.api import viewer

from . import plan
from .forms import PolicyForm, next_runs

router = Router()


class TierIO(Schema):
    """when: words or the five fields of crontab(5), in the policy's time zone; keep: how many stay."""

    model_config = ConfigDict(extra="forbid")
    kind: SnapshotTier.Kind
    when: str = Field(max_length=120)
    keep: int = Field(ge=1, le=10_000)


class TargetIO(Schema):
    """kind: production, tag, dataset, or vm with its UUID."""

    model_config = ConfigDict(extra="forbid")
    kind: str = Field(max_length=16)
    value: str = Field("", max_length=255)


class SnapshotPolicyIn(Schema):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=64)
    time_zone: str = Field("UTC", max_length=64)
    is_enabled: bool = True
    notes: str = Field("", max_length=10_000)
    targets: list[TargetIO] = Field(min_length=1, max_length=1000)
    tiers: list[TierIO] = Field(min_length=1, max_length=6)


class TierOut(Schema):
    """upcoming: the next five runs; problem: of the last one."""

    kind: str
    when: str
    keep: int
    next_run: datetime | None
    last_run: datetime | None
    problem: str
    upcoming: list[str]


class PolicyOut(Schema):
    id: int
    name: str
    time_zone: str
    is_enabled: bool
    notes: str
    targets: list[TargetIO]
    tiers: list[TierOut]


class ForecastOut(Schema):
    """What a policy would do to one thing if all of it ran now. stays: why, by name."""

    name: str
    dataset: str
    takes: list[str]
    goes: list[str]
    stays: dict[str, str]


class RunIn(Schema):
    tier: SnapshotTier.Kind


def _policy_out(row: SnapshotPolicy) -> dict[str, Any]:
    tiers = [
        {
            "kind": tier.kind, "when": tier.when, "keep": tier.keep, "next_run": tier.next_run,
            "last_run": tier.last_run, "problem": tier.problem, "upcoming": next_runs(tier.when, row.time_zone)["runs"],
        }
        for tier in row.tiers.all()
    ]  # fmt: skip
    targets = [{"kind": target.kind, "value": target.value} for target in row.targets.all()]
    columns = {key: getattr(row, key) for key in ("name", "time_zone", "is_enabled", "notes")}
    return {"id": row.pk, **columns, "targets": targets, "tiers": tiers}


def _find(request: HttpRequest, pk: int, right: str = "storage.change") -> SnapshotPolicy:
    return lookup(signed_in(request), SnapshotPolicy, right, pk=pk)


def _save(request: HttpRequest, payload: SnapshotPolicyIn, policy: SnapshotPolicy | None) -> SnapshotPolicy:
    """Through the form of the page, so that both know the same rules."""
    own = {plan.TAG, plan.PRODUCTION, plan.DATASET}
    by_kind: dict[str, list[str]] = {}
    for target in payload.targets:
        by_kind.setdefault(target.kind, []).append(target.value)
    data = QueryDict(mutable=True)
    data.update({"name": payload.name, "time_zone": payload.time_zone, "notes": payload.notes})
    data["datasets"] = "\n".join(by_kind.get(plan.DATASET, []))
    data.setlist("tags", by_kind.get(plan.TAG, []))
    things = [f"{kind} {value}" for kind, values in by_kind.items() if kind not in own for value in values]
    data.setlist("things", things)
    for flag, is_set in (("is_enabled", payload.is_enabled), ("production", plan.PRODUCTION in by_kind)):
        if is_set:
            data[flag] = "on"
    for tier in payload.tiers:
        data[f"when_{tier.kind}"], data[f"keep_{tier.kind}"] = tier.when, str(tier.keep)
    form = PolicyForm(data, host=policy.host if policy else Host.objects.this(), policy=policy)
    saved = form.save(signed_in(request)) if form.is_valid() else None
    if saved is None:
        raise invalid(form)
    audit.record(request, "policies.change" if policy else "policies.add", f"policy {saved.name}")
    return saved


@router.get("", response=list[PolicyOut], summary="Policies")
def list_policies(request: HttpRequest) -> list[dict[str, Any]]:
    viewer(request)
    return [_policy_out(row) for row in SnapshotPolicy.objects.prefetch_related("targets", "tiers")]


@router.post("", response={201: PolicyOut}, summary="Make a policy")
def add_policy(request: HttpRequest, payload: SnapshotPolicyIn) -> Status[dict[str, Any]]:
    viewer(request, "storage.change")
    return Status(201, _policy_out(_save(request, payload, None)))


@router.get("/{int:pk}", response=PolicyOut, summary="One policy")
def get_policy(request: HttpRequest, pk: int) -> dict[str, Any]:
    return _policy_out(_find(request, pk, "storage.view"))


@router.put("/{int:pk}", response=PolicyOut, summary="Change a policy: what is left out goes")
def change_policy(request: HttpRequest, pk: int, payload: SnapshotPolicyIn) -> dict[str, Any]:
    return _policy_out(_save(request, payload, _find(request, pk)))


@router.delete("/{int:pk}", response={204: None}, summary="Remove a policy; its snapshots stay")
def remove_policy(request: HttpRequest, pk: int) -> Status[None]:
    row = _find(request, pk)
    audit.record(request, "policies.remove", f"policy {row.name}")
    row.delete()
    return Status(204, None)


@router.get(
    "/{int:pk}/dry-run", response=list[ForecastOut], summary="What a policy would take and destroy now"
)
def dry_run(request: HttpRequest, pk: int) -> list[dict[str, Any]]:
    found, _hidden = plan.dry_run(_find(request, pk, "storage.view"), timezone.now())
    return [
        {
            "name": one.unit.name, "dataset": one.unit.dataset, "takes": list(one.takes),
            "goes": list(one.decision.goes), "stays": dict(one.decision.stays),
        }
        for one in found
    ]  # fmt: skip


@router.post("/{int:pk}/run", response={202: TaskOut}, summary="Run one tier of a policy now")
def run_policy(request: HttpRequest, pk: int, payload: RunIn) -> Status[Task]:
    row = _find(request, pk)
    tier = row.tiers.filter(kind=payload.tier).first()
    if tier is None:
        raise ApiError(422, "invalid", f"{row.name} has no {payload.tier} snapshots.", "tier")
    at = timezone.now().replace(microsecond=0).isoformat()
    return by_api(request, f"policy {row.name}", "storage.run_tier", tier_id=tier.pk, at=at)
