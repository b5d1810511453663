"""The forms of datasets. Every refusal stands beside its field; what only the host knows, the task tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from bhype.freebsd import names, zfs_keys, zfs_properties
from storage import sizes
from storage.models import Dataset

from . import pages, passphrases, uses
from .uses import Use

Data = Mapping[str, Any] | None
_OFF = {"autocomplete": "off", "spellcheck": "false", "autocapitalize": "off"}
_NEW = {"autocomplete": "new-password"}
_ONLY_KEY = "At least 8 characters. Whoever loses it loses the data: nobody can give it back. Write it down."


class SizeField(forms.CharField):
    """Text such as "2G"; the cleaned value is bytes, None of no text."""

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        if not text:
            return None
        try:
            return 0 if text.lower() == "none" else sizes.parse(text)
        except sizes.BadSize as error:
            raise ValidationError(str(error)) from error

    def run_validators(self, value: Any) -> None:
        if value is not None:
            super().run_validators(str(value))


class PassphraseField(forms.CharField):
    """A passphrase as zfs(8) takes it; it is never sent back to the browser."""

    def __init__(self, *, is_new: bool = False, **options: Any) -> None:
        attributes = _NEW if is_new else {"autocomplete": "off"}
        options.setdefault("widget", forms.PasswordInput(attrs=attributes, render_value=False))
        super().__init__(strip=False, max_length=zfs_keys.LONGEST, **options)

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        if text:
            try:
                zfs_keys.line(text)
            except names.BadName as error:
                raise ValidationError(str(error)) from error
        return text


def seal(form: forms.Form, name: str) -> str:
    """One half of the passphrase in a field, for a task; "" where there is none. Raises OSError."""
    text = form.cleaned_data.get(name)
    return passphrases.seal(text) if text else ""


class NewPassphrase(forms.Form):
    """A new passphrase, twice."""

    passphrase = PassphraseField(is_new=True, label="Passphrase", help_text=_ONLY_KEY)
    again = PassphraseField(is_new=True, label="Again")

    def clean(self) -> dict[str, Any]:
        chosen = self.cleaned_data
        if "passphrase" in chosen and "again" in chosen and chosen["passphrase"] != chosen["again"]:
            self.add_error("again", "This is not the same.")
        return chosen


class OptionalPassphrase(NewPassphrase):
    """A new passphrase for what can also do without encryption."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for name in ("passphrase", "again"):
            self.fields[name].required = False


class CreateForm(OptionalPassphrase):
    """A new filesystem or volume in ``parent``."""

    name = forms.CharField(max_length=uses.NAME_MAX, widget=forms.TextInput(attrs=_OFF))
    kind = forms.ChoiceField(
        choices=[("filesystem", "Filesystem"), ("volume", "Volume")], initial="filesystem"
    )
    size = SizeField(required=False, max_length=20, help_text="of a volume, such as 20G")
    compression = forms.ChoiceField(required=False)
    quota = SizeField(required=False, max_length=20, help_text="of a filesystem; empty: none")
    encrypted = forms.BooleanField(
        required=False,
        label="Encrypt it with a key of its own",
        help_text="After each start of the host it stays locked until somebody gives the passphrase.",
    )
    field_order = ("name", "kind", "size", "quota", "compression", "encrypted", "passphrase", "again")

    def __init__(self, data: Data = None, *, parent: Use, **options: Any) -> None:
        super().__init__(data, **options)
        self.parent = parent
        choices = zfs_properties.SETTINGS["compression"].choices
        self.fields["compression"].choices = [  # type: ignore[attr-defined]
            ("", f"as in {parent.short}"),
            *((word, word) for word in choices),
        ]

    def clean_name(self) -> str:
        last: str = self.cleaned_data["name"]
        try:
            name = uses.new_name(self.parent.name, last)
        except names.BadName as error:
            raise ValidationError(str(error)) from error
        if Dataset.objects.filter(pool=self.parent.dataset.pool_id, name=name).exists():
            raise ValidationError("There is already a dataset of this name.")
        return last

    def clean(self) -> dict[str, Any]:
        chosen = super().clean()
        if chosen.get("kind") == "volume" and "size" in chosen:
            if not chosen["size"]:
                self.add_error("size", "A volume needs a size, such as 20G.")
            elif problem := uses.size_problem(chosen["size"]):
                self.add_error("size", problem)
        if chosen.get("encrypted") and "passphrase" in chosen and not chosen["passphrase"]:
            self.add_error("passphrase", "Give a passphrase.")
        return chosen

    def params(self) -> dict[str, Any]:
        """As storage.create_dataset takes them. Raises OSError."""
        chosen = self.cleaned_data
        is_volume = chosen["kind"] == "volume"
        properties = {"compression": chosen["compression"]} if chosen["compression"] else {}
        if chosen["quota"] and not is_volume:
            properties["quota"] = str(chosen["quota"])
        return {
            "dataset_id": self.parent.dataset.pk,
            "name": chosen["name"],
            "kind": chosen["kind"],
            "size": chosen["size"] if is_volume else 0,
            "properties": properties,
            "secret": seal(self, "passphrase") if chosen["encrypted"] else "",
        }


