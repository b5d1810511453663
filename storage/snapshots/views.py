"""The pages of all snapshots. Each view loads, checks, asks for an operation, and answers; none touches a host."""

from __future__ import annotations

from typing import Any, BinaryIO

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse

from bhype.accounts import audit
from bhype.accounts.access import allow, signed_in
from bhype.accounts.models import User
from bhype.tasks import registry, requested
from bhype.tasks.models import Task
from bhype.ui.pages import status_of, wants
from bhype.ui.respond import attachment
from storage.datasets import uses
from storage.models import Dataset, Snapshot

from . import files, moments, pages
from .forms import DoForm, NoteForm, TakeForm


@allow("storage.view")
def index(request: HttpRequest) -> HttpResponse:
    user, filters = signed_in(request), pages.Filters.read(request.GET)
    listing = pages.listing(filters, pages.all_roots())
    context = {
        "listing": listing, "tab": "snapshots", "kinds": pages.KINDS,
        "may_change": user.can("storage.change"), "may_see_vms": user.can("vms.view"),
        "path": reverse("storage:snapshots"),
    }  # fmt: skip
    return _listed(request, "storage/snapshots.html", context)


def _listed(request: HttpRequest, page: str, context: dict[str, Any], status: int = 200) -> HttpResponse:
    """The list alone where htmx fetches it anew, else its page. path: where it is fetched from, without its query."""
    fragment = wants(request, "snapshots")
    return render(request, "storage/_snapshots.html" if fragment else page, context, status=status)


@allow("storage.view", Snapshot)
def detail(request: HttpRequest, snapshot: Snapshot) -> HttpResponse:
    """One snapshot with all that was taken with it."""
    root = snapshot.dataset
    found = moments.known(root.pool, root.name)
    moment = next((one for one in found if one.root.guid == snapshot.guid), None)
    if moment is None:
        raise Http404
    newer = [one for one in found if one.root.txg > moment.root.txg]
    context = {
        "row": snapshot, "moment": moment, "newer": newer, "why": moments.obstacle(moment), "tab": "snapshots",
        "door": pages.storage_door(), "may_change": signed_in(request).can("storage.change"),
        "use": uses.use_of(root),
    }  # fmt: skip
    return render(request, "storage/snapshot.html", context)


@allow("storage.view", Dataset)
def of_dataset(request: HttpRequest, dataset: Dataset) -> HttpResponse:
    return _of_dataset(request, dataset, TakeForm(dataset=dataset.name))


def _of_dataset(request: HttpRequest, row: Dataset, form: TakeForm) -> HttpResponse:
    filters = pages.Filters.read(request.GET)
    use = uses.use_of(row)
    context = {
        "row": row, "use": use, "tab": "snapshots", "refusals": use.refusals, "form": form,
        "above": uses.parents(row.name)[:-1][::-1], "may_change": signed_in(request).can("storage.change"),
        "listing": pages.listing(filters, Snapshot.objects.filter(dataset=row)),
        "path": reverse("storage:dataset_snapshots", args=[row.name]),
    }  # fmt: skip
    return _listed(request, "storage/dataset_snapshots.html", context, status_of(form))


@allow("storage.change", Dataset, methods="POST")
def take(request: HttpRequest, dataset: Dataset) -> HttpResponse:
    taken = set(dataset.snapshots.values_list("name", flat=True))
    form = TakeForm(request.POST, dataset=dataset.name, taken=taken)
    if not form.is_valid():
        return _of_dataset(request, dataset, form)
    params = {"dataset_id": dataset.pk, **form.params()}
    requested.on_page(
        request,
        "storage.take_snapshot",
        params,
        what=f"dataset {dataset.name}",
        said="The snapshot is being taken.",
    )
    return redirect("storage:dataset_snapshots", dataset.name)


@allow("storage.change", methods="POST")
def take_all(request: HttpRequest) -> HttpResponse:
    """Of everything that is in production."""
    form = NoteForm(request.POST)
    if not form.is_valid():
        messages.error(request, "; ".join(str(text) for text in form.errors["note"]))
        return redirect("storage:snapshots")
    said = "Snapshots of all in production are being taken."
    task = requested.on_page(
        request,
        "storage.snapshot_all",
        {"note": form.cleaned_data["note"]},
        what="all in production",
        said=said,
    )
    return redirect("tasks:detail", task.pk) if task else redirect("storage:snapshots")


@allow("storage.change", methods="POST")
def do(request: HttpRequest) -> HttpResponse:
    """Something with one snapshot, or the look at what goes with many."""
    form, keys = DoForm(request.POST), pages.chosen(request.POST)
    if not form.is_valid() or not keys:
        messages.error(request, form.problem or "These snapshots are gone.")
        return redirect("storage:snapshots")
    is_many = form.cleaned_data["do"] == "preview"
    which = {"snapshot_ids": keys} if is_many else {"snapshot_id": keys[0]}
    row = Snapshot.objects.select_related("dataset").filter(pk=keys[0]).first()
    what = f"{len(keys)} snapshots" if len(keys) > 1 else str(row or "a snapshot")
    said = f"{row} {form.said}." if form.said else ""
    task = requested.on_page(
        request, f"storage.{form.operation}", {**which, **form.params()}, what=what, said=said
    )
    if task and form.is_shown:
        return redirect("storage:snapshots_result", task.pk)
    return redirect("storage:snapshot", keys[0]) if row and not is_many else redirect("storage:snapshots")


@allow("storage.change")
def result(request: HttpRequest, task: int) -> HttpResponse:
    return pages.result_page(request, task, pages.storage_door())


@allow("storage.change", methods="POST")
def delete(request: HttpRequest) -> HttpResponse:
    """What was looked at goes."""
    seen = agreed(request, "storage.preview_deletion")
    params = {"snapshot_ids": seen.params["snapshot_ids"]}
    said = "The snapshots are being destroyed."
    task = requested.on_page(
        request,
        "storage.delete_snapshots",
        params,
        what=seen.title.removeprefix("What goes with "),
        said=said,
    )
    return redirect("tasks:detail", task.pk) if task else redirect("storage:snapshots")


def agreed(request: HttpRequest, operation: str) -> Task:
    """The look whose outcome the person agrees to. Raises Http404 when it was somebody else's, or failed."""
    word = request.POST.get("task", "")
    key = int(word) if word.isascii() and word.isdigit() and len(word) < 19 else 0
    task = pages.result_task(signed_in(request), key, operation.partition(".")[0])
    if task.operation != operation or task.status != Task.Status.SUCCEEDED:
        raise Http404
    return task


def file_of(user: User, key: int) -> tuple[Task, BinaryIO, str] | None:
    """The file that a task of the user's own has fetched, opened, and its name; None when there is none, or when the
    user has lost the right by which it was asked for."""
    row = Task.objects.filter(pk=key, user=user, operation__in=files.OPERATIONS).first()
    if row is None:
        return None
    operation = registry.get(row.operation)
    target = operation.find_target(operation.validate(row.params))
    found = files.fetched(row) if target is not None and operation.may(user, target) else None
    return (row, *found) if found else None


@allow("self", methods="POST")
def file(request: HttpRequest, task: int) -> HttpResponseBase:
    """The file that a task of one's own has fetched. Not by GET: who takes it along is on record."""
    found = file_of(signed_in(request), task)
    if found is None:
        raise Http404
    row, opened, name = found
    audit.record(request, "snapshots.download", row.title, {"file": name, "path": row.params.get("path", "")})
    return attachment(opened, name)
