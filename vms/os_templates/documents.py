"""What a template's document says, and what becomes of it in a VM. Plain data in and out: no database, no host.

The document is a vm.json without identity: no name, UUID, addresses, serial numbers, passwords and paths. Its disks, in
the order of its devices, are Template.disks. A serial line of the VM's own stands as "nmdm", its own UEFI variables as
"uefi-vars.fd".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bhype.vmrun.devices import CD, DISK, KINDS, NETWORK_GROUP
from vms import place, plan
from vms.models import VM, Disk, OsPreset, new_serial
from vms.sizes import MIB

from . import presets

Document = dict[str, Any]
VARS = "uefi-vars.fd"
# Of one VM alone, or of one host alone.
_OF_ONE = ("name", "uuid", "bhype", "pinning", "targets", "next_target")
_OF_PORT = frozenset({"type", "name", "fix", "description", "mac", "mtu"})
# A VM that boots so needs it; who deploys it must hold the right vms.root.
_KEPT = frozenset({"loader"})
# In a template the name of the VM that is made of it; no VM is called so.
_NOBODY = "NAME"
_COMS = tuple(f"com{number}" for number in range(1, 5))


@dataclass(frozen=True, slots=True)
class Draft:
    """A template to be made. disks: as Template.disks has them, with the number that each has in its source under
    "source"; notes: what of the source is not in it, as sentences."""

    document: Document
    disks: list[Document]
    notes: list[str] = field(default_factory=list)


def of_image(preset: OsPreset | None, *, size: int, firmware: str, cpus: int, memory: int) -> Draft:
    """A template with one disk of ``size`` bytes; cpus and memory (bytes): of a VM that asks for nothing else."""
    found = presets.frame(preset)
    disk, port = presets.pattern(preset, DISK), presets.pattern(preset, NETWORK_GROUP)
    found["emulations"] = [disk, port, *found["emulations"]]
    found |= {"cpu": {"sockets": 1, "cores": cpus, "threads": 1}, "mem": f"{memory // MIB}M"}
    found.setdefault("graphic", {"width": 1024, "height": 768})
    found.setdefault("com1", plan.OWN_LINE)
    if firmware == VM.Firmware.CSM:
        found["bootrom"] = plan.FIRMWARE_CSM
    return Draft({key: value for key, value in found.items() if value is not None}, [{"size": size}])


def of_vm(vm: VM) -> Draft:
    """What remains of a VM, its rows read, when its identity is removed."""
    before = plan.document(vm)
    needs = [need for need in place.needs(vm, before) if need.key not in _KEPT]
    beyond = {need.where for need in needs}
    dropped = {need.key for need in needs if need.where == "vm"}
    found = {key: value for key, value in before.items() if key not in dropped and key not in _OF_ONE}
    notes = [f"{key} was left out: it reaches into the host." for key in sorted(dropped)]
    notes += [f"{key} was left out." for key in ("targets", "pinning") if before.get(key)]
    sizes = {disk.path: disk for disk in vm.disks.all()}
    entries, disks = [], []
    for number, entry in enumerate(before["emulations"]):
        kind, where = KINDS[entry["device"]], f"emulations[{number}] {entry['device']}"
        row = sizes.get(str(entry.get("path")))
        if plan.is_seed(entry):
            continue
        if row is not None and row.backing == Disk.Backing.VOLUME:
            entries.append({key: value for key, value in entry.items() if key not in {"path", "ser"}})
            disks.append({"size": row.size, "source": row.index})
        elif kind.group == NETWORK_GROUP and "bridge" in entry:
            entries.append({key: value for key, value in entry.items() if key not in _OF_PORT})
        elif kind.group == CD:
            entries.append({key: value for key, value in entry.items() if key != "path"})
        elif row is not None or where in beyond or "path" in entry:
            notes.append(f"{kind.name} {entry.get('slot', '')} was left out: it is not the VM's alone.")
        else:
            entries.append(entry)
    found["emulations"] = entries
    return Draft(plan.renamed(_impersonal(vm, found), vm.name, _NOBODY), disks, notes)


def _impersonal(vm: VM, found: Document) -> Document:
    if isinstance(screen := found.get("graphic"), dict):
        found["graphic"] = {key: value for key, value in screen.items() if key not in {"port", "password"}}
    if found.get("varfile") == plan.vars_path(vm):
        found["varfile"] = VARS
    if isinstance(tpm := found.get("tpm"), dict):
        found["tpm"] = {key: value for key, value in tpm.items() if key != "state"}
    for number, key in enumerate(_COMS, 1):
        if found.get(key) == f"/dev/nmdm-{vm.name}.{number}A":
            found[key] = plan.OWN_LINE
    return found


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a VM has otherwise than its template. None: as the template has it. bridge: of its first port; "" leaves
    all ports out. mac: of that port. disk: the size of its first disk, in bytes."""

    cpus: int | None = None
    memory: int | None = None
    disk: int | None = None
    bridge: str | None = None
    mac: str = ""


def for_vm(
    document: Document, disks: list[Document], vm: VM, wishes: Wishes
) -> tuple[Document, dict[str, int]]:
    """The document of a VM that is deployed, and the sizes of its disks by path; ``vm`` has pool and name."""
    found: Document = plan.renamed(document, _NOBODY, vm.name)
    if wishes.cpus is not None:
        found["cpu"] = {"sockets": 1, "cores": wishes.cpus, "threads": 1}
    if wishes.memory is not None:
        found["mem"] = f"{wishes.memory // MIB}M"
    if "varfile" in found:
        found["varfile"] = plan.vars_path(vm)
    for number, key in enumerate(_COMS, 1):
        if found.get(key) == plan.OWN_LINE:
            found[key] = f"/dev/nmdm-{vm.name}.{number}A"
    entries: list[Document] = []
    sizes: dict[str, int] = {}
    ports = 0
    for entry in found["emulations"]:
        group = KINDS[entry["device"]].group
        if group == DISK and entry["device"] in Disk.Bus.values and "path" not in entry:
            path = f"/dev/zvol/{vm.dataset}/disk{len(sizes)}"
            sizes[path] = int(disks[len(sizes)]["size"])
            entry |= {"path": path, "ser": new_serial()}
        elif group == NETWORK_GROUP:
            if wishes.bridge == "":
                continue
            if ports == 0:
                entry |= {"bridge": wishes.bridge} if wishes.bridge else {}  # noqa: PLW2901
                entry |= {"mac": wishes.mac} if wishes.mac else {}  # noqa: PLW2901
            if "bridge" not in entry:
                continue
            ports += 1
        entries.append(entry)
    if wishes.disk is not None and sizes:
        sizes[next(iter(sizes))] = wishes.disk
    found["emulations"] = entries
    return found, sizes


def bridge_of(document: Document) -> str:
    """The switch interface of the template's first port; "" where it leaves that open."""
    for entry in document.get("emulations", ()):
        if KINDS[entry["device"]].group == NETWORK_GROUP:
            return str(entry.get("bridge", ""))
    return ""
