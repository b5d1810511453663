"""What dnsmasq(8) has given, whether it runs, and whether it does what is wanted."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.db import transaction
from django.utils import timezone

from bhype.freebsd import dnsmasq, ifconfig, ps
from bhype.freebsd.command import ParseError
from bhype.hosts.checklist import Item
from bhype.hosts.models import Host
from bhype.hosts.observer import PERIOD, Sweep, ask_once
from bhype.live import publish
from bhype.tasks import ask
from network.models import Lease, Neighbour, Switch

from . import config, operations, parts, wanted
from .operations import INSTALL, digests, running

OPERATION = "network.ensure_dhcp"
# RFC 8415, 11: a DUID of the kinds 1 (with a time) and 3 ends in a MAC address; 0001 is Ethernet.
_DUID = re.compile(r"00:(?:01:00:01(?::[0-9a-f]{2}){4}|03:00:01):([0-9a-f]{2}(?::[0-9a-f]{2}){5})")
# dnsmasq writes its leases in place: for so many seconds they may be half written.
WRITING = 5.0
COLUMNS = ("mac", "hostname", "client_id", "expires_at")

# Of the observer's time, what comparing may take.
SHARE = 0.05


@dataclass(slots=True)
class Memory:
    """rest: for how many sweeps nothing is compared; asked: what was asked for last; read: by switch, the file of
    leases that was read last (mtime, size, inode)."""

    rest: int = 0
    asked: str = ""
    read: dict[int, tuple[int, ...]] = field(default_factory=dict)


def observe(sweep: Sweep) -> None:
    """Write leases and the state of each switch's service; have what is not as wanted mended.

    To compare it with what is wanted takes the longer the more guests there are, and is done the less often; at once
    all the same when a process has ended.
    """
    switches = [one for one in Switch.objects.filter(host=sweep.row) if parts.is_name(one.name)]
    if not any(map(wanted.is_served, switches)) and not sweep.host.listdir(parts.FOLDER):
        return
    for switch in switches:
        _leases(sweep, switch)
    memory = sweep.memory(Memory)
    memory.rest -= 1
    if memory.rest >= 0 and all(_is_quiet(sweep, switch) for switch in switches):
        return
    # Its own time: on a busy host it waits, too.
    began = time.thread_time()
    drift, restart = _drift(sweep, wanted.of(sweep.row))
    memory.rest = int((time.thread_time() - began) / SHARE / PERIOD)
    if drift:
        _ask(memory, drift, restart)


def _is_quiet(sweep: Sweep, switch: Switch) -> bool:
    """Whether what runs has not ended since the last look."""
    if switch.dhcp_state != "running" or not wanted.is_served(switch):
        return True
    processes = sweep.ask(ps.processes())
    return running(sweep.host, switch.name, processes).pid is not None


def _ask(memory: Memory, drift: str, restart: list[str]) -> None:
    """What was changed is applied at once; what was asked for before and did not help, only after a while."""
    if memory.asked == drift:
        ask_once(OPERATION, {"restart": restart} if restart else {})
        return
    memory.asked = drift
    ask(OPERATION, {"restart": restart} if restart else {}, None)


def _drift(sweep: Sweep, found: list[wanted.Wanted]) -> tuple[str, list[str]]:
    """What is not as wanted, as words that change with it, "" when all is right; and the switches whose dnsmasq runs
    without their interface: also when that is back by then, its multicast groups are gone."""
    processes = sweep.ask(ps.processes())
    interfaces = sweep.ask(ifconfig.list_interfaces())
    is_installed = sweep.host.exists(dnsmasq.PROGRAM)
    words: list[str] = []
    restart: list[str] = []
    for one in found:
        if one.service is None:
            operations.tell(one.switch, "off")
        elif not is_installed:
            operations.tell(one.switch, "failed", INSTALL)
        elif operations.has_interface(one.service, interfaces):
            words += _differs(sweep, one, processes)
        elif running(sweep.host, one.switch.name, processes).pid is not None:
            restart.append(one.switch.name)
        else:
            operations.tell(one.switch, "failed", operations.waits(one.service))
    kept = {one.switch.name for one in found if one.service is not None}
    words += operations.strangers(sweep.host, kept)
    return " ".join([*words, *(f"{name} without interface" for name in restart)]), restart


def _differs(sweep: Sweep, one: wanted.Wanted, processes: Iterable[ps.Process]) -> list[str]:
    assert one.service is not None  # noqa: S101 - whoever calls has looked
    name = one.switch.name
    try:
        marks = digests(config.build(one.service))
    except parts.Unwritable as error:
        operations.tell(one.switch, "failed", str(error))
        return []
    now = running(sweep.host, name, processes)
    if now.pid is None:
        if one.switch.dhcp_state == "running":
            operations.tell(one.switch, "failed", "dnsmasq has ended by itself; it is being started again.")
        return [f"{name} off {marks['conf']}"]
    if any(now.noted.get(key) != marks[key] for key in marks) or now.strays:
        return [f"{name} {marks['conf']} {marks['names']}"]
    return []


def _leases(sweep: Sweep, switch: Switch) -> None:
    """The rows of a switch's leases as its file has them, if that has changed."""
    path = parts.leases_path(switch.name)
    read = sweep.memory(Memory).read
    try:
        status = Path(sweep.host.path(path)).stat()
        mark: tuple[int, ...] = (status.st_mtime_ns, status.st_size, status.st_ino)
    except FileNotFoundError:
        mark = ()
    # Now and then all the same: whoever wrote the rows may have been another observer.
    if read.get(switch.pk) == mark and not sweep.every(30):
        return
    try:
        leases = dnsmasq.parse_leases(operations.read(sweep.host, path))
    except ParseError as error:
        if mark and time.time() - mark[0] / 1e9 < WRITING:
            return  # it was being written
        sweep.problem(f"The leases of {switch.name}: {error}")
        return
    store(switch, leases)
    read[switch.pk] = mark


