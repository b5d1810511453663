"""Events: rows that tell open pages what has changed."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class Event(models.Model):
    """``topic`` ("vm:12", "task:7", "session:ab12...") has changed. Pages fetch the news themselves."""

    topic = models.CharField(max_length=80)
    at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.topic
