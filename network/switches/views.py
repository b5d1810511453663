"""The pages of switches."""

from __future__ import annotations

from collections.abc import Iterator

from django.core.paginator import Paginator
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from bhype.accounts.access import allow, signed_in
from bhype.accounts.models import User
from bhype.ui.search import Hit
from network.models import Switch

from . import pages

# Ports shown at once.
PAGE = 100


@allow("network.view")
def switches(request: HttpRequest) -> HttpResponse:
    rows = Switch.objects.select_related("host").annotate(ports=Count("nics"))
    template = "_list" if request.headers.get("HX-Target") == "switches" else "list"
    return render(request, f"network/switches/{template}.html", {"switches": rows, "tab": "switches"})


@allow("network.view", Switch)
def detail(request: HttpRequest, switch: Switch) -> HttpResponse:
    nics = switch.nics.select_related("vm").order_by("vm__name", "index")
    ports = {nic.tap for nic in nics}
    context = pages.section(request, switch, "ports") | {
        "nics": Paginator(nics, PAGE).get_page(request.GET.get("page")),
        "others": [member for member in switch.members if member not in ports],
        "may_see_vms": signed_in(request).can("vms.view"),
    }
    fragment = request.headers.get("HX-Target") == "switch"
    return render(
        request, "network/switches/_ports.html" if fragment else "network/switches/ports.html", context
    )


def find(user: User, query: str) -> Iterator[Hit]:
    """Switches by part of their name or address."""
    if user.can("network.view"):
        for switch in Switch.objects.filter(name__icontains=query)[:8]:
            href = reverse("network:detail", args=[switch.name])
            yield Hit(switch.name, href, "network", switch.address, "up" if switch.is_up else "down")
