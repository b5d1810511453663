"""The API of a VM's traffic, below /api/v1/vms."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Query, Router

from bhype.accounts.access import lookup, signed_in
from network.traffic.api import TrafficOut, TrafficRangeIn, out
from vms.guests import port_key
from vms.models import VM

router = Router()


@router.get("/{name}/traffic", response=list[TrafficOut], summary="What went through a VM's network ports")
def vm_traffic(request: HttpRequest, name: str, query: Query[TrafficRangeIn]) -> list[dict[str, Any]]:
    vm = lookup(signed_in(request), VM, "vms.view", name=name)
    return out(vm.host_id, [port_key(nic) for nic in vm.nics.all()], query.range)
