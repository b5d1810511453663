"""The pages of VMs. Each view loads, checks, asks for an operation, and answers; none touches a host."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters
from django_htmx.http import trigger_client_event

from bhype.accounts import audit
from bhype.accounts.access import allow, signed_in
from bhype.accounts.models import User
from bhype.console.models import Viewer
from bhype.hosts.models import Host
from bhype.tasks.models import Task
from bhype.ui.pages import posted, status_of, wants
from bhype.ui.respond import toast

from . import pages, plan
from .forms import EditVMForm, VMForm
from .keys import locking
from .life import bulk as many
from .listing import SORT_CHOICES, listing
from .models import VM, OsPreset
from .small_forms import BulkForm, NotesForm
from .snapshots import pages as snapshots_pages
from .transfer import lineage

# What is kept when the operating system is chosen anew.
CREATE_KEPT = ("preset", "name", "iso", "switch", "owner", "pool", "tags", "notes")


def _task_url(task: Task | None) -> str:
    return reverse("tasks:detail", args=[task.pk]) if task else ""


def _loaded(vm: VM) -> VM:
    """The VM with all that its pages show."""
    return pages.with_hardware(VM.objects.all()).get(pk=vm.pk)


@allow("self")
def index(request: HttpRequest) -> HttpResponse:
    user, is_table = signed_in(request), wants(request, "vm-table")
    found = listing(user, request.GET, with_choices=not is_table)
    context = {"listing": found, "sort_choices": SORT_CHOICES, "may_create": user.can("vms.create")}
    context["may_see_host"] = user.can("hosts.view")
    return render(request, "vms/_table.html" if is_table else "vms/list.html", context)


@allow("vms.view", VM)
def row(request: HttpRequest, vm: VM) -> HttpResponse:
    return render(request, "vms/_row.html", {"row": pages.row_of(pages.shown(vm), signed_in(request))})


@allow("vms.view", VM)
def menu(request: HttpRequest, vm: VM) -> HttpResponse:
    return render(request, "vms/_menu.html", {"row": pages.row_of(vm, signed_in(request))})


@allow("vms.view", VM)
def head(request: HttpRequest, vm: VM) -> HttpResponse:
    return render(request, "vms/_head.html", {"row": pages.row_of(_loaded(vm), signed_in(request))})


@allow("vms.create", methods="GET POST")
@sensitive_post_parameters("passphrase")
def create(request: HttpRequest) -> HttpResponse:
    user = signed_in(request)
    begun = {key: value for key in CREATE_KEPT if (value := request.GET.get(key)) and "\0" not in value}
    form = VMForm(posted(request), user=user, initial=begun)
    made = form.save(user) if form.is_bound and form.is_valid() else None
    if made:
        vm, task = made
        audit.record(request, "vms.create", f"vm {vm.name}", task=task)
        messages.success(request, f"{vm.name} is being created.")
        return redirect("vms:detail", vm.name)
    context = {
        "form": form,
        "capacity": pages.capacity(Host.objects.this()),
        "presets": OsPreset.objects.all(),
    }
    return render(request, "vms/create.html", context, status=status_of(form))


@allow("vms.change", VM, methods="GET POST")
def edit(request: HttpRequest, vm: VM) -> HttpResponse:
    user = signed_in(request)
    form = EditVMForm(posted(request), user=user, vm=vm)
    saved = form.save(user) if form.is_bound and form.is_valid() else None
    if saved:
        audit.record(request, "vms.change", f"vm {vm.name}", {"fields": form.changed_data}, task=saved[1])
        messages.success(
            request, "Saved." + (" It applies at the next start." if vm.is_on and saved[1] else "")
        )
        return redirect("vms:detail", vm.name)
    context = {"form": form, "vm": vm, "capacity": pages.capacity(vm.host)}
    return render(request, "vms/edit.html", context, status=status_of(form))


def _tab(request: HttpRequest, vm: VM, tab: str, **more: Any) -> HttpResponse:
    context = {"row": pages.row_of(vm, signed_in(request)), "vm": vm, "tab": tab, **more}
    return render(request, f"vms/{tab}.html", context)


@allow("vms.view", VM)
def detail(request: HttpRequest, vm: VM) -> HttpResponse:
    user, loaded = signed_in(request), pages.shown(vm)
    return _tab(
        request,
        loaded,
        "overview",
        notes=NotesForm(initial={"notes": vm.notes, "revision": vm.revision}),
        tasks=pages.tasks_of(vm, user, 5),
        family=lineage.family(user, loaded),
        key=locking.key_of(loaded),
        snapshot=snapshots_pages.newest(loaded),
        ports=lineage.ports(user, loaded),
    )


@allow("vms.view", VM)
def tasks(request: HttpRequest, vm: VM) -> HttpResponse:
    return _tab(request, _loaded(vm), "tasks", tasks=pages.tasks_of(vm, signed_in(request)))


@allow("vms.view", VM)
def access(request: HttpRequest, vm: VM) -> HttpResponse:
    viewers = Viewer.objects.filter(subject=vm.subject).select_related("user")
    return _tab(request, _loaded(vm), "access", viewers=viewers, roles=User.Role)


@allow("vms.view", VM)
def raw(request: HttpRequest, vm: VM) -> HttpResponse:
    loaded = _loaded(vm)
    document = json.dumps(plan.without_secrets(plan.document(loaded)), indent=2)
    return _tab(request, loaded, "raw", document=document, command=pages.command_line(loaded))


@allow("vms.change", VM, methods="POST")
def notes(request: HttpRequest, vm: VM) -> HttpResponse:
    form = NotesForm(request.POST)
    if not form.is_valid() or not form.save(vm):
        context = {"notes": form, "vm": vm, "may_change": True}
        return render(request, "vms/_notes.html", context, status=409 if form.non_field_errors() else 422)
    audit.record(request, "vms.change", f"vm {vm.name}", {"fields": ["notes"]})
    if not request.headers.get("HX-Request"):
        return redirect("vms:detail", vm.name)
    vm.refresh_from_db()
    form = NotesForm(initial={"notes": vm.notes, "revision": vm.revision})
    return toast(
        render(request, "vms/_notes.html", {"notes": form, "vm": vm, "may_change": True}), "Notes saved."
    )


@allow("vms.operate", VM, methods="POST")
def action(request: HttpRequest, vm: VM) -> HttpResponse:
    chosen = pages.POWER.get(request.POST.get("action", ""))
    if chosen is None:
        return HttpResponseBadRequest("No such action.")
    (outcome,) = many.act(chosen.name, [vm], signed_in(request))
    if outcome.error:
        return _acted(request, vm, f"{vm.name}: {outcome.error}", "error")
    audit.record(request, chosen.operation, f"vm {vm.name}", task=outcome.task)
    return _acted(request, vm, f"{chosen.label}: {vm.name}", "success", _task_url(outcome.task))


def _acted(request: HttpRequest, vm: VM, text: str, level: str, href: str = "") -> HttpResponse:
    """The changed row or header with a toast; without htmx, the VM's page with a message."""
    if not request.headers.get("HX-Request"):
        messages.add_message(request, messages.ERROR if level == "error" else messages.SUCCESS, text)
        return redirect("vms:detail", vm.name)
    fragments = {f"vm-{vm.pk}": "vms/_row.html", "vm-head": "vms/_head.html"}
    template = fragments.get(request.headers.get("HX-Target", ""))
    if template is None:
        return toast(HttpResponse(status=204), text, level, href)
    fragment = render(request, template, {"row": pages.row_of(pages.shown(vm), signed_in(request))})
    return toast(fragment, text, level, href)


@allow("self", methods="POST")
def bulk(request: HttpRequest) -> HttpResponse:
    form = BulkForm(request.POST, user=signed_in(request))
    template = "vms/_bulk.html" if request.headers.get("HX-Request") else "vms/bulk.html"
    if not form.is_valid():
        return render(request, template, {"form": form}, status=422)
    name, vms, user = form.cleaned_data["action"], list(form.vms()), signed_in(request)
    if name in pages.POWER:
        outcomes = many.act(name, vms, user)
    elif name in {"mark", "unmark"}:
        outcomes = many.mark_production(vms, user, remove=name == "unmark")
    else:
        outcomes = many.tag(form.cleaned_data["tags"], vms, user, remove=name == "untag")
    for outcome in outcomes:
        if not outcome.error:
            audit.record(request, f"vms.{name}", f"vm {outcome.vm.name}", task=outcome.task)
    response = render(request, template, {"outcomes": outcomes, "label": many.LABELS[name]})
    return trigger_client_event(response, "vms-changed", after="settle")
