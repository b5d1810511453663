"""The pages of datasets. Each view loads, checks, asks for an operation, and answers; none touches a host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters

from bhype.accounts.access import allow, signed_in
from bhype.tasks import requested
from bhype.tasks.models import Task
from bhype.ui.pages import posted, render_page, status_of
from storage.models import Dataset

from . import pages, uses
from .forms import (
    ChangeKeyForm,
    CreateForm,
    GrowForm,
    PropertiesForm,
    RenameForm,
    TypedForm,
    UnlockForm,
    seal,
)


def _asked(
    request: HttpRequest, form: Form | None, operation: str, params: Mapping[str, Any], *words: str
) -> Task | None:
    """Ask, note it and say it; None when it was refused: the reason then stands in the form, or in a message. words:
    what is said, and the dataset's name."""
    said, what = words
    return requested.on_page(request, operation, params, what=f"dataset {what}", said=said, form=form)


def _page(request: HttpRequest, row: Dataset, tab: str, *forms: Form, **more: Any) -> HttpResponse:
    """A tab of one dataset."""
    use = uses.use_of(row)
    context = {
        "row": row, "use": use, "tab": tab, "refusals": use.refusals, "above": uses.parents(row.name)[:-1][::-1],
        "may_change": signed_in(request).can("storage.change"), **more,
    }  # fmt: skip
    return render(request, f"storage/dataset_{tab}.html", context, status=status_of(*forms))


@allow("storage.view")
def index(request: HttpRequest) -> HttpResponse:
    listing = pages.listing(request.GET)
    context = {"listing": listing, "tab": "datasets", "choices": pages}
    context["may_change"] = signed_in(request).can("storage.change")
    return render_page(request, "storage/datasets.html", context, part="dataset-table")


@allow("storage.view", Dataset)
def detail(request: HttpRequest, dataset: Dataset) -> HttpResponse:
    return _overview(request, dataset)


def _overview(request: HttpRequest, row: Dataset, *forms: Form, **more: Any) -> HttpResponse:
    is_prompt = pages.fact(row, "keylocation") in {"prompt", ""}
    tasks = pages.tasks(signed_in(request), row)
    context = {
        "parts": pages.parts(row), "created_at": pages.created_at(row),
        "ratio": pages.fact(row, "compressratio"), "quota": pages.fact(row, "quota"),
        "children": pages.children(row), "clones": pages.clones(row),
        "tasks": tasks, "changing": any(not task.is_finished for task in tasks),
        "unlock": UnlockForm(needs_passphrase=is_prompt), "change": ChangeKeyForm(), "is_prompt": is_prompt,
    }  # fmt: skip
    return _page(request, row, "overview", *forms, **(context | more))


@allow("storage.change", Dataset, methods="GET POST")
@sensitive_post_parameters("passphrase", "again")
def create(request: HttpRequest, dataset: Dataset) -> HttpResponse:
    """A new dataset in this one."""
    use = uses.use_of(dataset)
    form = CreateForm(posted(request), parent=use)
    if form.is_bound and form.is_valid() and not use.refusals["add"]:
        name = f"{dataset.name}/{form.cleaned_data['name']}"
        if task := _asked(
            request, form, "storage.create_dataset", form.params(), f"{name} is being made.", name
        ):
            return redirect("tasks:detail", task.pk)
    return _page(request, dataset, "create", form, form=form, elsewhere=pages.other_homes(dataset))


@allow("storage.view", Dataset, methods="GET POST")
def properties(request: HttpRequest, dataset: Dataset) -> HttpResponse:
    if request.method == "POST" and not signed_in(request).can("storage.change"):
        raise Http404
    form = PropertiesForm(posted(request), row=dataset)
    changes = form.changes() if form.is_bound and form.is_valid() else {}
    if form.is_bound and not form.errors and not changes:
        messages.info(request, "Nothing was changed.")
        return redirect("storage:dataset_properties", dataset.name)
    params = {"dataset_id": dataset.pk, "changes": changes}
    said = f"The properties of {dataset.name} are being changed."
    if changes and _asked(request, form, "storage.set_properties", params, said, dataset.name):
        return redirect("storage:dataset_properties", dataset.name)
    return _page(request, dataset, "properties", form, form=form, grow=GrowForm(row=dataset))


@allow("storage.change", Dataset, methods="POST")
def grow(request: HttpRequest, dataset: Dataset) -> HttpResponse:
    form = GrowForm(request.POST, row=dataset)
    if form.is_valid():
        params = {"dataset_id": dataset.pk, "size": form.cleaned_data["size"]}
        if _asked(request, form, "storage.resize_volume", params, f"{dataset.name} grows.", dataset.name):
            return redirect("storage:dataset", dataset.name)
    return _page(request, dataset, "properties", form, form=PropertiesForm(row=dataset), grow=form)


