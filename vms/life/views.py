"""The pages of a VM's life: rename, clone, start options, schedules, disks, deletion; and those of all VMs together."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db import transaction
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache

from bhype.accounts import audit
from bhype.accounts.access import allow, lookup, signed_in
from bhype.hosts.models import Host
from bhype.tasks import requested
from bhype.tasks.models import Schedule
from bhype.tasks.rows import schedule_rows
from bhype.ui.pages import posted, status_of
from storage.models import Dataset
from vms import pages, plan, sizes
from vms.models import VM, Disk
from vms.transfer import exports, lineage

from . import guard, once
from .forms import (
    CloneForm,
    DeleteForm,
    GiveForm,
    GrowForm,
    LifeForm,
    MoveForm,
    NameForm,
    ScheduleForm,
    StartForm,
    TypedForm,
    attach,
)
from .orphans import orphans


def _loaded(vm: VM) -> VM:
    return pages.with_hardware(VM.objects.all()).get(pk=vm.pk)


@allow("vms.change", VM, methods="GET POST")
def rename(request: HttpRequest, vm: VM) -> HttpResponse:
    form = NameForm(posted(request), vm=vm)
    reason = f"{vm.name} is on. Stop it first." if vm.is_on else ""
    if form.is_bound and form.is_valid() and not reason:
        name = form.cleaned_data["name"]
        said, params = f"{vm.name} is being renamed to {name}.", {"vm_id": vm.pk, "name": name}
        if task := requested.on_page(
            request, "vms.rename", params, what=f"vm {vm.name}", said=said, form=form
        ):
            return redirect("tasks:detail", task.pk)
    return render(
        request, "vms/rename.html", {"form": form, "vm": vm, "reason": reason}, status=status_of(form)
    )


@allow("vms.change", VM, methods="GET POST")
def clone(request: HttpRequest, vm: VM) -> HttpResponse:
    user = signed_in(request)
    if not user.can("vms.create"):
        raise Http404
    initial = {"snapshot": request.GET.get("snapshot", "")}
    form = CloneForm(posted(request), vm=vm, user=user, initial=initial)
    made = form.save() if form.is_bound and form.is_valid() else None
    if made:
        copy, task = made
        audit.record(request, "vms.clone", f"vm {vm.name}", {"name": copy.name}, task=task)
        messages.success(request, f"{copy.name} is being made from {vm.name}.")
        return redirect("vms:detail", copy.name)
    return render(request, "vms/clone.html", {"form": form, "vm": _loaded(vm)}, status=status_of(form))


@allow("vms.operate", VM, methods="GET POST")
def start(request: HttpRequest, vm: VM) -> HttpResponse:
    user = signed_in(request)
    form = StartForm(posted(request), vm=vm, user=user)
    reason = pages.row_of(_loaded(vm), user).refusals["start"] or ""
    if (
        form.is_bound
        and form.is_valid()
        and not reason
        and requested.on_page(
            request,
            "vms.start",
            form.params(),
            what=f"vm {vm.name}",
            said=f"{vm.name} is being started.",
            form=form,
        )
    ):
        return redirect("vms:detail", vm.name)
    context = {"form": form, "vm": vm, "reason": reason, "memory": sizes.human(vm.memory)}
    context |= {
        "others": sizes.human(guard.committed(vm.host, besides=vm)),
        "has_order": once.has_order(vm.host),
    }
    return render(request, "vms/start.html", context, status=status_of(form))


@allow("vms.view", VM, methods="GET")
def schedules(request: HttpRequest, vm: VM) -> HttpResponse:
    return _schedules(request, vm)


def _schedules(request: HttpRequest, vm: VM, **more: Any) -> HttpResponse:
    user, loaded = signed_in(request), _loaded(vm)
    subjects = [vm.subject, *(f"tag:{tag.name}" for tag in loaded.tags.all())]
    row = pages.row_of(loaded, user)
    context = {
        "row": row, "vm": loaded, "tab": "schedules", "life": LifeForm(instance=loaded),
        "form": ScheduleForm(user=user, vm=vm), "may_operate": row.may("vms.operate"),
        "schedules": schedule_rows(Schedule.objects.filter(subject__in=subjects).select_related("owner"), user),
    }  # fmt: skip
    return render(request, "vms/schedules.html", context | more, status=422 if more else 200)


@allow("vms.operate", VM, methods="POST")
def schedule(request: HttpRequest, vm: VM) -> HttpResponse:
    form = ScheduleForm(request.POST, user=signed_in(request), vm=vm)
    made = form.save() if form.is_valid() else None
    if made is None:
        return _schedules(request, vm, form=form)
    audit.record(request, "schedules.add", str(made))
    messages.success(request, f"{made.title}: {made.when}.")
    return redirect("vms:schedules", vm.name)


@allow("vms.change", VM, methods="POST")
def life(request: HttpRequest, vm: VM) -> HttpResponse:
    form = LifeForm(request.POST, instance=vm)
    if not form.is_valid():
        return _schedules(request, VM.objects.get(pk=vm.pk), life=form)
    form.write()
    audit.record(request, "vms.change", f"vm {vm.name}", {"fields": form.changed_data})
    messages.success(request, "Saved.")
    return redirect("vms:schedules", vm.name)


@allow("vms.delete", VM, methods="GET POST")
def delete(request: HttpRequest, vm: VM) -> HttpResponse:
    shown = pages.row_of(_loaded(vm), signed_in(request))
    family = lineage.family(signed_in(request), shown.vm)
    form = DeleteForm(posted(request), name=vm.name, problem=family.problem)
    reason = shown.refusals["delete"]
    if form.is_bound and form.is_valid() and not reason:
        params = {"vm_id": vm.pk} | ({"keep_disks": True} if form.cleaned_data["keep_disks"] else {})
        if requested.on_page(
            request,
            "vms.delete",
            params,
            what=f"vm {vm.name}",
            said=f"{vm.name} is being deleted.",
            form=form,
        ):
            return redirect("vms:list")
    context = {
        "form": form,
        "row": shown,
        "vm": shown.vm,
        "reason": reason,
        "removal": plan.removal(shown.vm),
        "family": family,
        "exports": exports.exports(vm),
    }
    return render(request, "vms/delete.html", context, status=status_of(form))


# Disks.


def _disk(request: HttpRequest, vm: VM, pk: int) -> Disk:
    """The disk, if it is the VM's; what is not looks as if it were not there."""
    disk = Disk.objects.select_related("vm__pool", "vm__host").filter(pk=pk, vm=vm).first()
    if disk is None:
        raise Http404
    return disk


