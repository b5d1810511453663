"""Pages that belong to no resource: search, home and the error pages."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django.templatetags.static import static

from bhype.accounts.access import allow, public

from . import search as registry


@allow("self")
def home(request: HttpRequest) -> HttpResponse:
    return redirect(resolve_url(settings.LOGIN_REDIRECT_URL))


@allow("self")
def search(request: HttpRequest) -> HttpResponse:
    """Hits for ``q``: a fragment for the search dialog, a page without JavaScript."""
    query = request.GET.get("q", "").strip()[:100].replace("\0", "")
    template = "ui/_hits.html" if request.headers.get("HX-Request") else "ui/search.html"
    return render(request, template, {"query": query, "groups": registry.find(request.user, query)})


@public()
def favicon(request: HttpRequest) -> HttpResponse:
    return redirect(static("bhype/favicon.svg"), permanent=True)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form from another site, or one that outlived its session. The reason is not told."""
    return _error(request, 403, "This form is out of date", "Go back, reload the page and send it again.")


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """The same for what does not exist and what is not yours (SECURITY.md T14)."""
    return _error(request, 404, "There is nothing here", "It does not exist, or you have no right to see it.")


def server_error(request: HttpRequest) -> HttpResponse:
    return _error(
        request, 500, "Something broke", "The error is in the panel's log. Virtual machines go on running."
    )


def _error(request: HttpRequest, status: int, title: str, advice: str) -> HttpResponse:
    return render(
        request, "ui/error.html", {"status": status, "heading": title, "advice": advice}, status=status
    )
