"""The banner of what waits, on every page, and its two buttons."""

from __future__ import annotations

from datetime import timedelta

from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache

from bhype.accounts import audit
from bhype.accounts.access import allow, signed_in
from bhype.tasks import Refused, ask
from bhype.ui.respond import toast
from network.models import HostChange

from . import kinds

# What has ended stays on pages for so long.
SHOWN = timedelta(seconds=30)


@allow("self")
@never_cache
def banner(request: HttpRequest) -> HttpResponse:
    """What waits for a confirmation, and what has just been taken back. Nothing for those who may not see networks."""
    user, now = signed_in(request), timezone.now()
    found = []
    if user.can("network.view"):
        for row in HostChange.objects.select_related("host"):
            if not row.has_ended or (row.state == row.State.REVERTED and now - row.changed_at < SHOWN):
                left = max(0, round((row.deadline - now).total_seconds())) if row.deadline else 0
                found.append({"row": row, "kind": kinds.find(row.name), "left": left})
    context = {"changes": found, "may_change": user.can("network.change")}
    return render(request, "network/changes/_banner.html", context)


@allow("network.change", HostChange, methods="POST", keyword="change")
def decide(request: HttpRequest, change: HostChange) -> HttpResponse:
    """``do``: confirm or revert."""
    wanted = request.POST.get("do")
    if wanted not in {"confirm", "revert"}:
        return HttpResponseBadRequest("No such action.")
    kind = kinds.find(change.name)
    try:
        task = ask(
            kind.confirm if wanted == "confirm" else kind.revert,
            {"name": change.name, "note": change.note},
            signed_in(request),
        )
    except Refused as refused:
        return toast(HttpResponse(status=204), str(refused), "error")
    audit.record(request, f"network.{wanted}", f"change {change.name}", {"note": change.note}, task)
    return banner(request)
