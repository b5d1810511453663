"""The pages of DHCP and names. Each loads, checks, asks for an operation, and answers from rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import redirect, render
from django.urls import reverse

from bhype.accounts import audit
from bhype.accounts.access import allow, signed_in
from bhype.live import publish
from bhype.tasks import requested
from bhype.ui.pages import STALE, posted, render_page, status_of
from network.addresses.ranges import Unfit
from network.models import DnsRecord, Lease, Switch
from network.switches import pages as switch_pages

from . import forms, pages, wanted
from .forms import RecordForm, SettingsForm
from .observe import OPERATION


def _asked(request: HttpRequest, operation: str, params: Mapping[str, Any], what: str, said: str) -> bool:
    """False when it was refused."""
    return requested.on_page(request, operation, params, what=what, said=said) is not None


def _back(switch: Switch) -> HttpResponse:
    return redirect("network:switch_dhcp", switch.name)


@allow("network.view", Switch)
def section(request: HttpRequest, switch: Switch) -> HttpResponse:
    """The section of a switch: how the service does, leases, records."""
    query, sort = request.GET.get("q", "")[:100], request.GET.get("sort", "address")[:20]
    page = Paginator(pages.search(switch.leases.all(), query, sort), pages.PAGE).get_page(
        request.GET.get("page")
    )
    context = switch_pages.section(request, switch, "dhcp") | {
        "page": page, "rows": _rows(page.object_list), "records": switch.records.all(), "q": query, "sort": sort,
        "is_served": wanted.is_served(switch),
        "lease": forms.lease_words(switch.lease_seconds),
        "upstreams": [forms.shown(str(one)) for one in switch.upstreams],
        "may_see_vms": signed_in(request).can("vms.view"),
    }  # fmt: skip
    return render_page(request, "network/dhcp/section.html", context, part="dhcp")


def _rows(keys: Any) -> list[pages.Row]:
    found = Lease.objects.select_related("switch").in_bulk(list(keys))
    return pages.rows(found[key] for key in keys if key in found)


@allow("network.view")
def leases(request: HttpRequest) -> HttpResponse:
    """The leases of all switches."""
    query, sort = request.GET.get("q", "")[:100], request.GET.get("sort", "address")[:20]
    page = Paginator(pages.search(Lease.objects.all(), query, sort), pages.PAGE).get_page(
        request.GET.get("page")
    )
    context = {
        "page": page, "rows": _rows(page.object_list), "q": query, "sort": sort, "tab": "addresses",
        "may_change": signed_in(request).can("network.change"), "may_see_vms": signed_in(request).can("vms.view"),
        "every": True,
    }  # fmt: skip
    return render_page(request, "network/dhcp/leases.html", context, part="leases")


@allow("network.change", Switch, methods="GET POST")
def settings(request: HttpRequest, switch: Switch) -> HttpResponse:
    form = SettingsForm(posted(request), switch=switch)
    status = status_of(form)
    if form.is_bound and form.is_valid():
        try:
            form.save()
        except forms.Stale:
            form.add_error(None, STALE)
            status = 409
        else:
            audit.record(request, "network.dhcp", f"switch {switch.name}", form.cleaned_data)
            _asked(
                request,
                OPERATION,
                {},
                f"switch {switch.name}",
                f"The settings of {switch.name} are being applied.",
            )
            return _back(switch)
    context = switch_pages.section(request, switch, "dhcp") | {"form": form}
    return render(request, "network/dhcp/settings.html", context, status=status)


@allow("network.change", Switch, methods="POST")
def apply(request: HttpRequest, switch: Switch) -> HttpResponse:
    """Bring what runs to what is wanted, once more."""
    _asked(request, OPERATION, {}, f"switch {switch.name}", "DHCP and names are being applied.")
    return _back(switch)


@allow("network.change", Lease, methods="POST", keyword="lease")
def lease(request: HttpRequest, lease: Lease) -> HttpResponse:
    """``do``: static, or forget."""
    switch, what = lease.switch, f"lease {lease.address} on {lease.switch.name}"
    wanted_action = request.POST.get("do")
    if wanted_action == "forget":
        params = {"switch_id": switch.pk, "address": lease.address}
        _asked(request, "network.release_lease", params, what, f"{lease.address} is being taken back.")
    elif wanted_action == "static":
        try:
            given = pages.make_static(lease)
        except Unfit as error:
            messages.error(request, str(error))
        else:
            audit.record(request, "network.static_lease", what, {"port": given.port, "mac": given.mac})
            _asked(request, OPERATION, {}, what, f"{lease.address} stays with it from now on.")
    else:
        return HttpResponseBadRequest("No such action.")
    return redirect("network:leases") if request.POST.get("from") == "all" else _back(switch)


@allow("network.change", Switch, methods="GET POST")
def record_new(request: HttpRequest, switch: Switch) -> HttpResponse:
    return _record(request, RecordForm(posted(request), switch=switch))


@allow("network.change", DnsRecord, methods="GET POST", keyword="record")
def record(request: HttpRequest, record: DnsRecord) -> HttpResponse:
    return _record(request, RecordForm(posted(request), switch=record.switch, record=record))


def _record(request: HttpRequest, form: RecordForm) -> HttpResponse:
    switch = form.switch
    saved = form.save() if form.is_bound and form.is_valid() else None
    if saved:
        audit.record(request, "network.record", f"switch {switch.name}", {"record": str(saved)})
        _asked(request, OPERATION, {}, f"switch {switch.name}", f"{saved.name} is being applied.")
        return redirect(reverse("network:switch_dhcp", args=[switch.name]) + "#records")
    context = switch_pages.section(request, switch, "dhcp") | {"form": form, "record": form.record}
    return render(request, "network/dhcp/record.html", context, status=status_of(form))


@allow("network.change", DnsRecord, methods="POST", keyword="record")
def record_delete(request: HttpRequest, record: DnsRecord) -> HttpResponse:
    switch, said = record.switch, str(record)
    record.delete()
    publish(switch.subject)
    audit.record(request, "network.record_delete", f"switch {switch.name}", {"record": said})
    _asked(request, OPERATION, {}, f"switch {switch.name}", f"{record.name} is being removed.")
    return redirect(reverse("network:switch_dhcp", args=[switch.name]) + "#records")
