"""The catalogue: where images of operating systems can be had.

catalogue.json holds what bHype comes with; it is written into the rows after each migration, but for those that an
admin has changed. Addresses are the vendors' own. A URL may have {name}, the newest name of an index: a list of files
by a web server, or HosterCore's JSON, ``{"vm_images": [{"debian12": ["debian12-1.zip", ...]}]}``. A checksum's URL may
also have {url}, that of the image.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from django.db import connection, transaction

from bhype.live import publish
from storage.models import CatalogueEntry, Image

SEED = Path(__file__).with_name("catalogue.json")
COLUMNS = (
    "title", "family", "state", "url", "index_url", "index_pattern", "checksum_url", "signature_url", "signing_key",
    "firmware", "cloud_init", "login", "minimum_disk", "notes",
)  # fmt: skip
_HREF = re.compile(r"""href\s*=\s*["']?([^"'<>\s]{1,500})""", re.IGNORECASE)
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,254}")
_VERSION = re.compile(r"\d+(?:\.\d+)*(?:-\d+)*")
# What has a digit in it, and is no version.
_FORMAT = re.compile(r"qcow2|bz2|amd64|arm64|aarch64|x86[_-]64|i[36]86", re.IGNORECASE)
MOST_NAMES, MOST_STARS = 20_000, 8


class NoNewest(ValueError):
    """An index does not have what is looked for. A sentence for people."""


def seed() -> dict[str, dict[str, Any]]:
    """What bHype comes with, by the word of the operating system."""
    return {entry["os"]: entry for entry in json.loads(SEED.read_text())}


def defaults(entry: dict[str, Any]) -> dict[str, Any]:
    """All columns of an entry of the seed."""
    empty = CatalogueEntry()
    return {column: entry.get(column, getattr(empty, column)) for column in COLUMNS}


def sync(**_signal: Any) -> None:
    """Write the seed into the rows; what an admin has changed stays."""
    if CatalogueEntry._meta.db_table not in connection.introspection.table_names():
        return  # a database that is on its way back
    rows = {row.os: row for row in CatalogueEntry.objects.all()}
    new = []
    for os, entry in seed().items():
        row, wanted = rows.get(os), defaults(entry)
        if row is None:
            new.append(CatalogueEntry(os=os, **wanted))
        elif not row.is_own and any(getattr(row, key) != value for key, value in wanted.items()):
            CatalogueEntry.objects.filter(pk=row.pk).update(**wanted)
    CatalogueEntry.objects.bulk_create(new, ignore_conflicts=True)


def is_seeded(entry: CatalogueEntry) -> bool:
    return entry.os in seed()


def take_back(entry: CatalogueEntry) -> bool:
    """Give it back what bHype comes with, True; or remove it where that is nothing, False."""
    found = seed().get(entry.os)
    with transaction.atomic():
        if found:
            wanted = defaults(found) | {"is_own": False, "is_enabled": True}
            CatalogueEntry.objects.filter(pk=entry.pk).update(**wanted)
        else:
            CatalogueEntry.objects.filter(pk=entry.pk).delete()
        publish("catalogue")
    return bool(found)


def source(entry: CatalogueEntry) -> dict[str, str]:
    """As SourceParams has it: the worker asks the index."""
    keys = ("url", "index_url", "index_pattern", "checksum_url", "signature_url", "signing_key")
    found = {key: getattr(entry, key) for key in keys}
    if found["index_url"] and not found["index_pattern"]:
        found["index_pattern"] = entry.os
    return {key: value for key, value in found.items() if value}


def facts(entry: CatalogueEntry) -> dict[str, str]:
    """Columns of an image that is made from it."""
    return {
        "os": entry.os,
        "firmware": entry.firmware,
        "cloud_init": entry.cloud_init,
        "login": entry.login,
    }


def free_name(entry: CatalogueEntry, taken: Iterable[str]) -> str:
    """The name of the next image of it: "debian12", then "debian12-2"."""
    names = set(taken)
    wanted = entry.os
    number = 2
    while wanted in names:
        wanted = f"{entry.os}-{number}"
        number += 1
    return wanted


def is_fetchable(entry: CatalogueEntry) -> bool:
    return bool(entry.is_enabled and (entry.url or entry.index_url))


def in_use(entries: Iterable[CatalogueEntry]) -> dict[str, list[Image]]:
    """The images that there are, by the word of their operating system."""
    found: dict[str, list[Image]] = {entry.os: [] for entry in entries}
    for image in Image.objects.select_related("pool").filter(os__in=found).order_by("-created_at"):
        found[image.os].append(image)
    return found


# Indexes.


def newest(text: str, pattern: str) -> str:
    """The newest name in an index, by natural order. pattern: with * and ?; in HosterCore's JSON the word of the
    operating system. Raises NoNewest."""
    names = _listed(text, pattern)
    if not names:
        raise NoNewest(f"The index has nothing that is called {pattern}.")
    return max(names, key=natural)


def natural(name: str) -> list[tuple[int, int, str]]:
    """Numbers in a name count as numbers: 14.10 comes after 14.9."""
    pieces = re.split(r"(\d+)", name)
    return [(1, int(piece[:18]), piece) if piece.isdigit() else (0, 0, piece) for piece in pieces if piece]


def version_of(name: str) -> str:
    """The version in a file's name: "14.3" of "FreeBSD-14.3-RELEASE-...", "" without one."""
    found = _VERSION.search(_FORMAT.sub("", name))
    return found[0][:60] if found else ""


def _listed(text: str, pattern: str) -> list[str]:
    if text.lstrip()[:1] == "{":
        return _of_hoster_core(text, pattern)
    if pattern.count("*") > MOST_STARS or len(pattern) > 200:
        raise NoNewest("The pattern is too long, or has too many stars.")
    names = {unquote(found).rstrip("/").rpartition("/")[2] for found in _HREF.findall(text)[:MOST_NAMES]}
    return [name for name in names if _FILE.fullmatch(name) and fnmatch.fnmatchcase(name, pattern)]


def _of_hoster_core(text: str, os: str) -> list[str]:
    try:
        images = json.loads(text)["vm_images"]
        found = [name for entry in images for name in entry.get(os, ())]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NoNewest("The index is not a list of images as HosterCore has them.") from error
    return [name for name in found if isinstance(name, str) and _FILE.fullmatch(name)]


def filled(template: str, **values: str) -> str:
    """A URL with what it has in braces."""
    for key, value in values.items():
        template = template.replace("{" + key + "}", value)
    return template
