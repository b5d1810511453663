"""The page of logged packets."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from bhype.accounts.access import allow, signed_in
from bhype.hosts.models import Host

from . import pages


@allow("network.view")
def index(request: HttpRequest) -> HttpResponse:
    """The newest packets; with ``pause`` in the address they stand still."""
    user, filters = signed_in(request), pages.Filters.read(request.GET)
    context = {
        "tab": "firewall", "lines": pages.lines(Host.objects.this(), user, filters), "filters": filters,
        "is_paused": "pause" in request.GET, "may_change": user.can("network.change"), "shown": pages.SHOWN,
    }  # fmt: skip
    return render(request, "network/blocked/index.html", context)
