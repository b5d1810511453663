"""Making and changing VMs. Every refusal stands beside its field, and nothing is changed by a refused form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.datastructures import MultiValueDict

from bhype.accounts.models import User
from bhype.freebsd import names
from bhype.hosts.models import Host
from bhype.tasks import Refused, ask
from bhype.tasks.models import Task
from bhype.vmrun.devices import DISK, NETWORK_GROUP
from network.models import Switch
from storage.datasets.forms import OptionalPassphrase, seal
from storage.models import Dataset, Iso, Pool

from . import plan, sizes, wanted
from .addresses import ties
from .models import VM, Device, Disk, Nic, OsPreset, Tag, new_serial
from .os_templates import presets
from .wanted import STALE, WantedError

_TAG = re.compile(r"[a-z0-9][a-z0-9._:-]{0,31}")
TAGS_MAX = 16
# Words that stand where a VM's name stands, in the addresses of pages and of the API.
RESERVED = frozenset({"new", "bulk", "deploy"})
TAKEN = "There is already a VM of this name."
Data = Mapping[str, Any] | None
Document = dict[str, Any]
# The fields that say what a document's keys say.
_FIELDS = {
    "name": "name", "cpu": "cpus", "mem": "memory", "width": "screen", "height": "screen", "path": "iso",
    "size": "disk_size", "bridge": "switch", "mac": "mac",
}  # fmt: skip


def new_name(host: Host, text: str) -> str:
    """``text`` if a VM of ``host`` may be called so from now on; raises ValidationError with the reason."""
    try:
        name = names.vm_name(text)
    except names.BadName as error:
        raise ValidationError(str(error)) from error
    if name in RESERVED:
        raise ValidationError(f"{name!r} is a word of the panel; choose another name.")
    if VM.objects.filter(host=host, name=name).exists():
        raise ValidationError(TAKEN)
    return name


class SizeField(forms.CharField):
    """Text such as "2G"; the cleaned value is bytes."""

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        try:
            return sizes.parse(text) if text else None
        except sizes.BadSize as error:
            raise ValidationError(str(error)) from error

    def run_validators(self, value: Any) -> None:
        if value is not None:
            super().run_validators(str(value))


class _ManyTexts(forms.TextInput):
    """One text input; further disks are further inputs of the same name."""

    def value_from_datadict(self, data: Mapping[str, Any], files: Any, name: str) -> list[str]:
        values = data.getlist(name) if isinstance(data, MultiValueDict) else data.get(name)
        if values is None:
            return []
        return [str(value) for value in (values if isinstance(values, list) else [values])]

    def format_value(self, value: Any) -> str | None:
        return str(value[0]) if isinstance(value, list) and value else super().format_value(value or None)


class DiskSizesField(forms.Field):
    """Sizes of the disks in order; "0" is none. The cleaned value is a list of bytes."""

    widget = _ManyTexts

    def validate(self, value: Any) -> None:
        """No disk is an answer, too; no word at all is refused below."""

    def to_python(self, value: Any) -> list[int]:
        texts = [text for text in value or [] if text.strip()]
        if not texts:
            raise ValidationError("Give a size such as 20G, or 0 for a VM without a disk.")
        try:
            found = [sizes.parse(text) for text in texts]
        except sizes.BadSize as error:
            raise ValidationError(str(error)) from error
        if found == [0]:
            return []
        if len(found) > plan.DISKS_MAX:
            raise ValidationError(f"A VM has at most {plan.DISKS_MAX} disks.")
        for size in found:
            if not plan.DISK_MIN <= size <= plan.DISK_MAX or size % sizes.MIB:
                raise ValidationError("A disk has a whole number of MiB, from 1M to 64T.")
        return found


class TagsField(forms.Field):
    """Words between commas; the cleaned value is a sorted list. max_length: of the text, in characters."""

    def __init__(self, *, max_length: int = 600, **options: Any) -> None:
        super().__init__(**options)
        self.max_length = max_length

    def to_python(self, value: Any) -> list[str]:
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value or "")
        if len(text) > self.max_length:
            raise ValidationError(f"Tags have at most {self.max_length} characters together.")
        words = {word.strip(" ") for word in text.split(",")} - {""}
        for word in words:
            if not _TAG.fullmatch(word):
                raise ValidationError(
                    "A tag has a-z, 0-9 and . _ : -, starts with a letter or digit, and has at most 32 characters."
                )
        if len(words) > TAGS_MAX:
            raise ValidationError(f"A VM has at most {TAGS_MAX} tags.")
        return sorted(words)

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list) else value


class _Common(forms.Form):
    """What can be chosen at creation and changed later."""

    cpus = forms.IntegerField(min_value=1, max_value=plan.CPUS_MAX, initial=1, label="CPUs")
    memory = SizeField(initial="2G", max_length=20, help_text="such as 2G or 512M")
    iso = forms.ModelChoiceField(
        Iso.objects.none(), required=False, label="Install medium", empty_label="none"
    )
    owner = forms.ModelChoiceField(User.objects.none(), required=False)
    has_screen = forms.BooleanField(required=False, initial=True, label="Screen (VNC)")
    screen = forms.ChoiceField(
        choices=[(size, size) for size in plan.SCREENS], initial="1024x768", required=False
    )
    has_serial = forms.BooleanField(required=False, initial=True, label="Serial console")
    utc_clock = forms.BooleanField(required=False, initial=True, label="Clock in UTC")
    autostart = forms.BooleanField(required=False, label="Start with the host")
    tags = TagsField(required=False, max_length=600, help_text="between commas")
    notes = forms.CharField(required=False, max_length=10_000, widget=forms.Textarea(attrs={"rows": 4}))

    def __init__(self, data: Data, *, user: User, host: Host, **options: Any) -> None:
        super().__init__(data, **options)
        self.user, self.host = user, host
        self._choose_from("iso", Iso.objects.filter(pool__host=host).select_related("pool"))

    def _choose_from(self, name: str, rows: Any) -> None:
        field = self.fields[name]
        if not isinstance(field, forms.ModelChoiceField):
            raise TypeError(name)
        field.queryset = rows

    def clean_cpus(self) -> int:
        cpus: int = self.cleaned_data["cpus"]
        if problem := plan.cpus_problem(cpus, self.host.cpus):
            raise ValidationError(problem)
        return cpus

    def clean_memory(self) -> int:
        memory: int = self.cleaned_data["memory"]
        if memory < plan.MEMORY_MIN or memory % sizes.MIB or memory > 64 * sizes.TIB:
            raise ValidationError(f"A VM has a whole number of MiB, at least {sizes.text(plan.MEMORY_MIN)}.")
        if problem := plan.memory_problem(memory, self.host.memory):
            raise ValidationError(problem)
        return memory

    def clean_screen(self) -> str:
        return self.cleaned_data["screen"] or "1024x768"

    def clean_notes(self) -> str:
        return str(self.cleaned_data["notes"]).replace("\r\n", "\n")

    def _hardware(self, document: Document, vm: VM) -> Document:
        """``document``, the VM's own or that of a new one, with what was chosen."""
        chosen, found = self.cleaned_data, dict(document)
        if "cpu" not in found or chosen["cpus"] != vm.cpus:
            found["cpu"] = {"sockets": 1, "cores": chosen["cpus"], "threads": 1}
        found |= {"mem": f"{chosen['memory'] // sizes.MIB}M", "utc_clock": chosen["utc_clock"]}
        width, height = map(int, chosen["screen"].split("x"))
        screen = {
            **(found.get("graphic") or vm.settings.get("graphic", {})),
            "width": width,
            "height": height,
        }
        found["graphic"] = screen if chosen["has_screen"] else None
        line = found.get("com1") or f"/dev/nmdm-{vm.name}.1A"
        found["com1"] = line if chosen["has_serial"] else None
        # The medium goes into the first drive; a VM without one gets one.
        medium = {"path": chosen["iso"].path if chosen["iso"] else None}
        entries = [dict(entry) for entry in found.get("emulations", [])]
        drive = next((entry for entry in entries if entry["device"] == Device.CD), None)
        if drive is not None:
            drive |= medium
        elif chosen["iso"]:
            entries.insert(0, {"device": Device.CD, **medium})
        return {**found, "emulations": entries}

    def _point(self, error: WantedError) -> None:
        """Put what is wrong with the hardware beside the fields."""
        for fault in error.faults:
            name = _FIELDS.get(fault.field, "")
            text = f"{fault.message[:1].upper()}{fault.message[1:]}"
            self.add_error(name if name in self.fields else None, text)

    def _write_tags(self, vm: VM) -> None:
        wanted = self.cleaned_data["tags"]
        Tag.objects.bulk_create([Tag(name=name) for name in wanted], ignore_conflicts=True)
        vm.tags.set(Tag.objects.filter(name__in=wanted))

    def _refuse(self, refused: Refused) -> None:
        name = {ties.FIELD: "static_lease"}.get(str(refused.field), refused.field)
        self.add_error(name if name in self.fields else None, str(refused))


