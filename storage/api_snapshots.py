"""The API of snapshots and of the policies that take them. Sizes are bytes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest, QueryDict, StreamingHttpResponse
from django.utils import timezone
from ninja import Query, Router, Schema
from ninja.responses import Status
from pydantic import ConfigDict, Field

from bhype.accounts import audit
from bhype.accounts.access import lookup, signed_in
from bhype.accounts.errors import ApiError
from bhype.accounts.models import User
from bhype.freebsd.zfs_snapshots import NOTE_MAX
from bhype.hosts.models import Host
from bhype.tasks import ask
from bhype.tasks.api import TaskOut
from bhype.tasks.errors import not_found
from bhype.tasks.models import Task
from bhype.ui.respond import attachment

from . import policies, snapshots_pages
from .models import Dataset, Snapshot, SnapshotPolicy, SnapshotTier
from .policies_forms import PolicyForm, next_runs
from .snapshots_operations import MOST
from .snapshots_views import file_of

router, policy_router = Router(), Router()


class SnapshotOut(Schema):
    """A snapshot with all that was taken with it. parts: how many datasets; used: what only they hold."""

    id: int
    name: str
    dataset: str
    kind: str
    note: str
    created_at: datetime
    guid: str
    used: int
    parts: int
    holds: int
    clones: int
    is_common: bool


class SnapshotsOut(Schema):
    """before: what `before` of the next page is, "" on the last one."""

    snapshots: list[SnapshotOut]
    before: str


class SnapshotFilters(Schema):
    """q: part of a dataset's or snapshot's name; kind: manual, frequent, hourly ... or other."""

    q: str = Field("", max_length=100)
    kind: str = Field("", max_length=16)
    held: bool = False
    before: str = Field("", max_length=64)


class TakeIn(Schema):
    """dataset: its name; name: "" for one by the time."""

    dataset: str = Field(max_length=255)
    name: str = Field("", max_length=200)
    note: str = Field("", max_length=NOTE_MAX)


class ManyIn(Schema):
    ids: list[int] = Field(min_length=1, max_length=MOST)


class NoteIn(Schema):
    note: str = Field("", max_length=NOTE_MAX)


class TagIn(Schema):
    """tag: who keeps it, in a word; "" for the usual one, and of a release for all that are people's."""

    tag: str = Field("", max_length=64)


class PathIn(Schema):
    """path: below the filesystem."""

    path: str = Field("", max_length=1000)


class UntilIn(Schema):
    """until: a later snapshot, by name; "" for now."""

    until: str = Field("", max_length=200)


def _viewer(request: HttpRequest, right: str = "storage.view") -> User:
    user = signed_in(request)
    if not user.can(right):
        raise not_found()
    return user


def _out(line: snapshots_pages.Line) -> dict[str, Any]:
    row = line.row
    return {
        "id": row.pk, "name": row.name, "dataset": row.dataset.name, "kind": row.kind, "note": row.note,
        "created_at": row.created_at, "guid": row.guid, "used": line.used, "parts": line.parts, "holds": row.holds,
        "clones": row.clones, "is_common": row.is_common,
    }  # fmt: skip


def _ask(request: HttpRequest, what: str, operation: str, **params: Any) -> Status[Task]:
    task = ask(operation, params, signed_in(request))
    audit.record(request, operation, what, params, task=task)
    return Status(202, task)


@router.get("", response=SnapshotsOut, summary="Snapshots, the newest first")
def list_snapshots(request: HttpRequest, query: Query[SnapshotFilters]) -> dict[str, Any]:
    _viewer(request)
    data = QueryDict(mutable=True)
    data.update({"q": query.q, "kind": query.kind, "before": query.before, "held": "1" if query.held else ""})
    filters = snapshots_pages.Filters.read(data)
    found = snapshots_pages.listing(filters, snapshots_pages.all_roots())
    return {"snapshots": [_out(line) for line in found.lines], "before": found.before}


@router.post("", response={202: TaskOut}, summary="Take a snapshot of a dataset and all below it")
def take_snapshot(request: HttpRequest, payload: TakeIn) -> Status[Task]:
    row = lookup(signed_in(request), Dataset, "storage.change", name=payload.dataset)
    said = payload.model_dump(include={"name", "note"}, exclude_defaults=True)
    return _ask(request, f"dataset {row.name}", "storage.take_snapshot", dataset_id=row.pk, **said)