@allow("vms.change", VM)
def disk(request: HttpRequest, vm: VM, pk: int) -> HttpResponse:
    return _disk_page(request, _disk(request, vm, pk))


def _disk_page(request: HttpRequest, found: Disk, **more: Any) -> HttpResponse:
    user = signed_in(request)
    name = f"{found.vm.name}/disk{found.index}"
    context = {
        "disk": found, "vm": found.vm, "name": name, "grow": GrowForm(disk=found),
        "move": MoveForm(disk=found, user=user), "remove": TypedForm(name=name),
        "stays": "It is protected." if found.vm.is_protected else
        "The VM is on: detach the disk, or stop the VM." if found.vm.is_on and found.is_attached else "",
    }  # fmt: skip
    return render(request, "vms/disk.html", context | more, status=422 if more else 200)


@allow("vms.change", VM, methods="POST")
def disk_change(request: HttpRequest, vm: VM, pk: int) -> HttpResponse:
    """``do``: grow, move, remove, attach or detach."""
    found, user = _disk(request, vm, pk), signed_in(request)
    wanted, what = request.POST.get("do", ""), f"vm {vm.name} disk {found.index}"
    if wanted in {"attach", "detach"}:
        with transaction.atomic():
            audit.record(
                request, f"vms.{wanted}", what, task=attach(found, user, attached=wanted == "attach")
            )
        messages.success(
            request, f"Disk {found.index} is {wanted}ed" + (", from the next start on." if vm.is_on else ".")
        )
        return redirect("vms:disk", vm.name, found.pk)
    chosen: dict[str, Form] = {
        "grow": GrowForm(request.POST, disk=found),
        "move": MoveForm(request.POST, disk=found, user=user),
        "remove": TypedForm(request.POST, name=f"{vm.name}/disk{found.index}"),
    }
    form = chosen.get(wanted)
    if form is None:
        return HttpResponseBadRequest("No such action.")
    if not form.is_valid():
        return _disk_page(request, found, **{wanted: form})
    params: dict[str, Any] = {"disk_id": found.pk}
    if wanted == "grow":
        params["size"] = form.cleaned_data["size"]
    elif wanted == "move":
        params["vm_id"] = form.cleaned_data["vm"].pk
    task = requested.on_page(
        request,
        f"vms.{wanted}_disk",
        params,
        what=what,
        said=f"{wanted.capitalize()}: disk {found.index}.",
        form=form,
    )
    return redirect("tasks:detail", task.pk) if task else _disk_page(request, found, **{wanted: form})


