"""The forms of what goes out, and of what consoles keep."""

from __future__ import annotations

from typing import Any

from django import forms

from bhype.accounts.models import User
from bhype.tasks import Refused
from bhype.tasks.models import Task
from vms.models import VM
from vms.sizes import human

from . import exports


class ExportForm(forms.Form):
    """What is to be made of a VM: a package, a stream, or the image of a disk."""

    kind = forms.ChoiceField(choices=[(kind, kind) for kind in exports.OPERATIONS])
    disk = forms.TypedChoiceField(label="Disk", coerce=int, required=False, empty_value=None)
    format = forms.ChoiceField(
        label="Format",
        required=False,
        choices=list(exports.FORMATS.items()),
        initial="qcow2",
        help_text="qcow2 is for QEMU and its kin, VMDK for VMware and VirtualBox, VHDX for Hyper-V; raw is the"
        " disk byte by byte.",
    )

    def __init__(self, *args: Any, vm: VM, user: User, **options: Any) -> None:
        super().__init__(*args, **options)
        self.vm, self.user = vm, user
        shown = [(disk.index, f"disk {disk.index} ({human(disk.size)})") for disk in exports.own_disks(vm)]
        self.fields["disk"].choices = shown  # type: ignore[attr-defined]

    def save(self) -> Task | None:
        """The task; None when it was refused: the reason then stands in the form."""
        chosen = self.cleaned_data
        try:
            return exports.begin(
                self.vm, self.user, chosen["kind"], disk=chosen["disk"], format=chosen["format"]
            )
        except Refused as refused:
            self.add_error(refused.field if refused.field in self.fields else None, refused.message)
            return None
