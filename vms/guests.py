"""VMs as guests of switches, for the rooms of networks, which know no VM."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from django.db.models import QuerySet
from django.db.models.fields.json import KT

from bhype.vmrun.nics import port_name
from network.guests import Guest, Port, Wanted
from network.models import Switch
from storage.owners import address

from .models import VM, Nic

KIND = "vm"
_COLUMNS = ("uuid", "name", "host_id", "owner_id", "state", "cloud_init", "revision")
Document = dict[str, Any]


def endpoint(vm: VM) -> str:
    """How rules name it."""
    return f"{KIND}:{vm.uuid}"


def port_key(nic: Nic) -> str:
    """How allocations and samples name it."""
    return f"nic:{nic.pk}"


def resolve(wanted: Wanted) -> Iterator[Guest]:
    """The VMs with network ports that are asked for, in a constant number of queries.

    Of one that runs, a port is as it was started: the guest sends with that MAC address until its next start, also from
    a port that is taken out by then.
    """
    nics = Nic.objects.all()
    if wanted.switches is not None:
        nics = nics.filter(switch__in=wanted.switches)
    if wanted.macs is not None:
        nics = nics.filter(mac__in=wanted.macs)
    rows = VM.objects.filter(pk__in=nics.values("vm"))
    if wanted.host_id is not None:
        rows = rows.filter(host=wanted.host_id)
    if wanted.endpoints is not None:
        rows = rows.filter(uuid__in=_uuids(wanted.endpoints))
    found, parts = list(rows.only(*_COLUMNS)), _Parts(rows.order_by().values("pk"))
    for guest in _guests(found, parts.nics, parts.tags):
        switches = {port.switch_id for port in guest.ports}
        if wanted.switches is None or switches & set(wanted.switches):
            yield guest


class _Parts:
    """Ports and tags of many VMs, by the number of the VM. As prefetch_related has them, in a third of the time."""

    def __init__(self, vms: QuerySet[VM, Any]) -> None:
        self.nics: dict[int, list[Nic]] = defaultdict(list)
        self.tags: dict[int, list[str]] = defaultdict(list)
        found = list(Nic.objects.filter(vm__in=vms).order_by("index"))
        switches = Switch.objects.in_bulk({nic.switch_id for nic in found} - {None})
        for nic in found:
            if nic.switch_id in switches:
                nic.switch = switches[nic.switch_id]
            self.nics[nic.vm_id].append(nic)
        marks = VM.tags.through.objects.filter(vm__in=vms).order_by("tag__name")
        for key, name in marks.values_list("vm_id", "tag__name"):
            self.tags[key].append(name)


def of(vms: list[VM]) -> Iterator[Guest]:
    """VMs that are loaded with nics__switch and tags as guests."""
    nics = {vm.pk: list(vm.nics.all()) for vm in vms}
    tags = {vm.pk: [tag.name for tag in vm.tags.all()] for vm in vms}
    return _guests(vms, nics, tags)


def _guests(vms: list[VM], nics: Mapping[int, list[Nic]], tags: Mapping[int, list[str]]) -> Iterator[Guest]:
    running = _running([vm for vm in vms if vm.is_on])
    for vm in vms:
        ports = _ports(vm, nics[vm.pk], running.get(vm.pk))
        yield Guest(
            KIND, endpoint(vm), vm.name, address("vms:detail", vm.name), vm.host_id, tuple(tags[vm.pk]),
            vm.is_on, vm.owner_id, tuple(ports),
        )  # fmt: skip


def _uuids(endpoints: tuple[str, ...]) -> list[uuid.UUID]:
    found = []
    for word in endpoints:
        kind, _, value = word.partition(":")
        with suppress(ValueError):
            found += [uuid.UUID(value)] if kind == KIND else []
    return found


def _running(vms: list[VM]) -> dict[int, list[Document]]:
    """The devices with which VMs were started, of those that have been changed since. Few have; descriptions of
    others are not read unless they are there already."""
    known = {vm.pk: vm.running for vm in vms if "running" not in vm.get_deferred_fields()}
    if others := [vm.pk for vm in vms if vm.pk not in known]:
        rows = VM.objects.filter(pk__in=others, running__isnull=False)
        told = rows.values_list("pk", "revision", KT("running__bhype__revision"))
        changed = [key for key, revision, started in told if str(revision) != str(started)]
        known = dict(VM.objects.filter(pk__in=changed).values_list("pk", "running")) if changed else {}
    return {
        key: [entry for entry in running.get("emulations") or () if isinstance(entry, dict)]
        for key, running in known.items()
        if isinstance(running, dict)
    }


def _ports(vm: VM, nics: list[Nic], running: list[Document] | None) -> Iterator[Port]:
    by_tap = {entry.get("name"): entry for entry in running or ()}
    statics = addresses_of(vm.cloud_init)
    for nic in nics:
        started = by_tap.get(nic.port)
        if not (nic.is_attached or started):
            continue
        options = nic.options if started is None else started
        yield Port(
            key=port_key(nic),
            index=nic.index,
            switch_id=nic.switch_id,
            mac=str((started or {}).get("mac") or nic.mac).lower(),
            interface=interface_of(nic, started),
            may_spoof=nic.may_spoof,
            static=statics.get(nic.index, ()),
            is_linked=options.get("link", "up") == "up",
            is_private=options.get("private") is True,
            vlan=options.get("vlan"),
            tagged=str(options.get("tagged") or ""),
        )


def interface_of(nic: Nic, started: Document | None = None) -> str:
    """What of the host is plugged into the switch for it; "" where that is no interface. started: as it runs."""
    if nic.switch is None or nic.switch.technology != Switch.Technology.BRIDGE:
        return ""
    options = nic.options if started is None else started
    has_rate = any(options.get(key) for key in ("rate_in", "rate_out"))
    return port_name(nic.tap) if has_rate else nic.tap


def addresses_of(cloud_init: Document) -> dict[int, tuple[str, ...]]:
    """The addresses, without prefix lengths, that the guest is told to take, by the number of the port."""
    found: dict[int, tuple[str, ...]] = {}
    networks = cloud_init.get("networks") if isinstance(cloud_init, dict) else None
    for network in networks if isinstance(networks, list) else ():
        if isinstance(network, dict) and type(network.get("nic")) is int:
            words = network.get("addresses") or ()
            found[network["nic"]] = tuple(str(word).partition("/")[0] for word in words)
    return found