class VMForm(OptionalPassphrase, _Common):
    """A new VM on this host. ``save`` makes its rows and asks for its creation."""

    name = forms.CharField(strip=False, max_length=names.VM_NAME_MAX)
    preset = forms.ModelChoiceField(
        OsPreset.objects.all(),
        required=False,
        to_field_name="name",
        empty_label="any",
        label="Operating system",
    )
    disk_size = DiskSizesField(initial="20G", label="Disk", help_text="such as 20G; 0 for none")
    switch = forms.ModelChoiceField(Switch.objects.none(), required=False, empty_label="none")
    start = forms.BooleanField(required=False, initial=True, label="Start it when it is created")
    pool = forms.ModelChoiceField(Pool.objects.none(), required=False)
    disk_bus = forms.ChoiceField(choices=Disk.Bus.choices, initial=Disk.Bus.VIRTIO, required=False)
    nic_model = forms.ChoiceField(choices=Nic.Model.choices, initial=Nic.Model.VIRTIO, required=False)
    mac = forms.CharField(required=False, max_length=17, label="MAC address", help_text="empty: a new one")
    static_lease = forms.BooleanField(
        required=False, label="Static lease", help_text="DHCP gives it always the same address."
    )

    QUICK = ("name", "cpus", "memory", "disk_size", "iso", "switch", "start")

    def __init__(self, data: Data = None, *, user: User, host: Host | None = None, **options: Any) -> None:
        super().__init__(data, user=user, host=host or Host.objects.this(), **options)
        self._choose_from("switch", self.host.switches.all())
        self._choose_from("pool", self.host.pools.filter(is_adopted=True))
        users = User.objects.filter(is_active=True)
        self._choose_from("owner", users if user.can("users.manage") else users.filter(pk=user.pk))
        if not self.is_bound:
            self.initial.update(_of_preset(self.initial.get("preset")))
            taken = VM.objects.filter(host=self.host, name__startswith="vm").values_list("name", flat=True)
            self.initial.setdefault("name", plan.suggest_name(taken))
            self.initial.setdefault("owner", user.pk)
            self.initial.setdefault("switch", self.host.switches.by_use().first())
            self.initial.setdefault("pool", self._roomiest_pool())

    def _roomiest_pool(self) -> Pool | None:
        return self.host.pools.filter(is_adopted=True).order_by("-free", "name").first()

    def clean_name(self) -> str:
        return new_name(self.host, self.cleaned_data["name"])

    def clean_mac(self) -> str:
        text = self.cleaned_data["mac"]
        if not text:
            return ""
        try:
            mac = names.mac(text)
        except names.BadName as error:
            raise ValidationError(str(error)) from error
        if Nic.objects.filter(mac=mac).exists():
            raise ValidationError("Another VM has this MAC address.")
        return mac

    def clean(self) -> dict[str, Any]:
        chosen = super().clean()
        pool = chosen.get("pool") or self._roomiest_pool()
        if pool is None:
            self.add_error(
                "pool", "No pool of this host belongs to bHype yet. Adopt one on the storage page."
            )
        elif "pool" in chosen:
            chosen["pool"] = pool
            self._check_pool(pool)
        if chosen.get("mac") and not chosen.get("switch"):
            self.add_error("mac", "A MAC address needs a switch to plug its network port into.")
        if chosen.get("static_lease") and "switch" in chosen:
            self._check_lease(chosen["switch"])
        return chosen

    def _check_lease(self, switch: Switch | None) -> None:
        problem = ties.room_problem(switch, ties.LEASE, 1) if switch else "It needs a switch with DHCP."
        if problem:
            self.add_error("static_lease", problem)

    def _check_pool(self, pool: Pool) -> None:
        for size in self.cleaned_data.get("disk_size") or []:
            if problem := plan.disk_problem(size, pool.size):
                self.add_error("disk_size", problem)
                break
        name = self.cleaned_data.get("name")
        if name and Dataset.objects.filter(pool=pool, name=f"{pool.home}/vms/{name}").exists():
            self.add_error("name", f"The pool already has a dataset {pool.home}/vms/{name}.")

    def save(self, user: User) -> tuple[VM, Task] | None:
        """Make the rows and ask for the creation, all or nothing.

        None when somebody was faster (the same name or MAC address) or the asking was refused: the reason then stands
        beside the field.
        """
        try:
            with transaction.atomic():
                vm = self._rows()
                params = {"vm_id": vm.pk, "start": self.cleaned_data["start"]}
                secret = seal(self, "passphrase")
                return vm, ask("vms.create", params | ({"secret": secret} if secret else {}), user)
        except Refused as refused:
            self._refuse(refused)
        except WantedError as error:
            self._point(error)
        return None

    def _rows(self) -> VM:
        chosen = self.cleaned_data
        row = VM(
            host=self.host,
            pool=chosen["pool"],
            owner=chosen["owner"] or self.user,
            name=chosen["name"],
            autostart=chosen["autostart"],
            notes=chosen["notes"],
        )
        row.screen_width, row.screen_height = map(int, chosen["screen"].split("x"))
        preset = chosen["preset"]
        document = self._hardware(presets.frame(preset), row)
        disks = {
            f"/dev/zvol/{row.dataset}/disk{index}": size for index, size in enumerate(chosen["disk_size"])
        }
        disk = _like(presets.pattern(preset, DISK), chosen["disk_bus"])
        document["emulations"] += [{**disk, "path": path, "ser": new_serial()} for path in disks]
        if chosen["switch"]:
            port = _like(presets.pattern(preset, NETWORK_GROUP), chosen["nic_model"])
            mac = chosen["mac"] or plan.new_mac()
            document["emulations"].append({**port, "bridge": chosen["switch"].interface, "mac": mac})
        vm = wanted.apply(row, document, self.user, create=True, sizes=disks).vm
        if chosen["static_lease"]:
            ties.begin(vm, ties.LEASE)
        self._write_tags(vm)
        return vm


