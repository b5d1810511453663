"""The Snapshots tab of a VM. Each view loads, checks, asks for an operation, and answers; none touches a host."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from bhype.accounts.access import allow, signed_in
from bhype.tasks import requested
from bhype.tasks.models import Task
from bhype.ui.pages import status_of
from storage.models import Snapshot
from storage.snapshots import pages as storage
from storage.snapshots.forms import DoForm, TakeForm
from storage.snapshots.views import agreed
from vms import pages
from vms.models import VM

from . import pages as shown
from .operations import MOST


@allow("vms.view", VM)
def index(request: HttpRequest, vm: VM) -> HttpResponse:
    return _index(request, vm, TakeForm(dataset=vm.dataset))


def _index(request: HttpRequest, vm: VM, form: TakeForm) -> HttpResponse:
    user = signed_in(request)
    loaded = pages.with_hardware(VM.objects.all()).get(pk=vm.pk)
    context = {
        "row": pages.row_of(loaded, user), "vm": loaded, "tab": "snapshots", "form": form,
        "listing": shown.listing(loaded, user), "door": shown.door(loaded), "sees_all": user.can("storage.view"),
    }  # fmt: skip
    return render(request, "vms/snapshots.html", context, status=status_of(form))


@allow("vms.change", VM, methods="POST")
def take(request: HttpRequest, vm: VM) -> HttpResponse:
    rows = Snapshot.objects.filter(dataset__pool=vm.pool_id, dataset__name=vm.dataset)
    form = TakeForm(request.POST, dataset=vm.dataset, taken=set(rows.values_list("name", flat=True)))
    if not form.is_valid():
        return _index(request, vm, form)
    _ask(request, vm, "vms.take_snapshot", f"A snapshot of {vm.name} is being taken.", **form.params())
    return redirect("vms:snapshots", vm.name)


def _ask(request: HttpRequest, vm: VM, operation: str, said: str, **params: Any) -> Task | None:
    return requested.on_page(request, operation, {"vm_id": vm.pk, **params}, what=f"vm {vm.name}", said=said)


@allow("vms.change", VM, methods="POST")
def do(request: HttpRequest, vm: VM) -> HttpResponse:
    """Something with one snapshot, or the look at what goes with many."""
    form = DoForm(request.POST)
    if not form.is_valid() or not form.chosen:
        messages.error(request, form.problem or "Select at least one snapshot.")
        return redirect("vms:snapshots", vm.name)
    is_many = form.cleaned_data["do"] == "preview"
    which = {"names": form.chosen[:MOST]} if is_many else {"name": form.chosen[0]}
    said = f"{form.chosen[0]} {form.said}." if form.said else ""
    task = _ask(request, vm, f"vms.{form.operation}", said, **which, **form.params())
    return (
        redirect("vms:snapshots_result", vm.name, task.pk)
        if task and form.is_shown
        else redirect("vms:snapshots", vm.name)
    )


@allow("vms.change", VM)
def result(request: HttpRequest, vm: VM, task: int) -> HttpResponse:
    return storage.result_page(request, task, shown.door(vm), vm.subject)


def _seen(request: HttpRequest, vm: VM, operation: str) -> Task:
    task = agreed(request, operation)
    return storage.result_task(signed_in(request), task.pk if task.subject == vm.subject else 0, "vms")


@allow("vms.change", VM, methods="POST")
def delete(request: HttpRequest, vm: VM) -> HttpResponse:
    """What was looked at goes."""
    seen = _seen(request, vm, "vms.preview_deletion")
    said = "The snapshots are being destroyed."
    task = _ask(request, vm, "vms.delete_snapshots", said, names=seen.params["names"])
    return redirect("tasks:detail", task.pk) if task else redirect("vms:snapshots", vm.name)


@allow("vms.change", VM, methods="POST")
def rollback(request: HttpRequest, vm: VM) -> HttpResponse:
    """Back to what was looked at: only what was shown to be lost is lost."""
    seen = _seen(request, vm, "vms.preview_rollback")
    params = {"name": seen.params["name"], "goes": [one["name"] for one in seen.result["goes"]]}
    keep = {"keep_config": True} if request.POST.get("keep_config") else {}
    task = _ask(request, vm, "vms.rollback", f"{vm.name} is being rolled back.", **params, **keep)
    return redirect("tasks:detail", task.pk) if task else redirect("vms:snapshots", vm.name)


@allow("vms.change", VM, methods="POST")
def finish(request: HttpRequest, vm: VM) -> HttpResponse:
    """Go on with a rollback that was broken off, as it was asked for."""
    last = Task.objects.filter(subject=vm.subject, operation="vms.rollback").order_by("-id").first()
    keep = bool(last and last.params.get("keep_config"))
    params = {"name": vm.rolling_back_to or "none", **({"keep_config": True} if keep else {})}
    task = _ask(request, vm, "vms.finish_rollback", "The rollback goes on.", **params)
    return redirect("tasks:detail", task.pk) if task else redirect("vms:snapshots", vm.name)
