"""Recorded sessions: the list, playing one, taking it along, deleting it."""

from __future__ import annotations

from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache

from bhype.accounts import audit
from bhype.accounts.access import allow, signed_in

from . import recordings, subjects
from .models import Recording
from .views import subject_of

PAGE_SIZE = 50


def _one(request: HttpRequest, what: str, name: str, pk: int) -> Recording:
    row = recordings.visible(signed_in(request), what, name).filter(pk=pk).first() if pk < 2**63 else None
    if row is None:
        raise Http404
    return row


def _about(request: HttpRequest, what: str, name: str) -> dict[str, object]:
    subject = subject_of(request, what, name)
    if not subject.may_write:
        raise Http404
    may_change = subjects.may_change(signed_in(request), what, name)
    return {"subject": subject, "what": what, "name": name, "may_change": may_change}


@allow("self")
@never_cache
def page(request: HttpRequest, what: str, name: str) -> HttpResponse:
    context = _about(request, what, name)
    rows = recordings.visible(signed_in(request), what, name)
    shown = Paginator(rows, PAGE_SIZE).get_page(request.GET.get("page"))
    for row in shown:
        row.bytes = row.bytes or recordings.size(row)
    return render(request, "console/recordings.html", {**context, "rows": shown})


@allow("self")
@never_cache
def player(request: HttpRequest, what: str, name: str, pk: int) -> HttpResponse:
    context = _about(request, what, name)
    row = _one(request, what, name, pk)
    row.bytes = recordings.size(row)
    return render(request, "console/recording.html", {**context, "recording": row})


@allow("self", methods="POST")
@never_cache
def file(request: HttpRequest, what: str, name: str, pk: int) -> HttpResponseBase:
    """The file itself. Not by GET: who plays or takes it is on record."""
    row = _one(request, what, name, pk)
    response = recordings.download(row, name)
    if response is None:
        raise Http404
    act = "play" if request.POST.get("purpose") == "play" else "download"
    audit.record(request, f"recording.{act}", f"{what} {name}", {"recording": row.pk, "of": row.username})
    return response


@allow("self", methods="POST")
def delete(request: HttpRequest, what: str, name: str, pk: int) -> HttpResponse:
    row = _one(request, what, name, pk)
    if not subjects.may_change(signed_in(request), what, name):
        raise Http404
    audit.record(request, "recording.delete", f"{what} {name}", {"recording": row.pk, "of": row.username})
    recordings.delete(row)
    return redirect("console:recordings", what, name)
