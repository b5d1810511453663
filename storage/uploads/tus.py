"""The part of the web process that takes files in pieces: tus 1.0.0 with the extensions creation, checksum,
expiration and termination (https://tus.io/protocols/resumable-upload).

A piece is at most PIECE bytes and counts when all of it has arrived; what a lost connection has brought of one is sent
again. The row says how much there is, and the file is never shorter than that but after the host has crashed: then the
file decides. One piece of a file is written at a time.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from django.db import transaction
from django.utils import timezone

from bhype.accounts.models import User
from bhype.live import publish
from storage.models import Upload

from . import store
from .store import PART, BadUpload

VERSION = "1.0.0"
EXTENSIONS = "creation,checksum,expiration,termination"
ALGORITHMS = ("sha1", "sha256", "sha512")
PIECE = 16 << 20
KEPT = timedelta(days=7)
_BLOCK = 1 << 20


class TusError(Exception):
    """The request is refused. status: of HTTP; offset: how much there is, where that helps the sender."""

    def __init__(self, status: int, message: str, offset: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.offset = offset


class Readable(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Checksum:
    """Of one piece."""

    algorithm: str
    digest: bytes


def metadata(header: str) -> dict[str, str]:
    """Upload-Metadata: pairs of a key and a value in base64, with commas between them. Raises TusError."""
    found = {}
    for pair in header.split(",") if header.strip() else ():
        key, _, value = pair.strip().partition(" ")
        try:
            found[key] = base64.b64decode(value.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise TusError(400, "The header Upload-Metadata is malformed.") from error
    return found


def checksum(header: str) -> Checksum | None:
    """Upload-Checksum: an algorithm and a digest in base64. Raises TusError."""
    if not header:
        return None
    algorithm, _, value = header.partition(" ")
    if algorithm not in ALGORITHMS:
        raise TusError(400, f"Known algorithms: {', '.join(ALGORITHMS)}.")
    try:
        return Checksum(algorithm, base64.b64decode(value.strip(), validate=True))
    except binascii.Error as error:
        raise TusError(400, "The header Upload-Checksum is malformed.") from error


def number(header: str) -> int:
    """A number of bytes in a header. Raises TusError."""
    if not header.isascii() or not header.isdigit() or len(header) > 18:
        raise TusError(400, "A header that has to be a number of bytes is not.")
    return int(header)


def begin(user: User, name: str, size: int, **columns: object) -> Upload:
    """Make the row and the empty file of an upload. Raises BadUpload and NotReady."""
    pool = store.pool_for(user)
    if pool is None:
        raise BadUpload("No pool of this host belongs to bHype yet.")
    if not store.is_name(user, name):
        raise BadUpload(
            "The name of a file has letters, digits, blanks and . _ + - and starts with a letter or digit."
        )
    place = store.ready_folder(pool, user)
    with transaction.atomic():
        User.objects.select_for_update(no_key=True).get(pk=user.pk)  # two at once count each other
        store.check_room(user, place, size)
        upload = Upload.objects.create(pool=pool, user=user, name=name, size=size, **columns)
        _announce(upload)
    os.close(os.open(_part(upload), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    return upload


def _announce(upload: Upload) -> None:
    publish(f"uploads:{upload.user_id}")


def expires(upload: Upload) -> datetime:
    return upload.changed_at + KEPT


def _part(upload: Upload) -> Path:
    return store.folder(upload.pool, upload.user) / f"{upload.uuid}{PART}"


def offset(upload: Upload) -> int:
    """How many bytes of it are there."""
    if upload.finished_at:
        return upload.size
    try:
        return min(upload.received, _part(upload).lstat().st_size)
    except FileNotFoundError:
        # It has its own name by now, or is gone.
        return upload.size if upload.received == upload.size and _is_there(upload) else 0


def _is_there(upload: Upload) -> bool:
    found = store.find(upload.user, upload.name)
    return found is not None and found.size == upload.size


def write(
    upload: Upload, start: int, body: Readable, promised: Checksum | None, finished: Callable[[Upload], None]
) -> int:
    """Add a piece; how many bytes are there now. ``finished`` is called in the transaction that says so when all are.
    Raises TusError."""
    if upload.finished_at or offset(upload) == upload.size:
        if start != upload.size:
            raise TusError(409, "It is complete.", upload.size)
        complete(upload, finished)
        return upload.size
    with _locked(upload) as file:
        # It may have been given up in another window, now or while the piece comes.
        gone = TusError(410, "The upload was given up.")
        try:
            upload.refresh_from_db()
        except Upload.DoesNotExist as error:
            raise gone from error
        there = min(upload.received, os.fstat(file).st_size)
        if start != there:
            raise TusError(409, f"{there} bytes are there, and the piece begins at {start}.", there)
        there = _add(upload, file, body, start, promised)
        upload.received, upload.changed_at = there, timezone.now()
        with transaction.atomic():
            rows = Upload.objects.filter(pk=upload.pk)
            if not rows.update(received=upload.received, changed_at=upload.changed_at):
                raise gone
            _announce(upload)
    if there == upload.size:
        complete(upload, finished)
    return there


@contextlib.contextmanager
def _locked(upload: Upload) -> Iterator[int]:
    """The part, opened, and nobody else's meanwhile. Raises TusError."""
    try:
        file = os.open(_part(upload), os.O_RDWR | os.O_NOFOLLOW)
    except OSError as error:
        raise TusError(410, "The upload is not there any more. Begin anew.") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), _part(upload).lstat()):
                yield file
                return
        raise TusError(409, "It is complete.", upload.size)
    except BlockingIOError as error:
        raise TusError(423, "Another piece of this file is being written.") from error
    finally:
        os.close(file)


