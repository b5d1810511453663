"""Who has which console open: one viewer per screen, many on a serial line of whom one writes, limits for all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from bhype.accounts.models import User
from bhype.live.topics import publish

from .models import Kind, Right, Viewer

# A viewer that was not seen for so long belongs to a process that died.
ALIVE = timedelta(seconds=30)
PER_USER = 16
PER_HOST = 200
# A supervisor serves 32 on a line (vmrun/serial.py); some of these places are for tools on the host.
PER_LINE = 24
PER_USER_ON_LINE = 6


class InUse(Exception):
    """Somebody else has the screen."""

    def __init__(self, by: str, since: datetime) -> None:
        super().__init__(f"{by} has had this screen open since {since:%H:%M} UTC.")
        self.by = by
        self.since = since


class TooMany(Exception):
    """A limit of open consoles is reached. The message is for the person who asked."""


@dataclass(frozen=True, slots=True)
class Line:
    """Who is on a serial line. ``writer`` is one of ``viewers``, or None when nobody has control."""

    viewers: tuple[Viewer, ...]

    @property
    def writer(self) -> Viewer | None:
        return next((viewer for viewer in self.viewers if viewer.writes_since is not None), None)

    def seen_by(self, viewer: Viewer) -> dict[str, Any]:
        """What the page of ``viewer`` is told, as JSON can hold it."""
        writer = self.writer
        here = [
            {
                "name": each.user.username,
                "since": each.opened_at.isoformat(),
                "right": each.right,
                "writes": each is writer,
                "you": each.pk == viewer.pk,
            }
            for each in self.viewers
        ]
        shown = writer or viewer
        return {
            "writes": writer is not None and writer.pk == viewer.pk,
            "writer": writer.user.username if writer else "",
            "since": writer.writes_since.isoformat() if writer and writer.writes_since else "",
            "here": here,
            "size": [shown.columns, shown.rows],
        }


def topic(viewer: Viewer) -> str:
    """Published when a viewer's place was taken."""
    return f"console:{viewer.pk}"


def line_topic(subject: str, kind: str) -> str:
    """Published when somebody comes to a serial line, leaves it, takes control of it or resizes it."""
    return f"line:{subject}:{kind}"


def _alive() -> Q:
    return Q(seen_at__gt=timezone.now() - ALIVE, taken_over_by="")


def _check_limits(user: User, subject: str, kind: str) -> None:
    if Viewer.objects.filter(_alive(), user=user).count() >= PER_USER:
        raise TooMany(f"You have {PER_USER} consoles open. Close one of them first.")
    if Viewer.objects.filter(_alive()).count() >= PER_HOST:
        raise TooMany(f"{PER_HOST} consoles are open on this panel. Try again when one was closed.")
    if kind == Kind.VNC:
        return
    on_line = Viewer.objects.filter(_alive(), subject=subject, kind=kind)
    if on_line.filter(user=user).count() >= PER_USER_ON_LINE:
        raise TooMany(f"You have this console open {PER_USER_ON_LINE} times. Close one of them first.")
    if on_line.count() >= PER_LINE:
        raise TooMany(f"{PER_LINE} people watch this console. Try again when one has left.")


def _occupant(user: User, session: str, subject: str) -> Viewer | None:
    """Who else has the screen. A user's own earlier viewer in the same session never stands in the way."""
    others = Viewer.objects.filter(_alive(), subject=subject, kind=Kind.VNC).exclude(
        user=user, session=session
    )
    return others.select_related("user").first()


def check(user: User, session: str, subject: str, kind: str, *, take_over: bool) -> None:
    """Whether ``enter`` would succeed now. Raises InUse, TooMany."""
    _check_limits(user, subject, kind)
    occupant = _occupant(user, session, subject) if kind == Kind.VNC and not take_over else None
    if occupant is not None:
        raise InUse(occupant.user.username, occupant.opened_at)


def enter(
    user: User,
    session: str,
    subject: str,
    kind: str,
    *,
    take_over: bool,
    right: str = Right.CONSOLE,
    address: str = "",
    size: tuple[int, int] = (80, 24),
) -> Viewer:
    """Take a place at a console; on a screen, the only one. Raises InUse, TooMany.

    On a serial line, who may write has control if nobody else has it, or by ``take_over``. Who only watches
    takes nothing over.
    """
    take_over = take_over and right == Right.CONSOLE
    viewer = Viewer(
        user=user, session=session, subject=subject, kind=kind, address=address,
        right=right, columns=size[0], rows=size[1],
    )  # fmt: skip
    try:
        _enter(viewer, take_over=take_over)
    except IntegrityError as error:
        # Two came at the same moment; the other one has it.
        if kind != Kind.VNC:
            viewer.pk = None
            _enter(viewer, take_over=take_over)
            return viewer
        row = (
            Viewer.objects.filter(subject=subject, kind=kind, taken_over_by="").select_related("user").first()
        )
        raise InUse(
            row.user.username if row else "Somebody", row.opened_at if row else timezone.now()
        ) from error
    return viewer


