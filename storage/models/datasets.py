"""The filesystems and volumes of bHype."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from .pools import Pool


class Dataset(models.Model):
    """A filesystem or volume below an adopted pool's home, as last observed."""

    class Kind(models.TextChoices):
        FILESYSTEM = "filesystem"
        VOLUME = "volume"

    pool = models.ForeignKey(Pool, on_delete=models.CASCADE, related_name="datasets")
    name = models.CharField(max_length=255)
    kind = models.CharField(max_length=10, choices=Kind)
    used = models.BigIntegerField(default=0, help_text="bytes")
    available = models.BigIntegerField(default=0, help_text="bytes")
    referenced = models.BigIntegerField(default=0, help_text="bytes")
    volsize = models.BigIntegerField(null=True, help_text="bytes")
    mountpoint = models.CharField(max_length=255, blank=True)
    # Set on it or inherited, as zfs-get(8) gives them with -p: {name: [value, source]}.
    properties = models.JSONField(default=dict, blank=True)
    # "off", or the cipher; the dataset whose key it has; "available" or "unavailable".
    encryption = models.CharField(max_length=32, blank=True)
    encryption_root = models.CharField(max_length=255, blank=True)
    key_status = models.CharField(max_length=16, blank=True)
    # The snapshot of which it is a clone.
    origin = models.CharField(max_length=255, blank=True, db_index=True)
    # The user property org.bhype:id: the UUID of what the dataset belongs to, empty when bHype did not make it.
    bhype_id = models.CharField(max_length=64, blank=True, db_index=True)
    seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["pool", "name"], name="dataset_once_per_pool")]

    def __str__(self) -> str:
        return self.name

    @property
    def is_locked(self) -> bool:
        return self.key_status == "unavailable"