class PropertiesForm(forms.Form):
    """All settings of a dataset; an empty one is not set here."""

    def __init__(self, data: Data = None, *, row: Dataset, **options: Any) -> None:
        super().__init__(data, **options)
        self.row, self.lines = row, pages.lines(row)
        for line in self.lines:
            self.fields[line.setting.name] = field = _field(line)
            field.initial = _initial(line)

    @property
    def rows(self) -> list[tuple[pages.Line, forms.BoundField]]:
        """Each setting with its field."""
        return [(line, self[line.setting.name]) for line in self.lines]

    def clean(self) -> dict[str, Any]:
        chosen = self.cleaned_data
        quota = chosen.get("quota")
        if quota and quota < self.row.used and "quota" in self.changes():
            self.add_error("quota", f"It uses {sizes.human(self.row.used)} already.")
        refquota = chosen.get("refquota")
        if refquota and refquota < self.row.referenced and "refquota" in self.changes():
            self.add_error("refquota", f"It uses {sizes.human(self.row.referenced)} already.")
        return chosen

    def changes(self) -> dict[str, str | None]:
        """What differs from now, as storage.set_properties takes it."""
        found: dict[str, str | None] = {}
        for line in self.lines:
            name = line.setting.name
            if name not in self.cleaned_data:
                continue
            value = self.cleaned_data[name]
            text = None if value in {None, ""} else str(value)
            before = line.raw if line.is_here else None
            if line.setting.is_size:
                text, before = _size(text), _size(before)
            if text != before:
                found[name] = text
        return found


def _size(text: str | None) -> str | None:
    """A size, of which none and 0 are the same."""
    return None if text in {None, "0", "none"} else text


def _field(line: pages.Line) -> forms.Field:
    setting = line.setting
    label = setting.label
    if setting.is_size:
        widget = forms.TextInput(attrs={"placeholder": "none", **_OFF})
        return SizeField(max_length=20, widget=widget, required=False, label=label)
    unset = f"{line.upper}, {'inherited' if line.is_inherited else 'the default'}"
    choices = [(word, pages.shown(setting, word)) for word in setting.choices]
    if line.is_here and line.raw not in setting.choices:
        choices.append((line.raw, line.value))
    return forms.ChoiceField(choices=[("", unset), *choices], required=False, label=label)


def _initial(line: pages.Line) -> str:
    if line.setting.is_size:
        return sizes.text(int(line.raw)) if line.raw.isdigit() and int(line.raw) else ""
    return line.raw if line.is_here else ""


class GrowForm(forms.Form):
    size = SizeField(label="New size", max_length=20, help_text="such as 40G; a volume only grows")

    def __init__(self, *args: Any, row: Dataset, **options: Any) -> None:
        super().__init__(*args, **options)
        self.row = row

    def clean_size(self) -> int:
        size: int = self.cleaned_data["size"] or 0
        if size <= (self.row.volsize or 0):
            raise ValidationError(
                f"It has {sizes.human(self.row.volsize or 0)} already; a volume only grows."
            )
        if problem := uses.size_problem(size):
            raise ValidationError(problem)
        return size


class RenameForm(forms.Form):
    """Another name for a dataset that was made on these pages, or another place in its pool."""

    name = forms.CharField(max_length=uses.NAME_MAX, widget=forms.TextInput(attrs=_OFF), label="New name")
    parent = forms.ModelChoiceField(Dataset.objects.none(), label="In", empty_label=None)

    def __init__(self, data: Data = None, *, use: Use, **options: Any) -> None:
        last = {"name": use.short, "parent": None}
        super().__init__(data, initial=last, auto_id="rename_%s", **options)
        self.use = use
        row = use.dataset
        rows = Dataset.objects.filter(pool=row.pool_id, kind=Dataset.Kind.FILESYSTEM)
        places = rows.filter(bhype_id=uses.DATA_ID) | rows.filter(name=row.pool.home)
        inside = [each.pk for each in places if uses.below(row.name, each)]
        field = self.fields["parent"]
        if isinstance(field, forms.ModelChoiceField):
            field.queryset = places.exclude(pk__in=inside).order_by("name")
            field.initial = rows.filter(name=row.name.rpartition("/")[0]).first()

    def clean(self) -> dict[str, Any]:
        chosen = self.cleaned_data
        if "name" not in chosen or "parent" not in chosen:
            return chosen
        try:
            name = uses.new_name(chosen["parent"].name, chosen["name"])
        except names.BadName as error:
            self.add_error("name", str(error))
            return chosen
        if name == self.use.name:
            self.add_error("name", "This is its name already.")
        elif Dataset.objects.filter(pool=self.use.dataset.pool_id, name=name).exists():
            self.add_error("name", "There is already a dataset of this name.")
        return chosen

    def params(self) -> dict[str, Any]:
        chosen = self.cleaned_data
        return {
            "dataset_id": self.use.dataset.pk,
            "name": chosen["name"],
            "parent_id": chosen["parent"].pk,
        }


class TypedForm(forms.Form):
    """Destroying is confirmed by typing the name of what goes."""

    name = forms.CharField(max_length=300, widget=forms.TextInput(attrs=_OFF))

    def __init__(self, *args: Any, name: str, **options: Any) -> None:
        # It stands beside other forms with a name.
        super().__init__(*args, **{"auto_id": "destroy_%s", **options})
        self.wanted = name
        self.fields["name"].label = f"Type {name} to confirm"

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if name != self.wanted:
            raise ValidationError(f"This is not its name. Type {self.wanted} to destroy it.")
        return name


class UnlockForm(forms.Form):
    """The passphrase of an encryption root; none is asked for where the key lies in a file of the host."""

    passphrase = PassphraseField(label="Passphrase")
    start = forms.BooleanField(
        required=False,
        initial=True,
        label="Start what starts with the host",
        help_text="VMs that waited for this.",
    )

    def __init__(self, data: Data = None, *, needs_passphrase: bool = True, **options: Any) -> None:
        super().__init__(data, **options)
        if not needs_passphrase:
            del self.fields["passphrase"]


class ChangeKeyForm(NewPassphrase):
    """A new passphrase, for whoever knows the old one."""

    old = PassphraseField(label="The passphrase that it has")
    field_order = ("old", "passphrase", "again")
