"""A populated lab, to look around in: a dozen VMs with tags and owners, some of them running, and their tasks."""

from __future__ import annotations

import contextlib
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from bhype.accounts.models import User
from bhype.hosts.models import Host
from bhype.hosts.observer import Observer
from bhype.tasks import Refused, ask
from bhype.tasks.models import Task
from bhype.tasks.runner import run_queued
from network.models import Switch
from storage.models import Iso
from vms.forms import VMForm
from vms.models import VM

READY_SECONDS = 120.0
USERS = {"anna": User.Role.OPERATOR, "ben": User.Role.VIEWER, "carla": User.Role.NONE}


@dataclass(frozen=True, slots=True)
class Sample:
    name: str
    owner: str
    tags: str
    memory: str = "512M"
    cpus: int = 1
    disks: tuple[str, ...] = ("8G",)
    switch: str = "nat"
    runs: bool = False
    notes: str = ""


SAMPLES = (
    Sample("web1", "anna", "web,prod", runs=True, memory="128M", notes="Front end, first of two."),
    Sample("web2", "anna", "web,prod", runs=True, memory="128M", notes="Front end, second of two."),
    Sample("proxy", "anna", "web,prod", memory="256M"),
    Sample("db1", "anna", "db,prod", cpus=2, memory="1G", disks=("20G", "60G"), switch="private"),
    Sample(
        "db2",
        "anna",
        "db,test",
        cpus=2,
        disks=("20G",),
        switch="private",
        notes="Copy of db1 for trying out.",
    ),
    Sample("mail", "ben", "mail,prod", disks=("40G",)),
    Sample("files", "ben", "prod", disks=("10G", "80G")),
    Sample("ci1", "carla", "ci", cpus=2, memory="1G", runs=True, notes="Builds. May be reset at any time."),
    Sample("ci2", "carla", "ci", cpus=2, memory="1G"),
    Sample("desktop", "carla", "test", cpus=2, memory="1G"),
    Sample(
        "lab-netboot",
        "carla",
        "test",
        disks=("0",),
        memory="256M",
        notes="Has no disk: it boots from the network.",
    ),
    Sample("router", "anna", "prod", memory="256M", switch="private"),
)

HISTORY = (
    ("db1", "anna", "vms.start"),
    ("web1", "anna", "vms.reset"),
    ("mail", "ben", "vms.start"),
    ("db1", "anna", "vms.poweroff"),
    ("ci2", "carla", "vms.start"),
    ("ci2", "carla", "vms.poweroff"),
    ("mail", "ben", "vms.poweroff"),
    ("web2", "anna", "vms.reset"),
)


class Command(BaseCommand):
    help = (
        "Fills the lab host with sample users, VMs and tasks. May be repeated. Not for a real FreeBSD host."
    )

    def handle(self, *_args: Any, **_options: Any) -> None:
        if settings.ON_FREEBSD or settings.BHYPE_ROOT == "/":
            raise CommandError("This is a real host: sample VMs are made in a lab only.")
        host = self._ready()
        self._bring_media()
        users = {name: self._user(name, role) for name, role in USERS.items()}
        made = [sample for sample in SAMPLES if self._make(host, sample, users)]
        run_queued()
        self._wait()
        Observer().sweep()
        if made:
            self._live(host, users)
        self.stdout.write(
            f"The lab has {VM.objects.filter(host=host).count()} VMs; {len(made)} of them are new."
        )

    def _ready(self) -> Host:
        """Have the host prepared as on its first start: modules, pool, switches."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            Observer().sweep()
            run_queued()
            host = Host.objects.this()
            pool = host.pools.filter(is_adopted=True).exists()
            switches = Switch.objects.filter(host=host)
            if pool and switches and all(one.is_up or one.is_waiting for one in switches):
                return host
            time.sleep(0.5)
        failed = Task.objects.exclude(error="").first()
        raise CommandError(f"The lab did not become ready. {failed.error if failed else 'Is the lab there?'}")

    def _bring_media(self) -> None:
        """Copy the boot media that the set-up has made into the library."""
        observer = Observer()
        pool = Host.objects.this().pools.filter(is_adopted=True).first()
        media = settings.STATE_DIR / "media"
        if pool is None or not media.is_dir():
            return
        for image in sorted(media.glob("*.iso")):
            target = f"/{pool.home}/isos/{image.name}"
            if not observer.host.exists(target):
                partial = Path(observer.host.path(f"/{pool.home}/isos/.{image.name}.part"))
                shutil.copyfile(image, partial)
                partial.rename(observer.host.path(target))
        observer.sweep()

    @staticmethod
    def _user(name: str, role: str) -> User:
        """A panel user without a password: an admin gives one, nobody can guess one."""
        found = User.objects.filter(username=name).first()
        return found or User.objects.create_user(name, role=role, source=User.Source.PANEL)

    @staticmethod
    def _make(host: Host, sample: Sample, users: dict[str, User]) -> bool:
        """Ask for the VM as a person would. False when it is there already."""
        if VM.objects.filter(host=host, name=sample.name).exists():
            return False
        iso = Iso.objects.filter(pool__host=host, name__startswith="ipxe", size__gt=0).first()
        switch = Switch.objects.filter(host=host, name=sample.switch).first()
        data = {
            "name": sample.name, "cpus": min(sample.cpus, host.cpus or 1), "memory": sample.memory,
            "disk_size": list(sample.disks), "switch": switch.pk if switch else "", "tags": sample.tags,
            "notes": sample.notes, "has_screen": True, "has_serial": True, "utc_clock": True,
            "iso": iso.pk if iso and sample.runs else "", "start": sample.runs,
        }  # fmt: skip
        form = VMForm(data, user=users["anna"], host=host)
        saved = form.save(users["anna"]) if form.is_valid() else None
        if saved is None:
            raise CommandError(f"{sample.name}: {form.errors.as_text()}")
        VM.objects.filter(pk=saved[0].pk).update(owner=users[sample.owner])
        return True

    def _live(self, host: Host, users: dict[str, User]) -> None:
        """A little history: power tasks as people ask for them."""
        for name, user, operation in HISTORY:
            vm = VM.objects.filter(host=host, name=name).first()
            if vm is None:
                continue
            with contextlib.suppress(Refused):
                ask(operation, {"vm_id": vm.pk}, users[user])
            run_queued()
            self._wait()
            Observer().sweep()

    @staticmethod
    def _wait() -> None:
        """A worker that runs beside this command may have taken some of the tasks."""
        deadline = time.monotonic() + READY_SECONDS
        while Task.objects.unfinished().exists() and time.monotonic() < deadline:
            run_queued()
            time.sleep(0.2)
