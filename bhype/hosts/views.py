"""The pages of hosts."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect

from bhype.accounts import audit
from bhype.accounts.access import allow, signed_in
from bhype.tasks.errors import Refused
from bhype.tasks.registry import Operation
from bhype.ui.pages import render_page

from . import checklist, operations, pci
from .models import Host


@allow("hosts.view")
def hosts(request: HttpRequest) -> HttpResponse:
    return render_page(request, "hosts/hosts.html", {"hosts": Host.objects.all()}, part="hosts")


@allow("hosts.view", Host)
def detail(request: HttpRequest, host: Host) -> HttpResponse:
    items = checklist.items(host)
    is_ready = all(item.is_done for item in items)
    context = {"host": host, "items": items, "is_ready": is_ready, "abilities": checklist.abilities(host)}
    return render_page(request, "hosts/host.html", context, part="host")


@allow("hosts.view", Host)
def pci_devices(request: HttpRequest, host: Host) -> HttpResponse:
    user = signed_in(request)
    reserved = host.pci_devices.filter(is_reserved=True)
    context = {
        "host": host,
        "tab": "pci",
        "slots": pci.slots(host),
        "has_reserved": reserved.exists(),
        "why_not": "" if host.features.get("passthru") else pci.ALLOWING,
        "loader_lines": list(pci.loader_lines([one.place for one in reserved] or ["1/0/0"])),
        "may_change": user.can("hosts.change"),
        "may_see_vms": user.can("vms.view"),
    }
    return render_page(request, "hosts/pci.html", context, part="pci")


@allow("hosts.change", Host, methods="POST")
def reserve_pci(request: HttpRequest, host: Host) -> HttpResponse:
    return _change_pci(request, host, operations.reserve_pci, "is being reserved for VMs")


@allow("hosts.change", Host, methods="POST")
def release_pci(request: HttpRequest, host: Host) -> HttpResponse:
    return _change_pci(request, host, operations.release_pci, "is being given back to the host")


def _change_pci(
    request: HttpRequest, host: Host, operation: Operation[operations.DeviceParams], what: str
) -> HttpResponse:
    device = get_object_or_404(
        host.pci_devices, address=request.POST.get("address", "")[:32].replace("\0", "")
    )
    try:
        task = operation.ask({"device_id": device.pk}, signed_in(request))
    except Refused as refused:
        messages.error(request, str(refused))
    else:
        audit.record(request, operation.name, f"{host.name} {device.address}", task=task)
        messages.success(request, f"{device.name or device.address} {what}.")
    return redirect("hosts:pci", host.name)