@router.post("/all", response={202: TaskOut}, summary="Take a snapshot of everything in production")
def snapshot_all(request: HttpRequest, payload: NoteIn) -> Status[Task]:
    _viewer(request, "storage.change")
    return _ask(request, "all in production", "storage.snapshot_all", note=payload.note)


@router.post(
    "/preview", response={202: TaskOut}, summary="What goes with snapshots, and the bytes that come free"
)
def preview_deletion(request: HttpRequest, payload: ManyIn) -> Status[Task]:
    """The task's result has ``goes``, ``stays`` with the reasons, and ``bytes``."""
    _viewer(request, "storage.change")
    what = f"{len(payload.ids)} snapshots"
    return _ask(request, what, "storage.preview_deletion", snapshot_ids=payload.ids)


@router.post("/delete", response={202: TaskOut}, summary="Destroy snapshots that nothing needs")
def delete_snapshots(request: HttpRequest, payload: ManyIn) -> Status[Task]:
    _viewer(request, "storage.change")
    what = f"{len(payload.ids)} snapshots"
    return _ask(request, what, "storage.delete_snapshots", snapshot_ids=payload.ids)


@router.get("/{int:pk}", response=SnapshotOut, summary="One snapshot")
def get_snapshot(request: HttpRequest, pk: int) -> dict[str, Any]:
    row = lookup(_viewer(request), Snapshot, "storage.view", pk=pk)
    found = snapshots_pages.listing(snapshots_pages.Filters(), Snapshot.objects.filter(pk=row.pk))
    return _out(found.lines[0])


def _one(request: HttpRequest, pk: int, operation: str, payload: Schema) -> Status[Task]:
    row = lookup(signed_in(request), Snapshot, "storage.change", pk=pk)
    return _ask(request, str(row), f"storage.{operation}", snapshot_id=row.pk, **payload.model_dump())


@router.post("/{int:pk}/hold", response={202: TaskOut}, summary="Keep a snapshot from being destroyed")
def hold_snapshot(request: HttpRequest, pk: int, payload: TagIn) -> Status[Task]:
    return _one(request, pk, "hold_snapshot", payload)


@router.post("/{int:pk}/release", response={202: TaskOut}, summary="Take a hold back")
def release_snapshot(request: HttpRequest, pk: int, payload: TagIn) -> Status[Task]:
    return _one(request, pk, "release_snapshot", payload)


@router.post("/{int:pk}/note", response={202: TaskOut}, summary="Give a snapshot another note")
def annotate_snapshot(request: HttpRequest, pk: int, payload: NoteIn) -> Status[Task]:
    return _one(request, pk, "annotate_snapshot", payload)


@router.post("/{int:pk}/diff", response={202: TaskOut}, summary="Which files have changed since")
def diff_snapshot(request: HttpRequest, pk: int, payload: UntilIn) -> Status[Task]:
    return _one(request, pk, "diff_snapshot", payload)


@router.post("/{int:pk}/list", response={202: TaskOut}, summary="What lies in a folder of a snapshot")
def list_files(request: HttpRequest, pk: int, payload: PathIn) -> Status[Task]:
    return _one(request, pk, "list_snapshot", payload)


@router.post(
    "/{int:pk}/fetch", response={202: TaskOut}, summary="Copy a file out of a snapshot, to download it"
)
def fetch_file(request: HttpRequest, pk: int, payload: PathIn) -> Status[Task]:
    """Once the task has succeeded, POST /snapshots/files/TASK gives the file to whoever asked."""
    return _one(request, pk, "fetch_from_snapshot", payload)


@router.post("/files/{int:task}", summary="The file that a task of one's own has fetched")
def download_file(request: HttpRequest, task: int) -> StreamingHttpResponse:
    found = file_of(signed_in(request), task)
    if found is None:
        raise not_found()
    row, opened, name = found
    audit.record(request, "snapshots.download", row.title, {"file": name, "path": row.params.get("path", "")})
    return attachment(opened, name)


