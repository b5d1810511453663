"""What binds addresses to the ports of VMs: they are given, follow a port to another switch, and go with it.

What a guest is told by cloud-init stands in VM.cloud_init; that the address is its own stands in an allocation, so that
nobody else gets it. Nothing here changes a guest: it has what it was told at its first boot.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

from django.db import transaction

from bhype.cloudinit import Invalid, Problem
from bhype.tasks import Refused
from network.addresses import ranges
from network.addresses.allocate import (
    Taken,
    allocate,
    free_count,
    next_free,
    release,
    release_ports,
    static_spans,
)
from network.addresses.known import plain
from network.addresses.ranges import Unfit
from network.models import Allocation, Switch
from vms.guests import addresses_of, port_key
from vms.models import VM, Nic

Document = dict[str, Any]
Kind = Allocation.Kind
# How a new VM comes to its address, beside DHCP and one that is typed.
POOL, LEASE = "pool", "lease"
FIELD = "addressing"


# A new VM.


def begin(vm: VM, how: str) -> None:
    """Give the first port of a new VM its address: POOL, told to the guest by cloud-init, or LEASE, by DHCP.

    vm: saved, with nics__switch; its cloud_init is changed, not saved. Raises Refused, beside FIELD."""
    nic = next((nic for nic in vm.nics.all() if nic.is_attached), None)
    if nic is None or nic.switch is None:
        raise Refused("invalid", "It has no port on a switch that could have an address.", FIELD)
    if how == POOL and not vm.cloud_init:
        raise Refused("invalid", "Nothing in this guest reads what it is told. Take a static lease.", FIELD)
    if how == LEASE and not nic.switch.has_dhcp:
        raise Refused("invalid", room_problem(nic.switch, how, 1), FIELD)
    try:
        if how == LEASE:
            allocate(nic.switch, port_key(nic), Kind.LEASE)
        else:
            given = [allocate(nic.switch, port_key(nic), Kind.STATIC, family).address
                     for family in families(nic.switch)]  # fmt: skip
            vm.cloud_init = with_network(vm.cloud_init, network_of(nic.switch, nic.index, given))
    except Unfit as unfit:
        code, status = ("conflict", 409) if isinstance(unfit, Taken) else ("invalid", 422)
        raise Refused(code, str(unfit), FIELD, status) from unfit


def room_problem(switch: Switch, how: str, count: int) -> str:
    """Why not so many VMs can have their addresses on the switch that way, as a sentence; "" when they can."""
    if how == LEASE and not switch.has_dhcp:
        return f"{switch.name} has no DHCP that could give a static lease."
    for family in families(switch) if how == POOL else [4]:
        free = free_count(switch, family, count)
        if free < count:
            what = f"free IPv{family} address{'' if free == 1 else 'es'}"
            return f"The pools of {switch.name} have {free or 'no'} {what}; needed: {count}."
    return ""


def is_static(switch: Switch) -> bool:
    """Whether addresses on the switch come from bHype alone: there are pools for that, and no DHCP."""
    return not switch.has_dhcp and bool(static_spans(switch, 4) or static_spans(switch, 6))


def families(switch: Switch) -> list[int]:
    """Those of which a switch has static pools; IPv4 where it has none, which tells what is missing."""
    return [family for family in (4, 6) if static_spans(switch, family)] or [4]


def network_of(switch: Switch, index: int, addresses: Iterable[str]) -> Document:
    """A port of cloud-init's settings with these addresses, and with what the switch has: router and name servers.

    An address outside of the switch's subnets stands alone."""
    found: Document = {"nic": index, "addresses": []}
    for word in addresses:
        address = ip_address(word)
        subnet = ranges.subnet_of(switch, address)
        length = subnet.network.prefixlen if subnet else address.max_prefixlen
        found["addresses"].append(f"{address}/{length}")
        if subnet is not None:
            found |= _router(switch, subnet)
    return found | _servers(switch)


def _router(switch: Switch, subnet: ranges.Interface) -> Document:
    if subnet.version == 6:
        return {"gateway6": str(subnet.ip)} if switch.kind == Switch.Kind.NAT else {}
    router = switch.router
    return {"gateway4": router} if router and ip_address(router) in subnet.network else {}


def _servers(switch: Switch) -> Document:
    """Who answers for names: the host itself, or those that the switch's guests are told to ask."""
    if switch.has_dns:
        own = [str(one.ip) for one in ranges.subnets(switch)]
        return {"nameservers": own, "search": [switch.guest_domain]} if own else {}
    servers = []
    for word in switch.upstreams:
        with suppress(ValueError):
            servers.append(str(ip_address(str(word))))
    return {"nameservers": servers} if servers else {}


def with_network(settings: Document, network: Document) -> Document:
    """Settings of cloud-init with this port in place of what it had."""
    others = [each for each in settings.get("networks", ()) if each.get("nic") != network["nic"]]
    return {**settings, "networks": sorted([network, *others], key=lambda each: each["nic"])}


