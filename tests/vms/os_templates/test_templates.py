"""Templates: made of images and VMs without identity, in versions, deleted only when nobody lives on them."""

from __future__ import annotations

import json
import os

import pytest

from bhype.tasks import Refused, ask
from storage.models import Image
from tests.conftest import make_user
from tests.vms.deploy.test_deploy import (  # noqa: F401 - fixtures
    MIB,
    admin,
    bridge,
    finish,
    image,
    order,
    origins,
    read,
    snapshots,
    template,
)
from tests.vms.test_operations import Killed
from tests.vms.transfer.test_copies import die_at
from vms import wanted
from vms.deploy import orders
from vms.models import VM, Device, OsPreset, Template
from vms.os_templates import documents
from vms.os_templates import rows as template_rows
from vms.os_templates.documents import Wishes

PERSONAL = ("web1", "58:9c:fc", "seed.iso")


@pytest.fixture
def vm(ready, template, admin, bridge) -> VM:  # noqa: F811
    """A stopped VM with a seed, a drive and something of its own on its disk."""
    settings = {"kind": "cloud-init", "user": "ann"}
    made, _ = orders.make(
        template, order("web1", admin, wishes=Wishes(bridge=bridge), cloud_init=settings), admin
    )
    assert finish(ready).status == "succeeded"
    with open(ready.root / f"dev/zvol/{made.dataset}/disk0", "r+b") as file:
        os.pwrite(file.fileno(), b"mine!!", 2 * MIB)
    (ready.root / made.dataset / "uefi-vars.fd").write_bytes(b"boots from here")
    return VM.objects.get(pk=made.pk)


def make(lab, *arguments, **options) -> Template:
    row, _ = template_rows.make_from_vm(*arguments, **options)
    task = finish(lab)
    assert task.status == "succeeded", task.error
    row.refresh_from_db()
    return row


# What is in one.


def test_what_is_of_the_vm_alone_stays_behind(ready, vm, admin):  # noqa: F811
    row = make(ready, vm, "web", admin)
    text = json.dumps(row.document)
    assert not [
        word for word in (*PERSONAL, str(vm.uuid), vm.vnc_password, vm.disks.get().serial) if word in text
    ]
    assert (row.document["com1"], row.document["varfile"]) == ("nmdm", "uefi-vars.fd")
    assert [entry["device"] for entry in row.document["emulations"]] == [
        "virtio-blk",
        "virtio-net",
        "virtio-rnd",
    ]
    assert (row.disks, row.made_from) == ([{"size": 4 * MIB, "source": 0}], "VM web1")
    assert (row.cloud_init_kind, row.login) == ("cloud-init", "debian")


def test_a_copy_has_the_data_and_depends_on_nobody(ready, template, vm, admin):  # noqa: F811
    row = make(ready, vm, "web", admin)
    assert read(ready, f"{row.dataset}/disk0", 2 * MIB, 6) == b"mine!!"
    assert not any(name.startswith(row.dataset) for name in origins(ready))
    assert {name for name in snapshots(ready) if name.startswith((row.dataset, vm.dataset))} == {
        f"{row.dataset}@base", f"{row.dataset}/disk0@base",
    }  # fmt: skip
    ask("vms.delete", {"vm_id": vm.pk}, admin)
    assert finish(ready).status == "succeeded"
    again, _ = orders.make(row, order("web2", admin), admin)
    assert finish(ready).status == "succeeded"
    assert read(ready, f"{again.dataset}/disk0", 2 * MIB, 6) == b"mine!!"


def test_a_linked_one_keeps_its_vm(ready, vm, admin):  # noqa: F811
    row = make(ready, vm, "web", admin, linked=True)
    assert origins(ready)[f"{row.dataset}/disk0"] == f"{vm.dataset}/disk0@bhype-template-{row.uuid}"
    ask("vms.delete", {"vm_id": vm.pk}, admin)
    task = finish(ready)
    assert (task.status, "Linked clones" in task.error) == ("failed", True), task.error
    ask("vms.delete_template", {"template_id": row.pk}, admin)
    assert finish(ready).status == "succeeded"
    assert not [name for name in snapshots(ready) if vm.dataset in name]


def test_the_firmwares_memory_is_kept_by_choice(ready, vm, admin):  # noqa: F811
    for keep in (True, False):
        row = make(ready, vm, "web", admin, keep_vars=keep)
        made, _ = orders.make(row, order(f"of{row.version}", admin), admin)
        assert finish(ready).status == "succeeded"
        there = (ready.root / made.dataset / "uefi-vars.fd").read_bytes()
        assert (there == b"boots from here") is keep


def test_of_a_snapshot_it_has_what_was_then(ready, vm, admin):  # noqa: F811
    ready.commands("/sbin/zfs", "snapshot", "-r", f"{vm.dataset}@before")
    with open(ready.root / f"dev/zvol/{vm.dataset}/disk0", "r+b") as file:
        os.pwrite(file.fileno(), b"later!", 2 * MIB)
    row = make(ready, vm, "web", admin, snapshot="before")
    assert read(ready, f"{row.dataset}/disk0", 2 * MIB, 6) == b"mine!!"
    assert {f"{vm.dataset}@before", f"{vm.dataset}/disk0@before"} < snapshots(ready)
    assert f"{row.dataset}/disk0@before" not in snapshots(ready)


