"""ZFS pools and datasets of the hosts, and the library of install media."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from bhype.hosts.models import Host


class Pool(models.Model):
    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="pools")
    name = models.CharField(max_length=200)
    # Wanted: bHype keeps its datasets in POOL/bhype.
    is_adopted = models.BooleanField(default=False)
    # Observed.
    guid = models.CharField(max_length=24, blank=True)
    health = models.CharField(max_length=16, blank=True)
    size = models.BigIntegerField(default=0, help_text="bytes")
    allocated = models.BigIntegerField(default=0, help_text="bytes")
    free = models.BigIntegerField(default=0, help_text="bytes")
    fragmentation = models.PositiveSmallIntegerField(default=0, help_text="percent")
    seen_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["host_id", "name"]
        constraints = [models.UniqueConstraint(fields=["host", "name"], name="pool_once_per_host")]

    def __str__(self) -> str:
        return self.name

    @property
    def home(self) -> str:
        """The dataset under which everything of bHype lies."""
        return f"{self.name}/bhype"


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
    # The snapshot of which it is a clone.
    origin = models.CharField(max_length=255, blank=True)
    # The user property org.bhype:id: the UUID of what the dataset belongs to, empty when bHype did not make it.
    bhype_id = models.CharField(max_length=64, blank=True, db_index=True)
    seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["pool", "name"], name="dataset_once_per_pool")]

    def __str__(self) -> str:
        return self.name


class Iso(models.Model):
    """An install medium in a pool's library, POOL/bhype/isos."""

    pool = models.ForeignKey(Pool, on_delete=models.CASCADE, related_name="isos")
    name = models.CharField(max_length=128)
    size = models.BigIntegerField(default=0, help_text="bytes")
    seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["pool", "name"], name="iso_once_per_pool")]

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> str:
        """The file's path on the host."""
        return f"/{self.pool.home}/isos/{self.name}"
