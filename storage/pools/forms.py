"""The forms of pools: new ones, more disks, imports, schedules. They check rows; the worker looks again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from bhype.accounts.models import User
from bhype.freebsd import names
from bhype.freebsd.zpool_layout import Group
from bhype.hosts.models import Host
from bhype.tasks import Refused, schedules
from bhype.tasks.models import Schedule
from storage.models import PhysicalDisk, Pool

from . import advice, layouts, pages

_OFF = {"autocomplete": "off", "spellcheck": "false"}
ROLES = {
    "": "not used",
    "data": "Data",
    "special": "Special (small blocks, metadata)",
    "log": "Log (synchronous writes)",
    "cache": "Cache (reads)",
    "spare": "Spare",
}
# zpool(8) reserves them (zfs_namecheck.c, pool_namecheck), or the panel's own addresses have them.
RESERVED = ("log", "new", "import")
RESERVED_STARTS = ("mirror", "raidz", "draid", "spare")


def pool_name(name: str) -> str:
    """A name for a pool. Raises ValidationError."""
    try:
        names.pool(name)
    except names.BadName as error:
        raise ValidationError(
            "A name starts with a letter and has letters, digits and _ . : - only."
        ) from error
    if len(name) > 64:
        raise ValidationError("A name has at most 64 characters here: the paths of VMs' disks begin with it.")
    if name in RESERVED or name.startswith(RESERVED_STARTS):
        raise ValidationError("This name means something else to ZFS or to this panel.")
    return name


def plain(disk: PhysicalDisk) -> layouts.Disk:
    return layouts.Disk(disk.name, disk.size, disk.sector_size, disk.is_rotating)


class EraseField(forms.CharField):
    """Names of disks, with blanks or commas between them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            required=False,
            max_length=1000,
            label="Erase what earlier pools left",
            help_text="The names of the chosen disks on which an exported or destroyed pool may be erased for good.",
            widget=forms.TextInput(attrs=_OFF | {"placeholder": "none"}),
            **options,
        )

    def clean(self, value: Any) -> list[str]:
        return sorted(set(str(super().clean(value)).replace(",", " ").split()))


class Erasing(forms.Form):
    """Checks the erase field against the chosen disks, which carry what is left on them."""

    erase = EraseField()

    def check_erase(self, chosen: Iterable[PhysicalDisk]) -> None:
        wanted, rows = self.cleaned_data.get("erase") or [], list(chosen)
        if strange := sorted(set(wanted) - {row.name for row in rows}):
            self.add_error("erase", f"{', '.join(strange)}: not chosen above.")
        for row in rows:
            if row.leftover and row.name not in wanted:
                self.add_error("erase", f"{row.name} is {row.leftover}. Type {row.name} to erase that.")


