"""The forms of snapshots: one more, and what is done to those that are there."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict

from bhype.freebsd import names, zfs_snapshots

from . import moments

_OFF = {"autocomplete": "off", "spellcheck": "false"}
# What can be done to one snapshot, and the end of its operation's name; those with a page of their own come first.
SHOWN = {
    "preview": "preview_deletion",
    "preview_rollback": "preview_rollback",
    "diff": "diff_snapshot",
    "list": "list_snapshot",
    "holds": "list_holds",
    "fetch": "fetch_from_snapshot",
}
DONE = {"hold": "hold_snapshot", "release": "release_snapshot", "note": "annotate_snapshot"}
SAID = {"hold": "is being held", "release": "is being released", "note": "gets its note"}
_FIELDS: dict[str, tuple[str, ...]] = {
    "diff": ("until",), "list": ("path",), "fetch": ("path",), "hold": ("tag",), "release": ("tag",), "note": ("note",),
}  # fmt: skip


def check_note(text: str) -> str:
    """A note as a snapshot can carry it. Raises ValidationError."""
    try:
        return zfs_snapshots.one_line(text)
    except names.BadName as error:
        raise ValidationError(str(error)) from error


class TakeForm(forms.Form):
    """One more snapshot of a dataset."""

    name = forms.CharField(
        required=False,
        max_length=200,
        label="Name",
        help_text="empty: by the time",
        widget=forms.TextInput(attrs={**_OFF, "placeholder": "before-update"}),
    )
    note = forms.CharField(
        required=False,
        max_length=zfs_snapshots.NOTE_MAX,
        label="Note",
        help_text="what it is good for",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def __init__(
        self, *args: Any, dataset: str, taken: set[str] | frozenset[str] = frozenset(), **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self.dataset, self.taken = dataset, taken

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if name in self.taken:
            raise ValidationError("There is a snapshot of this name already.")
        try:
            return moments.check_name(self.dataset, name) if name else ""
        except names.BadName as error:
            raise ValidationError(str(error)) from error

    def clean_note(self) -> str:
        return check_note(self.cleaned_data["note"])

    def params(self) -> dict[str, Any]:
        return {key: value for key, value in self.cleaned_data.items() if value}


class NoteForm(forms.Form):
    """The note of a snapshot of everything in production."""

    note = forms.CharField(required=False, max_length=zfs_snapshots.NOTE_MAX)

    def clean_note(self) -> str:
        return check_note(self.cleaned_data["note"])


class DoForm(forms.Form):
    """What is to be done, and to which snapshots."""

    do = forms.ChoiceField(choices=[(name, name) for name in (*SHOWN, *DONE)])
    path = forms.CharField(required=False, max_length=1000, strip=False)
    until = forms.CharField(required=False, max_length=200)
    tag = forms.CharField(required=False, max_length=64)
    note = forms.CharField(required=False, max_length=zfs_snapshots.NOTE_MAX)

    def __init__(self, data: QueryDict) -> None:
        super().__init__(data)
        self.chosen = data.getlist("snapshot")[:5000]

    def clean_note(self) -> str:
        return check_note(self.cleaned_data["note"])

    def clean(self) -> dict[str, Any]:
        if not self.chosen and not self.data.get("all"):
            self.add_error(None, "Select at least one snapshot.")
        return self.cleaned_data

    @property
    def is_shown(self) -> bool:
        """Whether what comes of it has a page."""
        return self.cleaned_data["do"] in SHOWN

    @property
    def operation(self) -> str:
        """Its name, without the app's."""
        wanted = self.cleaned_data["do"]
        return SHOWN.get(wanted) or DONE[wanted]

    @property
    def said(self) -> str:
        return SAID.get(self.cleaned_data["do"], "")

    def params(self) -> dict[str, Any]:
        """What else the operation is to know."""
        wanted = self.cleaned_data["do"]
        return {
            key: self.cleaned_data[key]
            for key in _FIELDS.get(wanted, ())
            if self.cleaned_data[key] or key == "note"
        }

    @property
    def problem(self) -> str:
        return " ".join(str(text) for errors in self.errors.values() for text in errors)
