"""The forms of templates and OS presets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import transaction

from bhype import cloudinit
from bhype.accounts.models import User
from bhype.freebsd import names
from bhype.hosts.models import Host
from bhype.live import publish
from bhype.tasks import Refused
from bhype.tasks.models import Task
from storage.models import Image, Snapshot
from vms import plan, sizes
from vms.deploy.forms import defaults
from vms.forms import SizeField
from vms.models import VM, OsPreset, Template

from . import presets
from . import rows as template_rows

Data = Mapping[str, Any] | None
_NAME = {"autocomplete": "off", "spellcheck": "false"}
_TEXT = {"rows": 4, "class": "font-monospace", "spellcheck": "false"}


def _size_problem(size: int) -> str:
    if size % sizes.MIB or not plan.DISK_MIN <= size <= plan.DISK_MAX:
        return "A disk has a whole number of MiB, from 1M to 64T."
    return ""


def _checked_memory(memory: int) -> int:
    if memory < plan.MEMORY_MIN or memory % sizes.MIB or memory > 64 * sizes.TIB:
        raise ValidationError(f"A VM has a whole number of MiB, at least {sizes.text(plan.MEMORY_MIN)}.")
    return memory


class _New(forms.Form):
    name = forms.CharField(
        label="Name of the template", max_length=names.VM_NAME_MAX, widget=forms.TextInput(attrs=_NAME),
        help_text="One that is there already gets a new version.",
    )  # fmt: skip
    is_published = forms.BooleanField(
        required=False,
        label="Publish",
        help_text="Everybody who may create VMs may deploy it, as soon as it is made.",
    )
    notes = forms.CharField(required=False, max_length=10_000, widget=forms.Textarea(attrs={"rows": 3}))

    def clean_name(self) -> str:
        try:
            return names.vm_name(self.cleaned_data["name"])
        except names.BadName as error:
            raise ValidationError(str(error).replace("A name", "A template's name")) from error

    def _refuse(self, refused: Refused) -> None:
        self.add_error(refused.field if refused.field in self.fields else None, str(refused))

    def _rows(self, field: str, rows: Any) -> None:
        choice = self.fields[field]
        if isinstance(choice, forms.ModelChoiceField):
            choice.queryset = rows


class FromImageForm(_New):
    """A template of an image of the library."""

    image = forms.ModelChoiceField(Image.objects.none(), empty_label=None)
    preset = forms.ModelChoiceField(
        OsPreset.objects.all(), required=False, empty_label="by the image", label="Operating system",
        help_text="Which devices its VMs have.",
    )  # fmt: skip
    size = SizeField(
        required=False,
        max_length=20,
        label="Disk",
        help_text="such as 20G; empty: as the image. It is sparse: no room is taken.",
    )
    field_order = ("image", "name", "preset", "size", "is_published", "notes")

    def __init__(self, data: Data = None, **options: Any) -> None:
        super().__init__(data, **options)
        rows = Image.objects.filter(pool__host=Host.objects.this(), state=Image.State.READY)
        self.images = list(rows.select_related("pool__host"))
        self._rows("image", rows.select_related("pool__host"))
        if not self.is_bound and self.images:
            asked = str(self.initial.get("image", ""))
            image = next((row for row in self.images if str(row.pk) == asked), self.images[0])
            self.initial = {
                "image": image.pk,
                "name": image.os or image.name,
                "is_published": True,
                **self.initial,
            }

    def clean_size(self) -> int | None:
        size: int | None = self.cleaned_data["size"]
        if size and (problem := _size_problem(size)):
            raise ValidationError(problem)
        return size or None

    def save(self, user: User) -> tuple[Template, Task] | None:
        """None when it was refused: the reason then stands in the form."""
        chosen = self.cleaned_data
        image = chosen["image"]
        preset = chosen["preset"] or OsPreset.objects.filter(name=image.os).first()
        columns = {key: chosen[key] for key in ("is_published", "notes")}
        try:
            return template_rows.make_from_image(
                image, chosen["name"], user, preset=preset, size=chosen["size"], **columns
            )
        except Refused as refused:
            self._refuse(refused)
            return None


class FromVmForm(_New):
    """A template of a VM."""

    snapshot = forms.ChoiceField(
        required=False, label="Of the state", help_text="The VM as it is now must be off."
    )
    linked = forms.BooleanField(
        required=False, label="Share the data with the VM",
        help_text="Made at once; but the VM cannot be deleted before the template. Otherwise the data is copied.",
    )  # fmt: skip
    keep_vars = forms.BooleanField(
        required=False, label="Keep the UEFI variables",
        help_text="What its firmware remembers, such as boot entries. Needed by guests that do not boot without.",
    )  # fmt: skip
    preset = forms.ModelChoiceField(
        OsPreset.objects.all(), required=False, empty_label="unknown", label="Operating system"
    )
    field_order = ("name", "snapshot", "preset", "linked", "keep_vars", "is_published", "notes")

    def __init__(self, data: Data = None, *, vm: VM, **options: Any) -> None:
        super().__init__(data, **options)
        self.vm = vm
        self.initial = {"name": vm.name, **self.initial}
        taken = (
            Snapshot.objects.filter(dataset__pool=vm.pool_id, dataset__name=vm.dataset)
            .order_by("-created_at").values_list("name", "created_at", "note")[:200]
        )  # fmt: skip
        labels = [
            (name, f"{name}, {at:%Y-%m-%d %H:%M}{f': {note[:60]}' if note else ''}")
            for name, at, note in taken
        ]
        self.fields["snapshot"].choices = [("", "now"), *labels]  # type: ignore[attr-defined]

    def save(self, user: User) -> tuple[Template, Task] | None:
        chosen = self.cleaned_data
        preset = chosen["preset"]
        columns = {key: chosen[key] for key in ("is_published", "notes", "preset")}
        if preset is not None:
            columns |= {"cloud_init_kind": preset.cloud_init, "login": preset.login}
        try:
            return template_rows.make_from_vm(
                self.vm, chosen["name"], user, snapshot=chosen["snapshot"], linked=chosen["linked"],
                keep_vars=chosen["keep_vars"], **columns,
            )  # fmt: skip
        except Refused as refused:
            self._refuse(refused)
            return None


class TemplateForm(forms.ModelForm):  # type: ignore[type-arg]
    """What an admin changes of a template; VMs that were deployed of it stay as they are."""

    cpus = forms.IntegerField(min_value=1, max_value=plan.CPUS_MAX, label="CPUs")
    memory = SizeField(max_length=20)
    user_data = forms.CharField(
        required=False, max_length=1 << 16, strip=False, label="User-data", widget=forms.Textarea(attrs=_TEXT),
        help_text="for the seed of each VM that has none of its own; begins with #cloud-config or #!",
    )  # fmt: skip

    class Meta:
        model = Template
        fields = ("is_published", "login", "cloud_init_kind", "preset", "notes")
        labels = {
            "is_published": "Published",
            "login": "User in the guest",
            "cloud_init_kind": "Reads a seed",
        }
        widgets = {"notes": forms.Textarea(attrs={"rows": 4})}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        found = defaults(self.instance)
        told = self.instance.cloud_init.get("user_data", "")
        self.initial.update(cpus=found["cpus"], memory=found["memory"], user_data=told)
        self.fields["preset"].label = "Operating system"

    def clean_memory(self) -> int:
        return _checked_memory(self.cleaned_data["memory"])

    def clean_user_data(self) -> str:
        text = str(self.cleaned_data["user_data"]).replace("\r\n", "\n")
        if wrong := [problem for problem in cloudinit.check(text) if not problem.is_warning]:
            raise ValidationError([str(problem) for problem in wrong])
        return text if text.strip() else ""

    def save(self, commit: bool = True) -> Template:  # noqa: FBT001, FBT002 - as ModelForm has it
        chosen = self.cleaned_data
        row: Template = super().save(commit=False)
        cpu = {"sockets": 1, "cores": chosen["cpus"], "threads": 1}
        if defaults(row)["cpus"] == chosen["cpus"]:
            cpu = row.document.get("cpu", cpu)
        row.document = {**row.document, "cpu": cpu, "mem": f"{chosen['memory'] // sizes.MIB}M"}
        row.cloud_init = {key: value for key, value in row.cloud_init.items() if key != "user_data"}
        row.cloud_init |= {"user_data": chosen["user_data"]} if chosen["user_data"] else {}
        if commit:
            with transaction.atomic():
                row.save(update_fields=[*self.Meta.fields, "document", "cloud_init"])
                publish(row.subject, "templates")
        return row


class DeleteTemplateForm(forms.Form):
    promote = forms.BooleanField(
        required=False, label="Let its VMs take the data over",
        help_text="The first VM of each disk gets it; further ones then live on that VM's data.",
    )  # fmt: skip


class PresetForm(forms.ModelForm):  # type: ignore[type-arg]
    """An OS preset; whoever changes a shipped one makes it the panel's own until it is reset."""

    memory = SizeField(max_length=20)
    disk_size = SizeField(max_length=20, label="Disk")
    document = forms.CharField(
        max_length=1 << 16, label="Devices",
        help_text="Keys of a vm.json, without paths and addresses. The first disk and the first port stand for all.",
        widget=forms.Textarea(attrs={"rows": 14, "class": "font-monospace", "spellcheck": "false"}),
    )  # fmt: skip

    class Meta:
        model = OsPreset
        fields = (
            "name",
            "title",
            "family",
            "cpus",
            "memory",
            "disk_size",
            "login",
            "cloud_init",
            "document",
            "notes",
        )
        labels = {"cpus": "CPUs", "login": "User in the guest", "cloud_init": "Reads a seed"}
        widgets = {"notes": forms.Textarea(attrs={"rows": 3})}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        row = self.instance
        text = json.dumps(row.document or presets.PLAIN, indent=1, ensure_ascii=False)
        self.initial.update(memory=sizes.text(row.memory), disk_size=sizes.text(row.disk_size), document=text)
        if row.pk:
            del self.fields["name"]

    def clean_name(self) -> str:
        try:
            return names.vm_name(self.cleaned_data["name"])
        except names.BadName as error:
            raise ValidationError(str(error)) from error

    def clean_document(self) -> dict[str, Any]:
        try:
            found = json.loads(self.cleaned_data["document"])
        except (ValueError, RecursionError) as error:
            raise ValidationError(f"This is not JSON: {error}") from error
        if problem := presets.problem_of(found):
            raise ValidationError(problem)
        checked: dict[str, Any] = found
        return checked

    def clean_cpus(self) -> int:
        cpus: int = self.cleaned_data["cpus"]
        if not 1 <= cpus <= plan.CPUS_MAX:
            raise ValidationError(f"A VM has 1 to {plan.CPUS_MAX} CPUs.")
        return cpus

    def clean_memory(self) -> int:
        return _checked_memory(self.cleaned_data["memory"])

    def clean_disk_size(self) -> int:
        size: int = self.cleaned_data["disk_size"]
        if problem := _size_problem(size):
            raise ValidationError(problem)
        return size

    def save(self, commit: bool = True) -> OsPreset:  # noqa: FBT001, FBT002 - as ModelForm has it
        row: OsPreset = super().save(commit=False)
        row.is_own = True
        if commit:
            row.save()
        return row
