"""What this host is and how it does: CPU, memory, ARC, load, and whether bhyve can run here."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction

from bhype.freebsd import ifconfig, kld, pciconf, sysctl
from bhype.live import publish
from bhype.tasks import schedules
from bhype.tasks.queue import mark_interrupted, repeat_recoveries

from . import pci
from .models import Host
from .observer import Sweep, ask_once, booted

MODULES = ("vmm", "nmdm", "if_bridge", "if_tap")
FIRMWARE = "/usr/local/share/uefi-firmware/BHYVE_UEFI_CODE.fd"
# kern.boottime moves a little when the clock is corrected; no host boots twice in a minute.
SAME_BOOT = timedelta(seconds=60)
NAMES = (
    "kern.osrelease", "kern.boottime", "kern.cp_time", "vm.loadavg", "hw.ncpu", "hw.physmem", "hw.pagesize",
    "vm.stats.vm.v_free_count", "vm.stats.vm.v_inactive_count", "vm.stats.vm.v_laundry_count",
    "kstat.zfs.misc.arcstats.size", "hw.vmm.maxcpu",
)  # fmt: skip
SIMULATED = "lab.simulated"
VISIBLE = ("release", "cpus", "memory", "features", "booted_at")
COLUMNS = (*VISIBLE, "memory_free", "arc", "load", "cpu_percent")
PCI_COLUMNS = (
    "domain", "bus", "slot", "function", "class_code", "kind", "vendor", "name", "identity", "driver",
    "is_reserved", "kept",
)  # fmt: skip
# In sweeps: half a minute.
PCI_EVERY = 15


class Ticks(list[int]):
    """The last kern.cp_time: load is the difference of two."""


class Clock(list[float]):
    """How far the clock was from one that nobody sets, at the last looks."""

    def steps(self) -> list[timedelta]:
        """By how much it was set since the last look, and since the one before: it may be set between a look and the
        question for the boot."""
        self.append(time.time() - time.monotonic())
        del self[:-3]
        return [timedelta(seconds=self[-1] - earlier) for earlier in self[:-1]]


def observe(sweep: Sweep) -> None:
    """Write this host's columns; notice a boot; have missing kernel modules loaded."""
    mark_interrupted()
    repeat_recoveries()
    row = sweep.row
    before = [getattr(row, column) for column in VISIBLE]
    gauges = _gauges(row)
    last_boot = row.booted_at
    if sweep.every(15) or not row.features.get("modules"):
        _observe_features(sweep)
    _read(row, sweep.ask(sysctl.read(*NAMES)), sweep.memory(Ticks))
    with transaction.atomic():
        row.save(update_fields=COLUMNS)
        if row.booted_at and has_booted(last_boot, row.booted_at, sweep.memory(Clock).steps()):
            booted(row)
        if before != [getattr(row, column) for column in VISIBLE] or (
            sweep.every(3) and gauges != _gauges(row)
        ):
            publish(f"host:{row.pk}")


def has_booted(before: datetime | None, now: datetime, steps: list[timedelta]) -> bool:
    """Whether the moment of the boot is another one: it moves along when the clock is set (tc_setclock() in FreeBSD's
    kern_tc.c), by one of ``steps``."""
    if before is None:
        return True
    return all(abs(now - before - step) > SAME_BOOT for step in (timedelta(), *steps))


def observe_pci(sweep: Sweep) -> bool:
    """Write the rows of this host's PCI devices; they change seldom."""
    if not sweep.every(PCI_EVERY) and sweep.row.pci_devices.exists():
        return False
    interfaces = sweep.ask(ifconfig.list_interfaces())
    wanted = {one.selector: _pci_columns(one, interfaces) for one in sweep.ask(pciconf.devices())}
    had = {row.pop("address"): row for row in sweep.row.pci_devices.values("address", *PCI_COLUMNS)}
    if wanted == had:
        return True
    with transaction.atomic():
        sweep.row.pci_devices.exclude(address__in=wanted).delete()
        for address, columns in wanted.items():
            if had.get(address) != columns:
                sweep.row.pci_devices.update_or_create(address=address, defaults=columns)
        publish(f"host:{sweep.row.pk}")
    return True


