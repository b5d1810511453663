"""The API of applying rules: the draft, rule sets of the past, and what pf.conf lacks."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Router, Schema
from ninja.responses import Status
from pydantic import ConfigDict, Field

from bhype.accounts import audit
from bhype.accounts.access import require
from bhype.accounts.errors import ApiError
from bhype.hosts.models import Host
from bhype.tasks import ask
from bhype.tasks.api import TaskOut
from bhype.tasks.models import Task
from network.models import PfConf, Ruleset

from . import document, pages, views

router = Router()


class RuleSetDifferenceOut(Schema):
    """kind: "added", "removed", "changed" or "moved"."""

    kind: str
    what: str
    text: str
    before: str


class DraftOut(Schema):
    """in_force: the number of the rule set that is loaded, None for none; waits_until: for its confirmation;
    differences: what applying the draft would change; errors keep it from being applied, warnings do not; problems:
    of pf itself."""

    in_force: int | None
    waits_until: datetime | None
    differences: list[RuleSetDifferenceOut]
    errors: list[str]
    warnings: list[str]
    problems: list[str]


class ApplyIn(Schema):
    """seconds: to confirm it in; then the old rules come back."""

    model_config = ConfigDict(extra="forbid")
    seconds: int = Field(pages.SECONDS, ge=pages.SHORTEST, le=pages.LONGEST)


class RulesetOut(Schema):
    number: int
    state: str
    reason: str
    user: str
    made_at: datetime
    ended_at: datetime | None

    @staticmethod
    def resolve_user(row: Any) -> str:
        return row.user.username if row.user else ""


class RulesetFull(RulesetOut):
    """text: as pf.conf(5) has it."""

    text: str


class PfConfLineOut(Schema):
    """after: the number of the line behind which it belongs, 0 for the begin."""

    line: str
    after: int


class PfConfOut(Schema):
    """is_asked: whether the loaded rules ask bHype's anchors, null where pf is not in the kernel. digest: SHA-256."""

    path: str
    exists: bool
    digest: str
    missing: list[PfConfLineOut]
    problem: str
    is_asked: bool | None


class AddIn(Schema):
    """digest: of the file that was looked at; another one is not changed."""

    model_config = ConfigDict(extra="forbid")
    digest: str = Field("", pattern=r"^([0-9a-f]{64})?$")
    seconds: int = Field(pages.SECONDS, ge=pages.SHORTEST, le=pages.LONGEST)


def asked(request: HttpRequest, action: str, thing: str, operation: str, **params: Any) -> Status[Task]:
    """Ask for an operation, on the record. Raises Refused."""
    task = ask(operation, params, require(request, "network.change"))
    audit.record(request, action, thing, params, task)
    return Status(202, task)


@router.get("/firewall", response=DraftOut, summary="The draft of the rules beside what is in force")
def get_draft(request: HttpRequest) -> dict[str, Any]:
    user, host = require(request, "network.view"), Host.objects.this()
    draft = pages.draft(host, user, audit.address_of(request))
    return {
        "in_force": draft.applied.number if draft.applied else None,
        "waits_until": draft.waits.deadline if draft.waits else None,
        "differences": draft.differences,
        "errors": [problem.sentence for problem in draft.errors],
        "warnings": [problem.sentence for problem in draft.warnings],
        "problems": pages.state(host).problems,
    }


@router.post(
    "/firewall/apply", response={202: TaskOut}, summary="Apply the draft; it must be confirmed in time"
)
def apply_rules(request: HttpRequest, payload: ApplyIn) -> Status[Task]:
    return asked(request, "rules.apply", "firewall", "network.apply_rules", seconds=payload.seconds)


def _waiting(request: HttpRequest) -> str:
    """The number of the rule set that waits: its row is there before it is loaded, the banner a little later."""
    require(request, "network.change")
    row = Ruleset.objects.filter(host=Host.objects.this(), state=Ruleset.State.PENDING).first()
    if row is None:
        raise ApiError(409, "conflict", "No rules wait for a confirmation.")
    return str(row.number)


@router.post("/firewall/confirm", response={202: TaskOut}, summary="Keep the rules that wait for it")
def confirm_rules(request: HttpRequest) -> Status[Task]:
    note = _waiting(request)
    return asked(request, "network.confirm", "change firewall", "network.confirm_rules", note=note)


@router.post("/firewall/revert", response={202: TaskOut}, summary="Take back the rules that wait")
def revert_rules(request: HttpRequest) -> Status[Task]:
    note = _waiting(request)
    return asked(request, "network.revert", "change firewall", "network.revert_rules", note=note)


@router.post("/firewall/discard", response={204: None}, summary="Make the draft what is in force")
def discard_draft(request: HttpRequest) -> Status[None]:
    require(request, "network.change")
    host = Host.objects.this()
    with transaction.atomic():
        document.restore(host, pages.in_force(host)[1])
        audit.record(request, "rules.discard", "firewall")
        views.changed("switches")
    return Status(204, None)


@router.get("/firewall/rulesets", response=list[RulesetOut], summary="The newest hundred rule sets")
def list_rulesets(request: HttpRequest) -> QuerySet[Ruleset]:
    require(request, "network.view")
    return (
        Ruleset.objects.filter(host=Host.objects.this())
        .select_related("user")
        .defer("document", "text")[:100]
    )


def _find(number: int) -> Ruleset:
    rows = Ruleset.objects.select_related("user", "host")
    return get_object_or_404(rows, host=Host.objects.this(), number=number)


@router.get("/firewall/rulesets/{int:number}", response=RulesetFull, summary="One rule set with its text")
def get_ruleset(request: HttpRequest, number: int) -> Ruleset:
    require(request, "network.view")
    return _find(number)


@router.post("/firewall/rulesets/{int:number}/restore", response={202: TaskOut}, summary="Make it the draft")
def restore_ruleset(request: HttpRequest, number: int) -> Status[Task]:
    require(request, "network.change")
    _find(number)
    return asked(request, "rules.restore", f"rule set {number}", "network.restore_ruleset", number=number)


@router.get("/firewall/pf-conf", response=PfConfOut, summary="What the host's own pf.conf lacks")
def get_pf_conf(request: HttpRequest) -> PfConf:
    require(request, "network.view")
    row = PfConf.objects.filter(host=Host.objects.this()).first()
    if row is None:
        raise ApiError(404, "not_found", "The observer has not read the file yet.")
    return row


@router.post("/firewall/pf-conf", response={202: TaskOut}, summary="Add the missing lines, with a backup")
def add_anchors(request: HttpRequest, payload: AddIn) -> Status[Task]:
    params = {"digest": payload.digest, "seconds": payload.seconds}
    return asked(request, "network.add_anchors", "pf.conf", "network.add_anchors", **params)
