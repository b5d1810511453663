"""Operations that are asked for again and again: when, and what becomes of those that were missed.

A schedule is written as the five fields of crontab(5), or in words that stand for them. Its times are those of a
clock on the wall in its time zone: what falls into the hour that is skipped in spring runs right after it, what falls
into the hour that comes twice in autumn runs once (as Debian's cron has it; cronsim).
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from . import registry
from .asking import ask
from .errors import Refused, not_found

if TYPE_CHECKING:
    from bhype.accounts.models import User

    from .models import Schedule, Task

LONGEST = 120
MOST_OF_A_USER = 500
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DAY = "(?:" + "|".join(_DAYS) + ")[a-z]*"
_TIME = r"(?:at )?(?P<hour>[01]?[0-9]|2[0-3])[:.](?P<minute>[0-5][0-9])"
_PATTERNS = (
    (re.compile(rf"(?:every day|daily) {_TIME}"), "{minute} {hour} * * *"),
    (re.compile(rf"(?:every )?(?:weekday|workday)s? {_TIME}"), "{minute} {hour} * * 1-5"),
    (re.compile(rf"(?:every )?weekends? {_TIME}"), "{minute} {hour} * * 0,6"),
    (
        re.compile(rf"(?:every )?(?P<days>{_DAY}(?:(?:, ?| and ){_DAY})*) {_TIME}"),
        "{minute} {hour} * * {days}",
    ),
    (
        re.compile(rf"(?:every month on day|monthly on day|monthly) (?P<day>[1-9]|[12][0-9]|3[01]) {_TIME}"),
        "{minute} {hour} {day} * *",
    ),
    (re.compile(rf"every month on the last day {_TIME}"), "{minute} {hour} L * *"),
    (re.compile(r"(?:every hour|hourly)(?: at :?(?P<minute>[0-5]?[0-9]))?"), "{minute} * * * *"),
    (re.compile(r"every (?P<step>5|10|15|20|30) minutes"), "*/{step} * * * *"),
    (re.compile(r"every (?P<step>2|3|4|6|8|12) hours"), "0 */{step} * * *"),
)
EXAMPLES = "every day 08:00, weekdays 20:00, mon,thu 6:30, monthly 1 03:00, every 15 minutes, or 30 2 * * 6"


class BadSchedule(ValueError):
    """A time that is not understood, or that never comes. The message is a sentence."""


def cron_of(text: str) -> str:
    """The five fields of crontab(5) that ``text`` stands for. Raises BadSchedule."""
    words = " ".join(text.lower().split())
    if len(words) > LONGEST:
        raise BadSchedule(f"A schedule has at most {LONGEST} characters.")
    for pattern, fields in _PATTERNS:
        if match := pattern.fullmatch(words):
            found = {name: value or "0" for name, value in match.groupdict().items()}
            if "days" in found:
                named = re.findall(_DAY, found["days"])
                if unknown := [day for day in named if not _is_day(day)]:
                    raise BadSchedule(f"{unknown[0]!r} is not a day of the week.")
                found["days"] = ",".join(str(_DAYS.index(day[:3])) for day in named)
            return fields.format_map({k: str(int(v)) if v.isdigit() else v for k, v in found.items()})
    if len(words.split()) != 5:
        raise BadSchedule(f"This is not a time that repeats. Write it as one of these: {EXAMPLES}.")
    return words


def _is_day(word: str) -> bool:
    whole = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
    return any(
        word in {day[:3], day[:4], day, f"{day}s"} or word == "thurs" for day in whole if day[:3] == word[:3]
    )


def zone(name: str) -> ZoneInfo:
    """The time zone of this name in the IANA's list. Raises BadSchedule."""
    if name not in zones():
        raise BadSchedule(f"{name[:64]!r} is not a time zone such as Europe/Berlin.")
    return ZoneInfo(name)


@lru_cache(maxsize=1)
def zones() -> tuple[str, ...]:
    """All time zones that people choose from, UTC first."""
    names = zoneinfo.available_timezones()
    return (
        "UTC",
        *sorted(name for name in names if "/" in name and not name.startswith(("Etc/", "SystemV/"))),
    )


def upcoming(text: str, zone_name: str, after: datetime, count: int = 5) -> list[datetime]:
    """The next moments (aware, in the time zone) later than ``after``. Raises BadSchedule, also when none comes."""
    try:
        found = list(islice(CronSim(cron_of(text), after.astimezone(zone(zone_name))), count))
    except CronSimError as error:
        raise BadSchedule(f"This is not a time that repeats: {str(error).lower()}.") from error
    if not found:
        raise BadSchedule("This moment never comes.")
    return found


