"""The picture of a host's networks."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from bhype.accounts.access import allow
from bhype.hosts.models import Host

from . import layout, pages


@allow("network.view")
def index(request: HttpRequest) -> HttpResponse:
    hosts = list(Host.objects.all())
    asked = request.GET.get("host", "")
    host = (
        next((one for one in hosts if one.name == asked), None)
        or Host.objects.filter(switches__isnull=False).first()
    )
    found = pages.world(host, request.GET.get("open", "")) if host else None
    context = {
        "tab": "topology", "hosts": hosts, "host": host, "world": found,
        "picture": layout.draw(pages.graph(found)) if found else None,
    }  # fmt: skip
    fragment = request.headers.get("HX-Target") == "topology"
    return render(request, f"network/topology/{'_index' if fragment else 'index'}.html", context)
