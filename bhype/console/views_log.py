"""What a serial line has said: to read, to follow, to search, to take along."""

from __future__ import annotations

import hashlib

from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.cache import get_conditional_response
from django.views.decorators.cache import never_cache

from bhype.accounts import audit
from bhype.accounts.access import allow

from . import gate, plain
from .models import Kind
from .subjects import Subject
from .views import subject_of

SIZES = (16, 64, 256, 1024)
SIZE = 64
# A supervisor keeps two files of 1 MiB of each line.
ALL = 4 * 1024 * 1024


def _line(request: HttpRequest, subject: Subject) -> Kind:
    """The serial line that is asked for, else the first. Raises Http404 when there is none."""
    lines = [kind for kind in Kind if kind != Kind.VNC and kind in subject.kinds]
    if not lines:
        raise Http404
    wanted = request.POST.get("line", "") or request.GET.get("line", "")
    return next((line for line in lines if line == wanted), lines[0])


def _kilobytes(request: HttpRequest) -> int:
    wanted = request.GET.get("kb", "")
    return next((size for size in SIZES if str(size) == wanted), SIZE)


def _read(subject: Subject, line: Kind, size: int) -> bytes:
    """The end of the log. Raises gate.NoAnswer."""
    return gate.fetch(subject.name, f"log{line.removeprefix('serial')}", tail=size)


def _shown(subject: Subject, line: Kind, size: int) -> str:
    """The same to read, from the beginning of a line. Raises gate.NoAnswer."""
    data = _read(subject, line, size)
    if len(data) >= size:
        data = data.partition(b"\n")[2] or data
    return plain.text(data)


@allow("self")
@never_cache
def page(request: HttpRequest, what: str, name: str) -> HttpResponse:
    subject = subject_of(request, what, name)
    line, size = _line(request, subject), _kilobytes(request)
    words = request.GET.get("q", "").replace("\0", "")[:200]
    context = {
        "subject": subject,
        "what": what,
        "name": name,
        "line": line,
        "size": size,
        "sizes": SIZES,
        "q": words,
    }
    context["lines"] = [kind for kind in Kind if kind != Kind.VNC and kind in subject.kinds]
    try:
        if words:
            hits, count = plain.find(_shown(subject, line, ALL), words)
            context |= {"hits": hits, "count": count}
        else:
            context["text"] = _shown(subject, line, size * 1024)
    except gate.NoAnswer:
        context["unreachable"] = True
    return render(request, "console/log.html", context)


@allow("self")
def text(request: HttpRequest, what: str, name: str) -> HttpResponseBase:
    """The end of the log as plain text, for the page that follows it."""
    subject = subject_of(request, what, name)
    try:
        shown = _shown(subject, _line(request, subject), _kilobytes(request) * 1024)
    except gate.NoAnswer as error:
        raise Http404 from error
    response = HttpResponse(shown, content_type="text/plain; charset=utf-8")
    response["Cache-Control"] = "private, no-cache"
    response["ETag"] = f'"{hashlib.sha256(shown.encode()).hexdigest()[:32]}"'
    return get_conditional_response(request, etag=response["ETag"], response=response) or response


@allow("self", methods="POST")
@never_cache
def download(request: HttpRequest, what: str, name: str) -> HttpResponse:
    """The whole log as the guest has sent it."""
    subject = subject_of(request, what, name)
    line = _line(request, subject)
    try:
        data = _read(subject, line, ALL)
    except gate.NoAnswer as error:
        raise Http404 from error
    audit.record(request, "console.log", f"{what} {name}", {"line": line, "bytes": len(data)})
    response = HttpResponse(data, content_type="application/octet-stream")
    response["Content-Disposition"] = f'attachment; filename="{subject.name}-{line}.log"'
    return response
