"""Tickets: a page asks for one, the WebSocket spends it. Single use, for seconds, for one session."""

from __future__ import annotations

import secrets
from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from bhype.accounts.models import User, digest

from .models import Right, Ticket

# Spent and forgotten tickets stay this long, for whoever reads the table after an incident.
KEEP = timedelta(hours=1)


def issue(
    user: User,
    session: str,
    subject: str,
    kind: str,
    *,
    right: str = Right.CONSOLE,
    take_over: bool = False,
) -> str:
    """Make a ticket and return its secret, which is shown once and stored hashed.

    session: digest of the session key or of the API token that asks.
    subject: topic of the object, "vm:12"; kind and right: words of ``models.Kind`` and ``models.Right``.
    take_over: closes the screen that somebody else has open, or takes the control of a serial line.
    """
    Ticket.objects.filter(created_at__lt=timezone.now() - KEEP).delete()
    secret = secrets.token_urlsafe(32)
    Ticket.objects.create(
        digest=digest(secret),
        user=user,
        session=session,
        subject=subject,
        kind=kind,
        right=right,
        take_over=take_over,
    )
    return secret


def redeem(secret: str, user: User, session: str, subject: str, kind: str) -> Ticket | None:
    """Spend the ticket. None unless it is unspent, fresh, and was issued for exactly this."""
    fresh = timezone.now() - timedelta(seconds=settings.CONSOLE_TICKET_SECONDS)
    mine = Ticket.objects.filter(
        digest=digest(secret), user=user, session=session, subject=subject, kind=kind
    )
    # One conditional UPDATE: of two that come at once, the database lets one through.
    spent = mine.filter(used_at=None, created_at__gt=fresh).update(used_at=timezone.now())
    return mine.first() if spent else None