# Policies.


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


class PolicyIn(Schema):
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


def _save(request: HttpRequest, payload: PolicyIn, policy: SnapshotPolicy | None) -> SnapshotPolicy:
    """Through the form of the page, so that both know the same rules."""
    own = {policies.TAG, policies.PRODUCTION, policies.DATASET}
    by_kind: dict[str, list[str]] = {}
    for target in payload.targets:
        by_kind.setdefault(target.kind, []).append(target.value)
    data = QueryDict(mutable=True)
    data.update({"name": payload.name, "time_zone": payload.time_zone, "notes": payload.notes})
    data["datasets"] = "\n".join(by_kind.get(policies.DATASET, []))
    data.setlist("tags", by_kind.get(policies.TAG, []))
    things = [f"{kind} {value}" for kind, values in by_kind.items() if kind not in own for value in values]
    data.setlist("things", things)
    for flag, is_set in (("is_enabled", payload.is_enabled), ("production", policies.PRODUCTION in by_kind)):
        if is_set:
            data[flag] = "on"
    for tier in payload.tiers:
        data[f"when_{tier.kind}"], data[f"keep_{tier.kind}"] = tier.when, str(tier.keep)
    form = PolicyForm(data, host=policy.host if policy else Host.objects.this(), policy=policy)
    saved = form.save(signed_in(request)) if form.is_valid() else None
    if saved is None:
        field, errors = next(iter(form.errors.items()))
        raise ApiError(422, "invalid", str(errors[0]), None if field == "__all__" else field)
    audit.record(request, "policies.change" if policy else "policies.add", f"policy {saved.name}")
    return saved


@policy_router.get("", response=list[PolicyOut], summary="Policies")
def list_policies(request: HttpRequest) -> list[dict[str, Any]]:
    _viewer(request)
    return [_policy_out(row) for row in SnapshotPolicy.objects.prefetch_related("targets", "tiers")]


@policy_router.post("", response={201: PolicyOut}, summary="Make a policy")
def add_policy(request: HttpRequest, payload: PolicyIn) -> Status[dict[str, Any]]:
    _viewer(request, "storage.change")
    return Status(201, _policy_out(_save(request, payload, None)))


@policy_router.get("/{int:pk}", response=PolicyOut, summary="One policy")
def get_policy(request: HttpRequest, pk: int) -> dict[str, Any]:
    return _policy_out(_find(request, pk, "storage.view"))


@policy_router.put("/{int:pk}", response=PolicyOut, summary="Change a policy: what is left out goes")
def change_policy(request: HttpRequest, pk: int, payload: PolicyIn) -> dict[str, Any]:
    return _policy_out(_save(request, payload, _find(request, pk)))


@policy_router.delete("/{int:pk}", response={204: None}, summary="Remove a policy; its snapshots stay")
def remove_policy(request: HttpRequest, pk: int) -> Status[None]:
    row = _find(request, pk)
    audit.record(request, "policies.remove", f"policy {row.name}")
    row.delete()
    return Status(204, None)


@policy_router.get(
    "/{int:pk}/dry-run", response=list[ForecastOut], summary="What a policy would take and destroy now"
)
def dry_run(request: HttpRequest, pk: int) -> list[dict[str, Any]]:
    found, _hidden = policies.dry_run(_find(request, pk, "storage.view"), timezone.now())
    return [
        {
            "name": one.unit.name, "dataset": one.unit.dataset, "takes": list(one.takes),
            "goes": list(one.decision.goes), "stays": dict(one.decision.stays),
        }
        for one in found
    ]  # fmt: skip


@policy_router.post("/{int:pk}/run", response={202: TaskOut}, summary="Run one tier of a policy now")
def run_policy(request: HttpRequest, pk: int, payload: RunIn) -> Status[Task]:
    row = _find(request, pk)
    tier = row.tiers.filter(kind=payload.tier).first()
    if tier is None:
        raise ApiError(422, "invalid", f"{row.name} has no {payload.tier} snapshots.", "tier")
    at = timezone.now().replace(microsecond=0).isoformat()
    return _ask(request, f"policy {row.name}", "storage.run_tier", tier_id=tier.pk, at=at)
