"""What the web process does when something is to come into the library: the row, and the question to the worker.

Whoever adds may change storage; that is checked where it is asked (`bhype.tasks.ask`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction

from bhype.accounts.models import User
from bhype.freebsd import names
from bhype.hosts.models import Host
from bhype.live import publish
from bhype.outside.fetch import name_of
from bhype.tasks import Refused, ask
from bhype.tasks.models import Task
from storage import plan
from storage.models import CatalogueEntry, Image, Iso, Pool

from . import catalogue

# So many are fetched at a time.
FETCHES = ("storage.fetch", 2)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_PACKED = re.compile(r"\.(xz|gz|zst|bz2|zip)$", re.IGNORECASE)
_DISK = re.compile(r"\.(raw|img|qcow2|vmdk|vhdx|vhd|vdi|iso)$", re.IGNORECASE)


def pool_for_library() -> Pool:
    """The pool that things are added to when nobody chooses: the roomiest. Raises Refused."""
    pool = Host.objects.this().pools.filter(is_adopted=True).order_by("-free", "name").first()
    if pool is None:
        raise Refused("invalid", "No pool of this host belongs to bHype yet. Adopt one first.")
    return pool


def image_name_problem(name: str) -> str | None:
    """Why an image cannot have this name, which is also its dataset's; None when it can."""
    if not _NAME.fullmatch(name) or ".." in name:
        return "A name has at most 63 small letters, digits and . _ -, and begins with a letter or digit."
    return None


def image_name_of(source: str) -> str:
    """A name for the image of a URL or a file: "debian-12-genericcloud-amd64" of ".../debian-12-....qcow2"."""
    name = _DISK.sub("", _PACKED.sub("", (name_of(source) if "/" in source else source).lower()))
    name = re.sub(r"[^a-z0-9._-]+", "-", name).strip("._-")[:63]
    return name if name and image_name_problem(name) is None else ""


def medium_name_of(source: str) -> str:
    """A name for the medium of a URL or a file."""
    name = _PACKED.sub("", name_of(source) if "/" in source else source)
    return name if plan.is_medium(name) else ""


def add_image(
    user: User, pool: Pool, name: str, facts: Mapping[str, str], source: Mapping[str, Any]
) -> tuple[Image, Task]:
    """Make the row of an image and ask for it. facts: columns of the row; source: as SourceParams has it. Raises
    Refused, naming the field."""
    if problem := image_name_problem(name):
        raise Refused("invalid", problem, "name")
    _check_pool(pool)
    try:
        names.dataset(f"{pool.home}/images/{name}")
        with transaction.atomic():
            image = Image.objects.create(pool=pool, name=name, created_by=user, **facts)
            operation = "storage.fetch_image" if not source.get("file") else "storage.make_image"
            task = ask(operation, {"image_id": image.pk, **source}, user, pool=_queue(source))
            publish(image.subject, "images")
            return image, task
    except names.BadName as error:
        raise Refused("invalid", str(error), "name") from error
    except IntegrityError as error:
        raise Refused("conflict", "There is already an image of this name.", "name", 409) from error


def _queue(source: Mapping[str, Any]) -> tuple[str, int]:
    return ("", 0) if source.get("file") else FETCHES


def _check_pool(pool: Pool) -> None:
    if not pool.is_adopted:
        raise Refused("invalid", "This pool does not belong to bHype.", "pool")


def add_from_catalogue(user: User, entry: CatalogueEntry) -> tuple[Image, Task]:
    """Ask for the newest image of an entry. Raises Refused."""
    if not catalogue.is_fetchable(entry):
        raise Refused("conflict", "This entry has no address to fetch from.", status=409)
    pool = pool_for_library()
    name = catalogue.free_name(entry, pool.images.values_list("name", flat=True))
    return add_image(user, pool, name, catalogue.facts(entry), catalogue.source(entry))


def again(user: User, image: Image) -> Task:
    """Ask once more for an image that failed, with what was asked then. Raises Refused."""
    operations = ("storage.fetch_image", "storage.make_image")
    last = Task.objects.filter(subject=image.subject, operation__in=operations).order_by("-pk").first()
    if image.state != Image.State.FAILED or last is None:
        raise Refused("conflict", "Only an image that failed can be tried again.", status=409)
    return ask(last.operation, last.params, user, pool=_queue(last.params), retry_of=last)


def add_iso(user: User, pool: Pool, name: str, source: Mapping[str, Any]) -> Task:
    """Ask for an install medium. Raises Refused, naming the field."""
    if not plan.is_medium(name):
        raise Refused(
            "invalid", "A medium's name ends with .iso or .img and has letters, digits and . _ + -.", "name"
        )
    _check_pool(pool)
    if Iso.objects.filter(pool=pool, name=name, size__gt=0).exists():
        raise Refused("conflict", "There is already a medium of this name.", "name", 409)
    operation = "storage.fetch_iso" if source.get("url") else "storage.make_iso"
    with transaction.atomic():
        task = ask(operation, {"pool_id": pool.pk, "name": name, **source}, user, pool=_queue(source))
        publish("isos")
        return task
