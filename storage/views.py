"""The pages of pools and install media."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.contrib import messages
from django.core.paginator import Page, Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from bhype.accounts import audit
from bhype.accounts.access import allow, signed_in
from bhype.accounts.models import User
from bhype.tasks import Refused
from bhype.ui.search import Hit

from . import operations, plan
from .models import Dataset, Iso, Pool

# Datasets shown at once: a host with a thousand VMs has thousands.
PAGE = 100


@dataclass(frozen=True, slots=True)
class Line:
    """A dataset of a pool: what uses it, and where that is shown; label: what it is for, of one of bHype's own."""

    dataset: Dataset
    owner: str
    is_orphan: bool
    label: str


@dataclass(frozen=True, slots=True)
class Card:
    """A pool with what lies in it."""

    pool: Pool
    lines: list[Line]
    page: Page[Line]

    @property
    def orphans(self) -> int:
        return sum(line.is_orphan for line in self.lines)


def cards(number: str) -> list[Card]:
    """All pools with their datasets, in a constant number of queries; of each the page with this number."""
    pools = Pool.objects.select_related("host").prefetch_related("datasets", "vms")
    listed = [(pool, _lines(pool)) for pool in pools]
    return [Card(pool, lines, Paginator(lines, PAGE).get_page(number)) for pool, lines in listed]


def _lines(pool: Pool) -> list[Line]:
    vms = {str(vm.uuid): vm.name for vm in pool.vms.all()}
    lines = []
    for dataset in pool.datasets.all():
        part, _name = plan.owner_of(dataset.name, pool.home)
        owner = vms.get(dataset.bhype_id, "")
        label = plan.label_of(dataset.name, pool.home)
        lines.append(Line(dataset, owner, part == "vms" and not owner, label))
    return lines


@allow("storage.view")
def pools(request: HttpRequest) -> HttpResponse:
    fragment = request.headers.get("HX-Target") == "pools"
    context = {"cards": cards(request.GET.get("page", "")), "tab": "pools", **_rights(request)}
    return render(request, "storage/_pools.html" if fragment else "storage/pools.html", context)


@allow("storage.change", Pool, methods="POST")
def adopt(request: HttpRequest, pool: Pool) -> HttpResponse:
    try:
        task = operations.adopt.ask({"pool_id": pool.pk}, signed_in(request))
    except Refused as refused:
        messages.error(request, str(refused))
    else:
        audit.record(request, "storage.adopt", f"pool {pool.name}", task=task)
        messages.success(request, f"{pool.name} is being adopted.")
    return redirect("storage:pools")


@allow("storage.view")
def isos(request: HttpRequest) -> HttpResponse:
    rows = Iso.objects.select_related("pool__host").prefetch_related("drives__vm")
    adopted = Pool.objects.filter(is_adopted=True)
    context = {"isos": rows, "pools": adopted, "tab": "isos", **_rights(request)}
    fragment = request.headers.get("HX-Target") == "isos"
    return render(request, "storage/_isos.html" if fragment else "storage/isos.html", context)


def _rights(request: HttpRequest) -> dict[str, bool]:
    user = signed_in(request)
    return {"may_see_vms": user.can("vms.view"), "may_change": user.can("storage.change")}


def find(user: User, query: str) -> Iterator[Hit]:
    """Pools and install media by part of their name."""
    if not user.can("storage.view"):
        return
    for iso in Iso.objects.filter(name__icontains=query)[:5]:
        yield Hit(iso.name, reverse("storage:isos"), "disc", "install medium")
    for pool in Pool.objects.filter(name__icontains=query)[:3]:
        yield Hit(pool.name, reverse("storage:pools"), "database", "pool")
    for dataset in Dataset.objects.filter(name__icontains=query)[:5]:
        yield Hit(dataset.name, reverse("storage:pools"), "folder", "dataset")