class PoolForm(Erasing):
    """A new pool: what each free disk is for, and the layout of the data disks."""

    name = forms.CharField(max_length=80, widget=forms.TextInput(attrs=_OFF))
    shape = forms.CharField(required=False, max_length=20, label="Layout")
    compression = forms.ChoiceField(
        choices=[("lz4", "lz4 (fast)"), ("zstd", "zstd (smaller)"), ("off", "off")],
        initial="lz4",
        required=False,
    )
    autotrim = forms.BooleanField(
        required=False, label="Trim at once", help_text="Tell flash disks at once what is free (autotrim)."
    )

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        *,
        host: Host,
        seen: Mapping[str, Any] | None = None,
    ) -> None:
        """seen: what was chosen so far, of a form that is not sent yet."""
        super().__init__(data, initial=dict(seen.items()) if seen else None)
        self.seen = (seen if data is None else data) or {}
        self.host, self.free = host, pages.free_disks(host)
        for disk in self.free:
            self.fields[f"role_{disk.name}"] = forms.ChoiceField(
                choices=list(ROLES.items()), required=False, label=f"Use of {disk.name}"
            )
        self.roles = self._roles()
        self.layouts = layouts.layouts([plain(disk) for disk in self.roles["data"]])
        self.wanted_shape = self._shape()
        self.plan = layouts.plan(
            self.wanted_shape, {role: [plain(disk) for disk in disks] for role, disks in self.roles.items()}
        )

    def _roles(self) -> dict[str, list[PhysicalDisk]]:
        chosen: dict[str, list[PhysicalDisk]] = {role: [] for role in ROLES if role}
        for disk in self.free:
            role = str(self.seen.get(f"role_{disk.name}", ""))
            if role in chosen:
                chosen[role].append(disk)
        return chosen

    def _shape(self) -> str:
        """The layout that was chosen, while the disks fit it; until somebody chooses another, the advised one."""
        wanted, advised = str(self.seen.get("shape", "")), str(self.seen.get("advised", ""))
        is_chosen = wanted != advised and wanted in {one.key for one in self.layouts}
        return wanted if is_chosen else self.advised

    @property
    def advised(self) -> str:
        first = self.layouts[0].key if self.layouts else ""
        return next((one.key for one in self.layouts if one.is_advised), first)

    @property
    def chosen(self) -> list[PhysicalDisk]:
        return [disk for disks in self.roles.values() for disk in disks]

    @property
    def disk_rows(self) -> list[tuple[PhysicalDisk, forms.BoundField]]:
        return [(disk, self[f"role_{disk.name}"]) for disk in self.free]

    def clean_name(self) -> str:
        name = pool_name(self.cleaned_data["name"])
        if self.host.pools.filter(name=name).exists():
            raise ValidationError("There is a pool of this name already.")
        return name

    def clean(self) -> dict[str, Any]:
        if self.data.get("shape") and self.data["shape"] != self.wanted_shape:
            self.add_error("shape", "The disks have changed: look at the layouts again.")
        for problem in self.plan.problems:
            self.add_error(None, problem)
        self.check_erase(self.chosen)
        return self.cleaned_data

    def params(self) -> dict[str, Any]:
        """As storage.create_pool takes them."""
        chosen = self.cleaned_data
        return {
            "name": chosen["name"],
            "groups": group_params(self.plan.groups),
            "erase": chosen["erase"],
            "ashift": self.plan.ashift,
            "compression": chosen["compression"] or "lz4",
            "autotrim": chosen["autotrim"],
        }


def group_params(groups: Iterable[Group]) -> list[dict[str, Any]]:
    return [{"role": group.role, "kind": group.kind, "disks": list(group.disks)} for group in groups]


class DisksField(forms.MultipleChoiceField):
    widget = forms.CheckboxSelectMultiple(attrs={"class": "form-check-input"})


def label(disk: PhysicalDisk) -> str:
    words = [disk.name, layouts_size(disk.size), disk.description]
    return ", ".join(word for word in words if word) + (f" ({disk.leftover})" if disk.leftover else "")


def layouts_size(size: int) -> str:
    return pages.size(float(size))


class AddForm(Erasing):
    """Free disks that join a pool."""

    role = forms.ChoiceField(
        choices=[(role, words) for role, words in ROLES.items() if role], label="Use", initial="spare"
    )
    kind = forms.ChoiceField(
        choices=[(kind, words) for kind, words in layouts.NAMES.items()],
        initial="mirror",
        required=False,
        label="Layout",
        help_text="Of a group of data; the others become mirrors where there are two disks or more.",
    )
    disks = DisksField()

    def __init__(self, data: Mapping[str, Any] | None = None, *, pool: Pool) -> None:
        super().__init__(data)
        self.pool, self.free = pool, pages.free_disks(pool.host)
        self.fields["disks"].choices = [(disk.name, label(disk)) for disk in self.free]  # type: ignore[attr-defined]
        self.plan: layouts.Plan | None = None
        groups = advice.data_groups(pool.status)
        if groups:
            self.fields["kind"].initial = groups[0][0]

    def clean(self) -> dict[str, Any]:
        chosen = [disk for disk in self.free if disk.name in self.cleaned_data.get("disks", [])]
        if not chosen or "role" not in self.cleaned_data:
            return self.cleaned_data
        self.plan = layouts.plan_addition(
            advice.data_groups(self.pool.status),
            self.cleaned_data["role"],
            self.cleaned_data.get("kind") or "mirror",
            [plain(disk) for disk in chosen],
        )
        for problem in self.plan.problems:
            self.add_error(None, problem)
        self.check_erase(chosen)
        return self.cleaned_data

    def params(self) -> dict[str, Any]:
        groups = self.plan.groups if self.plan else ()
        return {"pool_id": self.pool.pk, "groups": group_params(groups), "erase": self.cleaned_data["erase"]}


