"""The tab "Firewall" of a VM: its forwards, and the rules about it, its tags and its switches."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from bhype.accounts.access import allow, signed_in
from network.firewall import pages as firewall
from vms import pages
from vms.guests import endpoint
from vms.models import VM


@allow("vms.view", VM)
def index(request: HttpRequest, vm: VM) -> HttpResponse:
    """Whoever owns the VM reads them; they are changed by those who may change the network."""
    user = signed_in(request)
    loaded = pages.with_hardware(VM.objects.all()).get(pk=vm.pk)
    found = firewall.lists(loaded.host, user, subjects(loaded), [endpoint(loaded)])
    context = {
        "row": pages.row_of(loaded, user), "vm": loaded, "tab": "firewall", "lines": found.rules,
        "forwards": found.forwards, "own": endpoint(loaded),
        "may_change": user.can("network.change"), "may_see": user.can("network.view"), "back": request.get_full_path(),
    }  # fmt: skip
    return render(request, "vms/firewall.html", context)


def subjects(vm: VM) -> set[str]:
    """The subjects whose rules are about this VM."""
    found = {endpoint(vm), *(f"tag:{tag.name}" for tag in vm.tags.all())}
    return found | {f"switch:{nic.switch.uuid}" for nic in vm.nics.all() if nic.switch is not None}
