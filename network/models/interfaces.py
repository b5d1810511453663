"""The interfaces of a host as they were observed, but for those of guests."""

from __future__ import annotations

from django.db import models

from bhype.hosts.models import Host


class HostInterface(models.Model):
    """One interface that is no guest's. kind: "physical", or what it was cloned from, such as "bridge" or "vlan"."""

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="interfaces")
    name = models.CharField(max_length=15)
    kind = models.CharField(max_length=16)
    mac = models.CharField(max_length=60, blank=True)
    mtu = models.PositiveIntegerField(default=0, help_text="bytes")
    is_up = models.BooleanField(default=False)
    # As ifconfig(8) says it: "active", "no carrier", or nothing.
    status = models.CharField(max_length=40, blank=True)
    media = models.CharField(max_length=200, blank=True)
    description = models.CharField(max_length=200, blank=True)
    # With prefix lengths; those of one link only end in "%" and the interface.
    addresses = models.JSONField(default=list)
    # Of a bridge and of an aggregation. Of a VLAN: what it is on.
    members = models.JSONField(default=list)
    parent = models.CharField(max_length=15, blank=True)
    vlan = models.PositiveSmallIntegerField(null=True)
    # Made by bHype.
    is_own = models.BooleanField(default=False)
    # By which packets to the rest of the world leave.
    is_default = models.BooleanField(default=False)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["host", "name"], name="interface_once_per_host")]

    def __str__(self) -> str:
        return self.name
