"""The console page, and the two questions its script asks."""

from __future__ import annotations

import base64
import hashlib

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.cache import get_conditional_response
from django.views.decorators.cache import never_cache

from bhype.accounts.access import allow, signed_in
from bhype.accounts.errors import ApiError

from . import pictures, subjects
from .api import open_console
from .models import Kind

# noVNC and xterm.js set styles on elements. No inline script, and nothing from elsewhere.
POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self' {socket}; img-src 'self' data: blob:; "
    "style-src 'self' 'unsafe-inline'; font-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)

# One pixel of nothing, for a screen of which there is no picture.
BLANK = base64.b64decode(
    b"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR4nGNgYAAAAAMAAbitOmMAAAAASUVORK5CYII="
)


def subject_of(request: HttpRequest, what: str, name: str) -> subjects.Subject:
    """What is named by the URL, if the user may at least watch its consoles. Raises Http404."""
    subject = subjects.find(signed_in(request), what, name)
    if subject is None:
        raise Http404
    return subject


@allow("self")
@never_cache
def page(request: HttpRequest, what: str, name: str) -> HttpResponse:
    subject = subject_of(request, what, name)
    wanted = request.GET.get("kind", "")
    kind = wanted if wanted in subject.kinds else next(iter(subject.kinds), "")
    kinds = [choice for choice in Kind if choice in subject.kinds]
    lines = [choice for choice in kinds if choice != Kind.VNC]
    context = {"subject": subject, "what": what, "name": name, "kind": kind, "kinds": kinds, "lines": lines}
    context["watch"] = request.GET.get("watch") == "1"
    response = render(request, "console/page.html", context)
    scheme = "wss" if request.is_secure() else "ws"
    # Older Safari does not count ws: as 'self'.
    response["Content-Security-Policy"] = POLICY.format(socket=f"{scheme}://{request.get_host()}")
    return response


@allow("self", methods="POST")
@never_cache
def ticket(request: HttpRequest, what: str, name: str) -> HttpResponse:
    take_over, watch = (request.POST.get(key) == "1" for key in ("take_over", "watch"))
    kind = request.POST.get("kind", "")
    try:
        return JsonResponse(open_console(request, what, name, kind, take_over=take_over, watch=watch))
    except ApiError as error:
        return JsonResponse(error.as_json(), status=error.status)


@allow("self")
@never_cache
def state(request: HttpRequest, what: str, name: str) -> HttpResponse:
    subject = subject_of(request, what, name)
    return JsonResponse({"is_on": subject.is_on, "state": subject.state})


@allow("self")
def picture(request: HttpRequest, what: str, name: str) -> HttpResponseBase:
    """A small picture of the screen, PNG; a blank one where there is none."""
    subject = subject_of(request, what, name)
    image = pictures.of(subject) if pictures.are_wanted(subject) else None
    seconds = 15 if image else 3
    image = image or BLANK
    response = HttpResponse(image, content_type="image/png")
    response["Cache-Control"] = f"private, max-age={seconds}"
    response["ETag"] = f'"{hashlib.sha256(image).hexdigest()[:32]}"'
    return get_conditional_response(request, etag=response["ETag"], response=response) or response
