"""The page of an encrypted VM's key: unlock it, lock it, give it another passphrase."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters

from bhype.accounts import audit
from bhype.accounts.access import allow, signed_in
from bhype.tasks import Refused, ask
from storage.datasets.forms import ChangeKeyForm, UnlockForm, seal
from vms import pages
from vms.models import VM

from . import locking


def _page(
    request: HttpRequest, vm: VM, unlock: Form | None = None, change: Form | None = None
) -> HttpResponse:
    found = locking.key_of(vm)
    if found is None:
        raise Http404
    row = pages.row_of(pages.with_hardware(VM.objects.all()).get(pk=vm.pk), signed_in(request))
    is_bound = any(form is not None for form in (unlock, change))
    context = {
        "row": row, "vm": row.vm, "tab": "overview", "key": found, "change": change or ChangeKeyForm(),
        "unlock": unlock or UnlockForm(needs_passphrase=found.needs_passphrase),
        "why_not_lock": f"{vm.name} is on. Stop it first." if vm.is_on else "",
    }  # fmt: skip
    return render(request, "vms/key.html", context, status=422 if is_bound else 200)


def _asked(
    request: HttpRequest, form: Form | None, vm: VM, operation: str, params: Mapping[str, Any]
) -> bool:
    """Ask and note it. False when it was refused: the reason stands in the form, or in a message."""
    try:
        task = ask(operation, {"vm_id": vm.pk, **params}, signed_in(request))
    except Refused as refused:
        if form is not None:
            form.add_error(None, refused.message)
        else:
            messages.error(request, refused.message)
        return False
    audit.record(request, operation, f"vm {vm.name}", task=task)
    messages.success(request, f"{task.title}: asked.")
    return True


@allow("vms.view", VM)
def key(request: HttpRequest, vm: VM) -> HttpResponse:
    return _page(request, vm)


@allow("vms.operate", VM, methods="POST")
@sensitive_post_parameters("passphrase")
def unlock(request: HttpRequest, vm: VM) -> HttpResponse:
    found = locking.key_of(vm)
    form = UnlockForm(request.POST, needs_passphrase=found is None or found.needs_passphrase)
    if found and form.is_valid():
        params = {"secret": seal(form, "passphrase"), "start": form.cleaned_data["start"]}
        if _asked(request, form, vm, "vms.unlock", params):
            return redirect("vms:detail", vm.name)
    return _page(request, vm, unlock=form)


@allow("vms.operate", VM, methods="POST")
def lock(request: HttpRequest, vm: VM) -> HttpResponse:
    _asked(request, None, vm, "vms.lock", {})
    return redirect("vms:detail", vm.name)


@allow("vms.change", VM, methods="POST")
@sensitive_post_parameters("old", "passphrase", "again")
def change(request: HttpRequest, vm: VM) -> HttpResponse:
    form = ChangeKeyForm(request.POST)
    if form.is_valid():
        params = {"secret": seal(form, "old"), "new_secret": seal(form, "passphrase")}
        if _asked(request, form, vm, "vms.change_key", params):
            return redirect("vms:detail", vm.name)
    return _page(request, vm, change=form)
