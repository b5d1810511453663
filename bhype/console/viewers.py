"""Who has which console open: one viewer per screen, any number on a serial console, limits for everybody."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from bhype.accounts.models import User
from bhype.live.topics import publish

from .models import Kind, Viewer

# A viewer that was not seen for so long belongs to a process that died.
ALIVE = timedelta(seconds=30)
PER_USER = 16
PER_HOST = 200


class InUse(Exception):
    """Somebody else has the screen."""

    def __init__(self, by: str, since: datetime) -> None:
        super().__init__(f"{by} has had this screen open since {since:%H:%M} UTC.")
        self.by = by
        self.since = since


class TooMany(Exception):
    """A limit of open consoles is reached. The message is for the person who asked."""


def topic(viewer: Viewer) -> str:
    """Published when a viewer's place was taken."""
    return f"console:{viewer.pk}"


def _alive() -> Q:
    return Q(seen_at__gt=timezone.now() - ALIVE, taken_over_by="")


def _check_limits(user: User) -> None:
    if Viewer.objects.filter(_alive(), user=user).count() >= PER_USER:
        raise TooMany(f"You have {PER_USER} consoles open. Close one of them first.")
    if Viewer.objects.filter(_alive()).count() >= PER_HOST:
        raise TooMany(f"{PER_HOST} consoles are open on this panel. Try again when one was closed.")


def _occupant(user: User, session: str, subject: str) -> Viewer | None:
    """Who else has the screen. A user's own earlier viewer in the same session never stands in the way."""
    others = Viewer.objects.filter(_alive(), subject=subject, kind=Kind.VNC).exclude(
        user=user, session=session
    )
    return others.select_related("user").first()


def check(user: User, session: str, subject: str, kind: str, *, take_over: bool) -> None:
    """Whether ``enter`` would succeed now. Raises InUse, TooMany."""
    _check_limits(user)
    occupant = _occupant(user, session, subject) if kind == Kind.VNC and not take_over else None
    if occupant is not None:
        raise InUse(occupant.user.username, occupant.opened_at)


def enter(user: User, session: str, subject: str, kind: str, *, take_over: bool, address: str = "") -> Viewer:
    """Take a place at a console; on a screen, the only one. Raises InUse, TooMany."""
    try:
        with transaction.atomic():
            Viewer.objects.filter(seen_at__lt=timezone.now() - ALIVE).delete()
            check(user, session, subject, kind, take_over=take_over)
            if kind == Kind.VNC:
                before = list(Viewer.objects.filter(subject=subject, kind=kind, taken_over_by=""))
                Viewer.objects.filter(pk__in=[row.pk for row in before]).update(taken_over_by=user.username)
                publish(*map(topic, before))
            return Viewer.objects.create(
                user=user, session=session, subject=subject, kind=kind, address=address
            )
    except IntegrityError as error:
        # Two came at the same moment; the other one has it.
        row = (
            Viewer.objects.filter(subject=subject, kind=kind, taken_over_by="").select_related("user").first()
        )
        raise InUse(
            row.user.username if row else "Somebody", row.opened_at if row else timezone.now()
        ) from error


def renew(viewer: Viewer) -> bool:
    """Say that this viewer is still there. False if its place is gone."""
    return bool(Viewer.objects.filter(pk=viewer.pk, taken_over_by="").update(seen_at=timezone.now()))


def taken_over_by(viewer: Viewer) -> str:
    """The user who has taken this viewer's place; "" if nobody has."""
    return Viewer.objects.filter(pk=viewer.pk).values_list("taken_over_by", flat=True).first() or ""


def leave(viewer: Viewer) -> None:
    Viewer.objects.filter(pk=viewer.pk).delete()
