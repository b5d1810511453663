"""Recorded sessions: their rows, and their files, which the gateway writes. The oldest go when it becomes too much."""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path

from django.conf import settings
from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.utils import timezone

from bhype.accounts.models import User
from bhype.ui.respond import attachment

from . import subjects
from .models import Kind, Recording

# What is kept of all VMs together.
COUNT = 500
BYTES = 4 * 1024**3


def folder() -> Path:
    return Path(settings.STATE_DIR) / "recordings"


def path(recording: Recording) -> Path:
    return folder() / recording.file


def begin(user: User, subject: str, kind: str) -> Recording:
    """A row for a session that starts now; the gateway makes the file of that name."""
    prune()
    ending = "rfb" if kind == Kind.VNC else "cast"
    return Recording.objects.create(
        subject=subject,
        kind=kind,
        user=user,
        username=user.username,
        file=f"{secrets.token_hex(16)}.{ending}",
    )


def end(recording: Recording) -> None:
    """The session is over."""
    Recording.objects.filter(pk=recording.pk, ended_at=None).update(
        ended_at=timezone.now(), bytes=size(recording)
    )


def size(recording: Recording) -> int:
    """Bytes of the file now; 0 when there is none."""
    with contextlib.suppress(OSError):
        return path(recording).stat().st_size
    return 0


def download(recording: Recording, name: str) -> StreamingHttpResponse | None:
    """The file, called after the object and its beginning; None when there is none."""
    place = path(recording)
    try:
        file = place.open("rb")
    except OSError:
        return None
    stamp = recording.started_at.strftime("%Y%m%d-%H%M%S")
    return attachment(file, f"{name}-{stamp}{place.suffix}", grows=recording.ended_at is None)


def delete(recording: Recording) -> None:
    """Remove file and row."""
    with contextlib.suppress(OSError):
        path(recording).unlink()
    recording.delete()


def prune() -> None:
    """Delete the oldest while there are too many, or too many bytes of them."""
    total = 0
    for number, row in enumerate(Recording.objects.order_by("-started_at", "-pk")):
        total += row.bytes or size(row)
        if number >= COUNT - 1 or total > BYTES:
            delete(row)


def visible(user: User, what: str, name: str) -> QuerySet[Recording]:
    """What ``user`` may see of the recordings of an object: all with the right to change it, else their own.

    None of an object that is missing, or whose consoles the user may not use.
    """
    subject = subjects.find(user, what, name)
    if subject is None or not subject.may_write:
        return Recording.objects.none()
    rows = Recording.objects.filter(subject=subject.topic)
    return rows if subjects.may_change(user, what, name) else rows.filter(user=user)
