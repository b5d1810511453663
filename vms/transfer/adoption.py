"""VMs that other tools keep on this host: found by their own rules, and taken over.

vm-bhyve names its dataset or folder in rc.conf (vm_dir, and further datastores in .config/system.conf); HosterCore
in active_datasets of host_config.json. Each VM is a dataset (or folder) with its configuration and its disks.

Adopting moves the dataset to where bHype keeps its VMs (zfs rename); nothing in it is destroyed, and `give_back` moves
it back. Everything here runs in root's worker and reads files that root or the other tool wrote.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bhype.foreign import FORMATS, About, Imported, SourceDisk, Unreadable, read
from bhype.foreign.imported import TEXT_MAX
from bhype.freebsd import names, ps, zfs
from bhype.freebsd.zfs import DatasetInfo
from bhype.host import CommandError, CommandFailed, LocalHost
from bhype.tasks import OperationFailed, Run
from bhype.vmrun.changes import without_secrets
from bhype.vmrun.problems import Problem
from vms import parts
from vms.models import VM

from . import folders as transfer_folders
from .importing import simple

RC_FILES = ("/etc/rc.conf", "/etc/rc.conf.local", "/etc/rc.conf.d/vm")
HOSTER_FOLDERS = (
    "/opt/hoster-core/config_files",
    "/opt/hoster/config_files",
    "/usr/local/etc/hoster",
    "/etc/hoster",
    "/root/hoster/config_files",
)
MOST = 500
# On the dataset of an adopted VM: where it came from. Root's own word for where it may be moved back to; a row or a
# task could name any place, and what is mounted there (T20).
FROM_PROPERTY = "org.bhype:from"
# Files and volumes that are taken over are called so by others; what is odder stays where it is.
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_NUMBERED = re.compile(r"disk(0|[1-9][0-9]{0,2})(\.img)?")


@dataclass(frozen=True, slots=True)
class Move:
    """A disk of an adopted VM: its name in the dataset before and after. size: bytes."""

    device: int
    old: str
    new: str
    is_volume: bool
    size: int


@dataclass(frozen=True, slots=True)
class Found:
    """A VM of another tool. dataset: "" for one in a plain folder; obstacle: why its dataset cannot be moved."""

    format: str
    name: str
    folder: str
    dataset: str
    imported: Imported
    is_running: bool = False
    obstacle: str = ""
    moves: tuple[Move, ...] = ()

    @property
    def label(self) -> str:
        """The tool's name, for people."""
        return FORMATS[self.format].label

    def as_json(self) -> dict[str, Any]:
        """For a task's result, without the password of the screen."""
        document = without_secrets(self.imported.document)
        return {
            "format": self.format, "name": self.name, "folder": self.folder, "dataset": self.dataset,
            "is_running": self.is_running, "obstacle": self.obstacle, "document": document,
            "disks": [
                {"device": one.device, "path": one.path, "size": one.size, "is_cd": one.is_cd, "format": one.format}
                for one in self.imported.disks
            ],
            "notes": list(self.imported.notes),
            "problems": [{"where": one.where, "what": one.what, "mend": one.mend} for one in self.imported.problems],
            "about": {
                "description": self.imported.about.description,
                "tags": list(self.imported.about.tags),
                "autostart": self.imported.about.autostart,
            },
            "moves": [
                {"device": one.device, "old": one.old, "new": one.new, "is_volume": one.is_volume, "size": one.size}
                for one in self.moves
            ],
        }  # fmt: skip

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Found:
        about = found["about"]
        imported = Imported(
            found["document"],
            tuple(SourceDisk(**one) for one in found["disks"]),
            tuple(found["notes"]),
            tuple(Problem(**one) for one in found["problems"]),
            About(about["description"], tuple(about["tags"]), about["autostart"]),
        )
        return cls(
            found["format"],
            found["name"],
            found["folder"],
            found["dataset"],
            imported,
            found["is_running"],
            found["obstacle"],
            tuple(Move(**one) for one in found["moves"]),
        )


@dataclass
class _Looker:
    """What is asked of the host once for all VMs."""

    host: LocalHost
    homes: list[str]
    datasets: dict[str, DatasetInfo] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)

    def look(self) -> None:
        self.running = {process.vm for process in self.host.query(ps.processes()) if process.vm}

    def below(self, root: str) -> dict[str, DatasetInfo]:
        """The dataset and what is below it; none when there is no such dataset."""
        try:
            found = {info.name: info for info in self.host.query(zfs.list_datasets(names.dataset(root)))}
        except (CommandFailed, names.BadName):
            return {}
        self.datasets |= found
        return found


def candidates(host: LocalHost, homes: list[str]) -> list[Found]:
    """All VMs of other tools on this host. homes: of the pools that are bHype's; what lies there is its own.

    Raises CommandError when the host cannot be asked.
    """
    looker = _Looker(host, homes)
    looker.look()
    found: dict[str, Found] = {}
    for format, root in (*_vm_bhyve(looker), *_hoster_core(looker)):
        for one in _in_store(looker, format, root):
            found.setdefault(one.folder, one)
            if len(found) == MOST:
                return list(found.values())
    return sorted(found.values(), key=lambda one: (one.format, one.name))