def latest(text: str, zone_name: str, now: datetime) -> datetime | None:
    """The last moment before ``now``; None when there was none in fifty years. Raises BadSchedule."""
    try:
        return next(CronSim(cron_of(text), now.astimezone(zone(zone_name)), reverse=True), None)
    except CronSimError as error:
        raise BadSchedule(str(error)) from error


def add(
    operation: str,
    params: Mapping[str, Any],
    when: str,
    user: User,
    *,
    time_zone: str = "UTC",
    enabled: bool = True,
) -> Schedule:
    """Make a schedule of ``user``. Raises Refused as asking for the operation would, and BadSchedule.

    It runs with all rights of the user and outlives a token, so that one of a smaller scope makes none.
    """
    from .models import Schedule

    found = registry.find(operation)
    if found is None:
        raise Refused("invalid", "There is no such operation.", "operation")
    valid = found.validate(params)
    target = found.find_target(valid)
    if (found.target and target is None) or not found.may(user, target) or user.scope not in {None, "full"}:
        raise not_found()
    if user.schedules.count() >= MOST_OF_A_USER:
        raise Refused("conflict", f"A user has at most {MOST_OF_A_USER} schedules.", status=409)
    following = upcoming(when, time_zone, timezone.now(), 1)[0]
    words = found.words(valid, target)
    host = getattr(target, "host", None)
    return Schedule.objects.create(
        host=str(getattr(host, "name", "") or settings.HOST_NAME),
        operation=found.name,
        title=words["title"],
        params=valid.model_dump(mode="json", exclude_unset=True),
        subject=words["subject"],
        owner=user,
        when=" ".join(when.split()),
        time_zone=time_zone,
        is_enabled=enabled,
        next_run=following if enabled else None,
    )


def may_change(user: User, schedule: Schedule) -> bool:
    """Whether ``user`` may change or remove it: one's own, while one holds its operation's right; or all."""
    if user.can("tasks.change_all"):
        return True
    found = registry.find(schedule.operation)
    if schedule.owner_id != user.pk or user.only_looks or found is None or found.right is None:
        return False
    return user.can(found.right, owner_id=user.pk)


def enable(schedule: Schedule, *, enabled: bool) -> None:
    """Switch it on, from now on, or off."""
    from .models import Schedule

    following = upcoming(schedule.when, schedule.time_zone, timezone.now(), 1)[0] if enabled else None
    Schedule.objects.filter(pk=schedule.pk).update(is_enabled=enabled, next_run=following, problem="")


def retitle(subject: str) -> None:
    """Name the schedules about ``subject`` anew: it is called otherwise now."""
    from .models import Schedule

    for row in Schedule.objects.filter(subject=subject):
        found = registry.find(row.operation)
        if found is not None:
            params = found.validate(row.params)
            title = found.words(params, found.find_target(params))["title"]
            Schedule.objects.filter(pk=row.pk).update(title=title)


def tick(now: datetime) -> list[Task]:
    """Ask for what is due on this host, in the order in which it was due last; called by the observer.

    However often a schedule was missed, it is made up for once.
    """
    from .models import Schedule

    rows = Schedule.objects.filter(host=settings.HOST_NAME, is_enabled=True, next_run__lte=now)
    due = [(_last(row, now), row.pk, row) for row in rows.select_related("owner")]
    return [task for _, _, row in sorted(due, key=lambda found: found[:2]) if (task := _run(row, now))]


def _last(row: Schedule, now: datetime) -> datetime:
    try:
        return (latest(row.when, row.time_zone, now) or now).astimezone(UTC)
    except BadSchedule:
        return now


def _run(row: Schedule, now: datetime) -> Task | None:
    """Ask for one; what it cannot be asked for stands in its problem."""
    from .models import Schedule

    values: dict[str, Any] = {"last_run": now, "problem": ""}
    try:
        values["next_run"] = upcoming(row.when, row.time_zone, now, 1)[0]
    except BadSchedule as error:
        values |= {"is_enabled": False, "next_run": None, "problem": str(error)}
    with transaction.atomic():
        # Whoever moves it on asks: neither a second observer nor a person who switched it off is overrun.
        mine = Schedule.objects.filter(pk=row.pk, is_enabled=True, next_run=row.next_run)
        if not mine.update(**values):
            return None
        if values["next_run"] is None:
            return None
        task, problem = _asked(row)
        Schedule.objects.filter(pk=row.pk).update(problem=problem, **({"last_task": task} if task else {}))
    return task


def _asked(row: Schedule) -> tuple[Task | None, str]:
    if row.owner is None:
        return None, "The user whose schedule this was is gone. Make it anew in your own name."
    try:
        with transaction.atomic():
            return ask(row.operation, row.params, row.owner), ""
    except Refused as refused:
        if refused.status == 404:
            return (
                None,
                f"{row.owner.username} has no right to do this any more, or what it was about is gone.",
            )
        return None, refused.message
    except LookupError:
        return None, "This operation does not exist any more."
