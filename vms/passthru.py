"""Which VM has which PCI device of its host, for the host's page."""

from __future__ import annotations

from bhype.hosts.models import Host
from bhype.hosts.pci import Owner
from storage.owners import address

from .models import Device


def owners(host: Host) -> dict[str, Owner]:
    """By address, as "pci0:1:0:0". Devices that are looked up by their numbers have no place yet."""
    rows = Device.objects.filter(vm__host=host, kind="passthru").select_related("vm")
    return {
        f"pci0:{src.replace('/', ':')}": Owner(row.vm.name, address("vms:detail", row.vm.name))
        for row in rows
        if (src := str(row.options.get("src", "")))
    }
