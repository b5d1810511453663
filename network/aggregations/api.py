"""The API of aggregations."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.http import HttpRequest
from ninja import Router, Schema, Status
from pydantic import ConfigDict

from bhype.accounts import audit
from bhype.accounts.access import lookup, require, signed_in
from bhype.accounts.errors import ApiError, invalid
from bhype.hosts.models import Host
from bhype.tasks.api import TaskOut
from bhype.tasks.models import Task
from network.models import Aggregation

from . import forms
from .forms import AggregationForm

router = Router()


class AggregationIn(Schema):
    """protocol: lacp, failover or loadbalance; members: network cards without addresses."""

    model_config = ConfigDict(extra="forbid")
    protocol: str = "lacp"
    members: list[str]


class AggregationOut(Schema):
    name: str
    protocol: str
    members: list[str]
    is_deleting: bool


class MadeOut(Schema):
    aggregation: AggregationOut
    task: TaskOut


def _find(request: HttpRequest, name: str) -> Aggregation:
    return lookup(signed_in(request), Aggregation, "network.change", name=name)


@router.get("", response=list[AggregationOut], summary="Aggregations of network cards")
def list_aggregations(request: HttpRequest) -> list[Aggregation]:
    require(request, "network.view")
    return list(Host.objects.this().aggregations.all())


@router.post("", response={202: MadeOut}, summary="Make an aggregation")
def create_aggregation(request: HttpRequest, payload: AggregationIn) -> Status[Any]:
    require(request, "network.change")
    return _saved(request, AggregationForm(payload.model_dump(), host=Host.objects.this()))


@router.put("/{aggregation}", response={202: MadeOut}, summary="Change an aggregation")
def change_aggregation(request: HttpRequest, aggregation: str, payload: AggregationIn) -> Status[Any]:
    row = _find(request, aggregation)
    return _saved(request, AggregationForm(payload.model_dump(), host=row.host, row=row))


def _saved(request: HttpRequest, form: AggregationForm) -> Status[Any]:
    if not form.is_valid():
        raise invalid(form)
    try:
        row, task = form.save(signed_in(request))
    except ValidationError as error:
        raise ApiError(409, "conflict", str(error.message)) from error
    audit.record(request, "network.aggregate", row.name, form.cleaned_data, task=task)
    return Status(202, {"aggregation": row, "task": task})


@router.delete("/{aggregation}", response={202: TaskOut}, summary="Take an aggregation away")
def delete_aggregation(request: HttpRequest, aggregation: str) -> Status[Task]:
    """Refused while it is the uplink of a switch."""
    row = _find(request, aggregation)
    task = forms.remove(row, signed_in(request))
    audit.record(request, "network.delete_aggregation", row.name, task=task)
    return Status(202, task)
