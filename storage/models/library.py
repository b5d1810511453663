"""The library: install media, disk images, what is on its way in, and where images can be had."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.utils import timezone

from .pools import Pool


class Iso(models.Model):
    """An install medium in a pool's library, POOL/bhype/isos."""

    pool = models.ForeignKey(Pool, on_delete=models.CASCADE, related_name="isos")
    name = models.CharField(max_length=128)
    size = models.BigIntegerField(default=0, help_text="bytes")
    # Where it came from and what was checked, of one that bHype has fetched or received.
    source = models.CharField(max_length=1000, blank=True)
    sha256 = models.CharField(max_length=64, blank=True)
    verified = models.CharField(max_length=100, blank=True)
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


class Image(models.Model):
    """A disk image of the library: a volume with a snapshot of which disks are cloned."""

    SNAPSHOT = "base"

    class State(models.TextChoices):
        MAKING = "making", "Being made"
        READY = "ready", "Ready"
        FAILED = "failed", "Failed"
        DELETING = "deleting", "Deleting"

    class CloudInit(models.TextChoices):
        """Which program in the guest reads the seed."""

        NONE = "", "None"
        CLOUD_INIT = "cloud-init", "cloud-init"
        NUAGEINIT = "nuageinit", "nuageinit (FreeBSD)"

    pool = models.ForeignKey(Pool, on_delete=models.PROTECT, related_name="images")
    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    # Also the dataset's name.
    name = models.CharField(max_length=100)
    os = models.CharField(max_length=40, blank=True, help_text="of an OS preset, such as debian12")
    version = models.CharField(max_length=60, blank=True)
    size = models.BigIntegerField(default=0, help_text="bytes that the guest sees")
    firmware = models.CharField(max_length=12, default="uefi")
    cloud_init = models.CharField(max_length=12, choices=CloudInit, blank=True)
    login = models.CharField(max_length=64, blank=True, help_text="the user that the image has")
    source = models.CharField(max_length=1000, blank=True, help_text="a URL, or the name of an uploaded file")
    sha256 = models.CharField(max_length=64, blank=True, help_text="of the file as it came")
    verified = models.CharField(
        max_length=100, blank=True, help_text="what was checked, such as SHA-512, OpenPGP"
    )
    notes = models.TextField(blank=True)
    state = models.CharField(max_length=10, choices=State, default=State.MAKING)
    reason = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["pool", "name"], name="image_once_per_pool")]

    def __str__(self) -> str:
        return self.name

    @property
    def subject(self) -> str:
        return f"image:{self.pk}"

    @property
    def dataset(self) -> str:
        """The volume."""
        return f"{self.pool.home}/images/{self.name}"

    @property
    def snapshot(self) -> str:
        return f"{self.dataset}@{self.SNAPSHOT}"


class Upload(models.Model):
    """A file on its way from a browser, in parts that may stop and go on (tus 1.0). Its bytes lie in the person's
    folder of a pool's transfers."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    pool = models.ForeignKey(Pool, on_delete=models.CASCADE, related_name="uploads")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="uploads")
    name = models.CharField(max_length=128)
    # What becomes of it: "iso", "image", or "file" (stays in the person's folder).
    purpose = models.CharField(max_length=16, default="file")
    options = models.JSONField(default=dict, blank=True)
    size = models.BigIntegerField(help_text="bytes")
    received = models.BigIntegerField(default=0, help_text="bytes")
    sha256 = models.CharField(max_length=64, blank=True, help_text="as the sender announced it")
    created_at = models.DateTimeField(default=timezone.now)
    changed_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.name


class CatalogueEntry(models.Model):
    """Where an image of an operating system can be had. Seeded from library/catalogue.json, changed by admins."""

    class State(models.TextChoices):
        """As in the OS list of HosterCore."""

        READY = "ready", "Ready"
        COMPATIBLE = "compatible", "Compatible"
        NOT_READY = "not ready", "Not ready"

    os = models.CharField(max_length=40, unique=True)
    title = models.CharField(max_length=100)
    family = models.CharField(max_length=40, blank=True)
    state = models.CharField(max_length=10, choices=State, default=State.READY)
    # Either the file itself, or an index (HosterCore's JSON, or a folder listing with a pattern) that names the newest.
    url = models.CharField(max_length=1000, blank=True)
    index_url = models.CharField(max_length=1000, blank=True)
    index_pattern = models.CharField(max_length=200, blank=True)
    checksum_url = models.CharField(max_length=1000, blank=True)
    signature_url = models.CharField(max_length=1000, blank=True)
    signing_key = models.TextField(blank=True, help_text="OpenPGP or minisign public key")
    firmware = models.CharField(max_length=12, default="uefi")
    cloud_init = models.CharField(max_length=12, choices=Image.CloudInit, blank=True)
    login = models.CharField(max_length=64, blank=True)
    minimum_disk = models.BigIntegerField(default=0, help_text="bytes")
    notes = models.TextField(blank=True)
    # Whether an admin has changed it: the seed does not overwrite it then.
    is_own = models.BooleanField(default=False)
    is_enabled = models.BooleanField(default=True)

    class Meta:
        ordering = ["family", "os"]

    def __str__(self) -> str:
        return self.title