# All VMs.


@allow("hosts.view")
def autostart(request: HttpRequest) -> HttpResponse:
    vms = VM.objects.visible_to(signed_in(request)).filter(host=Host.objects.this())
    wanted = vms.filter(autostart=True).order_by("start_order", "name")
    on = vms.filter(state__in=plan.ON).order_by("-start_order", "-name")
    context = {"vms": wanted, "on": on, "may_change": signed_in(request).can("hosts.change")}
    return render(request, "vms/autostart.html", context)


@allow("hosts.change", methods="POST")
def autostart_do(request: HttpRequest) -> HttpResponse:
    """``do``: start what starts with the host, or stop all."""
    operation = {"start": "vms.autostart", "stop": "vms.stop_all"}.get(request.POST.get("do", ""))
    if operation is None:
        return HttpResponseBadRequest("No such action.")
    task = requested.on_page(request, operation, {}, what="all VMs", said="It has begun.")
    return redirect("tasks:detail", task.pk) if task else redirect("vms:autostart")


@allow("self", methods="GET POST")
@never_cache
def schedules_by_tag(request: HttpRequest) -> HttpResponse:
    user = signed_in(request)
    form = ScheduleForm(posted(request), user=user)
    made = form.save() if form.is_bound and form.is_valid() else None
    if made:
        audit.record(request, "schedules.add", str(made))
        messages.success(request, f"{made.title}: {made.when}.")
        return redirect("vms:schedules_by_tag")
    mine = Schedule.objects.visible_to(user).filter(operation__startswith="vms.").select_related("owner")
    context = {"form": form, "schedules": schedule_rows(mine[:500], user)}
    return render(request, "vms/schedules_by_tag.html", context, status=status_of(form))


def _orphan(request: HttpRequest, pk: int) -> Dataset:
    row = lookup(signed_in(request), Dataset, "storage.change", pk=pk)
    if row.pk not in {found.pk for found in orphans(Host.objects.this())}:
        raise Http404
    return row


@allow("storage.change")
def orphan(request: HttpRequest, pk: int) -> HttpResponse:
    """What was kept of a VM: its disks may go to another one."""
    row = _orphan(request, pk)
    return _orphan_page(request, row, GiveForm(orphan=row, user=signed_in(request)))


@allow("storage.change", methods="POST")
def orphan_give(request: HttpRequest, pk: int) -> HttpResponse:
    """Give one of its disks to a VM."""
    row = _orphan(request, pk)
    form = GiveForm(request.POST, orphan=row, user=signed_in(request))
    if form.is_valid():
        vm, disk = form.cleaned_data["vm"], form.cleaned_data["disk"]
        said, params = f"{vm.name} gets {disk.name}.", {"vm_id": vm.pk, "dataset_id": disk.pk}
        if task := requested.on_page(
            request, "vms.give_disk", params, what=f"vm {vm.name}", said=said, form=form
        ):
            return redirect("tasks:detail", task.pk)
    return _orphan_page(request, row, form)


def _orphan_page(request: HttpRequest, row: Dataset, give: GiveForm) -> HttpResponse:
    inside = Dataset.objects.filter(pool=row.pool, name__startswith=f"{row.name}/").order_by("name")
    context = {"give": give, "row": row, "inside": inside}
    return render(request, "vms/orphan.html", context, status=status_of(give))
