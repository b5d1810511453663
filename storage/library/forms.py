"""The forms of the library. Each ``save`` asks the worker, or says beside the field what is wrong."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db import transaction

from bhype.accounts.models import User
from bhype.live import publish
from bhype.tasks import Refused, ask
from bhype.tasks.models import Task
from storage import plan, sizes
from storage.datasets.forms import SizeField
from storage.models import CatalogueEntry, Image, Iso, Pool

from . import adding, catalogue, checksums, fetching

FIRMWARE = [("uefi", "UEFI"), ("csm", "BIOS (UEFI with CSM)")]
TYPED = {"autocomplete": "off", "spellcheck": "false"}


def _text(
    label: str, *, most: int, required: bool = True, help_text: str = "", **attrs: str
) -> forms.CharField:
    widget = forms.TextInput(attrs=TYPED | attrs)
    return forms.CharField(
        label=label, max_length=most, required=required, help_text=help_text, widget=widget
    )


class SourceForm(forms.Form):
    """A URL, and how what is there is known to be right. checksum: hexadecimals, or the URL of a file with them."""

    url = _text("URL", most=1000, placeholder="https://", inputmode="url")
    checksum = _text(
        "Checksum",
        most=1000,
        required=False,
        help_text="SHA-256 or SHA-512 of the file, or the URL of the vendor's list of them. What differs is not kept.",
    )
    signature_url = _text(
        "URL of the signature",
        most=1000,
        required=False,
        help_text="OpenPGP, of the list of checksums or of the file. A list that is signed in clear needs none.",
        inputmode="url",
    )
    signing_key = forms.CharField(
        label="Public key of the vendor",
        max_length=100_000,
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, **TYPED}),
        help_text="Armored, as it is published (BEGIN PGP PUBLIC KEY BLOCK). With a key, a signature must be there.",
    )

    def clean_url(self) -> str:
        return _url(self.cleaned_data["url"])

    def clean_signature_url(self) -> str:
        return _url(self.cleaned_data["signature_url"])

    def clean_checksum(self) -> str:
        value: str = self.cleaned_data["checksum"]
        if "://" in value:
            return _url(value)
        if value:
            try:
                checksums.parse(value)
            except checksums.BadChecksum as error:
                raise forms.ValidationError(str(error)) from error
        return value

    def clean(self) -> dict[str, Any]:
        chosen = super().clean() or {}
        has_list = "://" in (chosen.get("checksum") or "")
        if chosen.get("signature_url") and not chosen.get("signing_key"):
            self.add_error("signing_key", "A signature is checked by the vendor's key.")
        if chosen.get("signing_key") and not (chosen.get("signature_url") or has_list):
            self.add_error("signature_url", "With a key there must be a signature.")
        return chosen

    def source(self) -> dict[str, str]:
        """As SourceParams has it."""
        chosen = self.cleaned_data
        found = {key: chosen.get(key) or "" for key in ("url", "signature_url", "signing_key")}
        typed = chosen.get("checksum") or ""
        found["checksum_url" if "://" in typed else "checksum"] = typed
        return {key: value for key, value in found.items() if value}


def _url(value: str) -> str:
    if value and (problem := fetching.problem_of(value)):
        raise forms.ValidationError(problem)
    return value


class FactsForm(forms.ModelForm):  # type: ignore[type-arg]
    """What people know of an image: what is in it."""

    class Meta:
        model = Image
        fields = ("os", "version", "firmware", "cloud_init", "login", "notes")
        labels = {
            "os": "Operating system",
            "cloud_init": "Seed is read by",
            "login": "User in the image",
        }
        help_texts = {
            "os": "As the OS presets call it, such as debian12.",
            "login": "Such as debian or cloud-user.",
        }
        widgets = {
            "notes": forms.Textarea(attrs={"rows": 3}),
            "firmware": forms.Select(choices=FIRMWARE),
        }

    def facts(self) -> dict[str, str]:
        return {key: self.cleaned_data[key] for key in self.Meta.fields}


class AddForm(forms.Form):
    """Where something is put, and under which name."""

    name = _text("Name", most=128, required=False, help_text="Left empty, it is that of the file.")
    pool = forms.ModelChoiceField(Pool.objects.none(), empty_label=None)

    def __init__(self, *words: Any, **more: Any) -> None:
        super().__init__(*words, **more)
        pools = Pool.objects.filter(is_adopted=True).order_by("-free", "name")
        self.fields["pool"].queryset = pools  # type: ignore[attr-defined]
        self.initial.setdefault("pool", pools.first())
        if len(pools) < 2:
            self.fields["pool"].widget = forms.HiddenInput()

    def clean(self) -> dict[str, Any]:
        chosen = super().clean() or {}
        if "pool" in self.errors and self.fields["pool"].widget.is_hidden:
            self.add_error(None, "No pool of this host belongs to bHype yet. Adopt one on the page of pools.")
        return chosen


class FetchImageForm(AddForm, SourceForm):
    """An image by its URL; what is in it is the business of a FactsForm beside it."""

    field_order = ("url", "name", "pool", "checksum", "signature_url", "signing_key")

    def save(self, user: User, facts: dict[str, str]) -> tuple[Image, Task] | None:
        chosen = self.cleaned_data
        name = chosen["name"] or adding.image_name_of(chosen["url"])
        try:
            return adding.add_image(user, chosen["pool"], name, facts, self.source())
        except Refused as refused:
            self.add_error(refused.field if refused.field in self.fields else None, str(refused))
            return None


class FetchIsoForm(AddForm, SourceForm):
    field_order = ("url", "name", "pool", "checksum", "signature_url", "signing_key")

    def save(self, user: User) -> Task | None:
        chosen = self.cleaned_data
        name = chosen["name"] or adding.medium_name_of(chosen["url"])
        try:
            return adding.add_iso(user, chosen["pool"], name, self.source())
        except Refused as refused:
            self.add_error(refused.field if refused.field in self.fields else None, str(refused))
            return None


class RenameIsoForm(forms.Form):
    name = _text("New name", most=128)

    def __init__(self, *words: Any, iso: Iso, **more: Any) -> None:
        super().__init__(*words, **more)
        self.iso = iso
        self.initial.setdefault("name", iso.name)

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if not plan.is_medium(name):
            raise forms.ValidationError("It ends with .iso or .img and has letters, digits and . _ + -.")
        if self.iso.pool.isos.filter(name=name).exclude(pk=self.iso.pk).exists():
            raise forms.ValidationError("There is already a medium of this name.")
        return name

    def save(self, user: User) -> Task | None:
        """Ask for it; None when it was refused, with the reason beside the field."""
        try:
            return ask("storage.rename_iso", {"iso_id": self.iso.pk, "name": self.cleaned_data["name"]}, user)
        except Refused as refused:
            self.add_error("name", str(refused))
            return None


class EntryForm(forms.ModelForm):  # type: ignore[type-arg]
    """An entry of the catalogue. What is saved is an admin's own: bHype's next version leaves it alone."""

    minimum_disk = SizeField(
        label="Smallest disk", max_length=20, required=False, help_text="such as 10G; empty when nobody knows"
    )

    class Meta:
        model = CatalogueEntry
        fields = (
            "os", "title", "family", "state", "url", "index_url", "index_pattern", "checksum_url", "signature_url",
            "signing_key", "firmware", "cloud_init", "login", "minimum_disk", "notes", "is_enabled",
        )  # fmt: skip
        labels = {
            "os": "Word for it",
            "url": "URL",
            "index_url": "URL of an index",
            "index_pattern": "Names in the index",
            "checksum_url": "URL of the checksums",
            "signature_url": "URL of the signature",
            "signing_key": "Public key of the vendor",
            "cloud_init": "Seed is read by",
            "login": "User in the image",
            "is_enabled": "Shown to everybody",
        }
        help_texts = {
            "os": "As the OS presets call it, such as debian12; images are called after it.",
            "url": "Of the image. {name} is the newest name in the index, where there is one.",
            "index_url": "A list of files by a web server, or HosterCore's JSON.",
            "index_pattern": "With * and ?, such as 14.*-RELEASE; in HosterCore's JSON the word of the system.",
            "checksum_url": "May have {name} and {url}, that of the image.",
            "signature_url": "OpenPGP, of the list of checksums or of the image. One signed in clear needs none.",
        }
        widgets = {
            "notes": forms.Textarea(attrs={"rows": 2}),
            "signing_key": forms.Textarea(attrs={"rows": 3, **TYPED}),
            "firmware": forms.Select(choices=FIRMWARE),
        }
        error_messages = {"os": {"unique": "The catalogue has an entry of this word already."}}

    def __init__(self, *words: Any, **more: Any) -> None:
        super().__init__(*words, **more)
        least = self.instance.minimum_disk
        self.initial["minimum_disk"] = sizes.text(least) if least else ""

    def clean_minimum_disk(self) -> int:
        return self.cleaned_data["minimum_disk"] or 0

    def clean_os(self) -> str:
        word: str = self.cleaned_data["os"]
        if problem := adding.image_name_problem(word):
            raise forms.ValidationError(problem)
        return word

    def clean(self) -> dict[str, Any]:
        chosen = super().clean() or {}
        for key in ("url", "index_url", "checksum_url", "signature_url"):
            value = catalogue.filled(chosen.get(key) or "", name="name", url="https://host/name")
            if value and (problem := fetching.problem_of(value)):
                self.add_error(key, problem)
        if chosen.get("signature_url") and not chosen.get("signing_key"):
            self.add_error("signing_key", "A signature is checked by the vendor's key.")
        if "{name}" in (chosen.get("url") or "") and not chosen.get("index_url"):
            self.add_error("index_url", "A {name} comes from an index.")
        return chosen

    def save(self, commit: bool = True) -> CatalogueEntry:  # noqa: FBT001, FBT002 - as ModelForm has it
        self.instance.is_own = True
        with transaction.atomic():
            entry: CatalogueEntry = super().save(commit)
            publish("catalogue")
        return entry