def test_what_reaches_into_the_host_is_left_out_and_told(vm, admin):  # noqa: F811
    VM.objects.filter(pk=vm.pk).update(settings={"gdb": "127.0.0.1:2828", "pinning": {"0": [0]}, "nice": 5})
    Device.objects.create(
        vm=vm, kind="virtio-9p", slot="0:25:0", options={"sharename": "home", "path": "/home"}
    )
    draft = documents.of_vm(wanted.load(vm.pk))
    assert draft.document["nice"] == 5
    assert not {"gdb", "pinning"} & draft.document.keys()
    assert "virtio-9p" not in [entry["device"] for entry in draft.document["emulations"]]
    assert len(draft.notes) == 3, draft.notes


def test_the_sockets_of_a_vm_become_those_of_the_vms_that_are_made_of_it(vm):
    ports = [{"path": "/var/run/bhype/vms/web1/console-a.sock"}]
    Device.objects.create(vm=vm, kind="virtio-console", slot="0:21:0", options={"ports": ports})
    draft = documents.of_vm(wanted.load(vm.pk))
    assert "web1" not in json.dumps(draft.document)
    row = VM(name="web2", pool=vm.pool, host=vm.host)
    made, _ = documents.for_vm(draft.document, draft.disks, row, documents.Wishes())
    assert "/var/run/bhype/vms/web2/console-a.sock" in json.dumps(made)


# Versions.


def test_each_of_a_name_is_the_next_version(ready, template, image, vm, admin):  # noqa: F811
    assert make(ready, vm, "debian12", admin).version == 2
    other = make_user("other", "operator")
    assert [str(template_rows.find(admin, word)) for word in ("debian12", "debian12:2", "debian12-v2")] == [
        "debian12 v1", "debian12 v2", "debian12 v2",
    ]  # fmt: skip
    assert (str(template_rows.find(other, "debian12")), template_rows.find(other, "debian12:2")) == (
        "debian12 v1",
        None,
    )
    Template.objects.update(is_published=True)
    assert str(template_rows.find(other, "debian12")) == "debian12 v2"
    for word in ("", "x", "debian12:9", "debian12:x", "\0", "a" * 300):
        assert template_rows.find(admin, word) is None


# What goes wrong.


def test_a_vm_that_is_on_is_refused(ready, vm, admin):  # noqa: F811
    VM.objects.filter(pk=vm.pk).update(state="running")
    with pytest.raises(Refused, match="is on"):
        template_rows.make_from_vm(vm, "web", admin)
    VM.objects.filter(pk=vm.pk).update(state="deleting")
    with pytest.raises(Refused, match="being deleted"):
        template_rows.make_from_vm(vm, "web", admin, snapshot="x")


def test_only_who_may_change_templates_makes_them(ready, image, vm, template):  # noqa: F811
    other = make_user("other", "operator")
    VM.objects.filter(pk=vm.pk).update(owner=other)
    for made in (
        lambda: template_rows.make_from_vm(vm, "web", other),
        lambda: template_rows.make_from_image(image, "web", other, preset=None),
        lambda: ask("vms.delete_template", {"template_id": template.pk}, other),
    ):
        with pytest.raises(Refused):
            made()
    assert Template.objects.count() == 1


def test_an_image_that_is_not_ready_is_refused(ready, image, admin):  # noqa: F811
    row, _ = template_rows.make_from_image(image, "x", admin, preset=None)
    Image.objects.update(state="deleting")
    with pytest.raises(Refused, match="not ready"):
        template_rows.make_from_image(Image.objects.get(), "y", admin, preset=None)
    task, *_ = ready.run_tasks()
    assert (task.status, "not ready" in task.error) == ("failed", True)
    assert not Template.objects.filter(pk=row.pk).exists()


def test_an_image_that_somebody_else_made_is_refused(ready, image, admin):  # noqa: F811
    ready.commands("/sbin/zfs", "set", "org.bhype:id=another", image.dataset)
    template_rows.make_from_image(image, "x", admin, preset=None)
    task = finish(ready)
    assert (task.status, "not the image" in task.error) == ("failed", True)
    assert not Template.objects.exists()


def test_it_stays_while_vms_live_on_it(ready, template, vm, admin):  # noqa: F811
    ask("vms.delete_template", {"template_id": template.pk}, admin)
    task = finish(ready)
    assert (task.status, "web1" in task.error) == ("failed", True), task.error
    template.refresh_from_db()
    assert template.state == "ready"
    ask("vms.delete", {"vm_id": vm.pk}, admin)
    ask("vms.delete_template", {"template_id": template.pk}, admin)
    assert {task.status for task in ready.run_tasks()} == {"succeeded"}
    assert not Template.objects.exists()
    assert not [name for name in snapshots(ready) if "templates" in name]


