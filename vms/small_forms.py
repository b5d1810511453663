"""The forms that are one field: notes and the bulk bar."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import F
from django.http import QueryDict

from bhype.accounts.models import User

from . import listing
from .forms import TagsField
from .life.bulk import LABELS, LIMIT
from .models import VM, VMQuerySet
from .wanted import STALE


class NotesForm(forms.Form):
    """The notes of a VM. ``revision`` is the one that the person saw."""

    notes = forms.CharField(
        required=False, max_length=10_000, strip=False, widget=forms.Textarea(attrs={"rows": 4})
    )
    revision = forms.IntegerField(widget=forms.HiddenInput, min_value=0, max_value=2**31 - 1)

    def save(self, vm: VM) -> bool:
        """False when somebody else changed the VM meanwhile; then nothing is changed."""
        text = self.cleaned_data["notes"].replace("\r\n", "\n")
        seen = VM.objects.filter(pk=vm.pk, revision=self.cleaned_data["revision"])
        if not seen.update(notes=text, revision=F("revision") + 1):
            self.add_error(None, STALE)
            return False
        return True


class BulkForm(forms.Form):
    """An action on the selected rows, or on all that match the list's filters (``all``, ``query``)."""

    action = forms.ChoiceField(choices=list(LABELS.items()))
    vm = forms.TypedMultipleChoiceField(required=False, coerce=int)
    all = forms.BooleanField(required=False)
    query = forms.CharField(required=False, max_length=2000)
    tags = TagsField(required=False, max_length=600)

    def __init__(self, data: QueryDict, *, user: User) -> None:
        super().__init__(data)
        self.user = user
        # Numbers are checked against what the user may see when they are looked up.
        numbers = [
            word
            for word in data.getlist("vm")[: LIMIT + 1]
            if word.isascii() and word.isdigit() and len(word) < 19
        ]
        self.fields["vm"].choices = [(word, word) for word in numbers]  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        chosen = self.cleaned_data
        if chosen.get("action") in {"tag", "untag"} and not chosen.get("tags") and "tags" not in self.errors:
            self.add_error("tags", "Type at least one tag.")
        if not chosen.get("all") and not chosen.get("vm") and "vm" not in self.errors:
            self.add_error(None, "Select at least one VM.")
        return chosen

    def vms(self) -> VMQuerySet:
        """The VMs that are meant and that the user may see; at most LIMIT."""
        if self.cleaned_data["all"]:
            filters = listing.Filters.read(QueryDict(self.cleaned_data["query"].lstrip("?")))
            rows = listing.matching(self.user, filters)
        else:
            rows = VM.objects.visible_to(self.user).filter(pk__in=self.cleaned_data["vm"])
        return rows.select_related("host", "owner")[:LIMIT]
