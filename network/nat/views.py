"""The section "NAT and forwards" of a switch: the self-test, mending, and the ports that lead in."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from bhype.accounts.access import allow, signed_in
from bhype.tasks import requested
from bhype.ui.pages import render_page
from network.models import Switch
from network.switches import pages as switches

from . import pages


@allow("network.view", Switch)
def section(request: HttpRequest, switch: Switch) -> HttpResponse:
    context = switches.section(request, switch, "nat") | pages.context(switch, signed_in(request))
    return render_page(request, "network/nat/section.html", context, part="nat")


@allow("network.change", Switch, methods="POST")
def mend(request: HttpRequest, switch: Switch) -> HttpResponse:
    """Mend what is named, or all."""
    params = {"fixes": [word for word in [request.POST.get("fix", "")] if word]}
    return _asked(request, switch, "network.mend", params, "What can be mended is being mended.")


@allow("network.change", Switch, methods="POST")
def test(request: HttpRequest, switch: Switch) -> HttpResponse:
    return _asked(request, switch, "network.self_test", {}, "The host is being looked at.")


def _asked(
    request: HttpRequest, switch: Switch, operation: str, params: dict[str, list[str]], said: str
) -> HttpResponse:
    requested.on_page(request, operation, params, what=f"switch {switch.name}", said=said)
    return redirect("network:switch_nat", switch.name)
