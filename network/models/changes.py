"""What waits for a confirmation on a host, and the host's own packet filter file, as observed."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from bhype.hosts.models import Host


class HostChange(models.Model):
    """A change of the host by commit and confirm, as `bhype.commit` tells of it; the newest of each name."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waits for confirmation"
        KEEPING = "keeping", "Being confirmed"
        CONFIRMED = "confirmed", "Confirmed"
        UNDOING = "undoing", "Being taken back"
        REVERTED = "reverted", "Taken back"

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="changes")
    # "firewall", "pf-conf" and others, see network.changes.kinds; note: which one of that name.
    name = models.CharField(max_length=63)
    note = models.CharField(max_length=200, blank=True)
    state = models.CharField(max_length=9, choices=State)
    deadline = models.DateTimeField(null=True, help_text="to confirm it")
    reason = models.TextField(blank=True, help_text="why it was taken back")
    problem = models.TextField(blank=True, help_text="why that could not be done yet")
    changed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["host", "name"], name="change_once_per_host")]

    def __str__(self) -> str:
        return self.name

    @property
    def is_waiting(self) -> bool:
        return self.state == self.State.WAITING

    @property
    def has_ended(self) -> bool:
        return self.state in {self.State.CONFIRMED, self.State.REVERTED}


class PfConf(models.Model):
    """The admin's pf.conf(5) as it is on the host, and which lines it lacks."""

    host = models.OneToOneField(Host, on_delete=models.CASCADE, related_name="pf_conf")
    path = models.CharField(max_length=200)
    exists = models.BooleanField(default=False)
    text = models.TextField(blank=True)
    # SHA-256 of the text: what is changed is what was shown.
    digest = models.CharField(max_length=64, blank=True)
    # [{"line": ..., "after": number of the line before it}], as bhype.freebsd.pf_conf.missing.
    missing = models.JSONField(default=list)
    problem = models.TextField(blank=True)
    # Whether the rules that are loaded ask bHype's anchors; None where pf is not in the kernel.
    is_asked = models.BooleanField(null=True)
    seen_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.path
