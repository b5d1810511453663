"""Tickets to consoles, and who has which console open."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone


class Kind(models.TextChoices):
    VNC = "vnc", "Screen"
    SERIAL = "serial", "Serial console"


class Ticket(models.Model):
    """A single-use permission to open one console, bound to user, session and VM. Stored hashed."""

    digest = models.CharField(max_length=64, unique=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    # Digest of the session key, or of the API token, that asked for it.
    session = models.CharField(max_length=64)
    # What is opened, such as "vm:12".
    subject = models.CharField(max_length=80)
    kind = models.CharField(max_length=8, choices=Kind)
    take_over = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)
    used_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"ticket to {self.kind} of {self.subject}"


class Viewer(models.Model):
    """One open console. ``seen_at`` is renewed while it is open; an old one is a process that died."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    session = models.CharField(max_length=64)
    subject = models.CharField(max_length=80, db_index=True)
    kind = models.CharField(max_length=8, choices=Kind)
    address = models.CharField(max_length=64, blank=True)
    opened_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(default=timezone.now)
    # Who has taken the screen over; this viewer is about to be closed.
    taken_over_by = models.CharField(max_length=64, blank=True)

    class Meta:
        constraints = [
            # bhyve's VNC server talks to one client at a time and lets the others wait without a word.
            models.UniqueConstraint(
                fields=["subject"],
                condition=models.Q(kind="vnc", taken_over_by=""),
                name="one_viewer_per_screen",
            )
        ]

    def __str__(self) -> str:
        return f"viewer of {self.kind} of {self.subject}"
