"""Schedules as a page shows them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from bhype.accounts.models import User

from . import links, schedules
from .models import Schedule


@dataclass(frozen=True)
class ScheduleRow:
    """upcoming: the next five runs, in the schedule's time zone; link: address and name of what it is about."""

    schedule: Schedule
    upcoming: list[datetime]
    may_change: bool
    link: tuple[str, str] | None

    @property
    def runs(self) -> list[str]:
        return [f"{moment:%a %Y-%m-%d %H:%M %Z}" for moment in self.upcoming]


def schedule_rows(found: Iterable[Schedule], user: User) -> list[ScheduleRow]:
    """Whoever may see the schedules, each with what ``user`` may do."""
    now = timezone.now()
    rows = []
    for schedule in found:
        try:
            runs = schedules.upcoming(schedule.when, schedule.time_zone, now) if schedule.is_enabled else []
        except schedules.BadSchedule:
            runs = []
        rows.append(
            ScheduleRow(schedule, runs, schedules.may_change(user, schedule), links.find(schedule.subject))
        )
    return rows
