"""The pages of the catalogue."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from bhype.accounts import audit
from bhype.accounts.access import allow, signed_in
from bhype.tasks import Refused
from bhype.ui.pages import render_page, status_of
from storage.models import CatalogueEntry

from . import adding, catalogue, pages
from .forms import EntryForm


@allow("storage.view")
def entries(request: HttpRequest) -> HttpResponse:
    context = pages.catalogue_page(signed_in(request)) | {"tab": "catalogue"}
    return render_page(request, "storage/catalogue.html", context, part="catalogue")


@allow("storage.change", CatalogueEntry, methods="POST", keyword="entry")
def fetch(request: HttpRequest, entry: CatalogueEntry) -> HttpResponse:
    """The newest image of it, in one click."""
    try:
        image, task = adding.add_from_catalogue(signed_in(request), entry)
    except Refused as refused:
        messages.error(request, str(refused))
        return redirect("storage:catalogue")
    audit.record(request, "storage.fetch_image", f"image {image.name}", {"os": entry.os}, task=task)
    messages.success(request, f"{image.name} is being fetched.")
    return redirect("storage:image", image.pk)


@allow("storage.change", methods="GET POST")
def new(request: HttpRequest) -> HttpResponse:
    return _form(request, CatalogueEntry())


@allow("storage.change", CatalogueEntry, methods="GET POST", keyword="entry")
def edit(request: HttpRequest, entry: CatalogueEntry) -> HttpResponse:
    return _form(request, entry)


def _form(request: HttpRequest, entry: CatalogueEntry) -> HttpResponse:
    form = EntryForm(request.POST or None, instance=entry)
    if form.is_bound and form.is_valid():
        saved = form.save()
        audit.record(request, "storage.edit_catalogue", f"catalogue {saved.os}")
        messages.success(request, f"{saved.title} is saved.")
        return redirect("storage:catalogue")
    context = {"form": form, "entry": entry, "is_seeded": catalogue.is_seeded(entry), "tab": "catalogue"}
    return render(request, "storage/catalogue_entry.html", context, status=status_of(form))


@allow("storage.change", CatalogueEntry, methods="POST", keyword="entry")
def reset(request: HttpRequest, entry: CatalogueEntry) -> HttpResponse:
    """Back to what bHype comes with; what bHype does not come with is removed."""
    is_back = catalogue.take_back(entry)
    audit.record(request, "storage.reset_catalogue", f"catalogue {entry.os}")
    done = "is as bHype comes with it" if is_back else "is removed"
    messages.success(request, f"{entry.title} {done}.")
    return redirect("storage:catalogue")
