"""ZFS pools of the hosts, what they have been, and the disks that pools are made of."""

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
    # What zpool-status(8) tells of it, as bhype.freebsd.zpool_status parses it: vdevs, scan, errors, action.
    status = models.JSONField(default=dict, blank=True)
    # Its properties as zpool-get(8) gives them with -p: {name: [value, source]}.
    properties = models.JSONField(default=dict, blank=True)
    seen_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["host_id", "name"]
        constraints = [models.UniqueConstraint(fields=["host", "name"], name="pool_once_per_host")]

    def __str__(self) -> str:
        return self.name

    @property
    def percent_full(self) -> int:
        return 100 * self.allocated // self.size if self.size else 0

    @property
    def home(self) -> str:
        """The dataset under which everything of bHype lies."""
        return f"{self.name}/bhype"


class PoolSample(models.Model):
    """What a pool held and did at one moment; kept for charts and the forecast of when it is full."""

    pool = models.ForeignKey(Pool, on_delete=models.CASCADE, related_name="samples")
    at = models.DateTimeField(default=timezone.now)
    size = models.BigIntegerField(help_text="bytes")
    allocated = models.BigIntegerField(help_text="bytes")
    # Since the sample before, per second.
    reads = models.FloatField(default=0, help_text="operations per second")
    writes = models.FloatField(default=0, help_text="operations per second")
    bytes_read = models.FloatField(default=0, help_text="bytes per second")
    bytes_written = models.FloatField(default=0, help_text="bytes per second")

    class Meta:
        ordering = ["at"]
        indexes = [models.Index(fields=["pool", "at"], name="pool_sample")]

    def __str__(self) -> str:
        return f"{self.pool} {self.at:%Y-%m-%d %H:%M}"


class ArcSample(models.Model):
    """What ZFS's cache in memory of a host was at one moment."""

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="arc_samples")
    at = models.DateTimeField(default=timezone.now)
    size = models.BigIntegerField(help_text="bytes")
    target = models.BigIntegerField(help_text="bytes")
    # Since the sample before, per second.
    hits = models.FloatField(default=0, help_text="reads per second that it answered")
    misses = models.FloatField(default=0, help_text="reads per second that went to the disks")

    class Meta:
        ordering = ["at"]
        indexes = [models.Index(fields=["host", "at"], name="arc_sample")]

    def __str__(self) -> str:
        return f"{self.host} {self.at:%Y-%m-%d %H:%M}"


class PhysicalDisk(models.Model):
    """A disk of a host, such as da0, as it was observed."""

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="physical_disks")
    name = models.CharField(max_length=64)
    size = models.BigIntegerField(default=0, help_text="bytes")
    sector_size = models.PositiveIntegerField(default=512, help_text="bytes")
    description = models.CharField(max_length=200, blank=True)
    serial = models.CharField(max_length=100, blank=True)
    is_rotating = models.BooleanField(null=True)
    # What has it, as a sentence: "in the pool zroot", "holds partitions: freebsd-zfs", "mounted on /data".
    used_by = models.CharField(max_length=300, blank=True)
    # What an earlier pool has left on it, as a sentence: it goes only when somebody says so.
    leftover = models.CharField(max_length=300, blank=True)
    # What smartctl(8) says, where the host has it: {"passed": true, "temperature": 35, ...}.
    health = models.JSONField(default=dict, blank=True)
    health_at = models.DateTimeField(null=True)
    seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["host", "name"], name="physical_disk_once_per_host")]

    def __str__(self) -> str:
        return self.name

    @property
    def is_free(self) -> bool:
        return not self.used_by
