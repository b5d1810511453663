"""The traffic of a switch: itself, its uplink, and its ports, the busiest first."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from bhype.accounts.access import allow
from bhype.ui.pages import render_page
from network.models import Switch
from network.switches import pages as switches

from . import pages, ports


@allow("network.view", Switch)
def switch(request: HttpRequest, switch: Switch) -> HttpResponse:
    wanted = pages.range_of(request.GET.get("range"))
    context = switches.section(request, switch, "traffic") | {
        "wanted": wanted,
        "ranges": pages.TITLES,
        "figures": pages.figures(switch.host_id, ports.of_switch(switch), wanted),
        "busy": ports.busiest(switch),
        "why_not": ports.why_not(switch),
    }
    return render_page(request, "network/traffic/switch.html", context, part="traffic")