class NewDiskForm(Erasing):
    """A free disk that replaces another or joins it."""

    disk = forms.ChoiceField(label="Free disk")

    def __init__(
        self, data: Mapping[str, Any] | None = None, *, pool: Pool, prefix: str, least: int = 0
    ) -> None:
        """least: bytes that the disk has at least."""
        super().__init__(data, prefix=prefix)
        self.pool = pool
        self.free = [disk for disk in pages.free_disks(pool.host) if disk.size >= least]
        self.fields["disk"].choices = [(disk.name, label(disk)) for disk in self.free]  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        self.check_erase(disk for disk in self.free if disk.name == self.cleaned_data.get("disk"))
        return self.cleaned_data

    def params(self, member: str) -> dict[str, Any]:
        chosen = self.cleaned_data
        return {
            "pool_id": self.pool.pk,
            "member": member,
            "disk": chosen["disk"],
            "erase": chosen["disk"] in chosen["erase"],
        }


class ImportForm(forms.Form):
    """A pool that was found on the disks."""

    guid = forms.CharField(max_length=20, widget=forms.HiddenInput)
    name = forms.CharField(label="Name here", max_length=80, widget=forms.TextInput(attrs=_OFF))
    mount = forms.BooleanField(
        required=False,
        label="Mount all its file systems",
        help_text="Otherwise those of bHype only: others may lay themselves over folders of this host.",
    )
    readonly = forms.BooleanField(
        required=False, label="Read-only", help_text="Nothing is written to its disks."
    )
    force = forms.BooleanField(
        required=False,
        label="Although another host seems to use it",
        help_text="Two hosts that write to one pool destroy it: only if the other has been switched off.",
    )

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        *,
        host: Host,
        found: list[dict[str, Any]],
        **options: Any,
    ) -> None:
        super().__init__(data, **options)
        self.host, self.found = host, found

    def clean_guid(self) -> str:
        guid: str = self.cleaned_data["guid"]
        if guid not in {str(one.get("guid")) for one in self.found if not one.get("is_destroyed")}:
            raise ValidationError("This pool was not found any more: look again.")
        return guid

    def clean_name(self) -> str:
        name = pool_name(self.cleaned_data["name"])
        if self.host.pools.filter(name=name).exclude(health="UNAVAIL").exists():
            raise ValidationError("There is a pool of this name already: give it another one here.")
        return name


class TypedForm(forms.Form):
    """What cannot be undone is confirmed by typing the name of what it is done to."""

    confirm = forms.CharField(label="Name", max_length=300, widget=forms.TextInput(attrs=_OFF))

    def __init__(self, data: Mapping[str, Any] | None = None, *, name: str) -> None:
        super().__init__(data)
        self.wanted = name
        self.fields["confirm"].label = f"Type {name} to confirm"

    def clean_confirm(self) -> str:
        if self.cleaned_data["confirm"] != self.wanted:
            raise ValidationError(f"This is not its name. Type {self.wanted}.")
        return self.wanted


class ScheduleForm(forms.Form):
    """A scrub or trim at fixed times."""

    operation = forms.ChoiceField(
        choices=[
            ("storage.scrub", "Scrub: read and check everything"),
            ("storage.trim", "Trim: tell disks what is free"),
        ],
        label="What",
    )
    when = forms.CharField(
        max_length=schedules.LONGEST,
        initial="monthly 1 03:00",
        help_text=schedules.EXAMPLES,
        widget=forms.TextInput(attrs=_OFF),
    )
    time_zone = forms.ChoiceField(label="Time zone")

    def __init__(self, data: Mapping[str, Any] | None = None, *, pool: Pool, user: User) -> None:
        super().__init__(data)
        self.pool, self.user = pool, user
        self.fields["time_zone"].choices = [(name, name) for name in schedules.zones()]  # type: ignore[attr-defined]

    def save(self) -> Schedule | None:
        """The schedule; None when it was refused: the reason then stands in the form."""
        chosen = self.cleaned_data
        try:
            return schedules.add(
                chosen["operation"],
                {"pool_id": self.pool.pk},
                chosen["when"],
                self.user,
                time_zone=chosen["time_zone"],
            )
        except schedules.BadSchedule as error:
            self.add_error("when", str(error))
        except Refused as refused:
            self.add_error(None, refused.message)
        return None
