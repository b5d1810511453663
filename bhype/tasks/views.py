"""The pages of the tasks: list, one task with its live log, and the drawer behind the bell."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache

from bhype.accounts import audit
from bhype.accounts.access import allow, lookup, signed_in
from bhype.accounts.models import User
from bhype.ui.respond import toast

from . import asking, links
from .errors import Refused
from .forms import PAGE, Filter
from .models import Task

# A page shows the end of a long log; the whole is for download.
SHOWN_LINES = 500
DRAWER = 10
# A task may fail before the page that tells that it was asked for has come.
JUST_NOW = timedelta(seconds=5)


@allow("self")
def list_(request: HttpRequest) -> HttpResponse:
    user = signed_in(request)
    form = Filter(request.GET)
    rows = list(form.apply(Task.objects.visible_to(user))[: PAGE + 1])
    tasks = rows[:PAGE]
    context = {
        "form": form,
        "filtered": form.is_filtered,
        "tasks": tasks,
        "older": tasks[-1].pk if len(rows) > PAGE else None,
        "topic": "tasks" if user.can("tasks.view_all") else f"tasks:{user.pk}",
        "sees_all": user.can("tasks.view_all"),
    }
    return render(request, "tasks/_table.html" if _is_fragment(request) else "tasks/list.html", context)


@allow("self")
def detail(request: HttpRequest, pk: int) -> HttpResponse:
    task = _task(request, pk)
    context = {"task": task, "may_change": asking.may_change(signed_in(request), task)}
    if _is_fragment(request):
        return render(request, "tasks/_status.html", context | {"subject": links.find(task.subject)})
    lines = list(reversed(task.lines.order_by("-id")[: SHOWN_LINES + 1]))
    context |= {
        "lines": lines[-SHOWN_LINES:],
        "is_cut": len(lines) > SHOWN_LINES,
        "subject": links.find(task.subject),
        "retries": task.retries.order_by("id")[:DRAWER],
    }
    return render(request, "tasks/detail.html", context)


@allow("self")
@never_cache
def log(request: HttpRequest, pk: int) -> HttpResponse:
    """The lines after ``after`` as a fragment; with ``download``, the whole log as text."""
    task = _task(request, pk)
    if "download" in request.GET:
        text = "".join(f"{line.at:%Y-%m-%dT%H:%M:%SZ} {line.text}\n" for line in task.lines.iterator())
        name = f'attachment; filename="task-{task.pk}.log"'
        return HttpResponse(
            text, content_type="text/plain; charset=utf-8", headers={"Content-Disposition": name}
        )
    after = request.GET.get("after", "")
    number = int(after) if after.isascii() and after.isdigit() and len(after) < 19 else 0
    lines = task.lines.filter(pk__gt=number)[:SHOWN_LINES]
    return render(request, "tasks/_lines.html", {"lines": lines})


@allow("self")
@never_cache
def drawer(request: HttpRequest) -> HttpResponse:
    """What the user's tasks do now, and the last that ended."""
    user = signed_in(request)
    mine = Task.objects.filter(user=user).select_related("user")
    # Of thousands of queued ones the drawer shows the first; its count is of all.
    context = {
        "running": mine.unfinished().order_by("id")[:DRAWER],
        "ended": mine.exclude(status__in=Task.UNFINISHED)[:DRAWER],
        "topic": f"tasks:{user.pk}",
    }
    return render(request, "tasks/_drawer.html", context | _count(user))


@allow("self")
@never_cache
def badge(request: HttpRequest) -> HttpResponse:
    """The number on the bell: the user's unfinished tasks; and a toast when one has failed ``since``.

    since: ISO 8601, from the badge before: when the last failed of which the page was told.
    """
    user = signed_in(request)
    since = _moment(request.GET.get("since", "")) or timezone.now() - JUST_NOW
    failed = list(
        Task.objects.filter(
            user=user, status__in=(Task.Status.FAILED, Task.Status.INTERRUPTED), finished_at__gt=since
        ).order_by("finished_at")
    )
    if failed:
        since = failed[-1].finished_at or since
    answer = render(request, "tasks/_badge.html", {"since": since.isoformat()} | _count(user))
    if len(failed) > 1:
        return toast(answer, f"{len(failed)} tasks failed.", "error", reverse("tasks:list"))
    for task in failed:
        page = reverse("tasks:detail", args=[task.pk])
        # Its own page says it already.
        if not request.headers.get("HX-Current-URL", "").endswith(page):
            toast(answer, f"{task.title}: {task.error or task.get_status_display()}", "error", page)
    return answer


@allow("self", methods="POST")
def cancel(request: HttpRequest, pk: int) -> HttpResponse:
    task = _task(request, pk)
    try:
        asking.cancel(task, signed_in(request))
        audit.record(request, "tasks.cancel", task.title, task=task)
    except Refused as refused:
        messages.error(request, refused.message)
    return redirect("tasks:detail", pk=task.pk)


@allow("self", methods="POST")
def retry(request: HttpRequest, pk: int) -> HttpResponse:
    task = _task(request, pk)
    try:
        again = asking.retry(task, signed_in(request))
        audit.record(request, "tasks.retry", task.title, task=again)
    except Refused as refused:
        messages.error(request, refused.message)
        return redirect("tasks:detail", pk=task.pk)
    return redirect("tasks:detail", pk=again.pk)


def _task(request: HttpRequest, pk: int) -> Task:
    return lookup(signed_in(request), Task, "self", pk=pk)


def _moment(text: str) -> datetime | None:
    """None where ``text`` is no moment of a time zone."""
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _is_fragment(request: HttpRequest) -> bool:
    return request.headers.get("HX-Request") == "true" and request.headers.get("HX-Boosted") != "true"


def _count(user: User) -> dict[str, Any]:
    return {"count": Task.objects.filter(user=user).unfinished().count(), "user_topic": f"tasks:{user.pk}"}
