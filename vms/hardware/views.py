"""The pages of a VM's hardware. Each makes a document and has it applied; none touches rows or the host itself."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters

from bhype.accounts import audit
from bhype.accounts.access import allow, signed_in
from bhype.tasks import Refused, ask
from bhype.ui.pages import posted, status_of
from bhype.ui.respond import toast
from bhype.vmrun.config import load as parse_json
from bhype.vmrun.devices import KINDS
from bhype.vmrun.problems import Unfit
from network.guests import find
from vms import edited, pages, plan, wanted
from vms.guests import endpoint
from vms.models import VM, Disk, Nic
from vms.wanted import STALE, WantedError

from . import pages as hardware_pages
from . import pending
from .forms import SECTIONS, HardwareForm
from .forms_devices import KIND_OF, device_form
from .ports import set_guard

Document = dict[str, Any]
REVISION_MAX = 2**31 - 1


def _document(vm: VM) -> tuple[VM, Document]:
    loaded = hardware_pages.load(vm)
    return loaded, plan.document(loaded)


def _page(request: HttpRequest, vm: VM, template: str, status: int = 200, **more: Any) -> HttpResponse:
    user = signed_in(request)
    context = {"row": pages.row_of(vm, user), "vm": vm, "tab": "hardware", **more}
    context["may_change_networks"] = user.can("network.change")
    return render(request, template, context, status=status)


@allow("vms.view", VM)
def hardware(request: HttpRequest, vm: VM) -> HttpResponse:
    loaded = pages.with_hardware(VM.objects.all()).prefetch_related(*wanted.PARTS).get(pk=vm.pk)
    user = signed_in(request)
    return _page(
        request,
        loaded,
        "vms/hardware.html",
        hardware=hardware_pages.of(loaded),
        may_root=user.can("vms.root"),
        shared_cpus=hardware_pages.edit_shares(loaded, user),
    )


# Forms.


@allow("vms.change", VM, methods="GET POST")
@sensitive_post_parameters("graphic.password")
def section(request: HttpRequest, vm: VM, section: str) -> HttpResponse:
    if section not in SECTIONS:
        raise Http404
    vm, document = _document(vm)
    form = SECTIONS[section](posted(request), vm=vm, user=signed_in(request), document=document)
    if section != "boot":
        return _form(request, vm, form, "vms/options_form.html")
    more = {
        "order": hardware_pages.order_of(vm, document),
        "is_ordered": any("bootindex" in entry for entry in document["emulations"]),
    }
    return _form(request, vm, form, "vms/boot.html", **more)


@allow("vms.change", VM, methods="GET POST")
def add(request: HttpRequest, vm: VM, device: str) -> HttpResponse:
    kind = KIND_OF.get(device, device)
    if kind not in KINDS:
        raise Http404
    vm, document = _document(vm)
    form = device_form(kind)(
        posted(request), vm=vm, user=signed_in(request), document=document, kind=kind, number=None
    )
    return _form(request, vm, form, "vms/device_form.html", is_new=True)


@allow("vms.change", VM, methods="GET POST")
def device(request: HttpRequest, vm: VM, slot: str) -> HttpResponse:
    vm, document = _document(vm)
    number = hardware_pages.number_of(document, slot.replace("-", ":"))
    if number is None:
        raise Http404
    entry = document["emulations"][number]
    kind = entry["device"]
    form = device_form(kind, entry)(
        posted(request), vm=vm, user=signed_in(request), document=document, kind=kind, number=number
    )
    return _form(request, vm, form, "vms/device_form.html", slot=slot)


def _form(request: HttpRequest, vm: VM, form: HardwareForm, template: str, **more: Any) -> HttpResponse:
    if form.is_bound and form.is_valid() and _saved(request, vm, form):
        return redirect("vms:hardware", vm.name)
    return _page(request, vm, template, status_of(form), form=form, groups=form.groups(), **more)


def _saved(request: HttpRequest, vm: VM, form: HardwareForm) -> bool:
    document = form.result()
    if form.errors:
        return False
    try:
        _apply(request, vm, document, sizes=form.sizes, revision=form.cleaned_data["revision"], form=form)
    except WantedError as error:
        form.refuse(error)
    except Refused as refused:
        form.add_error(None, str(refused))
    return not form.errors


def _apply(
    request: HttpRequest,
    vm: VM,
    document: Document,
    *,
    form: HardwareForm | None = None,
    said: str = "",
    **more: Any,
) -> None:
    """Save, write it down, and tell the person: ``said``, or when it applies. Raises WantedError and Refused."""
    user = signed_in(request)
    with transaction.atomic():
        change, task = wanted.save(vm, document, user, **more)
        now = form.live(change) if form is not None and vm.is_on else []
        for operation, params in now:
            ask(operation, params, user)
    if task is None:
        messages.info(request, "Nothing was changed.")
        return
    fields = [found.path for found in pending.differences(change.before, change.after)][:50]
    audit.record(request, "vms.change", f"vm {vm.name}", {"fields": fields}, task=task)
    later = vm.is_on and not now
    messages.success(request, said or ("Saved. It applies at the next start." if later else "Saved."))
    for note in change.notes:
        messages.info(request, note)


# Buttons.


def _revision(request: HttpRequest) -> int | None:
    text = request.POST.get("revision", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _change(
    request: HttpRequest, vm: VM, document: Document, back: str = "vms:hardware", *args: str, said: str = ""
) -> HttpResponse:
    """What a button does: saved or told why not, and back to the page."""
    try:
        _apply(request, vm, document, revision=_revision(request), said=said)
    except WantedError as error:
        words = STALE if error.is_stale else " ".join(fault.message for fault in error.faults)
        messages.error(request, f"Nothing was changed. {words[:1].upper()}{words[1:]}")
    except Refused as refused:
        messages.error(request, str(refused))
    return redirect(back, vm.name, *args)


@allow("vms.change", VM, methods="POST")
def unplug(request: HttpRequest, vm: VM) -> HttpResponse:
    """Take a device out: a disk stays as detached, a port is forgotten with its row."""
    vm, document = _document(vm)
    number = hardware_pages.number_of(document, request.POST.get("slot", ""))
    if number is None:
        raise Http404
    entry = document["emulations"].pop(number)
    nic = vm.nics.filter(mac=str(entry.get("mac", ""))).first()
    answer = _change(request, vm, document)
    if nic is not None:
        vm.nics.filter(pk=nic.pk, is_attached=False).delete()
    return answer


@allow("vms.change", VM, methods="POST")
def attach(request: HttpRequest, vm: VM) -> HttpResponse:
    """Plug in what is detached, in its old place where that is free."""
    vm, document = _document(vm)
    found = _spare(request, vm)
    entry = plan.disk_entry(found) if isinstance(found, Disk) else plan.nic_entry(vm, found)
    if hardware_pages.number_of(document, entry.get("slot", "")) is not None:
        del entry["slot"]
    document["emulations"].append(entry)
    return _change(request, vm, document)


@allow("vms.change", VM, methods="POST")
def forget(request: HttpRequest, vm: VM) -> HttpResponse:
    """Forget a detached port with its address. Disks have a page of their own for that: there is data on them."""
    vm, _ = _document(vm)
    found = _spare(request, vm)
    if isinstance(found, Disk):
        raise Http404
    found.delete()
    audit.record(request, "vms.change", f"vm {vm.name}", {"removed": found.mac})
    return redirect("vms:hardware", vm.name)


def _number(word: str | None) -> int:
    """The index of a disk or port that a request names; -1, which none has, for what is no number."""
    return int(word) if word and word.isascii() and word.isdigit() and len(word) < 5 else -1


def _spare(request: HttpRequest, vm: VM) -> Disk | Nic:
    number = _number(request.POST.get("index"))
    wanted_rows: Any = vm.disks if request.POST.get("what") == "disk" else vm.nics
    found: Disk | Nic | None = wanted_rows.filter(index=number, is_attached=False).first()
    if found is None:
        raise Http404
    return found


@allow("vms.change", VM, methods="POST")
def medium(request: HttpRequest, vm: VM) -> HttpResponse:
    """Take the medium out of a drive, or put one of the library in."""
    vm, document = _document(vm)
    number = hardware_pages.number_of(document, request.POST.get("slot", ""))
    if number is None or KINDS[document["emulations"][number]["device"]].group != "cd":
        raise Http404
    path = request.POST.get("path", "")
    document["emulations"][number] |= {"path": path or None}
    return _change(request, vm, document)


@allow("vms.change", VM, methods="POST")
def link(request: HttpRequest, vm: VM) -> HttpResponse:
    """Plug the cable of a port in or out, now."""
    nic = vm.nics.filter(index=_number(request.POST.get("index")), is_attached=True).first()
    state = request.POST.get("link", "")
    if nic is None or state not in {"up", "down"}:
        raise Http404
    words = "plugged in" if state == "up" else "unplugged"
    return _ask(
        request, vm, "vms.set_link", {"nic_id": nic.pk, "link": state}, f"The cable is being {words}."
    )


@allow("network.change", VM)
def port_menu(request: HttpRequest, vm: VM) -> HttpResponse:
    """What can be done to one of its ports, for the page of a switch."""
    found = [port for guest in find(endpoints=[endpoint(vm)]) for port in guest.ports]
    number = _number(request.GET.get("index"))
    port = next((one for one in found if one.index == number), None)
    if port is None:
        raise Http404
    return render(request, "vms/_port_menu.html", {"vm": vm, "port": port})


@allow("network.change", VM, methods="POST")
def guard(request: HttpRequest, vm: VM) -> HttpResponse:
    """Let a port send in the name of others, or no longer."""
    nic = vm.nics.filter(index=_number(request.POST.get("index")), is_attached=True).first()
    state = request.POST.get("guard", "")
    if nic is None or state not in {"on", "off"}:
        raise Http404
    set_guard(nic, guarded=state == "on")
    audit.record(request, "vms.guard", f"vm {vm.name}", {"mac": nic.mac, "guard": state})
    words = "sends in its own name only" if state == "on" else "may send in the name of others"
    return _told(request, vm, f"{nic.mac} {words}.")


@allow("vms.change", VM, methods="POST")
def order(request: HttpRequest, vm: VM) -> HttpResponse:
    vm, document = _document(vm)
    move = request.POST.get("move", "")
    if move not in {"up", "down", "none"}:
        raise Http404
    slot = request.POST.get("slot", "")
    changed = (
        hardware_pages.unordered(document)
        if move == "none"
        else hardware_pages.moved(document, slot, up=move == "up")
    )
    return _change(request, vm, changed, "vms:hardware_section", "boot")


@allow("vms.change", VM, methods="POST")
def revert(request: HttpRequest, vm: VM) -> HttpResponse:
    """Put one thing, or all, back as the guest runs with it."""
    vm, document = _document(vm)
    if vm.running is None or not vm.is_on:
        messages.info(request, "There is nothing to put back: it is off.")
        return redirect("vms:hardware", vm.name)
    try:
        path = request.POST.get("path", "")
        back = (
            pending.put_back(document, vm.running, path) if path else pending.all_back(document, vm.running)
        )
    except LookupError:
        messages.info(request, "That is as it runs already.")
        return redirect("vms:hardware", vm.name)
    return _change(request, vm, back, said="Put back as it runs.")


@allow("vms.change", VM, methods="POST")
def answer_edit(request: HttpRequest, vm: VM) -> HttpResponse:
    """Take over what somebody has written into vm.json, or have bHype's own written again."""
    vm, _ = _document(vm)
    take = request.POST.get("answer") == "take"
    try:
        task = (
            edited.take_over(vm, signed_in(request))[1]
            if take
            else edited.write_again(vm, signed_in(request))
        )
    except WantedError as error:
        faults = "; ".join(f"{fault.where}: {fault.field}: {fault.message}" for fault in error.faults)
        messages.error(request, f"It cannot be taken over. {faults}")
    except LookupError:
        messages.info(request, "It was answered already.")
    except Refused as refused:
        messages.error(request, str(refused))
    else:
        audit.record(
            request,
            "vms.change",
            f"vm {vm.name}",
            {"vm.json": edited.WORDS[take]},
            task=task,
        )
        messages.success(request, "Taken over." if take else "bHype's own vm.json is written again.")
    return redirect("vms:hardware", vm.name)