def _like(pattern: Document, kind: str) -> Document:
    """How a preset attaches a device, if it is of this kind; another kind has options of its own."""
    return pattern if kind in {"", pattern["device"]} else {"device": kind}


def _of_preset(name: Any) -> dict[str, Any]:
    """What the form begins with for an operating system; {} for a name of none."""
    preset = (
        OsPreset.objects.filter(name=name).first() if isinstance(name, str) and "\0" not in name else None
    )
    if preset is None:
        return {}
    document = preset.document
    return {
        "preset": preset.name,
        "cpus": preset.cpus,
        "memory": sizes.text(preset.memory),
        "disk_size": [sizes.text(preset.disk_size)],
        "disk_bus": presets.disk_bus(preset),
        "nic_model": presets.nic_model(preset),
        "has_screen": document.get("graphic", {}) is not None,
        "has_serial": document.get("com1", "") is not None,
        "utc_clock": document.get("utc_clock", True),
    }


class EditVMForm(_Common):
    """The wanted columns of a VM. What reaches bhyve applies at the VM's next start."""

    revision = forms.IntegerField(required=False, min_value=0, max_value=2**31 - 1, widget=forms.HiddenInput)

    def __init__(self, data: Data = None, *, user: User, vm: VM, **options: Any) -> None:
        super().__init__(data, user=user, host=vm.host, initial=values(vm), **options)
        self.vm = vm
        # The form is stale: answer 409 and change nothing.
        self.is_stale = False
        users = User.objects.filter(is_active=True)
        self._choose_from("owner", users if user.can("users.manage") else User.objects.filter(vms=vm))

    def clean(self) -> dict[str, Any]:
        revision = self.cleaned_data.get("revision")
        if revision is not None and revision != self.vm.revision:
            self._mark_stale()
        return self.cleaned_data

    def _mark_stale(self) -> None:
        self.is_stale = True
        self.add_error(None, STALE)

    def save(self, user: User) -> tuple[VM, Task | None] | None:
        """Write the columns; ask for a new vm.json when it differs. None when the form turned out to be stale."""
        try:
            with transaction.atomic():
                wanted.lock(self.vm.pk)
                vm = wanted.load(self.vm.pk)
                if vm.revision != self.vm.revision:
                    self._mark_stale()
                    return None
                change = wanted.apply(vm, self._hardware(plan.document(vm), vm), user)
                self._write_rest(change.vm, raised=change.is_change)
                task = ask("vms.configure", {"vm_id": vm.pk}, user) if change.is_change else None
                return change.vm, task
        except Refused as refused:
            self._refuse(refused)
        except WantedError as error:
            self._point(error)
        return None

    def _write_rest(self, vm: VM, *, raised: bool) -> None:
        """What no guest sees, and the size of a screen that is off."""
        chosen = self.cleaned_data
        vm.autostart, vm.notes = chosen["autostart"], chosen["notes"]
        vm.owner = chosen["owner"] or vm.owner
        vm.screen_width, vm.screen_height = map(int, chosen["screen"].split("x"))
        vm.revision += 0 if raised else 1
        vm.save(update_fields=["autostart", "notes", "owner", "screen_width", "screen_height", "revision"])
        self._write_tags(vm)


def values(vm: VM) -> dict[str, Any]:
    """The VM's wanted columns as the edit form shows them."""
    return {
        "cpus": vm.cpus,
        "memory": sizes.text(vm.memory),
        "iso": vm.iso.pk if vm.iso else None,
        "owner": vm.owner_id,
        "has_screen": vm.has_screen,
        "screen": f"{vm.screen_width}x{vm.screen_height}",
        "has_serial": vm.has_serial,
        "utc_clock": vm.utc_clock,
        "autostart": vm.autostart,
        "tags": [tag.name for tag in vm.tags.all()],
        "notes": vm.notes,
        "revision": vm.revision,
    }
