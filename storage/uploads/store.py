"""Files that people send: into their own folder of a pool's transfers, from where a worker takes them over.

The folder belongs to the web process (`transfers`); that is all of the host's storage it can write to.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import BinaryIO

from django.conf import settings
from django.db.models import QuerySet

from bhype.accounts.models import User
from bhype.host import LocalHost
from bhype.hosts.models import Host
from storage.models import Pool, Upload
from storage.sizes import GIB, human

from . import transfers

LIMIT = 512 * GIB
# What stays free in the pool, whatever is sent.
SPARE = 4 * GIB
PART = ".part"
NAME_MAX = 121
# Of one person: each is a row and a file, however small.
MOST_AT_ONCE = 100


class BadUpload(Exception):
    """The file is not taken. A sentence."""


class NotReady(Exception):
    """There is no folder for uploads yet; storage.ready_transfers makes it."""


@dataclass(frozen=True, slots=True)
class File:
    """One file of a person that has arrived. size: bytes."""

    user: int
    name: str
    size: int
    made: datetime

    @property
    def file(self) -> str:
        """How operations call it."""
        return f"{self.user}/{self.name}"

    @property
    def kind(self) -> str:
        """By its name: "ova", "zfs", else "image"."""
        ending = self.name.lower().rpartition(".")[2]
        return ending if ending in {"ova", "zfs"} else "image"


def pool_for(user: User) -> Pool | None:
    """The pool that takes uploads: the roomiest."""
    del user
    return Host.objects.this().pools.filter(is_adopted=True).order_by("-free", "name").first()


def folder(pool: Pool, user: User) -> Path:
    """Where the files of a person lie."""
    return Path(LocalHost(settings.BHYPE_ROOT).path(transfers.folder(pool, transfers.IMPORTS))) / str(user.pk)


def is_name(user: User, name: str) -> bool:
    """Whether a file of a person may have this name."""
    return "/" not in name and transfers.is_file(f"{user.pk}/{name}") and not name.endswith(PART)


def names_like(name: str) -> Iterator[str]:
    """The name itself, then name-2.img, name-3.img ..."""
    yield name
    stem, dot, ending = name.rpartition(".")
    if not stem:
        stem, dot, ending = name, "", ""
    for number in count(2):
        tail = f"-{number}{dot}{ending}"
        yield stem[: NAME_MAX - len(tail)] + tail


def ready_folder(pool: Pool, user: User) -> Path:
    """The person's folder, made where it is missing. Raises NotReady and BadUpload."""
    place = folder(pool, user)
    try:
        if not place.parent.is_dir():
            raise NotReady
        place.mkdir(mode=0o700, exist_ok=True)
    except PermissionError as error:
        raise BadUpload(
            f"The panel may not write to {place.parent}: see the modes of the folders."
        ) from error
    return place


def check_room(user: User, place: Path, size: int) -> None:
    """Raise BadUpload where the person or the pool has no room for a file of ``size`` bytes."""
    if not 0 < size <= LIMIT:
        raise BadUpload(f"A file has to tell its size, which is at most {human(LIMIT)}.")
    coming = Upload.objects.filter(finished_at=None).exclude(size=0)
    if coming.filter(user=user).count() >= MOST_AT_ONCE:
        raise BadUpload(f"{MOST_AT_ONCE} files of yours are on their way. Finish some, or give them up.")
    own = sum(coming.filter(user=user).values_list("size", flat=True))
    own += sum(one.size for one in files(user))
    if own + size > settings.UPLOAD_QUOTA:
        raise BadUpload(
            f"You may keep {human(settings.UPLOAD_QUOTA)} of uploaded files, and have {human(own)}. Remove some first."
        )
    missing = sum(max(0, each.size - each.received) for each in coming)
    if shutil.disk_usage(place).free - missing - size < SPARE:
        raise BadUpload("The pool has not enough room for this file.")


def unfinished(user: User, purpose: str) -> QuerySet[Upload]:
    """What a person has begun to send, and parts of it are missing."""
    return Upload.objects.filter(user=user, purpose=purpose, finished_at=None)


def files(user: User) -> list[File]:
    """The files of a person that have arrived, the newest first."""
    pool = pool_for(user)
    found = []
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder(pool, user)) if pool else ():
            if is_name(user, entry.name):
                status = entry.stat(follow_symlinks=False)
                made = datetime.fromtimestamp(status.st_mtime, UTC)
                found.append(File(user.pk, entry.name, status.st_size, made))
    return sorted(found, key=lambda one: (one.made, one.name), reverse=True)


def find(user: User, name: str) -> File | None:
    return next((one for one in files(user) if one.name == name), None)


@contextlib.contextmanager
def opened(user: User, upload: File) -> Iterator[BinaryIO]:
    """One of a person's own files, to be read. Raises OSError."""
    pool = pool_for(user)
    if pool is None:
        raise FileNotFoundError(upload.name)
    path = folder(pool, user) / upload.name
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        yield file


def remove(user: User, file: str) -> None:
    """Remove one of a person's own files."""
    pool = pool_for(user)
    owner, _, name = file.partition("/")
    if pool and owner == str(user.pk) and transfers.is_file(file):
        (folder(pool, user) / name).unlink(missing_ok=True)
