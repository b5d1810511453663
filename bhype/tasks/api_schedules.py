"""/api/v1/schedules: operations that are asked for again and again in the name of their owner."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from ninja import Field, Router, Schema
from ninja.responses import Status

from bhype.accounts import audit
from bhype.accounts.access import lookup, signed_in
from bhype.accounts.errors import ApiError

from . import schedules
from .errors import not_found
from .models import Schedule

router = Router()


class ScheduleIn(Schema):
    """when: five fields of crontab(5), or words such as "every day 08:00"; time_zone: such as Europe/Berlin."""

    operation: str = Field(max_length=64)
    params: dict[str, Any] = {}
    when: str = Field(max_length=schedules.LONGEST)
    time_zone: str = Field("UTC", max_length=64)
    is_enabled: bool = True


class ScheduleChange(Schema):
    is_enabled: bool


class ScheduleOut(Schema):
    """upcoming: the next five runs; problem: why nothing was asked the last time, "" while all is well."""

    id: int
    operation: str
    title: str
    params: dict[str, Any]
    subject: str
    owner: str | None
    when: str
    time_zone: str
    is_enabled: bool
    next_run: datetime | None
    upcoming: list[datetime]
    last_run: datetime | None
    last_task: int | None = Field(None, alias="last_task_id")
    problem: str

    @staticmethod
    def resolve_owner(row: Schedule) -> str | None:
        return row.owner.username if row.owner else None

    @staticmethod
    def resolve_upcoming(row: Schedule) -> list[datetime]:
        if not row.is_enabled:
            return []
        try:
            return schedules.upcoming(row.when, row.time_zone, timezone.now())
        except schedules.BadSchedule:
            return []


@router.get("", response=list[ScheduleOut], summary="List schedules")
def list_schedules(request: HttpRequest) -> list[Schedule]:
    """Yours, or all when you may see all tasks."""
    return list(Schedule.objects.visible_to(signed_in(request)).select_related("owner")[:1000])


@router.post("", response={201: ScheduleOut}, summary="Make a schedule")
def add_schedule(request: HttpRequest, payload: ScheduleIn) -> Status[Schedule]:
    """Any operation that you may ask for; your right is looked at again at each run."""
    user = signed_in(request)
    try:
        row = schedules.add(
            payload.operation,
            payload.params,
            payload.when,
            user,
            time_zone=payload.time_zone,
            enabled=payload.is_enabled,
        )
    except schedules.BadSchedule as error:
        raise ApiError(422, "invalid", str(error), "when") from error
    audit.record(request, "schedules.add", str(row), {"operation": row.operation, "params": row.params})
    return Status(201, row)


@router.get("/{int:pk}", response=ScheduleOut, summary="One schedule")
def get_schedule(request: HttpRequest, pk: int) -> Schedule:
    return lookup(signed_in(request), Schedule, "self", pk=pk)


@router.patch("/{int:pk}", response=ScheduleOut, summary="Switch it on or off")
def change_schedule(request: HttpRequest, pk: int, payload: ScheduleChange) -> Schedule:
    row = _mine(request, pk)
    schedules.enable(row, enabled=payload.is_enabled)
    audit.record(request, "schedules.change", str(row), {"is_enabled": payload.is_enabled})
    row.refresh_from_db()
    return row


@router.delete("/{int:pk}", response={204: None}, summary="Remove it")
def remove_schedule(request: HttpRequest, pk: int) -> Status[None]:
    row = _mine(request, pk)
    audit.record(request, "schedules.remove", str(row))
    row.delete()
    return Status(204, None)


def _mine(request: HttpRequest, pk: int) -> Schedule:
    """The schedule, if the caller may change it; else it looks as if it were not there."""
    user = signed_in(request)
    row = lookup(user, Schedule, "self", pk=pk)
    if not schedules.may_change(user, row):
        raise not_found()
    return row