@allow("storage.view", Dataset)
def danger(request: HttpRequest, dataset: Dataset) -> HttpResponse:
    return _danger(request, dataset)


def _danger(request: HttpRequest, row: Dataset, *forms: Form, **more: Any) -> HttpResponse:
    context = {
        "rename": RenameForm(use=uses.use_of(row)), "destroy": TypedForm(name=row.name),
        "removal": pages.removal(row), "preview": pages.last_preview(signed_in(request), row),
    }  # fmt: skip
    return _page(request, row, "danger", *forms, **(context | more))


@allow("storage.change", Dataset, methods="POST")
def rename(request: HttpRequest, dataset: Dataset) -> HttpResponse:
    form = RenameForm(request.POST, use=uses.use_of(dataset))
    if form.is_valid() and (
        task := _asked(
            request,
            form,
            "storage.rename_dataset",
            form.params(),
            f"{dataset.name} is being renamed.",
            dataset.name,
        )
    ):
        return redirect("tasks:detail", task.pk)
    return _danger(request, dataset, form, rename=form)


@allow("storage.change", Dataset, methods="POST")
def preview(request: HttpRequest, dataset: Dataset) -> HttpResponse:
    """Ask the host what would go."""
    params = {"dataset_id": dataset.pk}
    _asked(
        request,
        None,
        "storage.preview_destroy",
        params,
        "The host is asked what would go with it.",
        dataset.name,
    )
    return redirect("storage:dataset_danger", dataset.name)


@allow("storage.change", Dataset, methods="POST")
def destroy(request: HttpRequest, dataset: Dataset) -> HttpResponse:
    form, params = TypedForm(request.POST, name=dataset.name), {"dataset_id": dataset.pk}
    said = f"{dataset.name} is being destroyed."
    if form.is_valid() and (
        task := _asked(request, form, "storage.destroy_dataset", params, said, dataset.name)
    ):
        return redirect("tasks:detail", task.pk)
    return _danger(request, dataset, form, destroy=form)


@allow("storage.change", Dataset, methods="POST")
def keep(request: HttpRequest, dataset: Dataset) -> HttpResponse:
    """Note that an orphan is to stay, or take that back."""
    wanted = request.POST.get("keep") != "no"
    said = f"{dataset.name} is {'kept' if wanted else 'an orphan again'}."
    _asked(
        request,
        None,
        "storage.keep_dataset",
        {"dataset_id": dataset.pk, "keep": wanted},
        said,
        dataset.name,
    )
    return redirect("storage:orphans")


@allow("storage.change", Dataset, methods="POST")
@sensitive_post_parameters("passphrase")
def unlock(request: HttpRequest, dataset: Dataset) -> HttpResponse:
    is_prompt = pages.fact(dataset, "keylocation") in {"prompt", ""}
    form = UnlockForm(request.POST, needs_passphrase=is_prompt)
    if form.is_valid():
        secret = seal(form, "passphrase")
        params = {"dataset_id": dataset.pk, "secret": secret, "start": form.cleaned_data["start"]}
        if task := _asked(
            request, form, "storage.unlock", params, f"{dataset.name} is being unlocked.", dataset.name
        ):
            return redirect("tasks:detail", task.pk)
    return _overview(request, dataset, form, unlock=form)


@allow("storage.change", Dataset, methods="POST")
def lock(request: HttpRequest, dataset: Dataset) -> HttpResponse:
    params = {"dataset_id": dataset.pk}
    _asked(request, None, "storage.lock", params, f"{dataset.name} is being locked.", dataset.name)
    return redirect("storage:dataset", dataset.name)


@allow("storage.change", Dataset, methods="POST")
@sensitive_post_parameters("old", "passphrase", "again")
def change_key(request: HttpRequest, dataset: Dataset) -> HttpResponse:
    form = ChangeKeyForm(request.POST)
    if form.is_valid():
        params = {
            "dataset_id": dataset.pk,
            "secret": seal(form, "old"),
            "new_secret": seal(form, "passphrase"),
        }
        if task := _asked(
            request, form, "storage.change_key", params, f"{dataset.name} gets another key.", dataset.name
        ):
            return redirect("tasks:detail", task.pk)
    return _overview(request, dataset, form, change=form)


@allow("storage.view")
def orphans(request: HttpRequest) -> HttpResponse:
    """What nobody has any more, and what has lost its data."""
    left = uses.left()
    orphaned = Paginator([use for use in left if not use.is_kept], pages.PAGE_SIZE)
    context = {
        "orphans": orphaned.get_page(request.GET.get("page")), "kept": [use for use in left if use.is_kept],
        "missing": uses.missing(), "tab": "orphans", "may_change": signed_in(request).can("storage.change"),
    }  # fmt: skip
    return render_page(request, "storage/orphans.html", context, part="orphans")
