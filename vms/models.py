"""Virtual machines. Wanted and observed are different columns: forms and operations write what is wanted,
the observer writes what is."""

from __future__ import annotations

import secrets
import uuid
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models
from django.utils import timezone

from bhype.hosts.models import Host
from network.models import Switch
from storage.models import Image, Iso, Pool

if TYPE_CHECKING:
    from bhype.accounts.models import User


def new_serial() -> str:
    """Twelve random hex digits; bhyve takes up to twenty characters."""
    return secrets.token_hex(6)


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
        # Its dataset waits for its passphrase.
        LOCKED = "locked", "Locked"

    class Firmware(models.TextChoices):
        """What boots the guest: a ROM that bhyve runs, or a program of the host that loads a kernel first."""

        UEFI = "uefi", "UEFI"
        CSM = "csm", "UEFI with legacy BIOS (CSM)"
        BHYVELOAD = "bhyveload", "bhyveload (FreeBSD guests)"
        GRUB = "grub", "grub-bhyve"

    host = models.ForeignKey(Host, on_delete=models.PROTECT, related_name="vms")
    pool = models.ForeignKey(Pool, on_delete=models.PROTECT, related_name="vms")
    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="vms"
    )
    # Wanted.
    name = models.CharField(max_length=40)
    # cpus = sockets * cores * threads
    cpus = models.PositiveSmallIntegerField(default=1)
    sockets = models.PositiveSmallIntegerField(default=1)
    threads = models.PositiveSmallIntegerField(default=1)
    memory = models.BigIntegerField(help_text="bytes")
    firmware = models.CharField(max_length=12, choices=Firmware, default=Firmware.UEFI)
    # The further keys of vm.json as they stand there: flags, limits, tpm, keyboard, pinning, com2, ...
    settings = models.JSONField(default=dict, blank=True)
    has_screen = models.BooleanField(default=True)
    has_serial = models.BooleanField(default=True)
    screen_width = models.PositiveSmallIntegerField(default=1024)
    screen_height = models.PositiveSmallIntegerField(default=768)
    # VNC on the loopback address of the VM's host. At most 8 characters count (RFB's DES challenge).
    vnc_port = models.PositiveIntegerField()
    vnc_password = models.CharField(max_length=8)
    utc_clock = models.BooleanField(default=True)
    is_protected = models.BooleanField(default=False, help_text="cannot be deleted")
    has_recording = models.BooleanField(default=False, help_text="console sessions are recorded")
    # Starting with the host: in this order, each after the seconds that follow the one before.
    autostart = models.BooleanField(default=False)
    start_order = models.PositiveSmallIntegerField(default=100)
    start_delay = models.PositiveSmallIntegerField(default=0, help_text="seconds")
    # What tells that the guest does its work: "tcp:ADDRESS:PORT", or "serial:TEXT" that com1 must show.
    health = models.CharField(max_length=200, blank=True)
    health_seconds = models.PositiveSmallIntegerField(default=120, help_text="seconds to wait for it")
    stop_seconds = models.PositiveSmallIntegerField(
        default=120, help_text="seconds the guest has to power off"
    )
    notes = models.TextField(blank=True)
    tags = models.ManyToManyField(Tag, blank=True, related_name="vms")
    # Only these join what is done to all: start, snapshot, replicate (HosterCore's mark).
    is_production = models.BooleanField(default=False)
    # What the seed tells the guest, as vms.cloudinit describes it; {} without one. Passwords stand in it as hashes.
    cloud_init = models.JSONField(default=dict, blank=True)
    # Raised when the guest is to take itself for a new one: a part of the seed's instance-id.
    cloud_init_generation = models.PositiveIntegerField(default=1)
    template = models.ForeignKey(
        "Template", null=True, blank=True, on_delete=models.SET_NULL, related_name="vms"
    )
    # The snapshot that it is being rolled back to; while this says one, its disks are of different moments.
    rolling_back_to = models.CharField(max_length=255, blank=True)
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
    # What the running guest has not got as it is wanted, as sentences; and when its supervisor tries again.
    warnings = models.JSONField(default=list, blank=True)
    next_start = models.DateTimeField(null=True, blank=True)
    # The vm.json, without secrets, that the running bhyve was started with.
    running = models.JSONField(null=True, blank=True)
    # SHA-256 of vm.json as bHype wrote it last, and what somebody else wrote there since.
    file_digest = models.CharField(max_length=64, blank=True)
    edited = models.JSONField(null=True, blank=True)
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
    def cores(self) -> int:
        """Of each socket."""
        return self.cpus // (self.sockets * self.threads)

    @property
    def drives(self) -> list[Device]:
        """The CD drives, in order."""
        return [device for device in self.devices.all() if device.kind == Device.CD]

    @property
    def iso(self) -> Iso | None:
        """The medium in the first CD drive."""
        return next((drive.iso for drive in self.drives), None)

    @property
    def is_on(self) -> bool:
        return self.state in {self.State.STARTING, self.State.RUNNING, self.State.STOPPING}


