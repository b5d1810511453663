"""Whether a VM's rows lead to where bHype keeps things on the host, and nowhere else.

Rows are written by the web process, which is not root; root's worker follows them. In a folder that somebody else
may write in, it would write through links, read what it is not to read, and run what is not bHype's (T6, T7, T20).
What equals root on the host (T10) is named by `needs`: who writes it must hold the right vms.root, and the host
itself must allow it (BHYPE_ALLOW), which only its worker knows.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db.models import prefetch_related_objects

from bhype.freebsd import names, zfs
from bhype.host import LocalHost
from bhype.tasks import OperationFailed
from bhype.vmrun.config import COMS, parse
from bhype.vmrun.devices import CD, DISK, KINDS, NETWORK_GROUP
from bhype.vmrun.keys import KEYS
from bhype.vmrun.options import Option
from bhype.vmrun.problems import Unfit, tree
from bhype.vmrun.rundir import RUN_DIR
from storage import plan as storage
from storage.datasets import keys
from storage.models import Pool

from . import plan
from .models import VM, Disk, Nic

Document = dict[str, Any]
RAW, PASSTHRU = "raw", "passthru"
# Where a device sits and when it is tried at boot says nothing about what it may do.
_HARMLESS = frozenset({"slot", "bootindex"})


@dataclass(frozen=True, slots=True)
class Need:
    """A value that reaches beyond the VM. where and key: as a Problem has them; word: what BHYPE_ALLOW must name,
    "raw", "passthru" or the path; identity: of the device or key with its value, wherever it stands; never: why
    nobody may have it, "" when the right vms.root is enough."""

    where: str
    key: str
    word: str
    identity: str
    never: str = ""


def needs(vm: VM, document: Document, taps: set[str] | None = None) -> list[Need]:
    """All that reaches beyond the VM in ``document``, its targets included; it need not be valid.

    taps: names of the VM's ports on switches; None where these have no names yet."""
    found = list(_Reach(vm, document, "", taps).needs())
    targets = document.get("targets")
    for name, part in targets.items() if isinstance(targets, dict) else ():
        if isinstance(part, dict):
            found += _Reach(vm, part, f"targets {name} ", taps).needs()
    return found


def homes(vm: VM) -> list[str]:
    """Where bHype keeps its own in the pools of the VM's host. A row of which the name is none is no pool."""
    return [pool.home for pool in vm.host.pools.all() if _is_pool(pool.name)]


def _is_pool(name: str) -> bool:
    try:
        return bool(names.pool(name))
    except names.BadName:
        return False