def _text(host: LocalHost, path: str) -> str | None:
    """A plain file of at most 1 MiB; None when it is not there or no such file."""
    try:
        descriptor = os.open(host.path(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            data = file.read(TEXT_MAX + 1)
    except (OSError, ValueError):
        return None
    return data.decode(errors="replace") if len(data) <= TEXT_MAX else None


def _assignments(text: str) -> dict[str, str]:
    """``key="value"`` lines; nothing is evaluated, and the last of two counts, as for sh(1)."""
    found = {}
    for line in text.splitlines():
        match = re.fullmatch(r"""\s*([a-z_][a-z0-9_]*)=("[^"$`\\]*"|'[^']*'|[^\s"'$`\\;#]*)\s*(#.*)?""", line)
        if match:
            found[match[1]] = match[2].strip("\"'")
    return found


def _vm_bhyve(looker: _Looker) -> Iterator[tuple[str, str]]:
    """The stores of vm-bhyve: "zfs:pool/dataset" or a folder."""
    values: dict[str, str] = {}
    for path in RC_FILES:
        values |= _assignments(_text(looker.host, path) or "")
    root = values.get("vm_dir", "")
    if not root:
        return
    yield "vm-bhyve", root
    folder = root
    if root.startswith("zfs:"):
        info = looker.below(root.removeprefix("zfs:")).get(root.removeprefix("zfs:"))
        folder = (info.mountpoint if info else "") or ""
    if folder.startswith("/"):
        stores = _assignments(_text(looker.host, f"{folder.rstrip('/')}/.config/system.conf") or "")
        for key, store in stores.items():
            if key.startswith("path_") and not store.startswith(("iso:", "img:")):
                yield "vm-bhyve", store


def _hoster_core(looker: _Looker) -> Iterator[tuple[str, str]]:
    from bhype.foreign.imported import load_json

    for folder in HOSTER_FOLDERS:
        text = _text(looker.host, f"{folder}/host_config.json")
        if text is None:
            continue
        try:
            stores = load_json(text).get("active_datasets")
        except Unreadable:
            return
        yield from (("hoster-core", f"zfs:{store}") for store in stores or () if isinstance(store, str))
        return


def _in_store(looker: _Looker, format: str, root: str) -> Iterator[Found]:
    if root.startswith("zfs:"):
        store = root.removeprefix("zfs:")
        infos = looker.below(store)
        for name, info in infos.items():
            is_below = name.rpartition("/")[0] == store and (info.mountpoint or "").startswith("/")
            if is_below and (one := _read(looker, format, str(info.mountpoint), name)):
                yield one
    elif root.startswith("/"):
        try:
            folders = looker.host.listdir(root)
        except (OSError, ValueError):
            return
        for name in folders:
            if one := _read(looker, format, f"{root.rstrip('/')}/{name}", ""):
                yield one


def _read(looker: _Looker, format: str, folder: str, dataset: str) -> Found | None:
    """The VM of one folder, if there is one that can be read."""
    name = folder.rpartition("/")[2]
    file = f"{name}.conf" if format == "vm-bhyve" else "vm_config.json"
    text = None if name.startswith(".") else _text(looker.host, f"{folder}/{file}")
    if text is None or any(f"{dataset}/".startswith(f"{home}/") for home in looker.homes):
        return None
    try:
        imported = simple(read(format, text, name=name, folder=folder, dataset=dataset))
    except Unreadable:
        return None
    imported = replace(imported, disks=tuple(_sized(looker, disk) for disk in imported.disks))
    is_running = name in looker.running or looker.host.exists(f"/dev/vmm/{name}")
    found = Found(format, name, folder, dataset, imported, is_running)
    moves = tuple(_moves(found))
    return replace(found, moves=moves, obstacle=_obstacle(looker, found, moves))


def _sized(looker: _Looker, disk: SourceDisk) -> SourceDisk:
    """With the size that it really has."""
    volume = looker.datasets.get(disk.path.removeprefix("/dev/zvol/")) if disk.is_volume else None
    if volume is not None:
        return replace(disk, size=volume.volsize)
    try:
        path = Path(looker.host.path(disk.path))
        return replace(disk, size=path.stat().st_size) if path.is_file() else disk
    except (OSError, ValueError):
        return disk


def _moves(found: Found) -> Iterator[Move]:
    """The disks in the VM's own dataset, and what bHype will call them: by the number in their name if they can."""
    if not found.dataset:
        return
    own = []
    for disk in found.imported.disks:
        if disk.is_cd or disk.format != "raw":
            continue
        for prefix, is_volume in ((f"/dev/zvol/{found.dataset}/", True), (f"{found.folder}/", False)):
            name = disk.path.removeprefix(prefix)
            if disk.path.startswith(prefix) and _PART.fullmatch(name) and disk.size:
                own.append((disk, name, is_volume))
    numbers: set[int] = set()
    for disk, name, is_volume in own:
        match = _NUMBERED.fullmatch(name)
        wanted = int(match[1]) if match and bool(match[2]) is not is_volume else -1
        if wanted < 0 or wanted in numbers:
            taken = {int(m[1]) for _, other, _ in own if (m := _NUMBERED.fullmatch(other))}
            wanted = next(number for number in range(1000) if number not in numbers | taken)
        numbers.add(wanted)
        new = f"disk{wanted}" if is_volume else f"disk{wanted}.img"
        yield Move(disk.device, name, new, is_volume, disk.size or 0)


def _obstacle(looker: _Looker, found: Found, moves: tuple[Move, ...]) -> str:
    """Why the dataset cannot be moved, as a sentence; "" when it can."""
    if not found.dataset:
        return "It lies in a folder and not in a dataset of its own."
    if found.is_running:
        return "It is running, or was not cleaned up: stop it where it was started."
    pool = found.dataset.partition("/")[0]
    if pool not in {home.partition("/")[0] for home in looker.homes}:
        return f"Its pool {pool} does not belong to bHype."
    volumes = {move.old for move in moves if move.is_volume}
    for name, info in looker.datasets.items():
        if name.startswith(f"{found.dataset}/"):
            below = name.removeprefix(f"{found.dataset}/")
            if info.kind != "volume" or below not in volumes:
                return f"Its dataset holds {below}, which is none of its disks."
    if not moves:
        return "None of its disks lies in its dataset."
    return ""


# Taking over, and giving back.


def find(host: LocalHost, homes: list[str], dataset: str) -> Found:
    """The VM of a dataset as it is now. Raises OperationFailed when it is none that can be moved."""
    found = next((one for one in candidates(host, homes) if one.dataset == dataset), None)
    if found is None:
        raise OperationFailed(f"{dataset} holds no VM of another tool any more.")
    if found.obstacle:
        raise OperationFailed(f"{dataset} cannot be moved. {found.obstacle}")
    return found


def take(run: Run, vm: VM, found: Found) -> None:
    """Move the dataset under bHype's and mark it as the VM's; each step can be done again."""
    for key in ("mountpoint", "canmount", zfs.ID_PROPERTY, FROM_PROPERTY):
        if run.host.query(zfs.get_property(found.dataset, key)).is_local:
            raise OperationFailed(f"{key} is set on {found.dataset}. Run: zfs inherit {key} {found.dataset}")
    if parts.listed(run, vm.dataset, depth=0):
        raise OperationFailed(f"The pool already has a dataset {vm.dataset}.")
    # It is root that will follow what lies there.
    transfer_folders.require_roots_own(run, found.folder)
    run.stage("Moving the dataset", percent=20)
    run.host.run(zfs.set_property(found.dataset, zfs.ID_PROPERTY, str(vm.uuid)))
    run.host.run(zfs.set_property(found.dataset, FROM_PROPERTY, found.dataset))
    run.host.run(zfs.rename(found.dataset, vm.dataset))
    _rename(run, vm.dataset, [(move.old, move.new, move.is_volume) for move in found.moves])


def give_back(run: Run, vm: VM, source: str, moves: list[Move]) -> None:
    """Undo `take`, from wherever it was broken off: the dataset has its old place and names again, and no mark."""
    mine = str(vm.uuid)
    here = parts.listed(run, vm.dataset, depth=0)
    if here and run.host.query(zfs.get_property(vm.dataset, zfs.ID_PROPERTY)).value == mine:
        if not parts.is_marked(run, vm.dataset):
            raise OperationFailed(f"{vm.dataset} does not carry the mark of {vm.name}.")
        origin = run.host.query(zfs.get_property(vm.dataset, FROM_PROPERTY))
        if not origin.is_local or origin.value != source:
            raise OperationFailed(f"{vm.dataset} did not come from {source}, and is not moved there.")
        _rename(run, vm.dataset, [(move.new, move.old, move.is_volume) for move in moves])
        run.host.unlink(f"/{vm.dataset}/vm.json")
        run.host.run(zfs.rename(vm.dataset, source))
    there = parts.listed(run, source, depth=0)
    if there and run.host.query(zfs.get_property(source, zfs.ID_PROPERTY)).value == mine:
        run.host.run(zfs.inherit(source, FROM_PROPERTY))
        run.host.run(zfs.inherit(source, zfs.ID_PROPERTY))


def _rename(run: Run, dataset: str, pairs: list[tuple[str, str, bool]]) -> None:
    """Rename what still has its old name. Nothing is overwritten."""
    volumes = parts.listed(run, dataset, depth=1)
    for old, new, is_volume in pairs:
        if old == new or not (_PART.fullmatch(old) and _PART.fullmatch(new)):
            continue
        if is_volume:
            if f"{dataset}/{old}" in volumes and f"{dataset}/{new}" not in volumes:
                run.host.run(zfs.rename(f"{dataset}/{old}", f"{dataset}/{new}"))
            continue
        source, target = (Path(run.host.path(f"/{dataset}/{name}")) for name in (old, new))
        if source.is_file() and not source.is_symlink() and not target.exists():
            source.rename(target)


FAILURES = (CommandError, OperationFailed, OSError)
