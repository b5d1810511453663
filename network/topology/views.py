"""The picture of a host's networks."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from bhype.accounts.access import allow
from bhype.hosts.models import Host
from bhype.ui.pages import render_page

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
    return render_page(request, "network/topology/index.html", context, part="topology")
