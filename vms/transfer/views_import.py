"""The pages that bring VMs in."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache

from bhype.accounts import audit
from bhype.accounts.access import allow, signed_in
from bhype.accounts.models import User
from bhype.foreign import Imported
from bhype.hosts.models import Host
from bhype.tasks import Refused, ask
from bhype.ui.pages import posted, status_of
from storage.uploads import store as uploads
from vms import plan
from vms.models import VM

from . import importing, ova, pages
from .forms_files import FileForm, machine_of
from .forms_import import AdoptForm, ImportForm, TextForm


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


@allow("vms.root", methods="GET POST")
def found(request: HttpRequest) -> HttpResponse:
    """VMs of other tools on this host, as the last search has found them."""
    user = signed_in(request)
    if request.method == "POST":
        task = ask("vms.find_foreign", {}, user)
        audit.record(request, "vms.find_foreign", "host", task=task)
        return redirect("vms:import_found")
    return render(request, "vms/import_found.html", {"tab": "found", "may_root": True, **pages.search()})


@allow("vms.root", methods="GET POST")
def adopt(request: HttpRequest, task: int, name: str) -> HttpResponse:
    """One of them: shown as what it becomes, then taken over or used where it lies."""
    user, source = signed_in(request), pages.found_vm(task, name)
    form = AdoptForm(posted(request), found=source, user=user)
    made = form.save(user) if form.is_bound and form.is_valid() else None
    if made:
        vm, asked = made
        audit.record(request, asked.operation, f"vm {vm.name}", {"from": source.folder}, task=asked)
        messages.success(request, f"{vm.name} is being {'taken over' if form.is_moved else 'created'}.")
        return redirect("vms:detail", vm.name)
    if not form.is_bound:
        form.look()
    context = _preview(form, source.imported) | {
        "found": source,
        "adoption": True,
        "tab": "found",
        "may_root": True,
    }
    return render(request, "vms/import_adopt.html", context, status=status_of(form))


@allow("vms.root", VM, methods="POST")
def give_back(request: HttpRequest, vm: VM) -> HttpResponse:
    """Move an adopted VM's dataset back to where it was."""
    params = pages.adoption_of(vm)
    if params is None:
        raise Http404
    try:
        task = ask("vms.return_foreign", params, signed_in(request))
    except Refused as refused:
        messages.error(request, str(refused))
    else:
        audit.record(request, "vms.return_foreign", f"vm {vm.name}", task=task)
        messages.success(request, f"{vm.name} is being given back.")
    return redirect("vms:import_found")


@allow("vms.create")
@never_cache
def files(request: HttpRequest) -> HttpResponse:
    """Disk images, packages and streams that the person has uploaded."""
    user = signed_in(request)
    context = {"files": uploads.files(user), "tab": "files", "may_root": user.can("vms.root")}
    context |= {"limit": uploads.LIMIT, "unfinished": uploads.unfinished(user, "file")}
    return render(request, "vms/import_files.html", context)


@allow("vms.create", methods="GET POST")
@never_cache
def file(request: HttpRequest, file: str) -> HttpResponse:
    """One of them: what it holds, and what is to become of it."""
    user, found = _own(request, file)
    machine, problem = None, ""
    if found.kind == "ova":
        try:
            machine = machine_of(user, found)
        except ova.BadOva as error:
            problem = str(error)
    name = machine.name if machine else ""
    form = FileForm(posted(request), user=user, upload=found, name=name)
    task = form.save() if form.is_bound and form.is_valid() and not problem else None
    if task:
        audit.record(request, task.operation, f"file {found.file}", task=task)
        messages.success(request, f"{task.title} has begun.")
        return redirect("tasks:detail", task.pk)
    switch = Host.objects.this().switches.by_use().first()
    context = {"form": form, "file": found, "machine": machine, "problem": problem, "switch": switch}
    return render(request, "vms/import_file.html", context, status=status_of(form))


@allow("vms.create", methods="POST")
def file_remove(request: HttpRequest, file: str) -> HttpResponse:
    user, found = _own(request, file)
    uploads.remove(user, found.file)
    audit.record(request, "vms.remove_upload", f"file {found.file}")
    messages.success(request, f"{found.name} is removed.")
    return redirect("vms:import_files")


def _own(request: HttpRequest, name: str) -> tuple[User, uploads.File]:
    """The person and their file; that of another looks as if it were not there."""
    user = signed_in(request)
    found = uploads.find(user, name)
    if found is None:
        raise Http404
    return user, found


def _preview(form: ImportForm, imported: Imported) -> dict[str, Any]:
    """What the page shows of a VM before it is made."""
    return {
        "form": form,
        "imported": imported,
        "parts": list(form.parts()),
        "conflicts": importing.conflicts(imported),
        "document": json.dumps(plan.without_secrets(imported.document), indent=2),
    }
