"""The FreeBSD hosts of this installation, as their observers last saw them."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db import models
from django.utils import timezone


class HostManager(models.Manager["Host"]):
    def this(self) -> Host:
        """The row of the host that this process runs on."""
        return self.get_or_create(name=settings.HOST_NAME)[0]


class Host(models.Model):
    name = models.CharField(max_length=64, unique=True)
    # Observed.
    seen_at = models.DateTimeField(null=True)
    release = models.CharField(max_length=64, blank=True)
    cpus = models.PositiveIntegerField(default=0)
    memory = models.BigIntegerField(default=0, help_text="bytes")
    memory_free = models.BigIntegerField(default=0, help_text="bytes")
    arc = models.BigIntegerField(default=0, help_text="bytes")
    load = models.FloatField(default=0)
    cpu_percent = models.FloatField(default=0)
    booted_at = models.DateTimeField(null=True)
    # What this host can do, such as {"vmm": true, "swtpm": false}; read, never derived from a version.
    features = models.JSONField(default=dict)
    # Things that are wrong with the host itself, as sentences.
    problems = models.JSONField(default=list)

    objects = HostManager()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def is_online(self) -> bool:
        return self.seen_at is not None and timezone.now() - self.seen_at < timedelta(seconds=30)