class Disk(models.Model):
    """A disk that belongs to the VM, plugged in or not. options: the device's further keys in vm.json."""

    class Bus(models.TextChoices):
        VIRTIO = "virtio-blk", "VirtIO"
        NVME = "nvme", "NVMe"
        AHCI = "ahci-hd", "AHCI (SATA)"

    class Backing(models.TextChoices):
        VOLUME = "volume", "ZFS volume"
        FILE = "file", "File in the VM's dataset"
        PATH = "path", "Path on the host"

    vm = models.ForeignKey(VM, on_delete=models.CASCADE, related_name="disks")
    index = models.PositiveSmallIntegerField()
    slot = models.CharField(max_length=9, blank=True)
    bus = models.CharField(max_length=12, choices=Bus, default=Bus.VIRTIO)
    backing = models.CharField(max_length=6, choices=Backing, default=Backing.VOLUME)
    # Only of a backing by path: what is not in the VM's dataset, and never destroyed.
    host_path = models.CharField(max_length=1000, blank=True)
    size = models.BigIntegerField(help_text="bytes")
    # What the guest sees; kept when the VM is renamed, so that the guest knows its disk again.
    serial = models.CharField(max_length=20, blank=True, default=new_serial)
    options = models.JSONField(default=dict, blank=True)
    is_attached = models.BooleanField(default=True)

    class Meta:
        ordering = ["index"]
        constraints = [models.UniqueConstraint(fields=["vm", "index"], name="disk_index_once_per_vm")]

    def __str__(self) -> str:
        return self.path if self.backing == self.Backing.PATH else self.dataset

    @property
    def dataset(self) -> str:
        """The volume; of a file, the path below the pools."""
        return f"{self.vm.dataset}/disk{self.index}"

    @property
    def path(self) -> str:
        """Where bhyve opens it."""
        if self.backing == self.Backing.PATH:
            return self.host_path
        if self.backing == self.Backing.FILE:
            return f"/{self.dataset}.img"
        return f"/dev/zvol/{self.dataset}"


class Nic(models.Model):
    """A network port of the VM: a tap on its switch, or a backend in bhyve's own words. options: as in Disk."""

    class Model(models.TextChoices):
        VIRTIO = "virtio-net", "VirtIO"
        E1000 = "e1000", "Intel E1000"

    vm = models.ForeignKey(VM, on_delete=models.CASCADE, related_name="nics")
    index = models.PositiveSmallIntegerField()
    slot = models.CharField(max_length=9, blank=True)
    switch = models.ForeignKey(Switch, null=True, blank=True, on_delete=models.PROTECT, related_name="nics")
    # Instead of a switch: "vale0:1", "netgraph" (with its options), an interface made by somebody else.
    backend = models.CharField(max_length=100, blank=True)
    model = models.CharField(max_length=12, choices=Model, default=Model.VIRTIO)
    mac = models.CharField(max_length=17, db_index=True)
    # A copy that took its original's address along: the two are never on together on one switch.
    shares_mac = models.BooleanField(default=False)
    # It may send in the name of others, as routers and clusters do: the switch does not guard it.
    may_spoof = models.BooleanField(default=False)
    options = models.JSONField(default=dict, blank=True)
    is_attached = models.BooleanField(default=True)

    class Meta:
        ordering = ["index"]
        constraints = [
            models.UniqueConstraint(fields=["vm", "index"], name="nic_index_once_per_vm"),
            models.UniqueConstraint(fields=["mac"], condition=models.Q(shares_mac=False), name="mac_once"),
        ]

    def __str__(self) -> str:
        return self.mac

    @property
    def tap(self) -> str:
        """The tap interface; numbered by row, so that it is known before the start and never shared."""
        return f"tap{1000 + self.pk}"

    @property
    def port(self) -> str:
        """What its switch knows it by: its tap, or the port of a VALE switch, which has no interface."""
        is_vale = self.switch is not None and self.switch.technology == Switch.Technology.VALE
        return f"{self.switch.vale}:{1000 + self.pk}" if self.switch and is_vale else self.tap


class Device(models.Model):
    """Any other device: a kind of `bhype.vmrun.devices`, with its keys as in vm.json."""

    CD = "ahci-cd"

    vm = models.ForeignKey(VM, on_delete=models.CASCADE, related_name="devices")
    kind = models.CharField(max_length=16)
    slot = models.CharField(max_length=9, blank=True)
    options = models.JSONField(default=dict, blank=True)
    # Of a CD drive: the medium in it; it says the path then.
    iso = models.ForeignKey(Iso, null=True, blank=True, on_delete=models.SET_NULL, related_name="drives")

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.kind} {self.slot}"


