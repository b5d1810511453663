"""The pages of install media and images."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from bhype.accounts import audit
from bhype.accounts.access import allow, signed_in
from bhype.tasks import Refused, ask
from bhype.tasks.models import Task
from bhype.ui.pages import render_page, status_of, wants
from storage.models import Image, Iso
from storage.uploads import store as uploads

from . import adding, pages
from .forms import FactsForm, FetchImageForm, FetchIsoForm, RenameIsoForm


def _sending(request: HttpRequest, purpose: str) -> dict[str, Any]:
    """What the part of a page needs that takes files."""
    user = signed_in(request)
    return {"limit": uploads.LIMIT, "unfinished": uploads.unfinished(user, purpose), "purpose": purpose}


def _begun(request: HttpRequest, operation: str, subject: str, task: Task, text: str) -> None:
    audit.record(request, operation, subject, task=task)
    messages.success(request, text)


@allow("storage.view")
def isos(request: HttpRequest) -> HttpResponse:
    context = pages.media(signed_in(request)) | {"tab": "isos"}
    if wants(request, "isos"):
        return render(request, "storage/_isos.html", context)
    return render(request, "storage/isos.html", context | _sending(request, "iso"))


@allow("storage.change", methods="GET POST")
def iso_fetch(request: HttpRequest) -> HttpResponse:
    form = FetchIsoForm(request.POST or None)
    task = form.save(signed_in(request)) if form.is_bound and form.is_valid() else None
    if task:
        _begun(request, "storage.fetch_iso", task.title, task, f"{task.title} has begun.")
        return redirect("storage:isos")
    context = {"form": form, "tab": "isos"}
    return render(request, "storage/iso_fetch.html", context, status=status_of(form))


@allow("storage.change", Iso, methods="GET POST")
def iso_rename(request: HttpRequest, iso: Iso) -> HttpResponse:
    form = RenameIsoForm(request.POST or None, iso=iso)
    task = form.save(signed_in(request)) if form.is_bound and form.is_valid() else None
    if task:
        _begun(request, "storage.rename_iso", f"medium {iso.name}", task, f"{iso.name} is being renamed.")
        return redirect("storage:isos")
    context = {"form": form, "iso": iso, "tab": "isos"}
    return render(request, "storage/iso_rename.html", context, status=status_of(form))


@allow("storage.change", Iso, methods="POST")
def iso_delete(request: HttpRequest, iso: Iso) -> HttpResponse:
    try:
        task = ask("storage.delete_iso", {"iso_id": iso.pk}, signed_in(request))
        _begun(request, "storage.delete_iso", f"medium {iso.name}", task, f"{iso.name} is being deleted.")
    except Refused as refused:
        messages.error(request, str(refused))
    return redirect("storage:isos")


@allow("storage.view")
def images(request: HttpRequest) -> HttpResponse:
    context = pages.images(signed_in(request)) | {"tab": "images"}
    return render_page(request, "storage/images.html", context, part="images")


@allow("storage.change", methods="GET POST")
def image_add(request: HttpRequest) -> HttpResponse:
    """By its URL; or by sending a file, for which the same fields go along."""
    form, facts = FetchImageForm(request.POST or None), FactsForm(request.POST or None)
    is_valid = form.is_bound and form.is_valid() and facts.is_valid()
    made = form.save(signed_in(request), facts.facts()) if is_valid else None
    if made:
        image, task = made
        _begun(request, "storage.fetch_image", f"image {image.name}", task, f"{image.name} is being fetched.")
        return redirect("storage:image", image.pk)
    context = {"form": form, "facts": facts, "tab": "images", **_sending(request, "image")}
    return render(request, "storage/image_add.html", context, status=status_of(form))


@allow("storage.view", Image)
def image(request: HttpRequest, image: Image) -> HttpResponse:
    context = pages.image(signed_in(request), image) | {"tab": "images"}
    return render_page(request, "storage/image.html", context, part="image")


@allow("storage.change", Image, methods="GET POST")
def image_edit(request: HttpRequest, image: Image) -> HttpResponse:
    form = FactsForm(request.POST or None, instance=image)
    if form.is_bound and form.is_valid():
        pages.write_facts(image, form.facts())
        audit.record(request, "storage.edit_image", f"image {image.name}")
        messages.success(request, f"What is known of {image.name} is saved.")
        return redirect("storage:image", image.pk)
    context = {"form": form, "image": image, "tab": "images"}
    return render(request, "storage/image_edit.html", context, status=status_of(form))


@allow("storage.change", Image, methods="POST")
def image_delete(request: HttpRequest, image: Image) -> HttpResponse:
    try:
        task = ask("storage.delete_image", {"image_id": image.pk}, signed_in(request))
        _begun(
            request, "storage.delete_image", f"image {image.name}", task, f"{image.name} is being deleted."
        )
    except Refused as refused:
        messages.error(request, str(refused))
        return redirect("storage:image", image.pk)
    return redirect("storage:images")


@allow("storage.change", Image, methods="POST")
def image_again(request: HttpRequest, image: Image) -> HttpResponse:
    try:
        task = adding.again(signed_in(request), image)
        _begun(request, task.operation, f"image {image.name}", task, f"{image.name} is tried again.")
    except Refused as refused:
        messages.error(request, str(refused))
    return redirect("storage:image", image.pk)
