"""The pages of what goes out of a VM, of whom it shares data with, and of what its consoles keep."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache

from bhype.accounts import audit
from bhype.accounts.access import allow, signed_in
from bhype.tasks import requested
from bhype.ui.pages import posted, status_of
from vms import pages
from vms.models import VM
from vms.operating import changed

from . import exports
from .forms_export import ExportForm


@allow("vms.change", VM, methods="GET POST")
@never_cache
def export(request: HttpRequest, vm: VM) -> HttpResponse:
    """What a VM can be exported as, and what was exported of it."""
    user, loaded = signed_in(request), pages.with_hardware(VM.objects.all()).get(pk=vm.pk)
    form = ExportForm(posted(request), vm=loaded, user=user)
    task = form.save() if form.is_bound and form.is_valid() else None
    if task:
        audit.record(request, task.operation, f"vm {vm.name}", dict(task.params), task=task)
        messages.success(
            request, f"{task.title} has begun. The file appears among those exported when it is ready."
        )
        return redirect("vms:export", vm.name)
    context = {
        "form": form,
        "vm": loaded,
        "files": exports.exports(loaded),
        "tasks": exports.under_way(loaded, user),
        "problems": {kind: exports.problem_of(loaded, kind) for kind in exports.OPERATIONS},
    }
    return render(request, "vms/export.html", context, status=status_of(form))


@allow("vms.change", VM, methods="POST")
def export_file(request: HttpRequest, vm: VM, file: str) -> HttpResponseBase:
    """One of them. Not by GET: who takes it along is on record."""
    response = exports.download(vm, file)
    if response is None:
        raise Http404
    audit.record(request, "vms.download", f"vm {vm.name}", {"file": file})
    return response


@allow("vms.change", VM, methods="POST")
def export_remove(request: HttpRequest, vm: VM, file: str) -> HttpResponse:
    if file not in {one.name for one in exports.exports(vm)}:
        raise Http404
    _ask(request, vm, "vms.remove_export", f"{file} is being removed.", file=file)
    return redirect("vms:export", vm.name)


@allow("vms.change", VM, methods="POST")
def promote(request: HttpRequest, vm: VM) -> HttpResponse:
    """Make a linked copy independent of what it was made from."""
    _ask(request, vm, "vms.promote", f"{vm.name} is being made independent.")
    return redirect("vms:detail", vm.name)


def _ask(request: HttpRequest, vm: VM, operation: str, said: str, **params: str) -> None:
    requested.on_page(request, operation, {"vm_id": vm.pk, **params}, what=f"vm {vm.name}", said=said)


@allow("vms.change", VM, methods="POST")
def recording(request: HttpRequest, vm: VM) -> HttpResponse:
    """Whether sessions at the consoles of the VM are recorded."""
    wanted = request.POST.get("has_recording") == "on"
    if wanted != vm.has_recording:
        changed(vm, has_recording=wanted)
        audit.record(request, "vms.change", f"vm {vm.name}", {"has_recording": wanted})
    messages.success(request, "Console sessions are recorded." if wanted else "Nothing is recorded any more.")
    return redirect("vms:access", vm.name)
