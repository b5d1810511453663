"""Old events are of no use to anybody: a page that was away for longer fetches everything anew."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from .models import Event

KEEP = timedelta(minutes=10)


def prune() -> int:
    """Delete events older than ten minutes. Returns how many went."""
    return Event.objects.filter(at__lt=timezone.now() - KEEP).delete()[0]