@transaction.atomic
def _enter(viewer: Viewer, *, take_over: bool) -> None:
    user, subject, kind = viewer.user, viewer.subject, viewer.kind
    Viewer.objects.filter(seen_at__lt=timezone.now() - ALIVE).delete()
    check(user, viewer.session, subject, kind, take_over=take_over)
    if kind == Kind.VNC:
        before = list(Viewer.objects.filter(subject=subject, kind=kind, taken_over_by=""))
        Viewer.objects.filter(pk__in=[row.pk for row in before]).update(taken_over_by=user.username)
        publish(*map(topic, before))
        viewer.save(force_insert=True)
        return
    viewer.save(force_insert=True)
    if take_over or not _on_line(viewer).filter(writes_since__isnull=False).exists():
        _give_control(viewer)
    publish(line_topic(subject, kind))


def renew(viewer: Viewer) -> bool:
    """Say that this viewer is still there. False if its place is gone."""
    return bool(Viewer.objects.filter(pk=viewer.pk, taken_over_by="").update(seen_at=timezone.now()))


def taken_over_by(viewer: Viewer) -> str:
    """The user who has taken this viewer's place; "" if nobody has."""
    return Viewer.objects.filter(pk=viewer.pk).values_list("taken_over_by", flat=True).first() or ""


def is_viewed(subject: str) -> bool:
    """Whether somebody has the screen open."""
    return Viewer.objects.filter(_alive(), subject=subject, kind=Kind.VNC).exists()


def leave(viewer: Viewer) -> None:
    """Give the place up. Control of a line goes to the one who is left, if it is one, or to the leaver's own other
    window (a page that was loaded again); else to nobody."""
    with transaction.atomic():
        # Locks the table against another who leaves at the same moment (SQLite: the whole database).
        list(_on_line(viewer).select_for_update())
        wrote = Viewer.objects.filter(pk=viewer.pk, writes_since__isnull=False).exists()
        Viewer.objects.filter(pk=viewer.pk).delete()
        if viewer.kind == Kind.VNC:
            return
        left = list(_on_line(viewer).filter(_alive(), right=Right.CONSOLE).order_by("-pk"))
        own = [each for each in left if (each.user_id, each.session) == (viewer.user_id, viewer.session)]
        heirs = left if len(left) == 1 else own
        if wrote and heirs:
            _give_control(heirs[0])
        publish(line_topic(viewer.subject, viewer.kind))


# Serial lines.


def _on_line(viewer: Viewer) -> Any:
    return Viewer.objects.filter(subject=viewer.subject, kind=viewer.kind)


def _give_control(viewer: Viewer) -> None:
    """To this one and nobody else, unless it may not have it."""
    if viewer.right == Right.CONSOLE:
        _on_line(viewer).filter(writes_since__isnull=False).update(writes_since=None)
        viewer.writes_since = timezone.now()
        viewer.save(update_fields=["writes_since"])


def take_control(viewer: Viewer) -> None:
    """Let this viewer write in place of whoever does, at once. Nothing happens to one who may only watch."""
    with transaction.atomic():
        list(_on_line(viewer).select_for_update())
        row = _on_line(viewer).filter(pk=viewer.pk).first()
        if row is not None and row.writes_since is None:
            _give_control(row)
            publish(line_topic(viewer.subject, viewer.kind))


def resize(viewer: Viewer, columns: int, rows: int) -> None:
    """Note the size of a viewer's terminal, in characters."""
    if (
        Viewer.objects.filter(pk=viewer.pk)
        .exclude(columns=columns, rows=rows)
        .update(columns=columns, rows=rows)
    ):
        publish(line_topic(viewer.subject, viewer.kind))


def line(viewer: Viewer) -> Line:
    """Who is on the viewer's line now, in the order of their coming."""
    rows = _on_line(viewer).filter(_alive()).select_related("user").order_by("opened_at", "pk")
    return Line(tuple(rows))