def store(switch: Switch, leases: list[dnsmasq.Lease]) -> None:
    """Bring the rows to what is given."""
    macs = _macs(switch, leases)
    new: dict[str, dict[str, Any]] = {
        lease.address: {
            "mac": macs.get(lease.address, lease.mac),
            "hostname": lease.hostname,
            "client_id": lease.client_id,
            "expires_at": lease.expires_at,
        }
        for lease in leases
        if lease.expires_at is None or lease.expires_at > timezone.now()
    }
    had = {row.pop("address"): row for row in switch.leases.values("address", *COLUMNS)}
    if had == new:
        return
    with transaction.atomic():
        switch.leases.filter(address__in=[one for one in had if one not in new]).delete()
        Lease.objects.bulk_create(
            [Lease(switch=switch, address=address, **row) for address, row in new.items() if had.get(address) != row],
            update_conflicts=True, unique_fields=["switch", "address"], update_fields=COLUMNS,
        )  # fmt: skip
        publish(switch.subject, "leases", "addresses")


def _macs(switch: Switch, leases: list[dnsmasq.Lease]) -> dict[str, str]:
    """Who has the IPv6 addresses: as neighbours say, else as the clients' numbers do."""
    sixes = {lease.address: lease for lease in leases if ":" in lease.address}
    if not sixes:
        return {}
    found = {
        address: match[1]
        for address, lease in sixes.items()
        if (match := _DUID.fullmatch(lease.client_id.lower()))
    }
    seen = Neighbour.objects.filter(
        host=switch.host_id, interface=switch.interface, address__in=sixes
    ).values_list("address", "mac")
    return found | dict(seen)


def checklist(host: Host) -> list[Item]:
    """For the first-run list of the host's page."""
    served = [switch for switch in host.switches.all() if wanted.is_served(switch)]
    if not served:
        return []
    failed = [switch for switch in served if switch.dhcp_state != "running"]
    advice = next((switch.dhcp_reason for switch in failed if switch.dhcp_reason), "Wait for the observer.")
    return [Item("Guests get addresses and names", not failed, advice)]
