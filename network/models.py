"""Switches: the networks that VMs and jails are plugged into."""

from __future__ import annotations

from django.db import models

from bhype.hosts.models import Host

from .plan import Wanted


class Switch(models.Model):
    class Kind(models.TextChoices):
        BRIDGED = "bridged", "Bridged (public)"
        NAT = "nat", "NAT-ed"
        PRIVATE = "private", "Private"

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="switches")
    # Wanted.
    name = models.CharField(max_length=12)
    kind = models.CharField(max_length=8, choices=Kind)
    # The host's own address on the switch with its prefix length, such as 10.77.0.1/24; empty for none.
    address = models.CharField(max_length=49, blank=True)
    uplink = models.CharField(max_length=15, blank=True)
    mtu = models.PositiveIntegerField(default=1500, help_text="bytes")
    # Observed.
    is_up = models.BooleanField(default=False)
    members = models.JSONField(default=list)
    seen_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["host", "name"], name="switch_once_per_host")]

    def __str__(self) -> str:
        return self.name

    @property
    def interface(self) -> str:
        """The bridge interface on the host."""
        return f"sw-{self.name}"

    @property
    def wanted(self) -> Wanted:
        return Wanted(self.name, self.interface, self.address, self.uplink)
