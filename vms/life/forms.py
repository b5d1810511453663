"""The forms of a VM's life: its name, copies, start and stop, schedules and disks."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import transaction

from bhype.accounts.models import User
from bhype.freebsd import names
from bhype.tasks import Refused, ask, schedules
from bhype.tasks.models import Schedule, Task
from storage.models import Dataset, Iso, Snapshot
from vms import plan, sizes
from vms.forms import SizeField, new_name
from vms.models import VM, Disk, Tag
from vms.operating import changed
from vms.transfer import copies
from vms.wanted import WantedError

from . import bulk, health, renaming
from .orphans import disks_of

_OFF = {"autocomplete": "off", "spellcheck": "false"}


class NameForm(forms.Form):
    """A new name for a VM."""

    name = forms.CharField(label="New name", max_length=names.VM_NAME_MAX, widget=forms.TextInput(attrs=_OFF))

    def __init__(self, *args: Any, vm: VM, **options: Any) -> None:
        super().__init__(*args, **options)
        self.vm = vm

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if problem := renaming.problem_of(self.vm, name):
            raise ValidationError(problem)
        return name


class CloneForm(forms.Form):
    """A copy of a VM."""

    name = forms.CharField(
        label="Name of the copy", max_length=names.VM_NAME_MAX, widget=forms.TextInput(attrs=_OFF)
    )
    linked = forms.BooleanField(
        required=False,
        label="Linked",
        help_text="Made at once and small: it shares what neither has changed. Its source cannot be deleted before it.",
    )
    keep_macs = forms.BooleanField(
        required=False,
        label="Keep MAC addresses",
        help_text="Only where the source goes: two VMs with one address disturb each other.",
    )

    snapshot = forms.ChoiceField(
        required=False,
        label="As it was",
        help_text="Its disks; the configuration is that of now.",
    )

    def __init__(self, *args: Any, vm: VM, user: User, **options: Any) -> None:
        super().__init__(*args, **options)
        self.vm, self.user = vm, user
        rows = Snapshot.objects.filter(dataset__pool=vm.pool_id, dataset__name=vm.dataset).exclude(kind="")
        names = rows.order_by("-txg").values_list("name", flat=True)
        self.fields["snapshot"].choices = [("", "now"), *((name, name) for name in names)]  # type: ignore[attr-defined]

    def clean_name(self) -> str:
        return new_name(self.vm.host, self.cleaned_data["name"])

    def save(self) -> tuple[VM, Task] | None:
        """The copy's row and its task; None when it was refused: the reason then stands in the form."""
        chosen = self.cleaned_data
        try:
            return copies.make(
                self.vm,
                chosen["name"],
                self.user,
                linked=chosen["linked"],
                keep_macs=chosen["keep_macs"],
                snapshot=chosen["snapshot"],
            )
        except (WantedError, Refused) as error:
            self.add_error(None, str(error))
            return None


class StartForm(forms.Form):
    """A start that differs from others: from a medium, with a target, or although memory is short."""

    iso = forms.ModelChoiceField(
        Iso.objects.none(),
        required=False,
        label="Start once from",
        empty_label="as it is",
        help_text="Its drive comes before the disks; after the guest's first reboot it is gone again.",
    )
    target = forms.ChoiceField(
        required=False, label="Target", help_text="a part of vm.json that is laid over the rest"
    )
    force = forms.BooleanField(
        required=False, label="Start although memory is short", help_text="The host may begin to swap."
    )

    def __init__(self, *args: Any, vm: VM, user: User, **options: Any) -> None:
        super().__init__(*args, **options)
        self.vm = vm
        isos = self.fields["iso"]
        if isinstance(isos, forms.ModelChoiceField):
            isos.queryset = Iso.objects.filter(pool__host=vm.host, size__gt=0).select_related("pool")
        targets = sorted(vm.settings.get("targets") or {})
        self.fields["target"].choices = [("", "none"), *((name, name) for name in targets)]  # type: ignore[attr-defined]
        if not targets:
            del self.fields["target"]
        if not user.can("hosts.change"):
            del self.fields["force"]

    def params(self) -> dict[str, Any]:
        """As vms.start takes them; what was not chosen is left out."""
        chosen = self.cleaned_data
        found: dict[str, Any] = {"vm_id": self.vm.pk}
        if chosen.get("iso"):
            found["iso_id"] = chosen["iso"].pk
        return found | {key: chosen[key] for key in ("target", "force") if chosen.get(key)}