def _pci_columns(device: pciconf.PciDevice, interfaces: list[ifconfig.Interface]) -> dict[str, Any]:
    return {
        "domain": device.domain,
        "bus": device.bus,
        "slot": device.slot,
        "function": device.function,
        "class_code": device.class_code,
        "kind": ", ".join(word for word in (device.class_name, device.subclass_name) if word)[:100],
        "vendor": device.vendor_name[:200],
        "name": device.device_name[:200],
        "identity": f"{device.vendor:04x}:{device.device:04x}",
        "driver": pci.driver_name(device)[:40],
        "is_reserved": device.is_reserved,
        "kept": pci.kept(device, interfaces)[:200],
    }


def run_schedules(sweep: Sweep) -> None:
    """Ask for the scheduled operations of this host that are due."""
    schedules.tick(sweep.now)


def _gauges(row: Host) -> tuple[int, ...]:
    """The moving numbers, as coarse as the page shows them."""
    part = max(row.memory // 50, 1)
    return round(row.cpu_percent / 2), row.memory_free // part, row.arc // part, round(row.load * 5)


def _read(row: Host, values: dict[str, str], last: Ticks) -> None:
    """The answers of sysctl(8) into columns; names that this host does not have leave theirs alone."""
    row.release = values.get("kern.osrelease", row.release)
    row.cpus = int(values.get("hw.ncpu", row.cpus))
    row.memory = int(values.get("hw.physmem", row.memory))
    page = int(values.get("hw.pagesize", 4096))
    pages = [int(values.get(f"vm.stats.vm.v_{kind}_count", 0)) for kind in ("free", "inactive", "laundry")]
    row.memory_free = page * sum(pages)
    row.arc = int(values.get("kstat.zfs.misc.arcstats.size", 0))
    if load := re.search(r"[0-9.]+", values.get("vm.loadavg", "")):
        row.load = float(load.group())
    if boot := re.search(r"\bsec = ([0-9]+)", values.get("kern.boottime", "")):
        moment = datetime.fromtimestamp(int(boot.group(1)), UTC)
        if row.booted_at is None or abs(moment - row.booted_at) > SAME_BOOT:
            row.booted_at = moment
    row.cpu_percent = _cpu_percent(last, [int(word) for word in values.get("kern.cp_time", "").split()])


def _cpu_percent(last: Ticks, ticks: list[int]) -> float:
    """The share of time that was not idle since the last call; kern.cp_time is user nice system interrupt idle."""
    before, last[:] = list(last), ticks
    if len(before) != len(ticks) or not ticks:
        return 0.0
    spent = [new - old for new, old in zip(ticks, before, strict=True)]
    total = sum(spent)
    return round(100 * (total - spent[-1]) / total, 1) if total > 0 else 0.0


def _observe_features(sweep: Sweep) -> None:
    missing = [name for name in MODULES if not sweep.ask(kld.is_loaded(name))]
    sweep.row.features = {
        "vmm": "vmm" not in missing,
        "modules": not missing,
        "firmware": sweep.host.exists(FIRMWARE),
        "swtpm": sweep.host.exists("/usr/local/bin/swtpm"),
        # What its administrator allows (BHYPE_ALLOW), for pages: the worker asks for itself.
        "passthru": "passthru" in settings.ALLOW,
        # Bridges that know VLANs and take no member with an address have this, from FreeBSD 15.0 on.
        "bridge_vlans": bool(sweep.ask(sysctl.read("net.link.bridge.member_ifaddrs"))),
    }
    # What a lab host says of its network; FreeBSD has no such name.
    if said := sweep.ask(sysctl.read(SIMULATED)).get(SIMULATED):
        sweep.row.features["simulated"] = said
    if missing:
        ask_once("hosts.prepare")