@allow("vms.change", VM, methods="POST")
def reset_vars(request: HttpRequest, vm: VM) -> HttpResponse:
    if vm.is_on:
        messages.error(request, f"{vm.name} is on. Stop it first.")
        return redirect("vms:hardware_section", vm.name, "boot")
    return _ask(request, vm, "vms.reset_vars", {"vm_id": vm.pk}, "Its UEFI variables are being reset.")


def _ask(request: HttpRequest, vm: VM, operation: str, params: dict[str, Any], text: str) -> HttpResponse:
    try:
        task = ask(operation, params, signed_in(request))
    except Refused as refused:
        return _told(request, vm, str(refused), "error")
    audit.record(request, operation, f"vm {vm.name}", task=task)
    return _told(request, vm, text)


def _told(request: HttpRequest, vm: VM, text: str, level: str = "success") -> HttpResponse:
    """Back to the VM's hardware; a page that asked by itself, as a switch's does, only tells."""
    if request.headers.get("HX-Request"):
        return toast(HttpResponse(status=204), text, level)
    (messages.error if level == "error" else messages.success)(request, text)
    return redirect("vms:hardware", vm.name)


# The document itself.


@allow("vms.change", VM, methods="GET POST")
def edit_raw(request: HttpRequest, vm: VM) -> HttpResponse:
    """vm.json as text: looked at first, with what would change, and then saved."""
    vm, document = _document(vm)
    before = json.dumps(plan.without_secrets(document), indent=2)
    text = request.POST.get("text", before)[: wanted.DOCUMENT_MAX]
    more: dict[str, Any] = {
        "text": text,
        "revision": _revision(request) or vm.revision,
        "faults": [],
        "changes": None,
    }
    if request.method == "POST":
        try:
            wish = parse_json(text)
            more["changes"] = pending.differences(document, wish)
            if "save" in request.POST:
                _apply(request, vm, wish, revision=_revision(request))
                return redirect("vms:raw", vm.name)
            _rehearse(vm, wish, request)
        except Unfit as unfit:
            more["faults"] = [wanted.Fault.of(problem) for problem in unfit.problems]
        except WantedError as error:
            more |= {"faults": error.faults, "is_stale": error.is_stale}
        except Refused as refused:
            more["faults"] = [wanted.Fault("vm", "", str(refused))]
    status = 409 if more.get("is_stale") else 422 if more["faults"] else 200
    return _page(request, vm, "vms/raw_edit.html", status, tab="raw", **more)


def _rehearse(vm: VM, wish: Document, request: HttpRequest) -> None:
    """Apply and take back: raises WantedError with all that is wrong."""
    with transaction.atomic():
        wanted.apply(vm, wish, signed_in(request), revision=_revision(request))
        transaction.set_rollback(True)
