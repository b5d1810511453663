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
from pathlib import Path
from typing import BinaryIO, Protocol

from django.conf import settings

from bhype.accounts.models import User
from bhype.host import LocalHost
from bhype.hosts.models import Host
from storage import transfers
from storage.models import Pool

from .sizes import GIB, human

LIMIT = 512 * GIB
# What stays free in the pool, whatever is sent.
SPARE = 4 * GIB
_BLOCK = 1 << 20
_PART = ".part"


class BadUpload(Exception):
    """The file is not taken. A sentence."""


class NotReady(Exception):
    """There is no folder for uploads yet; vms.ready_transfers makes it."""


class Readable(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


def pool_for(user: User) -> Pool | None:
    """The pool that takes uploads: the roomiest."""
    del user
    return Host.objects.this().pools.filter(is_adopted=True).order_by("-free", "name").first()


def folder(pool: Pool, user: User) -> Path:
    """Where the files of a person lie."""
    return Path(LocalHost(settings.BHYPE_ROOT).path(transfers.folder(pool, transfers.IMPORTS))) / str(user.pk)


def receive(user: User, name: str, source: Readable, length: str) -> str:
    """Write what is sent to the person's folder as ``name``; its name for the operations, USER/NAME. A file that
    stops short is not kept. Raises BadUpload and NotReady."""
    pool = pool_for(user)
    if pool is None:
        raise BadUpload("No pool of this host belongs to bHype yet.")
    if "/" in name or not transfers.is_file(f"{user.pk}/{name}") or name.endswith(_PART):
        raise BadUpload(
            "The name of a file has letters, digits, blanks and . _ + - and starts with a letter or digit."
        )
    if not length.isascii() or not length.isdigit() or not 0 < int(length[:16]) <= LIMIT:
        raise BadUpload(f"A file has to tell its size, which is at most {human(LIMIT)}.")
    place = folder(pool, user)
    try:
        if not place.parent.is_dir():
            raise NotReady
        place.mkdir(mode=0o700, exist_ok=True)
    except PermissionError as error:
        raise BadUpload(
            f"The panel may not write to {place.parent}: see the modes of the folders."
        ) from error
    if shutil.disk_usage(place).free - int(length) < SPARE:
        raise BadUpload(f"The pool {pool} has not enough room for this file.")
    _write(place, name, source, int(length))
    return f"{user.pk}/{name}"


def _write(place: Path, name: str, source: Readable, length: int) -> None:
    part = place / f"{name}{_PART}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
            while block := source.read(_BLOCK):
                file.write(block)
            size = file.tell()
        if size != length:
            raise BadUpload(f"Only {size} of {length} bytes have arrived.")
        part.rename(place / name)
    finally:
        part.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Upload:
    """One file of a person. size: bytes."""

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


def files(user: User) -> list[Upload]:
    """The files of a person, the newest first."""
    pool = pool_for(user)
    found = []
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder(pool, user)) if pool else ():
            if transfers.is_file(f"{user.pk}/{entry.name}") and not entry.name.endswith(_PART):
                status = entry.stat(follow_symlinks=False)
                made = datetime.fromtimestamp(status.st_mtime, UTC)
                found.append(Upload(user.pk, entry.name, status.st_size, made))
    return sorted(found, key=lambda one: (one.made, one.name), reverse=True)


def find(user: User, name: str) -> Upload | None:
    return next((one for one in files(user) if one.name == name), None)


@contextlib.contextmanager
def opened(user: User, upload: Upload) -> Iterator[BinaryIO]:
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
