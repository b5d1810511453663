"""The page of all schedules that one may see. They are made where their objects are, such as on a VM's page."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme

from bhype.accounts import audit
from bhype.accounts.access import allow, lookup, signed_in

from . import schedules
from .models import Schedule
from .rows import schedule_rows

MOST = 500


@allow("self")
def list_(request: HttpRequest) -> HttpResponse:
    user = signed_in(request)
    found = Schedule.objects.visible_to(user)[:MOST]
    return render(request, "tasks/schedules.html", {"schedules": schedule_rows(found, user)})


@allow("self", methods="POST")
def change(request: HttpRequest, pk: int) -> HttpResponse:
    """``do``: enable, disable or remove; back to the page of this panel that ``next`` names."""
    user = signed_in(request)
    row = lookup(user, Schedule, "self", pk=pk)
    if not schedules.may_change(user, row):
        raise Http404
    wanted = request.POST.get("do")
    if wanted == "remove":
        row.delete()
    elif wanted in {"enable", "disable"}:
        schedules.enable(row, enabled=wanted == "enable")
    else:
        return HttpResponseBadRequest("No such action.")
    audit.record(request, f"schedules.{wanted}", str(row))
    messages.success(request, f"{row.title}: {wanted}d.")
    back = request.POST.get("next", "")
    is_ours = back.startswith("/") and url_has_allowed_host_and_scheme(back, allowed_hosts=None)
    return redirect(back if is_ours else "tasks:schedules")
