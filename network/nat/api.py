"""The API of the self-test and of mending."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest
from ninja import Router, Schema
from ninja.responses import Status
from pydantic import ConfigDict

from bhype.accounts.access import lookup, signed_in
from bhype.tasks.api import TaskOut
from bhype.tasks.models import Task
from bhype.tasks.requested import by_api
from network.models import Switch

from . import pages
from .operations import Fix

router = Router()


class CheckOut(Schema):
    """title: what should be; is_ok: null where nobody could tell; sentence: what is missing; fix: the word with which
    it is mended, empty where only a person can help."""

    name: str
    title: str
    is_ok: bool | None
    sentence: str
    fix: str


class WayOut(Schema):
    """how: nat, routed, or none where there is no way out."""

    subnet: str
    interface: str
    how: str


class NatOut(Schema):
    """problems: what is wrong now; checks: what the last test has found, checked_at its moment."""

    ways: list[WayOut]
    problems: list[str]
    checks: list[CheckOut]
    checked_at: datetime | None


class MendIn(Schema):
    """fixes: the words of checks; [] for all that can be mended."""

    model_config = ConfigDict(extra="forbid")
    fixes: list[Fix] = []


@router.get("/switches/{name}/nat", response=NatOut, summary="NAT of a switch, and the last self-test")
def get_nat(request: HttpRequest, name: str) -> dict[str, Any]:
    switch = lookup(signed_in(request), Switch, "network.view", name=name)
    row, found = pages.found(switch)
    return {
        "ways": pages.way(switch, row),
        "problems": row.problems if row else [],
        "checks": found,
        "checked_at": row.checked_at if row else None,
    }


@router.post("/nat/test", response={202: TaskOut}, summary="Test NAT and the firewall")
def test_nat(request: HttpRequest) -> Status[Task]:
    return by_api(request, "host", "network.self_test")


@router.post("/nat/mend", response={202: TaskOut}, summary="Mend what the self-test has named")
def mend_nat(request: HttpRequest, given: MendIn) -> Status[Task]:
    return by_api(request, "host", "network.mend", fixes=list(given.fixes))
