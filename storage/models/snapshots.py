"""Snapshots, and the policies that take and remove them."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from bhype.hosts.models import Host

from .datasets import Dataset


class Snapshot(models.Model):
    """A snapshot of one dataset, as last observed.

    A VM is a dataset with its disks below it: its snapshot is one row for each of them, with the same name and txg.
    """

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="snapshots")
    # What follows the @.
    name = models.CharField(max_length=255)
    guid = models.CharField(max_length=24)
    txg = models.BigIntegerField(
        default=0, help_text="the transaction group it was made in: all of one -r share it"
    )
    created_at = models.DateTimeField()
    used = models.BigIntegerField(default=0, help_text="bytes that only it holds")
    referenced = models.BigIntegerField(default=0, help_text="bytes")
    written = models.BigIntegerField(default=0, help_text="bytes since the snapshot before")
    holds = models.PositiveIntegerField(default=0)
    clones = models.PositiveIntegerField(default=0, help_text="datasets that live on its data")
    is_deferred = models.BooleanField(default=False, help_text="goes with its last clone or hold")
    # User properties of the snapshot: org.bhype:id, org.bhype:kind (manual, frequent, hourly ... or a word of an
    # operation), org.bhype:note.
    bhype_id = models.CharField(max_length=64, blank=True)
    kind = models.CharField(max_length=16, blank=True)
    note = models.TextField(blank=True)
    # Set as org.bhype:common by whoever replicates: the last one that a replica has, too.
    is_common = models.BooleanField(default=False)
    # Nothing above its dataset has a snapshot of this name and txg: one of them stands for a whole VM in lists.
    is_root = models.BooleanField(default=True)

    class Meta:
        ordering = ["created_at", "txg", "name"]
        constraints = [models.UniqueConstraint(fields=["dataset", "name"], name="snapshot_once_per_dataset")]
        indexes = [
            models.Index(fields=["dataset", "-created_at"], name="snapshot_of_dataset"),
            # Partial: SQLite does not use an index on a truth value itself.
            models.Index(fields=["-created_at", "-id"], name="snapshot_newest", condition=Q(is_root=True)),
            models.Index(
                fields=["kind", "-created_at", "-id"], name="snapshot_kind", condition=Q(is_root=True)
            ),
            models.Index(fields=["txg", "name"], name="snapshot_together"),
        ]

    def __str__(self) -> str:
        return f"{self.dataset.name}@{self.name}"


class SnapshotPolicy(models.Model):
    """Which snapshots are taken of what, and how many are kept."""

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="snapshot_policies")
    name = models.CharField(max_length=64)
    time_zone = models.CharField(max_length=64, default="UTC")
    is_enabled = models.BooleanField(default=True)
    notes = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["host", "name"], name="policy_name_once_per_host")]

    def __str__(self) -> str:
        return self.name


class SnapshotTarget(models.Model):
    """What a policy is for: a kind that an app has registered ("vm", "tag", "dataset", "production") and its value."""

    policy = models.ForeignKey(SnapshotPolicy, on_delete=models.CASCADE, related_name="targets")
    kind = models.CharField(max_length=16)
    value = models.CharField(max_length=255, blank=True)

    class Meta:
        ordering = ["kind", "value"]
        constraints = [
            models.UniqueConstraint(fields=["policy", "kind", "value"], name="target_once_per_policy")
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.value}".strip()


class SnapshotTier(models.Model):
    """One kind of a policy's snapshots: when they are taken, and how many stay."""

    class Kind(models.TextChoices):
        FREQUENT = "frequent", "Frequent"
        HOURLY = "hourly", "Hourly"
        DAILY = "daily", "Daily"
        WEEKLY = "weekly", "Weekly"
        MONTHLY = "monthly", "Monthly"
        YEARLY = "yearly", "Yearly"

    policy = models.ForeignKey(SnapshotPolicy, on_delete=models.CASCADE, related_name="tiers")
    kind = models.CharField(max_length=16, choices=Kind)
    # As in bhype.tasks.schedules: words, or five fields of crontab(5), in the policy's time zone.
    when = models.CharField(max_length=120)
    keep = models.PositiveIntegerField()
    # Written by the observer and by operations.
    next_run = models.DateTimeField(null=True, blank=True)
    last_run = models.DateTimeField(null=True, blank=True)
    problem = models.TextField(blank=True)

    class Meta:
        ordering = ["pk"]
        constraints = [models.UniqueConstraint(fields=["policy", "kind"], name="tier_once_per_policy")]

    def __str__(self) -> str:
        return f"{self.policy} {self.kind}"
