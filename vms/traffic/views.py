"""What went through a VM's network ports."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from bhype.accounts.access import allow, signed_in
from network.traffic import pages as traffic
from vms import pages
from vms.models import VM

from .ports import shown


@allow("vms.view", VM)
def index(request: HttpRequest, vm: VM) -> HttpResponse:
    wanted = traffic.range_of(request.GET.get("range"))
    loaded = pages.with_hardware(VM.objects.all()).get(pk=vm.pk)
    context = {
        "row": pages.row_of(loaded, signed_in(request)),
        "vm": loaded,
        "tab": "traffic",
        "wanted": wanted,
        "ranges": traffic.TITLES,
        "figures": traffic.figures(vm.host_id, shown(loaded), wanted),
    }
    fragment = request.headers.get("HX-Target") == "traffic"
    return render(request, f"vms/{'_traffic' if fragment else 'traffic'}.html", context)