def proposals(vm: VM) -> dict[int, Document]:
    """For each port the settings with which it would have the next free addresses of its switch's pools."""
    found = {}
    for nic in vm.nics.all():
        if nic.switch is not None and nic.is_attached:
            free = [next_free(nic.switch, family) for family in families(nic.switch)]
            if addresses := list(filter(None, free)):
                found[nic.index] = network_of(nic.switch, nic.index, addresses)
    return found


# A VM that is changed.


def retold(vm: VM, before: Document) -> None:
    """The guest is told other addresses: those are its own now, and what it is not told any more is free.

    vm: with nics__switch and the new settings; before: the settings that it had. Addresses outside of the switch's
    subnets are nobody's. Raises Invalid."""
    was, now = addresses_of(before), addresses_of(vm.cloud_init)
    problems = []
    for nic in vm.nics.all():
        if nic.switch is None:
            continue
        old = {plain(word) for word in was.get(nic.index, ())}
        new = list(dict.fromkeys(plain(word) for word in now.get(nic.index, ())))
        mine = Allocation.objects.filter(switch=nic.switch, port=port_key(nic)).select_related("switch")
        if dropped := old - set(new):
            release(mine.filter(kind=Kind.STATIC, address__in=dropped))
        has = set(mine.values_list("address", flat=True)) if set(new) - old else set()
        for address in new:
            if address not in old and address not in has:
                problems += _told(nic, nic.switch, address)
    if problems:
        raise Invalid(problems)


def _told(nic: Nic, switch: Switch, address: str) -> list[Problem]:
    if ranges.subnet_of(switch, ip_address(address)) is None:
        return []
    try:
        allocate(switch, port_key(nic), Kind.STATIC, address=address)
    except Unfit as unfit:
        return [Problem("networks.addresses", str(unfit))]
    return []


def strays(vm: VM) -> list[str]:
    """What the guest is told that is in no subnet of the port's switch, though the switch has some: right for a second
    network on the same wire, else a slip. vm: with nics__switch."""
    told = addresses_of(vm.cloud_init)
    plugged = [(nic.index, nic.switch) for nic in vm.nics.all() if nic.switch is not None]
    return list(
        filter(None, (_stray(switch, word) for index, switch in plugged for word in told.get(index, ())))
    )


def _stray(switch: Switch, word: str) -> str:
    address = ip_address(word)
    own = [one.network for one in ranges.subnets(switch) if one.version == address.version]
    if not own or any(address in network for network in own):
        return ""
    return (
        f"{word} is not in the subnet of {switch.name}, {' or '.join(map(str, own))}: the host does not answer it"
        " there, and nothing keeps others from taking it."
    )


def moved(vm: VM) -> tuple[str, ...]:
    """Ports of a VM may be on other switches now: what they had there is free, and the like is given here.

    vm: with nics__switch. Returns what has become of it, as sentences."""
    nics = {port_key(nic): nic for nic in vm.nics.all()}
    rows = Allocation.objects.filter(port__in=nics).select_related("switch")
    notes = []
    for row in rows:
        nic = nics[row.port]
        if row.switch_id != nic.switch_id:
            release([row])
            notes.append(_follow(row, nic))
    return tuple(notes)


def _follow(row: Allocation, nic: Nic) -> str:
    """Give a port on its new switch what it had on the old one, as far as that can be."""
    was, switch = f"{row.address} of {row.switch.name}", nic.switch
    if switch is None:
        return f"{was} is free again."
    address = ip_address(row.address)
    fits = ranges.subnet_of(switch, address) is not None
    try:
        if row.kind == Kind.LEASE:
            new = allocate(switch, row.port, Kind.LEASE, address.version, note=row.note)
            return f"Its static lease is {new.address} of {switch.name} now; {was} is free again."
        if fits:
            allocate(switch, row.port, row.kind, address=row.address, note=row.note)
            return f"It keeps {row.address} on {switch.name}."
    except Unfit as unfit:
        return f"{was} is free again, and there is nothing in its place: {unfit}"
    return f"{was} is free again. The guest has it set: set another there, for {switch.name}."


def copied(source: VM, copy: VM) -> None:
    """A copy gets static leases of its own where its original has some, as far as there are free addresses."""
    pairs = {
        port_key(old): new for old in source.nics.all() for new in copy.nics.all() if old.index == new.index
    }
    for row in Allocation.objects.filter(port__in=pairs, kind=Kind.LEASE).order_by("pk"):
        nic = pairs[row.port]
        if nic.switch is not None and nic.switch_id == row.switch_id:
            with suppress(Unfit):
                allocate(nic.switch, port_key(nic), Kind.LEASE, ip_address(row.address).version)


def forget(sender: Any, instance: Nic, **_: Any) -> None:
    """A port is gone, with its VM or alone: what it had is free. For Django's post_delete."""
    with transaction.atomic():
        release_ports([port_key(instance)])
