"""Tickets to consoles, who has which console open, and what was recorded."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone


class Kind(models.TextChoices):
    """The consoles that a machine may have. Serial lines are those of com1 to com4."""

    VNC = "vnc", "Screen"
    SERIAL = "serial", "Serial"
    SERIAL2 = "serial2", "Serial 2"
    SERIAL3 = "serial3", "Serial 3"
    SERIAL4 = "serial4", "Serial 4"


class Right(models.TextChoices):
    """What a console is open for: to write, or only to watch."""

    CONSOLE = "console", "Use"
    WATCH = "watch", "Watch"


class Ticket(models.Model):
    """A single-use permission to open one console, bound to user, session and VM. Stored hashed."""

    digest = models.CharField(max_length=64, unique=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    # Digest of the session key, or of the API token, that asked for it.
    session = models.CharField(max_length=64)
    # What is opened, such as "vm:12".
    subject = models.CharField(max_length=80)
    kind = models.CharField(max_length=8, choices=Kind)
    right = models.CharField(max_length=8, choices=Right, default=Right.CONSOLE)
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
    right = models.CharField(max_length=8, choices=Right, default=Right.CONSOLE)
    address = models.CharField(max_length=64, blank=True)
    opened_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(default=timezone.now)
    # Who has taken the screen over; this viewer is about to be closed.
    taken_over_by = models.CharField(max_length=64, blank=True)
    # Since when this one, of all on a serial line, writes. Never set on a screen.
    writes_since = models.DateTimeField(null=True)
    # The size of its terminal; the writer's is shown to all.
    columns = models.PositiveSmallIntegerField(default=80)
    rows = models.PositiveSmallIntegerField(default=24)

    class Meta:
        constraints = [
            # bhyve's VNC server talks to one client at a time and lets the others wait without a word.
            models.UniqueConstraint(
                fields=["subject"],
                condition=models.Q(kind="vnc", taken_over_by=""),
                name="one_viewer_per_screen",
            ),
            models.UniqueConstraint(
                fields=["subject", "kind"],
                condition=models.Q(writes_since__isnull=False),
                name="one_writer_per_line",
            ),
        ]

    def __str__(self) -> str:
        return f"viewer of {self.kind} of {self.subject}"


class Recording(models.Model):
    """What one console session showed: a file of the gateway, and this row by which it is found."""

    subject = models.CharField(max_length=80, db_index=True)
    kind = models.CharField(max_length=8, choices=Kind)
    # The name stays when the user goes.
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    username = models.CharField(max_length=64)
    started_at = models.DateTimeField(default=timezone.now, db_index=True)
    # None while it goes on, and of one whose end nobody saw.
    ended_at = models.DateTimeField(null=True)
    bytes = models.BigIntegerField(default=0)
    # Name in the folder of recordings: 32 hexadecimal digits with the ending of its format.
    file = models.CharField(max_length=40, unique=True)

    class Meta:
        ordering = ["-started_at", "-pk"]

    def __str__(self) -> str:
        return f"recording of {self.kind} of {self.subject}"
