"""What went through a VM's network ports."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from bhype.accounts.access import allow, signed_in
from bhype.ui.pages import render_page
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
    return render_page(request, "vms/traffic.html", context, part="traffic")
