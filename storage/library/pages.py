"""What the pages and the API show of the library, in a constant number of queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.urls import reverse

from bhype.accounts.models import User
from bhype.live import publish
from bhype.tasks.models import Task
from storage import owners
from storage.models import CatalogueEntry, Dataset, Image, Iso, Pool

from . import catalogue

MEDIA_TASKS = ("storage.fetch_iso", "storage.make_iso")


@dataclass(frozen=True, slots=True)
class Use:
    """A dataset that lives on an image: whose it is. url: "" where the person may not see it."""

    name: str
    label: str
    url: str


@dataclass(frozen=True, slots=True)
class ImageRow:
    """task: the one that is at it; uses: what lives on it."""

    image: Image
    task: Task | None
    uses: list[Use]


@dataclass(frozen=True, slots=True)
class EntryRow:
    """An entry of the catalogue, and the images that there are of its operating system."""

    entry: CatalogueEntry
    images: list[Image]
    is_fetchable: bool


def rights(user: User) -> dict[str, bool]:
    return {"may_see_vms": user.can("vms.view"), "may_change": user.can("storage.change")}


def media(user: User) -> dict[str, Any]:
    rows = Iso.objects.select_related("pool__host").prefetch_related("drives__vm")
    coming = Task.objects.filter(operation__in=MEDIA_TASKS).unfinished().order_by("pk")
    return {
        "isos": rows,
        "coming": coming,
        "pools": Pool.objects.filter(is_adopted=True).select_related("host"),
        **rights(user),
    }


def images(user: User) -> dict[str, Any]:
    found = list(Image.objects.select_related("pool__host"))
    return {"rows": _rows(found, user), **rights(user)}


def image(user: User, one: Image) -> dict[str, Any]:
    (row,) = _rows([one], user)
    last = Task.objects.filter(subject=one.subject).order_by("-pk").first()
    may_make = one.state == Image.State.READY and user.can("templates.change")
    return {"row": row, "image": one, "last": last, "may_make_template": may_make, **rights(user)}


def _rows(found: list[Image], user: User) -> list[ImageRow]:
    subjects = [one.subject for one in found]
    tasks = {task.subject: task for task in Task.objects.filter(subject__in=subjects).unfinished()}
    uses = uses_of(found, user)
    return [ImageRow(one, tasks.get(one.subject), uses[one.pk]) for one in found]


def uses_of(found: list[Image], user: User) -> dict[int, list[Use]]:
    """What lives on the images, by the number of each, as the observer has seen it."""
    by_origin = {one.snapshot: one.pk for one in found}
    clones = list(Dataset.objects.filter(origin__in=by_origin, pool__in={one.pool_id for one in found}))
    known = owners.by_uuid([clone.bhype_id for clone in clones]) if clones else {}
    uses: dict[int, list[Use]] = {one.pk: [] for one in found}
    for clone in clones:
        owner = known.get(clone.bhype_id)
        use = Use(owner.name, owner.label, owner.url) if owner else Use(clone.name, "dataset", "")
        if owner and owner.kind == "vm" and not user.can("vms.view", owner_id=owner.person):
            use = Use("a VM of somebody else", "", "")
        if use not in uses[by_origin[clone.origin]]:
            uses[by_origin[clone.origin]].append(use)
    return uses


def catalogue_page(user: User) -> dict[str, Any]:
    """The catalogue by families, each entry with the images that there are of it. Hidden ones are for admins."""
    entries = CatalogueEntry.objects.all()
    if not user.can("storage.change"):
        entries = entries.filter(is_enabled=True)
    have = catalogue.in_use(entries)
    families: dict[str, list[EntryRow]] = {}
    for entry in entries:
        row = EntryRow(entry, have[entry.os], catalogue.is_fetchable(entry))
        families.setdefault(entry.family or "Others", []).append(row)
    return {"families": families, **rights(user)}


def page(key: str) -> tuple[str, str] | None:
    """Address and name of the page of the image with this number."""
    found = Image.objects.filter(pk=key).first() if key.isdecimal() else None
    return (reverse("storage:image", args=[found.pk]), found.name) if found else None


def media_page(_key: str) -> tuple[str, str] | None:
    return reverse("storage:isos"), "Install media"


def write_facts(image: Image, facts: dict[str, str]) -> None:
    with transaction.atomic():
        Image.objects.filter(pk=image.pk).update(**facts)
        publish(image.subject, "images")
