"""The form of a new identity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import transaction

from bhype import cloudinit
from bhype.accounts.models import User
from bhype.cloudinit import Invalid
from bhype.freebsd import names
from bhype.tasks import Refused, ask
from bhype.tasks.models import Task
from vms import wanted
from vms.addresses import ties
from vms.cloud_init import seeds
from vms.life import renaming
from vms.models import VM

from . import orders
from .names import BadPattern, addresses_of


class IdentityForm(forms.Form):
    """What of a VM becomes new. Without a seed the guest is told nothing: only what is the VM's own changes."""

    name = forms.CharField(
        required=False, max_length=names.VM_NAME_MAX, label="New name", help_text="empty: as it is",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )  # fmt: skip
    macs = forms.BooleanField(required=False, initial=True, label="New MAC addresses")
    screen = forms.BooleanField(required=False, initial=True, label="New password of the screen (VNC)")
    address = forms.CharField(
        required=False,
        max_length=100,
        label="New address in the guest",
        help_text="such as 10.77.0.20/24; empty: as it is",
    )
    password = forms.CharField(
        required=False, max_length=128, strip=False, label="New password in the guest", help_text="empty: as it is",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )  # fmt: skip
    ssh_keys = forms.CharField(
        required=False, max_length=16_384, label="New SSH keys", help_text="one in a line; empty: as they are",
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false", "class": "font-monospace"}),
    )  # fmt: skip

    def __init__(self, data: Mapping[str, Any] | None = None, *, vm: VM, **options: Any) -> None:
        super().__init__(data, **options)
        self.vm = vm
        if not vm.cloud_init:
            for name in ("address", "password", "ssh_keys"):
                del self.fields[name]

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if name and (problem := renaming.problem_of(self.vm, name)):
            raise ValidationError(problem)
        return name

    def clean_address(self) -> str:
        text: str = self.cleaned_data["address"]
        try:
            return addresses_of(text, 1)[0] if text else ""
        except BadPattern as error:
            raise ValidationError(str(error)) from error

    def clean(self) -> dict[str, Any]:
        if self.vm.is_on:
            self.add_error(None, f"{self.vm.name} is on. Stop it first.")
        return self.cleaned_data

    def save(self, user: User) -> Task | None:
        """Write the settings and ask for the rest, all or nothing; None when it was refused."""
        chosen = self.cleaned_data
        params = {"vm_id": self.vm.pk, **{key: chosen[key] for key in ("name", "macs", "screen")}}
        try:
            with transaction.atomic():
                wanted.lock(self.vm.pk)
                vm = VM.objects.select_related("host", "pool").get(pk=self.vm.pk)
                settings = self._settings(vm)
                if settings != vm.cloud_init:
                    before, vm.cloud_init = vm.cloud_init, settings
                    seeds.medium(vm)
                    ties.retold(vm, before)
                    VM.objects.filter(pk=vm.pk).update(cloud_init=settings)
                return ask("vms.reset_identity", params, user)
        except Invalid as invalid:
            for problem in invalid.problems:
                section = problem.field.partition(".")[0]
                field = {"password_hash": "password", "networks": "address"}.get(section, section)
                self.add_error(field if field in self.fields else None, str(problem))
        except Refused as refused:
            self.add_error(refused.field if refused.field in self.fields else None, str(refused))
        return None

    def _settings(self, vm: VM) -> dict[str, Any]:
        """What the guest is to be told from now on."""
        chosen, found = self.cleaned_data, dict(vm.cloud_init)
        if not found:
            return found
        # The seed is there again, also after it was taken out; a host name of its own was that of the old one.
        found.pop("applied", None)
        if chosen["name"]:
            found.pop("hostname", None)
            found.pop("fqdn", None)
        if chosen["password"]:
            found["password_hash"] = cloudinit.hash_password(chosen["password"])
        if keys := [line.strip() for line in chosen["ssh_keys"].splitlines() if line.strip()]:
            found["ssh_keys"] = keys
        return orders.addressed(found, chosen["address"]) if chosen["address"] else found
