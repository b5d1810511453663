"""From a vm.json to the rows of a VM: the inverse of `plan.document`.

Forms, the API, reverts, edits by hand and importers all come through `apply`, so that what is written was checked
by one set of rules (T9): vmrun's tables, the limits of the host, what is whose, and the right vms.root.
"""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F

from bhype.accounts.models import User
from bhype.freebsd import names
from bhype.tasks import ask
from bhype.tasks.errors import not_found
from bhype.tasks.models import Task
from bhype.vmrun import fields
from bhype.vmrun.config import DEFAULT, Config, parse, select
from bhype.vmrun.devices import CD, DISK, KINDS, NETWORK, NETWORK_GROUP
from bhype.vmrun.fields import VERSION
from bhype.vmrun.machine import machine
from bhype.vmrun.problems import Problem, Unfit
from network.models import Switch

from . import place, plan
from .addresses import ties as addresses
from .models import VM, Disk
from .sizes import MIB, TIB, text
from .wanted_columns import write_columns
from .wanted_devices import write_devices

Document = dict[str, Any]
DOCUMENT_MAX = 1 << 18
HIDDEN = plan.HIDDEN
STALE = "Somebody else changed this VM meanwhile. Look at it again, then repeat your change."
ROOT_RIGHT = "this is as much as being root on the host; only who holds the right vms.root may set it."
_FIRST_SLOT = {CD: plan.CD_SLOT, DISK: plan.DISK_SLOT, NETWORK_GROUP: plan.NIC_SLOT}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong. where: "vm", "graphic" or "emulations[3] nvme"; field: the key, "" when it is about
    all of it; message: a sentence."""

    where: str
    field: str
    message: str

    @classmethod
    def of(cls, problem: Problem) -> Fault:
        """vmrun's problems begin with their key."""
        key, colon, rest = problem.what.partition(": ")
        is_key = bool(colon) and key.replace("_", "").isalnum() and key == key.lower()
        sentence = rest if is_key else problem.what
        return cls(problem.where, key if is_key else "", " ".join(filter(None, (sentence, problem.mend))))


class WantedError(Exception):
    """The document cannot become this VM; nothing was changed. Holds all faults."""

    def __init__(self, faults: Iterable[Fault], *, is_stale: bool = False) -> None:
        self.faults = tuple(faults)
        self.is_stale = is_stale
        super().__init__("; ".join(f"{fault.where}: {fault.field}: {fault.message}" for fault in self.faults))