class OsPreset(models.Model):
    """Which devices an operating system wants. Seeded from vms/os_templates/presets.json, changed by admins."""

    name = models.CharField(max_length=40, unique=True)
    title = models.CharField(max_length=100)
    family = models.CharField(max_length=40, blank=True)
    # What differs from a plain VM, as keys of vm.json; devices without paths, names and addresses.
    document = models.JSONField(default=dict, blank=True)
    cpus = models.PositiveSmallIntegerField(default=1)
    memory = models.BigIntegerField(default=1 << 30, help_text="bytes")
    disk_size = models.BigIntegerField(default=10 << 30, help_text="bytes")
    login = models.CharField(max_length=64, blank=True)
    cloud_init = models.CharField(max_length=12, choices=Image.CloudInit, blank=True)
    notes = models.TextField(blank=True)
    is_own = models.BooleanField(
        default=False, help_text="changed by an admin: the seed does not overwrite it"
    )

    class Meta:
        ordering = ["family", "title"]

    def __str__(self) -> str:
        return self.title


class TemplateQuerySet(models.QuerySet["Template"]):
    def visible_to(self, user: User, right: str = "vms.create") -> TemplateQuerySet:
        """All of them for those who change templates; for those who may create VMs, what is published."""
        if user.can("templates.change"):
            return self
        may = right == "vms.create" and user.can("vms.create")
        return self.filter(is_published=True, state=Template.State.READY) if may else self.none()


class Template(models.Model):
    """A golden VM of which others are deployed: disks with a snapshot to clone, and a description without identity."""

    SNAPSHOT = "base"

    class State(models.TextChoices):
        MAKING = "making", "Being made"
        READY = "ready", "Ready"
        FAILED = "failed", "Failed"
        DELETING = "deleting", "Deleting"

    host = models.ForeignKey(Host, on_delete=models.PROTECT, related_name="templates")
    pool = models.ForeignKey(Pool, on_delete=models.PROTECT, related_name="templates")
    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(max_length=40)
    version = models.PositiveIntegerField(default=1)
    # Where it came from; either may be gone.
    image = models.ForeignKey(
        Image, null=True, blank=True, on_delete=models.SET_NULL, related_name="templates"
    )
    made_from = models.CharField(max_length=100, blank=True, help_text="in words")
    preset = models.ForeignKey(
        OsPreset, null=True, blank=True, on_delete=models.SET_NULL, related_name="templates"
    )
    # vm.json as plan.document writes it, without name, uuid, addresses, passwords and paths.
    document = models.JSONField(default=dict)
    # Of each disk, in order: {"size": bytes}; they lie at dataset/disk0, dataset/disk1, ...
    disks = models.JSONField(default=list)
    # What every seed of it starts from.
    cloud_init_kind = models.CharField(max_length=12, choices=Image.CloudInit, blank=True)
    cloud_init = models.JSONField(default=dict, blank=True)
    login = models.CharField(max_length=64, blank=True)
    notes = models.TextField(blank=True)
    is_published = models.BooleanField(
        default=False, help_text="may be deployed by everybody who may create VMs"
    )
    state = models.CharField(max_length=10, choices=State, default=State.MAKING)
    reason = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )

    objects = TemplateQuerySet.as_manager()

    class Meta:
        ordering = ["name", "-version"]
        constraints = [
            models.UniqueConstraint(fields=["host", "name", "version"], name="template_version_once_per_host")
        ]

    def __str__(self) -> str:
        return f"{self.name} v{self.version}"

    @property
    def subject(self) -> str:
        return f"template:{self.pk}"

    @property
    def dataset(self) -> str:
        return f"{self.pool.home}/templates/{self.name}-v{self.version}"


class SnippetQuerySet(models.QuerySet["Snippet"]):
    def visible_to(self, user: User, right: str = "self") -> SnippetQuerySet:
        """Those that ``user`` may use: own and shared ones. With another right those that the user may change: own
        ones, and all with that right by role."""
        if right == "self":
            return (
                self.filter(models.Q(owner=user) | models.Q(is_shared=True))
                if user.can(right)
                else self.none()
            )
        if user.can(right):
            return self.filter(models.Q(owner=user) | models.Q(is_shared=True))
        return self.filter(owner=user) if user.can("self") and user.scope in {None, "full"} else self.none()


class Snippet(models.Model):
    """A piece of user-data, or the answers of an installer, in the library."""

    class Kind(models.TextChoices):
        USER_DATA = "user-data", "cloud-init user-data"
        SCRIPT = "script", "Script that runs once"
        AUTOINSTALL = "autoinstall", "Ubuntu autoinstall"
        PRESEED = "preseed", "Debian preseed"
        KICKSTART = "kickstart", "Kickstart"
        INSTALLERCONFIG = "installerconfig", "FreeBSD installerconfig"
        AUTOUNATTEND = "autounattend", "Windows autounattend.xml"

    name = models.CharField(max_length=64)
    kind = models.CharField(max_length=16, choices=Kind, default=Kind.USER_DATA)
    text = models.TextField()
    notes = models.TextField(blank=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="snippets"
    )
    is_shared = models.BooleanField(default=False, help_text="everybody may use it")
    created_at = models.DateTimeField(default=timezone.now)
    changed_at = models.DateTimeField(default=timezone.now)

    objects = SnippetQuerySet.as_manager()

    class Meta:
        ordering = ["kind", "name"]
        constraints = [models.UniqueConstraint(fields=["owner", "name"], name="snippet_name_once_per_owner")]

    def __str__(self) -> str:
        return self.name