class LifeForm(forms.ModelForm):  # type: ignore[type-arg]
    """When a VM starts and stops with its host, what tells that it is well, and whether it can be deleted."""

    class Meta:
        model = VM
        fields = [
            "autostart", "start_order", "start_delay", "health", "health_seconds", "stop_seconds", "is_protected",
            "is_production",
        ]  # fmt: skip
        labels = {
            "autostart": "Start with the host",
            "start_order": "Order",
            "start_delay": "Delay",
            "health": "Healthy when",
            "health_seconds": "Wait for it",
            "stop_seconds": "Time to stop",
            "is_protected": "Protected",
            "is_production": "In production",
        }
        help_texts = {
            "start_order": "the lowest starts first, and stops last",
            "start_delay": "seconds before the next VM starts",
            "health": "tcp:ADDRESS:PORT answers, or serial:TEXT is said; empty: when it runs",
            "health_seconds": "seconds at most, before the next VM starts",
            "stop_seconds": "seconds that the guest has to power off",
            "is_protected": "It cannot be deleted, nor any of its disks.",
            "is_production": "It joins what is done to all in production, such as snapshots.",
        }

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for name, least, most in (
            ("start_order", 0, 9999),
            ("start_delay", 0, 3600),
            ("health_seconds", 1, 3600),
        ):
            self._bound(name, least, most)
        self._bound("stop_seconds", 1, 3600)

    def _bound(self, name: str, least: int, most: int) -> None:
        self.fields[name] = forms.IntegerField(
            min_value=least,
            max_value=most,
            label=self.fields[name].label,
            help_text=self.fields[name].help_text,
        )

    def clean_health(self) -> str:
        text = str(self.cleaned_data["health"]).strip()
        try:
            health.parse(text)
        except health.BadHealth as error:
            raise ValidationError(str(error)) from error
        return text

    def write(self) -> None:
        """Write the columns that differ."""
        if self.changed_data:
            changed(self.instance, **{name: self.cleaned_data[name] for name in self.changed_data})