@dataclass(frozen=True, slots=True)
class Change:
    """What `apply` has done. before and after: the documents; new_disks: rows whose volume or file has still to be
    made or grown on the host, which the operation vms.configure (or vms.create) does; notes: what has become of the
    addresses of ports that are on other switches now, as sentences."""

    vm: VM
    before: Document
    after: Document
    new_disks: tuple[Disk, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_change(self) -> bool:
        """Whether vm.json differs."""
        return _plain(self.before) != _plain(self.after)


def apply(
    vm: VM,
    document: Document,
    user: User | None,
    *,
    create: bool = False,
    sizes: Mapping[str, int] | None = None,
    revision: int | None = None,
) -> Change:
    """Make the rows of ``vm`` say what ``document`` says, all or nothing.

    user: who wants it; without the right vms.root nothing that equals root can be added or changed. None is the
    panel itself. create: ``vm`` is not saved yet and has host, pool and owner; its name and UUID are the document's
    unless it has a name, and where the panel decides (screen port, files) its own values replace the document's.
    sizes: of disks that are new or to grow, in bytes, by path. revision: the one that was looked at.

    A disk or port that the document lacks is detached, not forgotten. Raises WantedError.
    """
    for _ in range(8):
        try:
            with transaction.atomic():
                # A new VM that another one has forestalled begins again as it was.
                row = copy.copy(vm) if create else _locked(vm, revision)
                return _apply(row, document, user, create=create, sizes=sizes or {})
        except IntegrityError:
            # Somebody else took a MAC address or the port of the screen between the check and the write.
            continue
    raise WantedError([Fault("vm", "", "Too many VMs are being changed at once. Try again.")])


def save(vm: VM, document: Document, user: User | None, **more: Any) -> tuple[Change, Task | None]:
    """`apply`, and ask for what it needs on the host. Raises WantedError and Refused."""
    with transaction.atomic():
        change = apply(vm, document, user, **more)
        needed = change.is_change or change.new_disks
        return change, ask("vms.configure", {"vm_id": change.vm.pk}, user) if needed else None


def lock(pk: int) -> None:
    """Hold the row of a VM until the transaction ends, before those of its parts: always in this order, or PostgreSQL
    breaks off one of two that wait for each other. Raises Refused (404) when it is gone."""
    # Its key stays, so that what refers to it need not wait.
    if VM.objects.select_for_update(no_key=True).filter(pk=pk).first() is None:
        raise not_found()


def load(pk: int) -> VM:
    """The VM with all that a document is made of."""
    return VM.objects.select_related("pool", "host", "owner").prefetch_related(*PARTS).get(pk=pk)


PARTS = plan.PARTS


def _plain(document: Document) -> Document:
    return {key: value for key, value in document.items() if key != "bhype"}


def _locked(vm: VM, revision: int | None) -> VM:
    lock(vm.pk)
    row = load(vm.pk)
    if revision is not None and revision != row.revision:
        raise WantedError([Fault("vm", "", STALE)], is_stale=True)
    return row


def _apply(
    vm: VM, document: Document, user: User | None, *, create: bool, sizes: Mapping[str, int]
) -> Change:
    before = {} if create else plan.document(vm)
    draft = _Draft(vm, _read(document), create=create)
    config = draft.check()
    told = {fault.where for fault in draft.faults if fault.field == "bridge"}
    draft.faults += [fault for fault in _reach(vm, draft.document, before, user) if fault.where not in told]
    draft.faults += _networks(draft.document, before, user)
    if draft.faults or config is None:
        raise WantedError(draft.faults)
    write_columns(vm, draft.document, config, create=create)
    vm.save()
    new_disks, faults = write_devices(vm, draft.document["emulations"], sizes)
    if faults:
        raise WantedError(Fault(*fault) for fault in faults)
    written = load(vm.pk)
    notes = () if create else addresses.moved(written)
    change = Change(written, before, plan.document(written), tuple(new_disks), notes)
    if change.is_change and not create:
        VM.objects.filter(pk=vm.pk).update(revision=F("revision") + 1)
        written.revision += 1
        change.after["bhype"]["revision"] = written.revision
    return change


def _read(document: Document) -> Document:
    """A copy, of what JSON and a database can hold. null is as if the key were not there."""
    try:
        text_ = json.dumps(document, allow_nan=False, ensure_ascii=False)
        size = len(text_.encode())
    except (ValueError, TypeError, RecursionError) as error:
        raise WantedError([Fault("vm", "", f"This is not a document: {error}.")]) from error
    if size > DOCUMENT_MAX:
        raise WantedError([Fault("vm", "", f"A vm.json has at most {DOCUMENT_MAX >> 10} KiB.")])
    if "\\u0000" in text_:
        raise WantedError([Fault("vm", "", "A vm.json has no NUL characters.")])
    if not isinstance(document, dict):
        raise WantedError([Fault("vm", "", "It is not a JSON object.")])
    found: Document = json.loads(text_)
    return {
        key: value for key, value in found.items() if value is not None and key not in {"bhype", "$schema"}
    }


def _reach(vm: VM, document: Document, before: Document, user: User | None) -> list[Fault]:
    """What this user may not add: what nobody may have, and what equals root. What was there may stay."""
    may = user is None or user.can("vms.root")
    known = {need.identity for need in place.needs(vm, before)}
    return [
        Fault(need.where, need.key, need.never or ROOT_RIGHT)
        for need in place.needs(vm, document)
        if need.never or not (may or need.identity in known)
    ]


# What a port may on its switch is for those to say who may change networks.
OF_NETWORK = ("private", "vlan", "tagged")


def _networks(document: Document, before: Document, user: User | None) -> list[Fault]:
    """Isolation and VLANs that this user may not choose. A guest may always be set apart; and what was there may stay
    on its switch."""
    if user is None or user.can("network.change"):
        return []
    old = {str(entry.get("mac")): entry for entry in before.get("emulations", ())}
    faults = []
    entries = document.get("emulations")
    for number, entry in enumerate(entries if isinstance(entries, list) else ()):
        if not isinstance(entry, dict) or str(entry.get("device")) not in NETWORK:
            continue
        was = old.get(str(entry.get("mac")), {})
        same_switch = was.get("bridge") == entry.get("bridge")
        for key in OF_NETWORK:
            value = entry.get(key) or None
            may_stay = value == (was.get(key) or None) and (same_switch or value is None or key == "private")
            if not may_stay and not (key == "private" and value is True):
                where = f"emulations[{number}] {entry['device']}"
                faults.append(Fault(where, key, "Only those who may change networks choose this."))
    return faults


class _Draft:
    """The document made whole: with slots, with what the panel decides, and with all that is wrong with it."""

    def __init__(self, vm: VM, document: Document, *, create: bool) -> None:
        self.vm, self.create = vm, create
        self.faults: list[Fault] = []
        self.document = document
        self._identity()
        self._firmware()
        self._tpm()
        self._lines()
        self._screen()
        self._target_screens()
        self._entries()

    def fault(self, field_: str, message: str, where: str = "vm") -> None:
        self.faults.append(Fault(where, field_, message))

    def _identity(self) -> None:
        vm, document = self.vm, self.document
        self.named = document.get("name")
        if self.create:
            vm.name = vm.name or str(self.named or "")
            try:
                names.vm_name(vm.name)
            except names.BadName as error:
                self.fault("name", str(error))
            if VM.objects.filter(host=vm.host, name=vm.name).exists():
                self.fault("name", "There is already a VM of this name.")
            self._take_uuid(document.get("uuid"))
        elif self.named not in (None, vm.name):
            self.fault("name", f"This VM is {vm.name}; it is renamed on its own page.")
        elif str(document.get("uuid", vm.uuid)).lower() != str(vm.uuid):
            self.fault("uuid", f"This VM is {vm.uuid}; a VM keeps its UUID.")
        fixed = {"version": VERSION, "lpc_slot": f"0:{plan.LPC_SLOT}:0", "power_off_destroy_vm": True}
        for key, value in fixed.items():
            if not self.create and document.get(key, value) != value:
                self.fault(key, f"The panel keeps it at {json.dumps(value)}.")
        document |= {"name": vm.name, "uuid": str(vm.uuid), **fixed}

    def _take_uuid(self, value: Any) -> None:
        """Licences of guests hang on it; two VMs never have the same."""
        try:
            wanted = uuid.UUID(str(value))
        except ValueError:
            return
        if not VM.objects.filter(uuid=wanted).exists():
            self.vm.uuid = wanted

    def _firmware(self) -> None:
        document = self.document
        if "loader" in document:
            document.pop("bootrom", None)
            document.pop("varfile", None)
            return
        if "bootrom" not in document:
            document |= {"bootrom": plan.FIRMWARE_CODE, "varfile": plan.vars_path(self.vm)}
        elif self.create and "varfile" in document:
            document["varfile"] = plan.vars_path(self.vm)
        if document["bootrom"] == plan.FIRMWARE_CSM and document.pop("varfile", None) and not self.create:
            self.fault("varfile", "The legacy firmware keeps no variables.")

    def _tpm(self) -> None:
        """Where nothing else is said, an emulated TPM keeps its memory where the VM is."""
        tpm = self.document.get("tpm")
        if isinstance(tpm, dict) and tpm.get("type") == "swtpm" and not tpm.keys() & {"path", "state"}:
            self.document["tpm"] = {**tpm, "state": plan.tpm_path(self.vm)}

    def _lines(self) -> None:
        """The lines of a VM that came under another name become its own."""
        if self.create:
            self.document = plan.renamed(self.document, str(self.named), self.vm.name)

    def _screen(self) -> None:
        vm, graphic = self.vm, self.document.get("graphic")
        if not isinstance(graphic, dict):
            if self.create:
                self._take_port(None)
            return
        graphic = {key: value for key, value in graphic.items() if value is not None}
        if graphic.get("password") in (None, "", HIDDEN):
            graphic["password"] = vm.vnc_password = vm.vnc_password or plan.new_vnc_password()
        if self.create:
            self._take_port(graphic.get("port"))
            graphic |= {"host": plan.VNC_ADDRESS, "port": vm.vnc_port}
        graphic.setdefault("host", plan.VNC_ADDRESS)
        graphic.setdefault("port", vm.vnc_port)
        if not graphic.keys() & {"width", "height"}:
            graphic |= {"width": vm.screen_width, "height": vm.screen_height}
        self.document["graphic"] = graphic

    def _target_screens(self) -> None:
        """The screen of a target asks for the VM's password, and has its port: another is refused."""
        targets = self.document.get("targets")
        if not isinstance(targets, dict):
            return
        for name, part in targets.items():
            graphic = part.get("graphic") if isinstance(part, dict) else None
            if isinstance(graphic, dict):
                said = {} if self.create else {key: graphic[key] for key in ("port",) if key in graphic}
                screen = plan.with_screen(self.vm, part)["graphic"]
                targets[name] = {**part, "graphic": {**screen, **said}}

    def _take_port(self, wanted: Any) -> None:
        used = set(VM.objects.filter(host=self.vm.host).values_list("vnc_port", flat=True))
        if isinstance(wanted, int) and wanted in plan.VNC_PORTS and wanted not in used:
            self.vm.vnc_port = wanted
        elif not self.vm.vnc_port or self.vm.vnc_port in used:
            self.vm.vnc_port = plan.free_vnc_port(used, settings.VNC_FIRST_PORT)
        self.vm.vnc_password = self.vm.vnc_password or plan.new_vnc_password()

    def _entries(self) -> None:
        entries = self.document.setdefault("emulations", [])
        if not isinstance(entries, list):
            return
        if self.create:
            # The seed tells a guest who it is: another VM gets its own.
            entries[:] = [entry for entry in entries if not plan.is_seed(entry)]
        entries[:] = [self._entry(number, entry) for number, entry in enumerate(entries)]
        self._give_slots(entries)

    def _entry(self, number: int, entry: Any) -> Any:
        kind = KINDS.get(str(entry.get("device"))) if isinstance(entry, dict) else None
        if kind is None:
            return entry
        found: Document = {key: value for key, value in entry.items() if value is not None}
        found = dict(kind.normalise(found)) if kind.normalise else found
        with suppress(ValueError):
            found |= {"slot": str(fields.slot(found["slot"]))} if "slot" in found else {}
        if kind.group == NETWORK_GROUP and str(found.get("type", "tap")) in plan.SWITCH_TYPES:
            self._plug(f"emulations[{number}] {kind.name}", found)
        return found

    def _plug(self, where: str, entry: Document) -> None:
        """The row of a port on a switch knows its tap; until it is there any name holds the place."""
        switches = {switch.interface: switch for switch in self.vm.host.switches.all()}
        bridge = entry.get("bridge")
        kind, name = plan.port_type(switches.get(bridge) if isinstance(bridge, str) else None)
        if isinstance(bridge, str) and bridge in switches and entry.get("type", "tap") in ("tap", kind):
            # Plugged into a switch of another technology it has another name.
            kept = entry.get("name", name) if entry.get("type", "tap") == kind else name
            mark = plan.tap_description(self.vm, 0)
            entry |= {"type": kind, "name": kept, "fix": True, "description": mark}
            self._vlans(where, entry, switches[bridge])
        elif isinstance(bridge, str) and bridge.startswith("sw-"):
            known = ", ".join(sorted(switches)) or "none"
            self.fault("bridge", f"There is no switch {bridge}. Known: {known}.", where)
            entry.setdefault("name", "tap0")

    def _vlans(self, where: str, entry: Document, switch: Switch) -> None:
        if switch.has_vlans:
            return
        for key, harmless in (("vlan", None), ("tagged", "all")):
            if entry.get(key, harmless) != harmless:
                self.fault(
                    key,
                    f"Ports of {switch.name} are in no VLANs of their own. Where bridges know VLANs (FreeBSD 15.0 and "
                    "later) they are switched on in its settings; elsewhere make a switch for each VLAN.",
                    where,
                )

    def _give_slots(self, entries: list[Any]) -> None:
        taken = {str(entry["slot"]) for entry in entries if isinstance(entry, dict) and "slot" in entry}
        graphic = self.document.get("graphic")
        if isinstance(graphic, dict):
            taken |= {str(graphic[key]) for key in ("slot", "xhci_slot") if key in graphic}
        if self.vm.pk:
            taken |= {disk.slot for disk in self.vm.disks.all() if not disk.is_attached}
            taken |= {nic.slot for nic in self.vm.nics.all() if not nic.is_attached}
        for number, entry in enumerate(entries):
            kind = KINDS.get(str(entry.get("device"))) if isinstance(entry, dict) else None
            if kind is None or "slot" in entry:
                continue
            try:
                entry["slot"] = plan.pick_slot(taken, _FIRST_SLOT.get(kind.group, plan.OTHER_SLOT))
            except LookupError as error:
                self.fault("slot", str(error), f"emulations[{number}] {kind.name}")
                return
            taken.add(entry["slot"])

    def check(self) -> Config | None:
        """The main part as the supervisor will read it; None when it cannot. All faults are noted."""
        config = None
        targets = self.document.get("targets")
        for target in (None, *(targets if isinstance(targets, dict) else ())):
            before = f"targets {target} " if target else ""
            try:
                found = parse(select(self.document, target))
                machine(found)
            except Unfit as unfit:
                faults = [Fault.of(problem) for problem in unfit.problems]
                self.faults += [
                    replace(fault, where=before + fault.where) for fault in faults if fault not in self.faults
                ]
                continue
            config = config if target else found
            following = found.next_target
            if following not in (None, DEFAULT, *(targets if isinstance(targets, dict) else ())):
                self.fault("next_target", f"There is no target {following!r}.", f"{before}vm")
            if not (target and self.faults):
                # What the main part has too much is not said again of each target.
                self._limits(found, before)
            for unknown in found.unknown:
                where, _, key = unknown.partition(": ")
                fault = Fault(before + where, key, "Nothing reads this key.")
                if fault not in self.faults:
                    self.faults.append(fault)
        return config

    def _limits(self, config: Config, before: str) -> None:
        """What the host has, and which ports are for screens. before: what stands before the places of a target."""
        host, where = self.vm.host, f"{before}vm"
        if config.cpu.cpus > plan.CPUS_MAX:
            self.fault("cpu", f"A VM has at most {plan.CPUS_MAX} CPUs.", where)
        elif problem := plan.cpus_problem(config.cpu.cpus, host.cpus):
            self.fault("cpu", problem, where)
        if config.memory < plan.MEMORY_MIN or config.memory % MIB or config.memory > 64 * TIB:
            least = text(plan.MEMORY_MIN)
            self.fault("mem", f"A VM has a whole number of MiB, at least {least}.", where)
        elif problem := plan.memory_problem(config.memory, host.memory):
            self.fault("mem", problem, where)
        elif problem := plan.memory_problem(config.memory + _in_memory(config), host.memory):
            self.fault("mem", f"With its disks in memory: {problem}", where)
        missing = sorted({cpu for _, cpu in config.pinning if host.cpus and cpu >= host.cpus})
        if missing:
            self.fault(
                "pinning", f"The host has no CPU {missing[0]}; its CPUs are 0 to {host.cpus - 1}.", where
            )
        screen = config.graphic
        if screen and screen.port not in plan.VNC_PORTS:
            ranges = "5900 to 7999 and 20000 to 29999"
            self.fault("port", f"It is none of the ports for screens, {ranges}.", f"{before}graphic")
        elif screen and VM.objects.filter(host=host, vnc_port=screen.port).exclude(pk=self.vm.pk).exists():
            self.fault("port", "The screen of another VM has this port.", f"{before}graphic")


def _in_memory(config: Config) -> int:
    """The bytes of disks that are kept in the host's memory."""
    return sum(device.values.get("ram", 0) * MIB for device in config.devices)
