"""What is to become of an uploaded file: a new VM of a package or a stream, or the content of a disk."""

from __future__ import annotations

from django import forms

from bhype.accounts.models import User
from bhype.freebsd import names
from bhype.hosts.models import Host
from bhype.tasks import Refused, ask
from bhype.tasks.models import Task
from storage.uploads import store as uploads
from storage.uploads.store import File
from vms.forms import Data, new_name
from vms.models import VM, Disk
from vms.sizes import human

from . import operations, ova

OPERATIONS = {"ova": "vms.import_ova", "zfs": "vms.import_stream", "image": "vms.import_image"}


class FileForm(forms.Form):
    """One of the person's files. ``save`` asks for what is to be done with it."""

    name = forms.CharField(
        max_length=names.VM_NAME_MAX,
        label="Name of the new VM",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    disk = forms.ModelChoiceField(
        Disk.objects.none(),
        label="Write over the disk",
        empty_label="choose a disk",
        help_text="What is on that disk is lost, and it grows where the image is larger. Its VM has to be off.",
    )

    def __init__(self, data: Data = None, *, user: User, upload: File, name: str = "") -> None:
        super().__init__(data)
        self.user, self.upload = user, upload
        if upload.kind != "image":
            del self.fields["disk"]
            self.fields["name"].initial = name
            return
        del self.fields["name"]
        vms = VM.objects.visible_to(user, "vms.change").exclude(
            state__in=[VM.State.CREATING, VM.State.DELETING]
        )
        disks = Disk.objects.filter(vm__in=vms).exclude(backing=Disk.Backing.PATH)
        self.fields["disk"].queryset = disks.select_related("vm__pool").order_by("vm__name", "index")  # type: ignore[attr-defined]
        self.fields["disk"].label_from_instance = _label  # type: ignore[attr-defined]

    @property
    def has_disks(self) -> bool:
        return "disk" not in self.fields or bool(self.fields["disk"].queryset.exists())  # type: ignore[attr-defined]

    def clean_name(self) -> str:
        return new_name(Host.objects.this(), self.cleaned_data["name"])

    def save(self) -> Task | None:
        """Ask for it; None when it was refused, with the reason beside its field."""
        operation, file = OPERATIONS[self.upload.kind], self.upload.file
        try:
            if "disk" in self.fields:
                disk: Disk = self.cleaned_data["disk"]
                return ask(operation, {"vm_id": disk.vm_id, "index": disk.index, "file": file}, self.user)
            pool = uploads.pool_for(self.user)
            if pool is None:
                raise Refused("invalid", "No pool of this host belongs to bHype yet.")
            return operations.begin(operation, pool, self.cleaned_data["name"], file, self.user)[1]
        except Refused as refused:
            self.add_error(refused.field if refused.field in self.fields else None, str(refused))
            return None


def machine_of(user: User, upload: File) -> ova.Machine:
    """What a package describes. Raises BadOva."""
    try:
        with uploads.opened(user, upload) as file:
            return ova.read(file, upload.size)
    except OSError as error:
        raise ova.BadOva("The file is not there any more.") from error


def _label(disk: Disk) -> str:
    return f"{disk.vm.name}: disk {disk.index} ({human(disk.size)})"