def test_its_vms_may_take_the_data_over(ready, template, image, vm, admin):  # noqa: F811
    second, _ = orders.make(template, order("web2", admin), admin)
    assert finish(ready).status == "succeeded"
    ask("vms.delete_template", {"template_id": template.pk, "promote": True}, admin)
    task = finish(ready)
    assert task.status == "succeeded", task.error
    assert origins(ready) == {
        f"{vm.dataset}/disk0": image.snapshot, f"{second.dataset}/disk0": f"{vm.dataset}/disk0@base",
    }  # fmt: skip
    for name, text in ((vm.dataset, b"mine!!"), (second.dataset, b"\0" * 6)):
        assert (read(ready, f"{name}/disk0", MIB, 6), read(ready, f"{name}/disk0", 2 * MIB, 6)) == (
            b"golden",
            text,
        )


def test_of_one_vm_nothing_is_left_when_it_takes_the_data_over(ready, template, image, vm, admin):  # noqa: F811
    ask("vms.delete_template", {"template_id": template.pk, "promote": True}, admin)
    assert finish(ready).status == "succeeded"
    assert snapshots(ready) == {image.snapshot}


def test_what_lies_in_its_dataset_and_is_not_its_own_is_kept(ready, template, admin):  # noqa: F811
    ready.commands("/sbin/zfs", "create", f"{template.dataset}/precious")
    ask("vms.delete_template", {"template_id": template.pk}, admin)
    task = finish(ready)
    assert (task.status, "left alone" in task.error) == ("failed", True)
    assert "precious" in ready.commands("/sbin/zfs", "list", "-r", template.dataset)


@pytest.mark.parametrize(("kind", "first", "step"), [("image", 2, 3), ("copy", 10, 7), ("linked", 7, 5)])
def test_a_kill_at_any_step_leaves_nothing(ready, image, vm, admin, monkeypatch, kind, first, step):  # noqa: F811
    def begin():
        if kind == "image":
            return template_rows.make_from_image(image, "web", admin, preset=None, size=8 * MIB)[0]
        return template_rows.make_from_vm(vm, "web", admin, linked=kind == "linked", keep_vars=True)[0]

    def everything() -> str:
        return ready.commands("/sbin/zfs", "list", "-H", "-o", "name,origin", "-t", "all")

    before, number = everything(), first - step
    while True:
        number += step
        row = begin()
        with monkeypatch.context() as patch:
            die_at(patch, number)
            try:
                tasks = ready.run_tasks()
            except Killed:
                tasks = []
        if tasks:
            break
        ready.interrupt()
        assert {task.status for task in ready.run_tasks()} == {"succeeded"}
        assert not Template.objects.filter(pk=row.pk).exists()
        assert everything() == before, number
    assert [task.status for task in tasks] == ["succeeded"]
    assert number > 5


def test_a_deletion_that_was_broken_off_is_finished(ready, template, admin, monkeypatch):  # noqa: F811
    number = 0
    while True:
        number += 1
        ask("vms.delete_template", {"template_id": template.pk}, admin)
        with monkeypatch.context() as patch:
            die_at(patch, number)
            with pytest.raises(Killed):
                ready.run_tasks()
        ready.interrupt()
        assert {task.status for task in ready.run_tasks()} == {"succeeded"}
        break
    assert not Template.objects.exists()


def test_names_that_lead_elsewhere_are_not_followed(ready, template, admin):  # noqa: F811
    """Rows are written by who is not root."""
    for name in ("a/../../b", "../x", "Upper", "a@b", "a b"):
        Template.objects.filter(pk=template.pk).update(name=name)
        orders.make(Template.objects.get(), order("web1", admin), admin)
        task = finish(ready)
        assert task.status == "failed", name
        ask("vms.delete_template", {"template_id": template.pk}, admin)
        assert finish(ready).status == "failed"
    assert "debian12-v1" in ready.commands("/sbin/zfs", "list", "-r", "tank/bhype/templates")


# Presets choose the devices.


@pytest.mark.parametrize("name", sorted(["debian12", "windows11", "openbsd", "freebsd14", "routeros7"]))
def test_vms_of_it_have_the_devices_that_the_system_wants(ready, image, admin, bridge, name):  # noqa: F811
    preset = OsPreset.objects.get(name=name)
    row, _ = template_rows.make_from_image(image, name, admin, preset=preset)
    assert finish(ready).status == "succeeded"
    row.refresh_from_db()
    wishes = Wishes(bridge=bridge, memory=64 * MIB, cpus=1)
    made, _ = orders.make(row, order("web1", admin, wishes=wishes), admin)
    assert finish(ready).status == "succeeded"
    made = VM.objects.get(pk=made.pk)
    is_windows = name == "windows11"
    assert (made.disks.get().bus, made.nics.get().model) == (
        ("ahci-hd", "e1000") if is_windows else ("virtio-blk", "virtio-net")
    )
    assert (made.utc_clock, made.has_serial, "tpm" in made.settings) == (
        not is_windows,
        not is_windows,
        is_windows,
    )
    assert made.settings.get("hostbridge") == ("amd_hostbridge" if name == "openbsd" else None)
