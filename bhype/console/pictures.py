"""Small pictures of screens for lists, taken when they are asked for and kept for a while.

bhyve's VNC server serves one client. None is taken while somebody views the screen, nor more often than every
30 seconds of a guest, and few at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from . import gate, viewers
from .models import Kind
from .subjects import Subject

log = logging.getLogger(__name__)

SECONDS = 30.0
# What is older is no picture of the screen any more.
STALE_SECONDS = 900.0
_AT_ONCE = threading.BoundedSemaphore(4)


def are_wanted(subject: Subject) -> bool:
    """Whether this guest has a screen of which a picture may be taken, and the panel's settings allow it."""
    allowed = settings.CONSOLE_PICTURES
    return bool(allowed and subject.has_picture and subject.is_on and Kind.VNC in subject.kinds)


def of(subject: Subject) -> bytes | None:
    """A PNG of the guest's screen, at most STALE_SECONDS old; None if there is none."""
    folder = Path(settings.RUN_DIR) / "pictures"
    folder.mkdir(mode=0o700, exist_ok=True)
    file = folder / f"{subject.topic.replace(':', '-')}.png"
    if not viewers.is_viewed(subject.topic):
        with _turn(file.with_suffix(".turn")) as mine:
            if mine:
                _take(subject, file)
    with contextlib.suppress(FileNotFoundError):
        if time.time() - file.stat().st_mtime < STALE_SECONDS:
            return file.read_bytes()
    return None


@contextlib.contextmanager
def _turn(path: Path) -> Iterator[bool]:
    """Whether a new one may be taken now, by this process and thread alone. The file's time is the last one's."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        status = os.fstat(descriptor)
        # A file that was made just now has no time that counts: it is empty. The clock may be set back.
        due = not status.st_size or abs(time.time() - status.st_mtime) >= SECONDS
        if not (due and _is_alone(descriptor) and _AT_ONCE.acquire(blocking=False)):
            yield False
            return
        try:
            os.pwrite(descriptor, b"x", 0)
            yield True
        finally:
            _AT_ONCE.release()
    finally:
        os.close(descriptor)


def _is_alone(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _take(subject: Subject, file: Path) -> None:
    try:
        image = gate.fetch(subject.name, "picture", password=subject.password)
    except gate.NoAnswer as error:
        log.debug("%s", error)
        return
    partial = file.with_suffix(".part")
    partial.write_bytes(image)
    partial.replace(file)
