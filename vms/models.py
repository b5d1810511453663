"""Virtual machines. Wanted and observed are different columns: forms and operations write what is wanted,
the observer writes what is."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models
from django.utils import timezone

from bhype.hosts.models import Host
from network.models import Switch
from storage.models import Iso, Pool

if TYPE_CHECKING:
    from bhype.accounts.models import User


class Tag(models.Model):
    name = models.CharField(max_length=32, unique=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class VMQuerySet(models.QuerySet["VM"]):
    def visible_to(self, user: User, right: str = "vms.view") -> VMQuerySet:
        """The VMs on which ``user`` holds ``right``: all by role, else the user's own if owners hold it."""
        if user.can(right):
            return self
        return self.filter(owner=user) if user.can(right, owner_id=user.pk) else self.none()


class VM(models.Model):
    class State(models.TextChoices):
        """What the observer saw; the words are those of the supervisor's state file."""

        CREATING = "creating", "Creating"
        STOPPED = "stopped", "Stopped"
        STARTING = "starting", "Starting"
        RUNNING = "running", "Running"
        STOPPING = "stopping", "Stopping"
        CRASHED = "crashed", "Crashed"
        FAILED = "failed", "Failed"
        DELETING = "deleting", "Deleting"
        LOST = "lost", "Lost"

    class Firmware(models.TextChoices):
        UEFI = "uefi", "UEFI"

    host = models.ForeignKey(Host, on_delete=models.PROTECT, related_name="vms")
    pool = models.ForeignKey(Pool, on_delete=models.PROTECT, related_name="vms")
    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="vms"
    )
    # Wanted.
    name = models.CharField(max_length=40)
    cpus = models.PositiveSmallIntegerField(default=1)
    memory = models.BigIntegerField(help_text="bytes")
    firmware = models.CharField(max_length=8, choices=Firmware, default=Firmware.UEFI)
    iso = models.ForeignKey(Iso, null=True, blank=True, on_delete=models.SET_NULL, related_name="vms")
    has_screen = models.BooleanField(default=True)
    has_serial = models.BooleanField(default=True)
    screen_width = models.PositiveSmallIntegerField(default=1024)
    screen_height = models.PositiveSmallIntegerField(default=768)
    # VNC on the loopback address of the VM's host. At most 8 characters count (RFB's DES challenge).
    vnc_port = models.PositiveIntegerField()
    vnc_password = models.CharField(max_length=8)
    utc_clock = models.BooleanField(default=True)
    autostart = models.BooleanField(default=False)
    notes = models.TextField(blank=True)
    tags = models.ManyToManyField(Tag, blank=True, related_name="vms")
    # Raised by every change of a wanted column; a form that carries an older one is stale (409).
    revision = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(default=timezone.now)
    # Observed.
    state = models.CharField(max_length=10, choices=State, default=State.CREATING)
    # Why it is in that state, as a sentence: "guest powered off", or the first line of bhyve's error.
    reason = models.TextField(blank=True)
    pid = models.PositiveIntegerField(null=True)
    started_at = models.DateTimeField(null=True)
    exit_code = models.SmallIntegerField(null=True)
    cpu_percent = models.FloatField(default=0)
    memory_used = models.BigIntegerField(default=0, help_text="bytes")
    # The argv of the running bhyve, as its supervisor reports it.
    command = models.JSONField(default=list)
    seen_at = models.DateTimeField(null=True)

    objects = VMQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["host", "name"], name="vm_name_once_per_host"),
            models.UniqueConstraint(fields=["host", "vnc_port"], name="vnc_port_once_per_host"),
        ]
        indexes = [models.Index(fields=["state"]), models.Index(fields=["owner", "name"])]

    def __str__(self) -> str:
        return self.name

    @property
    def subject(self) -> str:
        """The VM as a live topic and as the subject of tasks."""
        return f"vm:{self.pk}"

    @property
    def dataset(self) -> str:
        """The dataset that holds the VM: vm.json, UEFI variables and, as children, its disks."""
        return f"{self.pool.home}/vms/{self.name}"

    @property
    def is_on(self) -> bool:
        return self.state in {self.State.STARTING, self.State.RUNNING, self.State.STOPPING}


class Disk(models.Model):
    class Bus(models.TextChoices):
        VIRTIO = "virtio-blk", "VirtIO"
        NVME = "nvme", "NVMe"
        AHCI = "ahci-hd", "AHCI (SATA)"

    vm = models.ForeignKey(VM, on_delete=models.CASCADE, related_name="disks")
    index = models.PositiveSmallIntegerField()
    bus = models.CharField(max_length=12, choices=Bus, default=Bus.VIRTIO)
    size = models.BigIntegerField(help_text="bytes")

    class Meta:
        ordering = ["index"]
        constraints = [models.UniqueConstraint(fields=["vm", "index"], name="disk_index_once_per_vm")]

    def __str__(self) -> str:
        return self.dataset

    @property
    def dataset(self) -> str:
        return f"{self.vm.dataset}/disk{self.index}"

    @property
    def path(self) -> str:
        return f"/dev/zvol/{self.dataset}"


class Nic(models.Model):
    class Model(models.TextChoices):
        VIRTIO = "virtio-net", "VirtIO"
        E1000 = "e1000", "Intel E1000"

    vm = models.ForeignKey(VM, on_delete=models.CASCADE, related_name="nics")
    index = models.PositiveSmallIntegerField()
    switch = models.ForeignKey(Switch, on_delete=models.PROTECT, related_name="nics")
    model = models.CharField(max_length=12, choices=Model, default=Model.VIRTIO)
    mac = models.CharField(max_length=17, unique=True)

    class Meta:
        ordering = ["index"]
        constraints = [models.UniqueConstraint(fields=["vm", "index"], name="nic_index_once_per_vm")]

    def __str__(self) -> str:
        return self.mac

    @property
    def tap(self) -> str:
        """The tap interface; numbered by row, so that it is known before the start and never shared."""
        return f"tap{1000 + self.pk}"
