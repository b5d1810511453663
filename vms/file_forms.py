"""What is to become of an uploaded file: a new VM of a package or a stream, or the content of a disk."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from bhype.accounts.models import User
from bhype.freebsd import names
from bhype.tasks import Refused, ask
from bhype.tasks.models import Task

from . import operations_transfer, uploads
from .forms import RESERVED, Data
from .models import VM, Disk
from .sizes import human

OPERATIONS = {".ova": "vms.import_ova", ".zfs": "vms.import_stream"}
REMOVE = "remove"


class FileForm(forms.Form):
    """One of the person's files. ``save`` asks for what is to be done with it."""

    file = forms.ChoiceField(label="File")
    name = forms.CharField(
        required=False,
        max_length=names.VM_NAME_MAX,
        label="Name of the new VM",
        help_text="for a package or a stream",
    )
    disk = forms.ModelChoiceField(
        Disk.objects.none(),
        required=False,
        label="Write over the disk",
        empty_label="choose a disk",
        help_text="for a disk image; what is on that disk is lost",
    )

    def __init__(self, data: Data = None, *, user: User) -> None:
        super().__init__(data)
        self.user = user
        self.mine = uploads.files(user)
        shown = [(name, f"{name.partition('/')[2]} ({human(size)})") for name, size in self.mine]
        self.fields["file"].choices = shown  # type: ignore[attr-defined]
        vms = VM.objects.visible_to(user, "vms.change").exclude(
            state__in=[VM.State.CREATING, VM.State.DELETING]
        )
        disks = Disk.objects.filter(vm__in=vms).exclude(backing=Disk.Backing.PATH)
        self.fields["disk"].queryset = disks.select_related("vm__pool").order_by("vm__name", "index")  # type: ignore[attr-defined]
        self.fields["disk"].label_from_instance = _label  # type: ignore[attr-defined]

    @property
    def operation(self) -> str:
        """By the end of the file's name: a package, a stream, else a disk image."""
        name = str(self.cleaned_data.get("file", "")).lower()
        return next((found for end, found in OPERATIONS.items() if name.endswith(end)), "vms.import_image")

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"])
        if not name:
            return ""
        try:
            names.vm_name(name)
        except names.BadName as error:
            raise ValidationError(str(error)) from error
        if name in RESERVED:
            raise ValidationError(f"{name!r} is a word of the panel; choose another name.")
        return name

    def clean(self) -> dict[str, Any]:
        chosen = self.cleaned_data
        if "file" in chosen and not self.errors:
            if self.operation != "vms.import_image" and not chosen.get("name"):
                self.add_error("name", "Give the new VM a name.")
            elif self.operation == "vms.import_image" and not chosen.get("disk"):
                self.add_error("disk", "Choose the disk that the image is written to.")
        return chosen

    def save(self) -> Task | None:
        """Ask for it; None when it was refused, with the reason beside its field."""
        chosen = self.cleaned_data
        try:
            if self.operation == "vms.import_image":
                disk: Disk = chosen["disk"]
                params = {"vm_id": disk.vm_id, "index": disk.index, "file": chosen["file"]}
                return ask(self.operation, params, self.user)
            pool = uploads.pool_for(self.user)
            if pool is None:
                raise Refused("invalid", "No pool of this host belongs to bHype yet.")
            return operations_transfer.begin(self.operation, pool, chosen["name"], chosen["file"], self.user)[
                1
            ]
        except Refused as refused:
            self.add_error(refused.field if refused.field in self.fields else None, str(refused))
            return None


def _label(disk: Disk) -> str:
    return f"{disk.vm.name}: disk {disk.index} ({human(disk.size)})"
