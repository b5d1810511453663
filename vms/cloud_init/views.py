"""The cloud-init tab of a VM: what its guest is told, and the seed that tells it."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from bhype import cloudinit
from bhype.accounts import audit
from bhype.accounts.access import allow, signed_in
from bhype.cloudinit import Invalid
from bhype.tasks import Refused
from bhype.ui.pages import posted, status_of
from vms import pages, plan, wanted
from vms.addresses import ties
from vms.hardware.views import REVISION_MAX
from vms.models import VM

from . import changes, seeds
from .forms import CloudInitForm

ACTIONS = {
    "eject": "The seed leaves {vm} at its next start.",
    "insert": "The seed is in {vm} from its next start on.",
    "again": "At its next start, the guest of {vm} is told again, as a new one.",
    "remove": "{vm} has no settings for cloud-init any more.",
}


def _page(request: HttpRequest, vm: VM, template: str, status: int = 200, **more: Any) -> HttpResponse:
    context = {"row": pages.row_of(vm, signed_in(request)), "vm": vm, "tab": "cloud-init", **more}
    return render(request, template, context, status=status)


@allow("vms.view", VM)
def overview(request: HttpRequest, vm: VM) -> HttpResponse:
    vm = wanted.load(vm.pk)
    row = pages.row_of(vm, signed_in(request))
    documents, problems = changes.shown(vm, bodies=row.may_change)
    more: dict[str, Any] = {"documents": documents, "problems": problems, "has_seed": plan.has_seed(vm)}
    more["strays"] = ties.strays(vm)
    more["howto"] = cloudinit.HOWTO.get(vm.cloud_init.get("installer", ""), "")
    return _page(request, vm, "vms/cloud_init.html", summary=changes.summary(vm), **more)


@allow("vms.change", VM, methods="GET POST")
@never_cache
@sensitive_post_parameters("password")
def edit(request: HttpRequest, vm: VM) -> HttpResponse:
    vm = wanted.load(vm.pk)
    form = _form(request, vm)
    if form.is_bound and form.is_valid() and _save(request, vm, form):
        return redirect("vms:cloud_init", vm.name)
    return _page(request, vm, "vms/cloud_init_edit.html", status_of(form), form=form)


def _form(request: HttpRequest, vm: VM) -> CloudInitForm:
    return CloudInitForm(
        posted(request),
        user=signed_in(request),
        ports=[(nic.index, f"Port {nic.index}: {nic.mac}") for nic in vm.nics.all() if nic.is_attached],
        free=ties.proposals(vm),
        current=vm.cloud_init,
        kind=vm.template.cloud_init_kind if vm.template else "",
        with_installer=True,
    )


def _save(request: HttpRequest, vm: VM, form: CloudInitForm) -> bool:
    text = request.POST.get("revision", "")
    revision = int(text) if text.isascii() and text.isdecimal() and int(text[:12]) < REVISION_MAX else -1
    try:
        _, task = changes.save(
            vm, form.values(), signed_in(request), revision=revision, again="again" in request.POST
        )
    except Invalid as invalid:
        form.refuse(invalid.problems)
    except (Refused, wanted.WantedError) as refused:
        form.add_error(None, wanted.STALE if isinstance(refused, wanted.WantedError) else str(refused))
    else:
        fields = sorted(key for key, value in form.values().items() if value != vm.cloud_init.get(key))
        audit.record(request, "vms.cloud_init", f"vm {vm.name}", {"fields": fields}, task=task)
        messages.success(
            request, "Saved. The guest is told at its next start." if task else "Nothing was changed."
        )
        return True
    return False


@allow("vms.change", VM, methods="POST")
def action(request: HttpRequest, vm: VM) -> HttpResponse:
    user, name = signed_in(request), request.POST.get("action", "")
    if name not in ACTIONS:
        raise Http404
    try:
        if name == "eject":
            task = changes.take_out(vm, user)
        elif name == "remove":
            task = changes.save(vm, {}, user)[1]
        else:
            task = changes.put_back(vm, user, again=name == "again")
    except (Invalid, Refused) as refused:
        messages.error(request, str(refused))
    else:
        audit.record(request, f"vms.cloud_init_{name}", f"vm {vm.name}", task=task)
        messages.success(request, ACTIONS[name].format(vm=vm.name))
    return redirect("vms:cloud_init", vm.name)


@allow("vms.change", VM)
@never_cache
def seed(request: HttpRequest, vm: VM) -> HttpResponse:
    """The seed itself, with the hash of the password in it."""
    vm = wanted.load(vm.pk)
    if not vm.cloud_init:
        raise Http404
    try:
        answer = HttpResponse(seeds.image(vm), content_type="application/octet-stream")
    except Invalid as invalid:
        messages.error(request, str(invalid))
        return redirect("vms:cloud_init", vm.name)
    answer["Content-Disposition"] = f'attachment; filename="{vm.name}-seed.iso"'
    return answer