class ScheduleForm(forms.Form):
    """A power action at fixed times; of one VM, or of all with a tag."""

    ACTIONS = ("start", "stop", "restart", "poweroff")
    action = forms.ChoiceField(choices=[(name, bulk.LABELS[name]) for name in ACTIONS])
    when = forms.CharField(
        max_length=schedules.LONGEST,
        initial="every day 08:00",
        help_text=schedules.EXAMPLES,
        widget=forms.TextInput(attrs=_OFF),
    )
    time_zone = forms.ChoiceField(label="Time zone")
    tag = forms.ModelChoiceField(
        Tag.objects.none(), to_field_name="name", label="VMs tagged", empty_label=None
    )

    def __init__(self, *args: Any, user: User, vm: VM | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.user, self.vm, self.has_tags = user, vm, False
        self.fields["time_zone"].choices = [(name, name) for name in schedules.zones()]  # type: ignore[attr-defined]
        tag = self.fields["tag"]
        if vm is not None:
            del self.fields["tag"]
        elif isinstance(tag, forms.ModelChoiceField):
            tag.queryset = Tag.objects.filter(vms__in=VM.objects.visible_to(user, "vms.operate")).distinct()
            self.has_tags = tag.queryset.exists()

    def save(self) -> Schedule | None:
        """The schedule; None when it was refused: the reason then stands in the form."""
        chosen = self.cleaned_data
        action, params = "bulk", {"action": chosen["action"], "tag": str(chosen.get("tag") or "")}
        if self.vm is not None:
            action, params = chosen["action"], {"vm_id": self.vm.pk}
        try:
            return schedules.add(
                f"vms.{action}", params, chosen["when"], self.user, time_zone=chosen["time_zone"]
            )
        except schedules.BadSchedule as error:
            self.add_error("when", str(error))
        except Refused as refused:
            self.add_error(None, refused.message)
        return None


class GrowForm(forms.Form):
    size = SizeField(label="New size", max_length=20, help_text="such as 40G; a disk only grows")

    def __init__(self, *args: Any, disk: Disk, **options: Any) -> None:
        super().__init__(*args, **options)
        self.disk = disk

    def clean_size(self) -> int:
        size: int = self.cleaned_data["size"]
        if size <= self.disk.size:
            raise ValidationError(f"It has {sizes.human(self.disk.size)} already; a disk only grows.")
        if size % sizes.MIB or size > plan.DISK_MAX:
            raise ValidationError("A disk has a whole number of MiB, at most 64T.")
        if problem := plan.disk_problem(size, self.disk.vm.pool.size):
            raise ValidationError(problem)
        return size


class MoveForm(forms.Form):
    vm = forms.ModelChoiceField(VM.objects.none(), label="Move it to", empty_label="choose a VM")

    def __init__(self, *args: Any, disk: Disk, user: User, **options: Any) -> None:
        super().__init__(*args, **options)
        field = self.fields["vm"]
        if isinstance(field, forms.ModelChoiceField):
            others = VM.objects.visible_to(user, "vms.change").filter(pool=disk.vm.pool)
            field.queryset = others.exclude(pk=disk.vm_id).order_by("name")


class GiveForm(forms.Form):
    """A disk of a deleted VM, and the VM that gets it."""

    disk = forms.ModelChoiceField(Dataset.objects.none(), label="Disk", empty_label=None)
    vm = forms.ModelChoiceField(
        VM.objects.none(),
        label="Give it to",
        empty_label="choose a VM",
        help_text="It has to be off. The disk arrives detached: attach it on the VM's Hardware page.",
    )

    def __init__(self, *args: Any, orphan: Dataset, user: User, **options: Any) -> None:
        super().__init__(*args, **options)
        vms = VM.objects.visible_to(user, "vms.change").filter(pool=orphan.pool_id).order_by("name")
        disks = Dataset.objects.filter(pk__in=[disk.pk for disk in disks_of(orphan)]).order_by("name")
        for name, rows in (("disk", disks), ("vm", vms)):
            self.fields[name].queryset = rows  # type: ignore[attr-defined]
        self.fields["disk"].label_from_instance = (  # type: ignore[attr-defined]
            lambda row: f"{row.name.rpartition('/')[2]} ({sizes.human(row.volsize or 0)})"
        )
        self.is_possible = disks.exists() and vms.exists()


class TypedForm(forms.Form):
    """Destroying is confirmed by typing the name of what goes."""

    name = forms.CharField(label="Name", max_length=300, widget=forms.TextInput(attrs=_OFF))

    def __init__(self, *args: Any, name: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self.wanted = name
        self.fields["name"].label = f"Type {name} to confirm"

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if name != self.wanted:
            raise ValidationError(f"This is not its name. Type {self.wanted} to destroy it.")
        return name


class DeleteForm(TypedForm):
    """problem: why the disks cannot be destroyed; then only what keeps them is taken."""

    keep_disks = forms.ChoiceField(
        choices=[("", "Everything goes"), ("1", "Its dataset stays, with its disks and vm.json")],
        required=False,
        label="What stays",
        widget=forms.RadioSelect,
    )

    def __init__(self, *args: Any, name: str, problem: str = "", **options: Any) -> None:
        super().__init__(*args, name=name, **options)
        self.problem = problem

    def clean(self) -> dict[str, Any]:
        if self.problem and not self.cleaned_data.get("keep_disks"):
            raise ValidationError(self.problem)
        return self.cleaned_data


def attach(disk: Disk, user: User, *, attached: bool) -> Task:
    """Plug a disk in or out: wanted, and written to vm.json; it applies at the VM's next start. Raises Refused."""
    with transaction.atomic():
        # The VM first, as `wanted.apply` has it.
        changed(disk.vm)
        Disk.objects.filter(pk=disk.pk).update(is_attached=attached)
        return ask("vms.configure", {"vm_id": disk.vm_id}, user)
