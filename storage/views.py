"""The pages of pools and install media."""

from __future__ import annotations

from collections.abc import Iterator

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from bhype.accounts.access import allow, signed_in
from bhype.accounts.models import User
from bhype.ui.search import Hit

from .models import Dataset, Iso, Pool


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
        yield Hit(pool.name, reverse("storage:pool", args=[pool.name]), "database", "pool", state=pool.health)
    for dataset in Dataset.objects.filter(name__icontains=query)[:5]:
        yield Hit(dataset.name, reverse("storage:pools"), "folder", "dataset")
