"""The pages of switches. Each loads, checks, asks for an operation, and answers from rows."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from bhype.accounts import audit
from bhype.accounts.access import allow, signed_in
from bhype.hosts.models import Host
from bhype.tasks import Refused, requested
from bhype.ui.pages import STALE, posted, render_page, status_of
from network.models import Switch

from . import pages, removing
from .forms import MoveForm, SwitchForm


@allow("network.view")
def switches(request: HttpRequest) -> HttpResponse:
    context = pages.index(signed_in(request))
    return render_page(request, "network/switches/list.html", context, part="switches")


@allow("network.view", Switch)
def detail(request: HttpRequest, switch: Switch) -> HttpResponse:
    """The ports of a switch."""
    context = pages.section(request, switch, "ports")
    context |= pages.ports(switch, signed_in(request), request.GET.get("page"))
    return render_page(request, "network/switches/ports.html", context, part="switch")


@allow("network.change", methods="GET POST")
def new(request: HttpRequest) -> HttpResponse:
    """``kind``, ``adopted``: what the form begins with."""
    form = SwitchForm(
        posted(request), host=Host.objects.this(), kind=request.GET.get("kind", ""),
        adopted=request.GET.get("adopted", "")[:15],
    )  # fmt: skip
    return _form(request, form, "network.create_switch")


@allow("network.change", Switch, methods="GET POST")
def edit(request: HttpRequest, switch: Switch) -> HttpResponse:
    form = SwitchForm(posted(request), host=switch.host, switch=switch)
    return _form(request, form, "network.change_switch", switch=Switch.objects.get(pk=switch.pk))


def _form(request: HttpRequest, form: SwitchForm, action: str, **more: Any) -> HttpResponse:
    status = 200
    if form.is_bound and form.is_valid():
        try:
            row, task = form.save(signed_in(request))
        except (ValidationError, Refused) as error:
            form.add_error(None, error.message)
            status = 409 if error.message == STALE else 422
        else:
            audit.record(request, action, f"switch {row.name}", _said(form), task=task)
            messages.success(request, f"{row.name} is being set up.")
            return redirect("network:detail", row.name)
    elif form.is_bound:
        status = 422
    context = pages.form(form) | more
    return render(request, "network/switches/form.html", context, status=status)


def _said(form: SwitchForm) -> dict[str, Any]:
    return {name: form.cleaned_data[name] for name in form.changed_data if name in form.cleaned_data}


@allow("network.change", Switch, methods="POST")
def delete(request: HttpRequest, switch: Switch) -> HttpResponse:
    try:
        task = removing.remove(switch, signed_in(request))
    except Refused as refused:
        messages.error(request, refused.message)
        return redirect("network:detail", switch.name)
    audit.record(request, "network.delete_switch", f"switch {switch.name}", task=task)
    messages.success(request, f"{switch.name} is being taken away.")
    return redirect("network:switches")


@allow("network.change", Switch, methods="GET POST")
def host_address(request: HttpRequest, switch: Switch) -> HttpResponse:
    """Move the host's own addresses from the uplink to the switch, or back, with a way back."""
    form = MoveForm(posted(request))
    if form.is_bound and form.is_valid():
        task = requested.on_page(
            request, "network.move_host_address", {"switch_id": switch.pk, **form.cleaned_data}, form=form,
            what=f"switch {switch.name}",
            said="The addresses are being moved. Confirm it when this panel still answers.",
        )  # fmt: skip
        if task:
            return redirect("tasks:detail", task.pk)
    context = pages.section(request, switch, "ports") | pages.move(switch) | {"form": form}
    return render(request, "network/switches/host.html", context, status=status_of(form))


@allow("network.change", methods="POST")
def ensure(request: HttpRequest) -> HttpResponse:
    """Set all switches up now. ``switch``: whose page it was asked on."""
    requested.on_page(request, "network.ensure", {}, what="switches", said="The switches are being set up.")
    name = request.POST.get("switch", "")
    found = Switch.objects.filter(name=name[:12]).first()
    return redirect("network:detail", found.name) if found else redirect("network:switches")
