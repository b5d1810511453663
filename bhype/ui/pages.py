"""What the views of all pages share: what was sent, how a form went, and the part of a page that htmx asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render

# What a form says that is stale: its row is another one than the page showed.
STALE = "Somebody has changed this meanwhile. Look at it as it is now, then change it again."


def posted(request: HttpRequest) -> QueryDict | None:
    """What a form is bound to; None where it is only to be shown."""
    return request.POST if request.method == "POST" else None


def status_of(*forms: BaseForm) -> int:
    """The status of a page that shows forms again: 409 for one that is stale, 422 for one that was filled in."""
    if any(getattr(form, "is_stale", False) for form in forms):
        return 409
    return 422 if any(form.is_bound for form in forms) else 200


def wants(request: HttpRequest, part: str) -> bool:
    """Whether htmx asks for what goes into the element with this id, instead of the page."""
    return request.headers.get("HX-Target") == part


def render_page(
    request: HttpRequest, template: str, context: Mapping[str, Any], *, part: str, status: int = 200
) -> HttpResponse:
    """The page "app/name.html", or "app/_name.html", which goes into its element with the id ``part``."""
    if wants(request, part):
        folder, _, name = template.rpartition("/")
        template = f"{folder}/_{name}"
    return render(request, template, dict(context), status=status)
