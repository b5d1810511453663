"""Forms for bringing a VM in: the text that describes it, then what becomes of its parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.forms import BoundField

from bhype.accounts.models import User
from bhype.foreign import FORMATS, Imported, Unreadable, detect, read
from bhype.foreign.imported import TEXT_MAX
from bhype.freebsd import names
from bhype.hosts.models import Host
from bhype.tasks import Refused
from bhype.tasks.models import Task
from storage.models import Dataset, Iso, Pool
from vms import sizes
from vms.forms import Data, SizeField, new_name
from vms.models import VM
from vms.wanted import Fault, WantedError

from . import importing
from .adoption import Found
from .importing import EMPTY, MOVED, NOTHING, PATH, Choices, DiskChoice

CHOICES = [(EMPTY, "Make an empty disk"), (PATH, "Use it where it lies"), (NOTHING, "Leave it out")]


class TextForm(forms.Form):
    """The description itself: pasted or from a file. ``imported`` and ``format`` are there when it is valid."""

    text = forms.CharField(
        required=False,
        max_length=TEXT_MAX,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 14, "spellcheck": "false", "class": "font-monospace"}),
        label="Description",
    )
    file = forms.FileField(required=False, label="or a file", max_length=200)
    format = forms.ChoiceField(
        required=False, choices=[("", "Find out"), *((one.name, one.label) for one in FORMATS.values())]
    )
    source_name = forms.CharField(
        required=False, max_length=100, label="Name", help_text="where the description does not tell"
    )
    folder = forms.CharField(
        required=False, max_length=255, label="Folder of its files", help_text="such as /zroot/vm/web1"
    )
    imported: Imported
    format_used: str

    def clean_file(self) -> str:
        file: UploadedFile | None = self.cleaned_data["file"]  # type: ignore[type-arg]
        if file is None:
            return ""
        data: bytes = file.read(TEXT_MAX + 1)
        if len(data) > TEXT_MAX:
            raise ValidationError("The file is larger than 1 MiB; no description of a VM is.")
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise ValidationError(
                "This is not a text. Disk images and packages are uploaded on the tab Files."
            ) from error

    def clean(self) -> dict[str, Any]:
        chosen = self.cleaned_data
        text = str(chosen.get("file") or chosen.get("text") or "")
        if not text.strip():
            if not self.errors:
                self.add_error("text", "Paste the description of a VM, or choose its file.")
            return chosen
        chosen["text"] = text
        try:
            self.format_used = chosen.get("format") or detect(text)
            found = read(
                self.format_used,
                text,
                name=chosen.get("source_name") or "",
                folder=chosen.get("folder") or "",
                dataset=(chosen.get("folder") or "").strip("/"),
            )
            self.imported = importing.simple(found)
        except Unreadable as error:
            self.add_error("text", str(error))
        return chosen


MOVE, LEAVE = "move", "leave"


@dataclass(frozen=True, slots=True)
class Part:
    """A device of the source as the preview shows it, with its fields and what is wrong with it."""

    index: int
    kind: str
    what: str
    slot: str
    choice: BoundField | None = None
    size: BoundField | None = None
    faults: tuple[str, ...] = ()
    comes_along: bool = False


class ImportForm(forms.Form):
    """What becomes of the parts of one imported VM. ``save`` makes the VM."""

    name = forms.CharField(strip=False, max_length=names.VM_NAME_MAX)
    pool = forms.ModelChoiceField(Pool.objects.none(), required=False, empty_label=None)
    new_macs = forms.BooleanField(required=False, label="New MAC addresses")
    start = forms.BooleanField(required=False, label="Start it when it is created")

    def __init__(self, data: Data = None, *, imported: Imported, user: User) -> None:
        super().__init__(data)
        self.user, self.imported, self.host = user, imported, Host.objects.this()
        self.may_root = user.can("vms.root")
        # By the device of the source: what `wanted` has against it. The rest stands above the form.
        self.device_faults: dict[int, list[str]] = {}
        pools = self.host.pools.filter(is_adopted=True).order_by("-free", "name")
        self.fields["pool"].queryset = pools  # type: ignore[attr-defined]
        self.first_pool = pools.first()
        self.defaults = self.suggested(importing.defaults(imported, self.first_pool))
        self.initial["name"], self.initial["pool"] = imported.document.get("name", ""), self.first_pool
        self.initial["new_macs"] = bool(importing.taken_macs(imported))
        self._add_fields()

    def suggested(self, defaults: Choices) -> Choices:
        """What the form suggests."""
        return defaults

    def _add_fields(self) -> None:
        choices = CHOICES if self.may_root else [one for one in CHOICES if one[0] != PATH]
        for index, disk in self.defaults.disks.items():
            self.fields[f"disk_{index}"] = forms.ChoiceField(
                choices=choices, initial=disk.what, required=False
            )
            self.fields[f"size_{index}"] = SizeField(
                initial=sizes.text(disk.size), max_length=20, required=False
            )
        media = Iso.objects.filter(pool__host=self.host).select_related("pool")
        for index, iso in self.defaults.media.items():
            self.fields[f"medium_{index}"] = forms.ModelChoiceField(
                media, required=False, initial=iso, empty_label="an empty drive"
            )
        switches = self.host.switches.by_use()
        for index, switch in self.defaults.nics.items():
            self.fields[f"nic_{index}"] = forms.ModelChoiceField(
                switches, required=False, initial=switch, empty_label="Leave it out"
            )

    def clean_name(self) -> str:
        return new_name(self.host, self.cleaned_data["name"])

    def clean(self) -> dict[str, Any]:
        chosen = self.cleaned_data
        pool = chosen.get("pool") or self.first_pool
        chosen["pool"] = pool
        if pool is None:
            self.add_error(None, "No pool of this host belongs to bHype yet. Adopt one on the storage page.")
        elif (
            "name" in chosen
            and Dataset.objects.filter(pool=pool, name=f"{pool.home}/vms/{chosen['name']}").exists()
        ):
            self.add_error("name", f"The pool already has a dataset {pool.home}/vms/{chosen['name']}.")
        return chosen

    def choices(self) -> Choices:
        """What was chosen, else the defaults."""
        chosen = self.cleaned_data if self.is_bound else {}

        def disk(index: int, default: DiskChoice) -> DiskChoice:
            return DiskChoice(
                chosen.get(f"disk_{index}") or default.what, chosen.get(f"size_{index}") or default.size
            )

        return Choices(
            disks={index: disk(index, default) for index, default in self.defaults.disks.items()},
            media={index: chosen.get(f"medium_{index}", iso) for index, iso in self.defaults.media.items()},
            nics={index: chosen.get(f"nic_{index}", switch) for index, switch in self.defaults.nics.items()},
            new_macs=bool(chosen.get("new_macs", self.initial["new_macs"])),
        )

    def look(self) -> tuple[Fault, ...]:
        """Find out, without keeping anything, what would be refused, and let it stand beside the parts."""
        pool, name = self.first_pool, str(self.initial["name"])
        if pool is None:
            return ()
        if VM.objects.filter(host=self.host, name=name).exists():
            name = f"{name[:30]}-imported"
        vm = importing.new_vm(pool, name, self.user)
        planned = importing.localised(self.imported, vm, self.choices())
        faults = importing.faults(vm, self.imported, planned, self.user)
        self.main_faults = self._sort(faults, planned)
        return faults

    main_faults: tuple[str, ...] = ()
    # Devices that come with a dataset, if that moves.
    comes_along: frozenset[int] = frozenset()

    def save(self, user: User) -> tuple[VM, Task] | None:
        """Make the VM; None when it was refused, with the reasons beside the fields."""
        chosen = self.cleaned_data
        vm = importing.new_vm(chosen["pool"], chosen["name"], user)
        planned = importing.localised(self.imported, vm, self.choices())
        try:
            return importing.create(vm, self.imported, planned, user, **self.request())
        except WantedError as error:
            for text in self._sort(error.faults, planned):
                self.add_error(None, text)
            if not self.errors:
                self.add_error(None, "Some of its parts cannot be taken.")
        except Refused as refused:
            self.add_error(refused.field if refused.field in self.fields else None, str(refused))
        return None

    def request(self) -> dict[str, Any]:
        """What is asked of the worker."""
        return {"operation": "vms.create", "start": self.cleaned_data["start"]}

    def _sort(self, faults: tuple[Fault, ...], planned: importing.Plan) -> tuple[str, ...]:
        """Faults of devices go to them; the others are returned, as sentences."""
        others = []
        for fault in faults:
            key = f"{fault.field}: " if fault.field else ""
            index = _index(fault.where)
            if index is not None and index < len(planned.sources):
                self.device_faults.setdefault(planned.sources[index], []).append(f"{key}{fault.message}")
            elif fault.where == "vm" and fault.field == "name" and self.is_bound:
                self.add_error("name", fault.message)
            else:
                where = "" if fault.where == "vm" else f"{fault.where}: "
                others.append(f"{where}{key}{fault.message}")
        return tuple(others)

    def parts(self) -> Iterator[Part]:
        """The devices of the source, each with its fields."""
        for index, entry in enumerate(self.imported.document.get("emulations") or ()):
            if not isinstance(entry, dict):
                continue
            choice = next(
                (
                    self[f"{what}_{index}"]
                    for what in ("disk", "medium", "nic")
                    if f"{what}_{index}" in self.fields
                ),
                None,
            )
            size = self[f"size_{index}"] if f"size_{index}" in self.fields else None
            yield Part(
                index,
                str(entry.get("device")),
                _told(entry),
                str(entry.get("slot", "")),
                choice,
                size,
                tuple(self.device_faults.get(index, ())),
                index in self.comes_along,
            )


def _index(where: str) -> int | None:
    """Of "emulations[3] nvme": 3."""
    if not where.startswith("emulations["):
        return None
    number = where[len("emulations[") :].partition("]")[0]
    return int(number) if number.isascii() and number.isdigit() else None


def _told(entry: dict[str, Any]) -> str:
    """What a device is, in few words."""
    words = [
        key
        if value is True
        else f"{value}"
        if key in {"path", "name", "src", "value", "dev"}
        else f"{key} {value}"
        for key, value in entry.items()
        if key not in {"device", "slot", "type", "fix", "ports"} and value not in (None, "", False)
    ]
    ports = entry.get("ports")
    if isinstance(ports, list):
        words.append(f"{len(ports)} ports")
    return ", ".join(words)[:300]


class AdoptForm(ImportForm):
    """What becomes of a VM that another tool has on this host: its dataset moves, or it stays and the disks are used
    where they lie."""

    how = forms.ChoiceField(
        choices=[
            (MOVE, "Move its dataset to bHype; the other tool does not find it any more"),
            (LEAVE, "Leave it there; a new VM uses its disks by their paths"),
        ],
        widget=forms.RadioSelect(attrs={"class": "form-check-input"}),
        label="Its dataset",
    )

    def __init__(self, data: Data = None, *, found: Found, user: User) -> None:
        self.found = found
        self.moves = {move.device: move for move in found.moves}
        super().__init__(data, imported=found.imported, user=user)
        self.initial["how"] = LEAVE if found.obstacle else MOVE
        if not found.obstacle:
            # A dataset moves within its pool.
            pools = self.host.pools.filter(is_adopted=True, name=found.dataset.partition("/")[0])
            self.fields["pool"].queryset = pools  # type: ignore[attr-defined]
            self.first_pool = self.initial["pool"] = pools.first()
        self.comes_along = frozenset(self.moves)
        del self.fields["start"]

    def clean(self) -> dict[str, Any]:
        chosen = super().clean()
        if chosen.get("how") == MOVE and self.found.obstacle:
            self.add_error("how", self.found.obstacle)
        if self.found.is_running:
            self.add_error(
                "how", f"{self.found.name} is running. Stop it where it was started, then look again."
            )
        return chosen

    def suggested(self, defaults: Choices) -> Choices:
        """Its disks are there already."""
        disks = {index: replace(one, what=PATH) for index, one in defaults.disks.items()}
        return replace(defaults, disks=disks)

    @property
    def is_moved(self) -> bool:
        chosen = self.cleaned_data.get("how") if self.is_bound else self.initial["how"]
        return bool(chosen == MOVE)

    def choices(self) -> Choices:
        """The disks of a dataset that moves come along with it."""
        found = super().choices()
        if not self.is_moved:
            return found
        moved = {
            index: DiskChoice(MOVED, -(-move.size // sizes.MIB) * sizes.MIB, move.new)
            for index, move in self.moves.items()
        }
        return replace(found, disks={**found.disks, **moved})

    def request(self) -> dict[str, Any]:
        if not self.is_moved:
            return {"operation": "vms.create", "start": False}
        moves = [asdict(move) for move in self.found.moves]
        return {"operation": "vms.adopt_foreign", "source": self.found.dataset, "moves": moves}