class _Reach:
    """Reads one part of a document: the main one or a target."""

    def __init__(self, vm: VM, part: Document, before: str, taps: set[str] | None) -> None:
        self.vm, self.part, self.before, self.taps = vm, part, before, taps
        self.homes = homes(vm)
        self.switches = {row.interface: plan.port_type(row)[0] for row in vm.host.switches.all()}

    def needs(self) -> Iterator[Need]:
        for key, option in KEYS.items():
            if (value := self.part.get(key)) is not None:
                for word, never in self._of_key(key, option, value):
                    identity = f"{key} {_canonical(value)}"
                    yield Need(f"{self.before}vm", key, word, identity, never)
        entries = self.part.get("emulations")
        for number, entry in enumerate(entries if isinstance(entries, list) else ()):
            kind = KINDS.get(str(entry.get("device"))) if isinstance(entry, dict) else None
            if kind is None:
                continue
            values = kind.normalise(entry) if kind.normalise else entry
            where = f"{self.before}emulations[{number}] {kind.name}"
            identity = _canonical({key: value for key, value in values.items() if key not in _HARMLESS})
            for key, word, never in self._of_device(kind.name, kind.group, values):
                yield Need(where, key, word, identity, never)

    def _of_key(self, key: str, option: Option, value: Any) -> Iterator[tuple[str, str]]:
        if key == "varfile":
            if value != plan.vars_path(self.vm):
                yield str(value), f"the panel keeps a VM's UEFI variables in {plan.vars_path(self.vm)}."
        elif key == "bootrom":
            if option.is_root(value):
                yield from self._file(value)
        elif key in COMS:
            if value != "stdio" and not self._is_own_line(value):
                yield RAW, ""
        elif key == "graphic":
            screen = value if isinstance(value, dict) else {}
            if screen.get("host", plan.VNC_ADDRESS) != plan.VNC_ADDRESS:
                yield RAW, f"only the panel's gateway serves a screen, from {plan.VNC_ADDRESS}."
            if self.before and screen.get("port") not in (None, self.vm.vnc_port):
                yield RAW, f"the panel gives each screen its port; this one has {self.vm.vnc_port}."
        elif key == "tpm":
            yield from self._of_tpm(value)
        elif key == "fw_cfg":
            for item in value if isinstance(value, list) else ():
                if isinstance(item, dict) and item.get("file") is not None:
                    yield from self._file(item["file"])
        elif option.is_root(value):
            yield RAW, ""

    def _of_tpm(self, value: Any) -> Iterator[tuple[str, str]]:
        if not isinstance(value, dict):
            return
        if value.get("type") == "passthru":
            yield PASSTHRU, ""
            if not re.fullmatch(r"/dev/tpm[0-9]{1,2}", str(value.get("path"))):
                yield from self._file(value.get("path"))
        elif value.get("path") is not None:
            yield from self._file(value["path"])
        if value.get("state") not in (None, plan.tpm_path(self.vm)):
            yield str(value["state"]), f"the panel keeps a VM's TPM in {plan.tpm_path(self.vm)}."

    def _of_device(self, kind: str, group: str, values: Document) -> Iterator[tuple[str, str, str]]:
        if group == NETWORK_GROUP:
            if self.before or not self._is_on_switch(values):
                yield "name" if "name" in values else "type", RAW, ""
            return
        if kind in {"raw", "passthru"} and values.get("src", values.get("lookup", values.get("value"))):
            yield ("value", RAW, "") if kind == "raw" else ("src", PASSTHRU, "")
            if kind == "passthru" and values.get("fix"):
                # It would be taken from the host whatever the host has on it; hosts.reserve_pci looks first.
                yield "fix", RAW, ""
        if group in {DISK, CD}:
            rows = values.get("ports") if kind == "ahci" else [values]
            for row in rows if isinstance(rows, list) else [rows]:
                if isinstance(row, dict) and row.get("path") is not None:
                    reads = bool(row.get("ro")) or group == CD or row.get("type") == "cd"
                    for word, never in self._medium(row["path"], reads=reads):
                        yield "ports" if kind == "ahci" else "path", word, never
        for key, option in KINDS[kind].options.items():
            value = values.get(key)
            if value is None or key in {"src", "lookup", "value"}:
                continue
            if kind == "virtio-console":
                for path in _paths(value):
                    if not self._is_own_socket(path):
                        yield from ((key, word, never) for word, never in self._file(path))
            elif option.is_root(value) and not (kind == "uart" and self._is_own_line(value)):
                if option.kind == "path" and kind != "uart":
                    yield from ((key, word, never) for word, never in self._file(value))
                else:
                    yield key, RAW, ""

    def _is_on_switch(self, values: Document) -> bool:
        # Without a type bhyve guesses it from the name: "netmap:em0" reads along on the host's own network.
        return (
            values.get("type") == self.switches.get(str(values.get("bridge")))
            and (self.taps is None or values.get("name") in self.taps)
            and values.get("fix") is True
            and str(values.get("description")).startswith(f"bhype/vm/{self.vm.uuid}/")
        )

    def _is_own_line(self, value: Any) -> bool:
        return re.fullmatch(rf"/dev/nmdm-{re.escape(self.vm.name)}\.[0-9]A", str(value)) is not None

    def _is_own_socket(self, path: Any) -> bool:
        folder = re.escape(f"{RUN_DIR}/{self.vm.name}")
        return re.fullmatch(rf"{folder}/console-[a-z0-9-]{{1,32}}\.sock", str(path)) is not None

    def _medium(self, path: Any, *, reads: bool) -> Iterator[tuple[str, str]]:
        """As `_file`, of a disk or CD: the VM's own disks are its own, and all may read the library."""
        if is_own_disk(self.vm, str(path)) or (reads and path == plan.seed_path(self.vm)):
            return
        if reads and any(is_library(home, str(path)) for home in self.homes):
            return
        yield from self._file(path)

    def _file(self, path: Any) -> Iterator[tuple[str, str]]:
        try:
            plain = os.path.normpath(names.path(path)) == path
        except (names.BadName, TypeError):
            plain = False
        rule = "write an absolute path, of letters, digits and . _ : @ + = - alone."
        yield str(path), reserved(path, self.homes) if plain else rule


def reserved(path: str, homes: list[str]) -> str:
    """Why no VM may have this path, because bHype itself or another VM does; "" when it is none of theirs."""
    for home in homes:
        if any(_are_one_way(path, root) for root in (f"/{home}", f"/dev/zvol/{home}")):
            return f"{path} is bHype's own, or another VM's."
    folders = (RUN_DIR, str(settings.STATE_DIR), "/dev/vmm", "/dev/vmm.io")
    if any(_are_one_way(path, folder) for folder in folders):
        return f"{path} is bHype's own."
    return ""


def _are_one_way(path: str, root: str) -> bool:
    """Whether one is below the other: who shares a folder shares all that is in it."""
    return _is_below(path, root) or _is_below(root, path)


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _paths(value: Any) -> list[Any]:
    rows = value if isinstance(value, list) else [value]
    return [row.get("path") if isinstance(row, dict) else row for row in rows]


def is_own_disk(vm: VM, path: str) -> bool:
    """Whether the path is that of a volume or file of the VM's own dataset, there or not."""
    return own_disk(vm, path) is not None


