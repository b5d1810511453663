"""The API of hosts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Router, Schema, Status

from bhype.accounts import audit
from bhype.accounts.access import lookup, require, signed_in
from bhype.tasks.api import TaskOut
from bhype.tasks.models import Task
from bhype.tasks.registry import Operation

from . import operations, pci
from .models import Host

router = Router()


class HostOut(Schema):
    """memory, memory_free and arc in bytes; problems are sentences."""

    name: str
    is_online: bool
    seen_at: datetime | None
    release: str
    cpus: int
    memory: int
    memory_free: int
    arc: int
    load: float
    cpu_percent: float
    booted_at: datetime | None
    features: dict[str, Any]
    problems: list[str]


@router.get("", response=list[HostOut], summary="Hosts")
def list_hosts(request: HttpRequest) -> QuerySet[Host]:
    require(request, "hosts.view")
    return Host.objects.all()


@router.get("/{name}", response=HostOut, summary="One host")
def get_host(request: HttpRequest, name: str) -> Host:
    return lookup(signed_in(request), Host, "hosts.view", name=name)


class PciDeviceOut(Schema):
    """address: as pci0:1:0:0; place: as a vm.json's passthru has it; identity: vendor and device by number; kept:
    why the host needs it for itself; used_by: the VM that has it."""

    address: str
    place: str
    kind: str
    vendor: str
    name: str
    identity: str
    driver: str
    is_reserved: bool
    kept: str
    used_by: str


class AddressIn(Schema):
    address: str


@router.get("/{name}/pci", response=list[PciDeviceOut], summary="PCI devices of a host")
def list_pci_devices(request: HttpRequest, name: str) -> list[dict[str, Any]]:
    user = signed_in(request)
    host = lookup(user, Host, "hosts.view", name=name)
    may_see = user.can("vms.view")
    lines = [line for slot in pci.slots(host) for line in slot.lines]
    fields = set(PciDeviceOut.model_fields) - {"used_by"}
    return [
        {field: getattr(line.device, field) for field in fields}
        | {"used_by": line.owner.name if line.owner and may_see else ""}
        for line in lines
    ]


@router.post("/{name}/pci/reserve", response={202: TaskOut}, summary="Reserve a PCI device for VMs")
def reserve_pci_device(request: HttpRequest, name: str, body: AddressIn) -> Status[Task]:
    return _change_pci(request, name, body.address, operations.reserve_pci)


@router.post("/{name}/pci/release", response={202: TaskOut}, summary="Give a PCI device back to the host")
def release_pci_device(request: HttpRequest, name: str, body: AddressIn) -> Status[Task]:
    return _change_pci(request, name, body.address, operations.release_pci)


def _change_pci(
    request: HttpRequest, name: str, address: str, operation: Operation[operations.DeviceParams]
) -> Status[Task]:
    user = signed_in(request)
    host = lookup(user, Host, "hosts.change", name=name)
    device = get_object_or_404(host.pci_devices, address=address[:32].replace("\0", ""))
    task = operation.ask({"device_id": device.pk}, user)
    audit.record(request, operation.name, f"{host.name} {device.address}", task=task)
    return Status(202, task)
