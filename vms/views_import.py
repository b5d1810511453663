"""The pages that bring VMs in."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from bhype.accounts import audit
from bhype.accounts.access import allow, signed_in
from bhype.foreign import Imported

from . import importing, plan
from .import_forms import ImportForm, TextForm


@allow("vms.create", methods="GET POST")
def describe(request: HttpRequest) -> HttpResponse:
    """A description of a VM, pasted or uploaded: shown as what it would become, then made."""
    user = signed_in(request)
    text = TextForm(*((request.POST, request.FILES) if request.method == "POST" else ()))
    if not text.is_bound or not text.is_valid():
        context = {"form": text, "tab": "text", "may_root": user.can("vms.root")}
        return render(request, "vms/import.html", context, status=422 if text.is_bound else 200)
    is_chosen = "create" in request.POST
    form = ImportForm(request.POST if is_chosen else None, imported=text.imported, user=user)
    made = form.save(user) if form.is_bound and form.is_valid() else None
    if made:
        vm, task = made
        audit.record(request, "vms.import", f"vm {vm.name}", {"format": text.format_used}, task=task)
        messages.success(request, f"{vm.name} is being created.")
        return redirect("vms:detail", vm.name)
    if not form.is_bound:
        form.look()
    context = _preview(form, text.imported) | {"text": text}
    return render(request, "vms/import_preview.html", context, status=422 if is_chosen else 200)


def _preview(form: ImportForm, imported: Imported) -> dict[str, Any]:
    """What the page shows of a VM before it is made."""
    document = imported.document
    if isinstance(document.get("graphic"), dict):
        document = plan.without_secrets(document)
    return {
        "form": form,
        "imported": imported,
        "parts": list(form.parts()),
        "conflicts": importing.conflicts(imported),
        "document": json.dumps(document, indent=2),
    }
