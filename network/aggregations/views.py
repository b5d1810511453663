"""The pages of aggregations."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from bhype.accounts import audit
from bhype.accounts.access import allow, signed_in
from bhype.hosts.models import Host
from bhype.tasks import Refused
from bhype.ui.pages import posted, status_of, wants
from network.models import Aggregation

from . import forms
from .forms import AggregationForm


@allow("network.change")
def index(request: HttpRequest) -> HttpResponse:
    host = Host.objects.this()
    context = {"rows": host.aggregations.all(), "tab": "switches", "free": forms.free_members(host)}
    context["interfaces"] = {one.name: one for one in host.interfaces.all()}
    fragment = wants(request, "aggregations")
    return render(request, f"network/aggregations/{'_list' if fragment else 'index'}.html", context)


@allow("network.change", methods="GET POST")
def new(request: HttpRequest) -> HttpResponse:
    return _form(request, AggregationForm(posted(request), host=Host.objects.this()))


@allow("network.change", Aggregation, methods="GET POST")
def edit(request: HttpRequest, aggregation: Aggregation) -> HttpResponse:
    form = AggregationForm(posted(request), host=aggregation.host, row=aggregation)
    return _form(request, form, row=aggregation)


def _form(request: HttpRequest, form: AggregationForm, **more: Any) -> HttpResponse:
    if form.is_bound and form.is_valid():
        try:
            row, task = form.save(signed_in(request))
        except (ValidationError, Refused) as error:
            form.add_error(None, error.message)
        else:
            audit.record(request, "network.aggregate", row.name, form.cleaned_data, task=task)
            messages.success(request, f"{row.name} is being set up.")
            return redirect("network:aggregations")
    context = {"form": form, "tab": "switches", **more}
    return render(request, "network/aggregations/form.html", context, status=status_of(form))


@allow("network.change", Aggregation, methods="POST")
def delete(request: HttpRequest, aggregation: Aggregation) -> HttpResponse:
    try:
        task = forms.remove(aggregation, signed_in(request))
    except Refused as refused:
        messages.error(request, refused.message)
    else:
        audit.record(request, "network.delete_aggregation", aggregation.name, task=task)
        messages.success(request, f"{aggregation.name} is being taken away.")
    return redirect("network:aggregations")
