"""One start from a medium and then from the disk, with a real guest; a limit and a cable changed while it runs."""

from __future__ import annotations

import re
import time

import pytest

from bhype.hosts.models import Host
from bhype.tasks import ask
from bhype.tasks.models import Task
from bhype.vmrun import client
from storage.models import Iso
from tests.conftest import make_user
from tests.lab import efi
from vms import plan
from vms.forms import VMForm
from vms.life import once
from vms.models import VM, Device


def run(ready, operation: str, **params: object) -> Task:
    ask(operation, params, None)
    *_, task = ready.run_tasks()
    assert task.status == "succeeded", task.error
    return task


def made(ready, image: bytes = b"") -> tuple[VM, Iso]:
    maker = make_user("maker", "admin")
    switch = VMForm(user=maker).fields["switch"].queryset.get()
    data = {
        "name": "web1",
        "cpus": "1",
        "memory": "64M",
        "disk_size": ["4M"],
        "has_serial": "on",
        "switch": switch.pk,
    }
    form = VMForm(data, user=maker)
    assert form.is_valid(), form.errors
    vm, _ = form.save(maker)
    ready.run_tasks()
    with (ready.root / f"dev/zvol/{vm.dataset}/disk0").open("r+b") as disk:
        disk.write(image)
    (ready.root / "tank/bhype/isos/boot.iso").write_bytes(bytes(2**20))
    return VM.objects.get(pk=vm.pk), Iso.objects.create(pool=vm.pool, name="boot.iso", size=2**20)


def drives(document: dict) -> list[tuple[str, str | None]]:
    return [
        (entry["slot"], entry.get("path")) for entry in document["emulations"] if entry["device"] == "ahci-cd"
    ]


def test_the_medium_comes_before_the_disks_and_takes_an_empty_drives_place(ready):
    vm, iso = made(ready)
    path = "/tank/bhype/isos/boot.iso"
    changed = once.with_iso(vm, plan.document(vm), iso)
    assert drives(changed) == []
    assert drives(changed["targets"][once.TARGET]) == [("0:3:0", path)]
    drive = Device.objects.create(vm=vm, kind="ahci-cd", slot="0:3:0")
    changed = once.with_iso(vm, plan.document(vm), iso)
    assert (drives(changed), drives(changed["targets"][once.TARGET])) == ([], [("0:3:0", path)])
    Device.objects.filter(pk=drive.pk).update(iso=iso)
    vm = VM.objects.get(pk=vm.pk)
    changed = once.with_iso(vm, plan.document(vm), iso)
    assert (drives(changed), drives(changed["targets"][once.TARGET])) == (
        [("0:3:0", path)],
        [("0:2:0", path)],
    )
    disk = vm.disks.get()
    disk.options = {"bootindex": 0}
    disk.save()
    vm = VM.objects.get(pk=vm.pk)
    changed = once.with_iso(vm, plan.document(vm), iso)
    order = {entry["device"]: entry["bootindex"] for entry in changed["emulations"] if "bootindex" in entry}
    assert (order, changed["targets"][once.TARGET]["emulations"][0]["bootindex"]) == ({"virtio-blk": 1}, 0)


@pytest.mark.parametrize(
    ("release", "firmware", "passed"),
    [("14.3-RELEASE", "uefi", "qemu"), ("13.2-RELEASE-p4", "uefi", None), ("14.3-RELEASE", "csm", None)],
)
def test_the_medium_comes_before_boot_entries_where_bhyve_can_say_so(vm, release, firmware, passed):
    vm.host.release, vm.firmware = release, firmware
    iso = Iso(pool=vm.pool, name="boot.iso")
    target = once.with_iso(vm, plan.document(vm), iso)["targets"][once.TARGET]
    assert target.get("fwcfg") == passed
    assert target["emulations"][0].get("bootindex") == (0 if passed else None)


def test_a_medium_that_is_gone_starts_nothing(ready):
    vm, iso = made(ready)
    key = iso.pk
    iso.delete()
    ask("vms.start", {"vm_id": vm.pk, "iso_id": key}, None)
    *_, task = ready.run_tasks()
    assert "not in the library" in task.error
    ask("vms.start", {"vm_id": vm.pk, "target": "nope"}, None)
    *_, task = ready.run_tasks()
    assert "no target 'nope'" in task.error
    vm.refresh_from_db()
    assert (vm.state, ready.nodes()) == ("stopped", set())


@pytest.mark.guest
def test_it_starts_from_a_medium_once_and_is_changed_while_it_runs(ready):
    vm, iso = made(ready, efi.reset())
    Host.objects.update(release="14.3-RELEASE")
    run(ready, "vms.start", vm_id=vm.pk, iso_id=iso.pk)
    first = client.read_state(ready.host, "web1")
    assert (first["target"], first["restarts"]) == (once.TARGET, 0)
    command = " ".join(first["command"])
    assert "ahci-cd,/tank/bhype/isos/boot.iso,bootindex=0" in command
    assert ",fwcfg=qemu" in command
    # Written anew meanwhile, vm.json knows nothing of the medium; the one that runs is told what it was started with.
    run(ready, "vms.set_link", nic_id=vm.nics.get().pk, link="down")
    run(ready, "vms.set_limits", vm_id=vm.pk, limits={"pcpu": 150})
    running = client.running_document(ready.host, "web1")
    assert running["limits"] == {"pcpu": 150}
    assert [entry["link"] for entry in running["emulations"] if entry["device"] == "virtio-net"] == ["down"]
    end = time.monotonic() + 120
    while (state := client.read_state(ready.host, "web1"))["restarts"] == 0:
        assert time.monotonic() < end, state
        time.sleep(0.2)
    assert state["target"] == "default"
    assert not {"boot.iso", "fwcfg"} & set(re.findall(r"[a-z.]+", " ".join(state["command"])))
    run(ready, "vms.poweroff", vm_id=vm.pk)
    assert ready.taps() == ready.nodes() == set()