def _add(upload: Upload, file: int, body: Readable, start: int, promised: Checksum | None) -> int:
    """Write a piece behind what is there; where that ends. Nothing of it stays when it is refused."""
    digest = hashlib.new(promised.algorithm, usedforsecurity=False) if promised else None
    place, most = start, min(upload.size, start + PIECE)
    os.ftruncate(file, start)
    try:
        while block := body.read(_BLOCK):
            if place + len(block) > most:
                raise TusError(413, f"A piece has at most {PIECE} bytes, and a file no more than it said.")
            _put(file, block, place)
            place += len(block)
            if digest:
                digest.update(block)
        if promised and digest and digest.digest() != promised.digest:
            raise TusError(460, "The piece was changed on its way.")
    except BaseException:
        os.ftruncate(file, start)
        raise
    return place


def _put(file: int, block: bytes, place: int) -> None:
    rest = memoryview(block)
    try:
        while rest:
            count = os.pwrite(file, rest, place)
            rest, place = rest[count:], place + count
    except OSError as error:
        raise TusError(507, f"It cannot be written: {error.strerror}.") from error


def complete(upload: Upload, finished: Callable[[Upload], None]) -> None:
    """Give a file of which all has arrived its name, and have done what is to become of it, once. May be repeated
    after a crash. Raises TusError."""
    part = _part(upload)
    if part.exists():
        with _locked(upload) as file:
            os.fsync(file)
            _give_name(upload, part)
    with transaction.atomic():
        now = timezone.now()
        if Upload.objects.filter(pk=upload.pk, finished_at=None).update(finished_at=now):
            upload.finished_at = now
            finished(upload)
            _announce(upload)


def _give_name(upload: Upload, part: Path) -> None:
    """The upload's own name, or the next that is free: a task may be waiting for another file of that name."""
    for name in store.names_like(upload.name):
        try:
            os.link(part, part.with_name(name))
        except FileExistsError:
            if not part.samefile(part.with_name(name)):
                continue
        if name != upload.name:
            upload.name = name
            Upload.objects.filter(pk=upload.pk).update(name=name)
        part.unlink()
        return


def end(upload: Upload) -> None:
    """Remove an upload with what has arrived; a file that is complete stays."""
    _part(upload).unlink(missing_ok=True)
    with transaction.atomic():
        upload.delete()
        _announce(upload)
