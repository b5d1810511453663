"""The API of what waits for a confirmation."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest
from ninja import Router, Schema
from ninja.responses import Status

from bhype.accounts import audit
from bhype.accounts.access import lookup, require, signed_in
from bhype.hosts.models import Host
from bhype.tasks import ask
from bhype.tasks.api import TaskOut
from bhype.tasks.models import Task
from network.models import HostChange

from . import kinds

router = Router()


class ChangeOut(Schema):
    """state: "waiting", "keeping", "confirmed", "undoing" or "reverted"; deadline: to confirm it."""

    id: int
    name: str
    label: str
    state: str
    deadline: datetime | None
    reason: str
    problem: str

    @staticmethod
    def resolve_label(row: Any) -> str:
        return kinds.find(row.name).label


@router.get("/changes", response=list[ChangeOut], summary="Changes of the host that wait, and the last ones")
def list_changes(request: HttpRequest) -> list[HostChange]:
    require(request, "network.view")
    return list(HostChange.objects.filter(host=Host.objects.this()))


@router.post("/changes/{int:pk}/confirm", response={202: TaskOut}, summary="Keep a change of the host")
def confirm_change(request: HttpRequest, pk: int) -> Status[Task]:
    return _decide(request, pk, "confirm")


@router.post(
    "/changes/{int:pk}/revert", response={202: TaskOut}, summary="Take a change of the host back now"
)
def revert_change(request: HttpRequest, pk: int) -> Status[Task]:
    return _decide(request, pk, "revert")


def _decide(request: HttpRequest, pk: int, wanted: str) -> Status[Task]:
    user = signed_in(request)
    row = lookup(user, HostChange, "network.change", pk=pk)
    kind = kinds.find(row.name)
    operation = kind.confirm if wanted == "confirm" else kind.revert
    task = ask(operation, {"name": row.name, "note": row.note}, user)
    audit.record(request, f"network.{wanted}", f"change {row.name}", {"note": row.note}, task)
    return Status(202, task)
