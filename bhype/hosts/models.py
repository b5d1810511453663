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

    @property
    def memory_used(self) -> int:
        """Bytes."""
        return self.memory - self.memory_free


def this_host(_params: object) -> Host:
    """The target of operations that are about the host that they run on."""
    return Host.objects.this()


class PciDevice(models.Model):
    """One function of a PCI device of a host, as it was observed."""

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="pci_devices")
    address = models.CharField(max_length=32, help_text="as pci0:1:0:0")
    domain = models.PositiveIntegerField(default=0)
    bus = models.PositiveIntegerField()
    slot = models.PositiveIntegerField()
    function = models.PositiveIntegerField()
    class_code = models.PositiveIntegerField(default=0)
    # In words, as "network, ethernet"; vendor and device by number where the host's list has no name.
    kind = models.CharField(max_length=100, blank=True)
    vendor = models.CharField(max_length=200, blank=True)
    name = models.CharField(max_length=200, blank=True)
    identity = models.CharField(max_length=16, help_text="vendor and device, as 8086:1521")
    # As "igb0"; empty when no driver has it.
    driver = models.CharField(max_length=40, blank=True)
    is_reserved = models.BooleanField(default=False)
    # Why the host needs it for itself, a sentence.
    kept = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["domain", "bus", "slot", "function"]
        constraints = [models.UniqueConstraint(fields=["host", "address"], name="one_pci_device_per_address")]

    def __str__(self) -> str:
        return self.address

    @property
    def place(self) -> str:
        """As bhyve(8) and pptdevs of loader.conf(5) want it."""
        return f"{self.bus}/{self.slot}/{self.function}"

    @property
    def slot_place(self) -> str:
        return f"{self.domain}:{self.bus}:{self.slot}"