def own_disk(vm: VM, path: str) -> tuple[str, int] | None:
    """Of the path of a VM's own disk: its backing and its number."""
    volume = re.fullmatch(rf"/dev/zvol/{re.escape(vm.dataset)}/disk([0-9]{{1,3}})", path)
    file = re.fullmatch(rf"/{re.escape(vm.dataset)}/disk([0-9]{{1,3}})\.img", path)
    found = volume or file
    if found is None or str(int(found[1])) != found[1]:
        return None
    return Disk.Backing.VOLUME if volume else Disk.Backing.FILE, int(found[1])


def is_library(home: str, path: str) -> bool:
    """Whether the path is that of an install medium in the library of a pool."""
    folder, _, name = path.rpartition("/")
    return folder == f"/{home}/isos" and storage.is_medium(name)


def check(host: LocalHost, vm: VM) -> None:
    """Raise OperationFailed unless all paths of ``vm`` lie in datasets that bHype made, or the host allows them.
    CommandError as commands do.

    The rows of its parts are read into ``vm`` as they are now: what is done with it after this is done with what was
    looked at, however they change meanwhile."""
    for part in ("disks", "nics", "devices"):
        getattr(vm, "_prefetched_objects_cache", {}).pop(part, None)
    prefetch_related_objects([vm], *plan.PARTS)
    if problem := problem_of(vm):
        raise OperationFailed(problem)
    document = plan.document(vm)
    try:
        parse(document)
    except Unfit as unfit:
        raise OperationFailed(tree(vm.name, unfit.problems)) from unfit
    parts: dict[Pool, set[str]] = {vm.pool: {"vms"}}
    text = json.dumps(document)
    for pool in vm.host.pools.all():
        if _is_pool(pool.name) and f'"/{pool.home}/isos/' in text:
            parts.setdefault(pool, set()).add("isos")
    for drive in vm.drives:
        if drive.iso is not None:
            parts.setdefault(drive.iso.pool, set()).add("isos")
    for pool, wanted in parts.items():
        found = {info.name: info for info in host.query(zfs.list_datasets(pool.home, depth=1))}
        for name in (pool.home, *(f"{pool.home}/{part}" for part in sorted(wanted))):
            info = found.get(name)
            if info is None or info.bhype_id != storage.HOME_ID or info.mountpoint != f"/{name}":
                raise OperationFailed(f"{name} is not a dataset that bHype made, mounted on /{name}.")
    # A locked dataset is not mounted: what were written to it would lie in the clear beside it.
    keys.require_unlocked(host, vm.pool, vm.dataset, vm.name)
    taps = {nic.port for nic in vm.nics.all() if nic.switch is not None}
    for need in needs(vm, document, taps):
        if problem := refusal(host, vm, need):
            raise OperationFailed(f"{vm.name}: {need.where}: {need.key}: {problem}")


def refusal(host: LocalHost, vm: VM, need: Need) -> str:
    """Why this host does not let the VM have what it needs, and what its administrator can do; "" when it does."""
    if need.never:
        return need.never
    if need.word in {RAW, PASSTHRU}:
        if need.word in settings.ALLOW:
            return ""
        return f'{vm.host.name} does not allow this. Start bHype there with "{need.word}" in BHYPE_ALLOW.'
    # Links are followed first: a folder that is allowed is no way out of it.
    real = os.path.realpath(host.path(need.word))
    folders = [os.path.realpath(host.path(word)) for word in settings.ALLOW if word.startswith("/")]
    if any(_is_below(real, folder) for folder in folders):
        root = os.path.realpath(host.path("/"))
        inside = f"/{os.path.relpath(real, root)}" if _is_below(real, root) else real
        return reserved(inside, homes(vm))
    mend = "Start bHype there with it, or a folder above it, in BHYPE_ALLOW."
    return f"{vm.host.name} does not allow {need.word}. {mend}"


def problem_of(vm: VM) -> str:
    """What is wrong with the words of the rows themselves, as a sentence; "" when nothing is."""
    try:
        names.vm_name(vm.name)
        names.pool(vm.pool.name)
        for iso in (drive.iso for drive in vm.drives if drive.iso):
            names.pool(iso.pool.name)
            if not storage.is_medium(iso.name):
                return f"{iso.name!r} is not an install medium."
        for nic in vm.nics.all():
            names.mac(nic.mac)
            if nic.switch is not None:
                names.interface(nic.switch.interface)
        for disk in vm.disks.all():
            names.path(disk.path)
    except names.BadName as error:
        return str(error)
    if vm.has_screen and vm.vnc_port not in plan.VNC_PORTS:
        return f"{vm.vnc_port} is not a port for the screen of a VM."
    kinds = {disk.bus for disk in vm.disks.all()} | {nic.model for nic in vm.nics.all()}
    if unknown := kinds - {*Disk.Bus.values, *Nic.Model.values}:
        return f"VMs have no devices of the kind {min(unknown)!r}."
    return ""
