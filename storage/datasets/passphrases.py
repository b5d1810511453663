"""How a passphrase gets from a form to root's worker, once, without standing anywhere as it is.

The web process splits it into two halves, each of which is random by itself (a one-time pad). One is the parameter of
the task, the other a file that only the service user and root can read. The worker puts them together and removes the
file before it uses what it has read. So neither the database with its backups nor the disk tells the passphrase, the
task can be run once, and a log shows neither half.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from typing import Annotated

from django.conf import settings
from pydantic import Field

from bhype.freebsd import zfs_keys
from bhype.tasks import OperationFailed

# Of fixed size, so that a half does not tell how long the passphrase is: two bytes for its length stand before it.
_SIZE = 2 + zfs_keys.LONGEST
_NAME_BYTES = 16
# What has not been taken by then never will be; its half is removed.
LIFE = 3600.0
GONE = "The passphrase has been used, or has waited for too long. Give it again."

# A parameter of an operation: what `seal` returned. Logs hide it by its name.
_FORM = re.compile(r"[A-Za-z0-9_-]{22}\.[A-Za-z0-9_=-]{688}")
Secret = Annotated[str, Field(max_length=1000, pattern=rf"^({_FORM.pattern})?$")]


def seal(passphrase: str) -> str:
    """Put one half aside and return the other, for the parameter ``secret`` of a task. Raises BadName for what is no
    passphrase, and OSError."""
    text = zfs_keys.line(passphrase)[:-1]
    plain = len(text).to_bytes(2, "big") + text.ljust(_SIZE - 2, b"\0")
    pad = secrets.token_bytes(_SIZE)
    name = secrets.token_urlsafe(_NAME_BYTES)
    with _folder(make=True) as folder:
        _tidy(folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(name, flags, 0o600, dir_fd=folder), "wb") as file:
            file.write(_xor(plain, pad))
    return f"{name}.{base64.urlsafe_b64encode(pad).decode()}"


def take(secret: str) -> str:
    """The passphrase, which nobody can take again. Raises OperationFailed when it is gone."""
    if not _FORM.fullmatch(secret):
        raise OperationFailed(GONE)
    name, _, word = secret.partition(".")
    try:
        pad = base64.urlsafe_b64decode(word)
        with _folder() as folder:
            half = _read(folder, name)
    except (OSError, binascii.Error) as error:
        raise OperationFailed(GONE) from error
    if len(pad) != _SIZE or len(half) != _SIZE:
        raise OperationFailed(GONE)
    plain = _xor(half, pad)
    try:
        text = plain[2 : 2 + int.from_bytes(plain[:2], "big")].decode("utf-8", "surrogatepass")
        zfs_keys.line(text)
    except ValueError as error:  # the file is not the one that belongs to it
        raise OperationFailed(GONE) from error
    return text


def tidy() -> None:
    """Remove the halves of what was never taken, as of tasks that were cancelled."""
    with contextlib.suppress(OSError), _folder() as folder:
        _tidy(folder)


@contextlib.contextmanager
def _folder(*, make: bool = False) -> Iterator[int]:
    """The folder of the halves as a descriptor: never a link, which could lead root somewhere else."""
    path = settings.RUN_DIR / "sealed"
    if make:
        settings.RUN_DIR.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read(folder: int, name: str) -> bytes:
    """Remove the file, and return what is in it. Raises OSError; too old ones are gone."""
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        os.unlink(name, dir_fd=folder)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or time.time() - status.st_mtime > LIFE:
            return b""
        return file.read(_SIZE + 1)


def _tidy(folder: int) -> None:
    for name in os.listdir(folder):
        with contextlib.suppress(OSError):
            if time.time() - os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime > LIFE:
                os.unlink(name, dir_fd=folder)


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))
