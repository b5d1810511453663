"""A VM's network ports as pages of traffic show them."""

from __future__ import annotations

from typing import Any

from bhype.vmrun import fields
from network.traffic.pages import Shown
from vms.guests import interface_of, port_key
from vms.models import VM, Nic


def shown(vm: VM) -> list[Shown]:
    """Its ports in their order, with their limits."""
    return [_shown(nic) for nic in vm.nics.all()]


def _shown(nic: Nic) -> Shown:
    where = f" on {nic.switch.name}" if nic.switch else ""
    note = f"{nic.mac}. Received and sent by the guest."
    if nic.options.get("link") == "down":
        note += " Its cable is unplugged."
    if not interface_of(nic):
        note += " It has no interface on the host, so that nothing is counted."
    rates = _rate(nic.options.get("rate_in")), _rate(nic.options.get("rate_out"))
    return Shown(port_key(nic), f"Port {nic.index}{where}", note, rates)


def _rate(value: Any) -> int | None:
    """Bits per second of an option of vm.json; None for no limit."""
    try:
        return fields.rate(value) if value else None
    except ValueError:
        return None
