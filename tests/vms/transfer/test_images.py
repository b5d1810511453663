"""Disk images and OVA packages in and out of a lab, with the real qemu-img; hostile ones are refused."""

from __future__ import annotations

import gzip
import json
import os
import struct
import subprocess
import tarfile

import pytest

from bhype.accounts.models import User
from bhype.tasks import Refused, ask
from storage.models import Pool
from storage.uploads import transfers
from tests.conftest import make_user
from tests.vms import packages
from tests.vms.test_operations import finish, new_vm
from tests.vms.transfer.test_copies import read, write
from vms.models import VM
from vms.transfer import operations as transfer_operations

MIB = 2**20


@pytest.fixture
def admin(db) -> User:
    return make_user("root1", "admin")


@pytest.fixture
def vm(ready, admin) -> VM:
    row, _ = new_vm(admin)
    assert finish(ready).status == "succeeded"
    return VM.objects.get(pk=row.pk)


@pytest.fixture
def imports(ready):
    folder = ready.root / "tank/bhype/transfers/imports"
    if not folder.parent.exists():
        ready.commands("/sbin/zfs", "create", "-o", "org.bhype:id=bhype", "tank/bhype/transfers")
    folder.mkdir()
    return folder


def image(path, kind: str, size="48M", options=()) -> None:
    """An image with something at 5 MiB, made by qemu-img alone."""
    raw = path.with_suffix(".tmp")
    with raw.open("wb") as file:
        file.truncate(48 * MIB)
        os.pwrite(file.fileno(), b"from an image", 5 * MIB)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", kind, *options, raw, path], check=True)
    raw.unlink()


def run(ready, operation, user, **params):
    ask(operation, params, user)
    return finish(ready)


STREAM = ("-o", "subformat=streamOptimized")
KINDS = [*((kind, ()) for kind in ("raw", "qcow2", "vmdk", "vhdx", "vpc", "vdi")), ("vmdk", STREAM)]


def test_images_of_every_kind_are_written_to_a_disk(ready, vm, admin, imports):
    for kind, options in KINDS:
        image(imports / "disk.img", kind, options=options)
        write(ready, "web1/disk0", 5 * MIB, b"what was there")
        task = run(ready, "vms.import_image", admin, vm_id=vm.pk, index=0, file="disk.img")
        assert task.status == "succeeded", (kind, task.error)
        assert read(ready, "web1/disk0", 5 * MIB, 14) == b"from an image\0", kind
    assert vm.disks.get(index=0).is_attached
    assert not list((imports.parent / "work").iterdir())
    assert (imports / "disk.img").exists()


def test_what_a_clone_shares_stays_when_an_image_is_written_over_it(ready, vm, admin, imports):
    """The lab's clones share one file until somebody writes."""
    disk = "tank/bhype/vms/web1/disk0"
    write(ready, "web1/disk0", 0, os.urandom(17 * MIB))
    before = read(ready, "web1/disk0", 5 * MIB, 13)
    ready.commands("/sbin/zfs", "snapshot", f"{disk}@kept")
    ready.commands("/sbin/zfs", "clone", f"{disk}@kept", "tank/bhype/vms/clone")
    image(imports / "disk.img", "raw")
    task = run(ready, "vms.import_image", admin, vm_id=vm.pk, index=0, file="disk.img")
    assert task.status == "succeeded", task.error
    assert read(ready, "web1/disk0", 5 * MIB, 13) == b"from an image"
    assert read(ready, "clone", 5 * MIB, 13) == before


def test_a_disk_grows_with_its_image_and_others_stay(ready, vm, admin, imports):
    image(imports / "disk.qcow2", "qcow2")
    task = run(ready, "vms.import_image", admin, vm_id=vm.pk, index=1, file="disk.qcow2")
    assert task.status == "succeeded", task.error
    assert vm.disks.get(index=1).size == 48 * MIB
    assert (ready.root / "dev/zvol/tank/bhype/vms/web1/disk1").stat().st_size == 48 * MIB
    assert (ready.root / "dev/zvol/tank/bhype/vms/web1/disk0").stat().st_size == 64 * MIB


def hostile(folder, secret) -> dict[str, str]:
    """Images that would have qemu-img open another file, by name, and what is said of them."""
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", secret, folder / "backed"], check=True
    )
    subprocess.run(
        [
            "qemu-img",
            "create",
            "-q",
            "-f",
            "qcow2",
            "-o",
            f"data_file={secret},data_file_raw=on",
            folder / "external",
            "1M",
        ],
        check=True,
    )
    lines = [
        "# Disk DescriptorFile", "version=1", "CID=ffffffff", "parentCID=ffffffff", 'createType="monolithicFlat"',
        f'RW 2048 FLAT "{secret}" 0', "",
    ]  # fmt: skip
    (folder / "flat").write_text("\n".join(lines))
    image(folder / "plain", "vmdk")
    plain = (folder / "plain").read_bytes()
    (folder / "plain").unlink()
    (folder / "split").write_bytes(plain.replace(b"SPARSE", b"FLAT  "))
    empty = bytearray(plain)
    struct.pack_into("<Q", empty, 12, 0)
    (folder / "empty").write_bytes(empty)
    hint = f'parentFileNameHint="{secret}"\n'.encode()
    place = plain.index(b"createType")
    (folder / "child").write_bytes(plain[:place] + hint + plain[place + len(hint) :])
    (folder / "moved").write_bytes(
        plain[:28] + struct.pack("<QQ", 60, 1) + plain[44:place] + hint + plain[place + len(hint) :]
    )
    (folder / "packed").write_bytes(gzip.compress(b"x" * 100))
    (folder / "nothing").write_bytes(b"")
    return {
        "backed": "a backing file", "external": "in another file", "flat": "several files", "split": "several files",
        "empty": "describes other files", "child": "another VMDK", "moved": "another VMDK", "packed": "gzip",
        "nothing": "empty",
    }  # fmt: skip


def test_hostile_images_are_refused(ready, vm, admin, imports, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"s" * MIB)
    cases = hostile(imports, secret)
    before = read(ready, "web1/disk0", 0, MIB)
    for name, words in cases.items():
        task = run(ready, "vms.import_image", admin, vm_id=vm.pk, index=0, file=name)
        assert (task.status, words in task.error) == ("failed", True), (name, task.error)
    assert read(ready, "web1/disk0", 0, MIB) == before
    assert vm.disks.get(index=0).is_attached


def test_files_are_taken_from_the_imports_alone(ready, vm, admin, imports, tmp_path):
    (tmp_path / "x").write_text("x")
    (imports / "link").symlink_to("/etc/passwd")
    (imports / "folder").mkdir()
    (imports / "7").symlink_to(tmp_path)
    os.mkfifo(imports / "pipe")
    for name in ("link", "folder", "7/x", "pipe", "gone"):
        task = run(ready, "vms.import_image", admin, vm_id=vm.pk, index=0, file=name)
        assert task.status == "failed", name
        assert "file" in task.error, task.error
    for name in ("../vm.json", "/etc/passwd", "a/../../b", ".x", "", "x\n", "1/2/3", "a/b"):
        with pytest.raises(Refused):
            ask("vms.import_image", {"vm_id": vm.pk, "index": 0, "file": name}, admin)


def test_people_take_only_what_they_brought(ready, vm, admin, imports):
    owner = make_user("owner", "operator")
    VM.objects.filter(pk=vm.pk).update(owner=owner)
    (imports / str(owner.pk)).mkdir()
    (imports / str(admin.pk)).mkdir()
    for folder in ("", f"{owner.pk}/", f"{admin.pk}/"):
        image(imports / f"{folder}disk", "raw")
    for file in ("disk", f"{admin.pk}/disk"):
        task = run(ready, "vms.import_image", owner, vm_id=vm.pk, index=0, file=file)
        assert (task.status, "not yours" in task.error) == ("failed", True)
    task = run(ready, "vms.import_image", owner, vm_id=vm.pk, index=0, file=f"{owner.pk}/disk")
    assert task.status == "succeeded", task.error


def test_what_another_process_may_still_change_is_copied_first(ready, vm, admin, imports, monkeypatch):
    image(imports / "disk", "qcow2")
    if os.geteuid() == 0:
        os.chown(imports / "disk", 65534, 65534)
    else:
        (imports / "disk").chmod(0o666)
    copied = []
    plain = transfers._copy
    monkeypatch.setattr(transfers, "_copy", lambda *words: (copied.append(words), plain(*words))[1])
    task = run(ready, "vms.import_image", admin, vm_id=vm.pk, index=0, file="disk")
    assert (task.status, len(copied)) == ("succeeded", 1), task.error


def test_a_broken_off_import_leaves_the_disk_detached(ready, vm, admin, imports):
    packages.broken_image(imports / "disk")
    task = run(ready, "vms.import_image", admin, vm_id=vm.pk, index=0, file="disk")
    assert (task.status, "cannot read it" in task.error) == ("failed", True), task.error
    assert not vm.disks.get(index=0).is_attached
    task = run(ready, "vms.recover_image", None, vm_id=vm.pk, index=0, file="disk")
    assert task.status == "succeeded", task.error
    document = json.loads((ready.root / "tank/bhype/vms/web1/vm.json").read_text())
    assert [entry["path"][-5:] for entry in document["emulations"]] == ["disk1"]


def test_disks_are_exported(ready, vm, admin, tmp_path):
    write(ready, "web1/disk0", 5 * MIB, b"to an image")
    for kind in ("raw", "qcow2", "vmdk", "vhdx"):
        task = run(ready, "vms.export_image", admin, vm_id=vm.pk, index=0, format=kind)
        assert task.status == "succeeded", task.error
        path = ready.root / f"tank/bhype/transfers/exports/{vm.pk}-{vm.uuid}/web1-disk0.{kind}"
        assert task.result["file"] == path.name
        subprocess.run(["qemu-img", "convert", "-f", kind, "-O", "raw", path, tmp_path / "raw"], check=True)
        with (tmp_path / "raw").open("rb") as file:
            assert os.pread(file.fileno(), 11, 5 * MIB) == b"to an image", kind
        assert path.stat().st_mode & 0o777 == 0o440


@pytest.fixture
def pool(ready) -> Pool:
    return Pool.objects.get()


def box(imports, tmp_path, description=packages.VIRTUALBOX, manifest="SHA256"):
    image(tmp_path / "d.vmdk", "vmdk", options=("-o", "subformat=streamOptimized"))
    data = packages.ova(
        description, {"box-disk001.vmdk": (tmp_path / "d.vmdk").read_bytes()}, manifest=manifest
    )
    (imports / "box.ova").write_bytes(data)


def test_a_package_of_another_tool_becomes_a_vm(ready, pool, admin, imports, tmp_path):
    box(imports, tmp_path)
    vm, _ = transfer_operations.begin("vms.import_ova", pool, "box", "box.ova", admin)
    task = finish(ready)
    assert task.status == "succeeded", task.error
    vm.refresh_from_db()
    assert (vm.state, vm.cpus, vm.memory, vm.firmware) == ("stopped", 2, 2048 * MIB, "uefi")
    assert [(disk.bus, disk.size) for disk in vm.disks.all()] == [("ahci-hd", 48 * MIB)]
    assert [(nic.model, nic.switch.name) for nic in vm.nics.all()] == [("e1000", "nat")]
    assert vm.has_screen and vm.has_serial
    assert read(ready, "box/disk0", 5 * MIB, 13) == b"from an image"
    document = json.loads((ready.root / "tank/bhype/vms/box/vm.json").read_text())
    assert document["name"] == "box"
    assert not list((imports.parent / "work").iterdir())


def test_nothing_is_left_of_a_package_that_is_refused(ready, pool, admin, imports, tmp_path):
    for before, after in (("2048<", "1<"), ("<Envelope", "<!DOCTYPE x><Envelope")):
        box(imports, tmp_path, packages.VIRTUALBOX.replace(before, after))
        refuse(ready, pool, admin)
    box(imports, tmp_path)
    whole = (imports / "box.ova").read_bytes()
    cut = whole[: len(whole) // 2]
    for damaged in (whole.replace(b"debian box", b"debian bax"), cut, whole.replace(b"KDMV", b"KDMX")):
        (imports / "box.ova").write_bytes(damaged)
        refuse(ready, pool, admin)


def refuse(ready, pool, admin):
    transfer_operations.begin("vms.import_ova", pool, "box", "box.ova", admin)
    first, *others = ready.run_tasks()
    assert first.status == "failed", first.error
    assert [(task.operation, task.status) for task in others] == [("vms.recover_import", "succeeded")]
    assert not VM.objects.exists()
    assert ready.datasets() == set()


def test_a_vm_goes_out_as_a_package_and_comes_back(ready, vm, pool, admin, tmp_path):
    write(ready, "web1/disk1", 5 * MIB, b"round trip")
    task = run(ready, "vms.export_ova", admin, vm_id=vm.pk)
    assert task.status == "succeeded", task.error
    made = ready.root / task.result["path"].lstrip("/")
    with tarfile.open(made) as archive:
        names = archive.getnames()
    subprocess.run(["tar", "-xf", made, "-C", tmp_path], check=True)
    assert names == ["web1.ovf", "web1.mf", "web1-disk0.vmdk", "web1-disk1.vmdk"]
    found = subprocess.run(
        ["qemu-img", "info", "--output=json", tmp_path / "web1-disk1.vmdk"], check=True, capture_output=True
    )
    assert json.loads(found.stdout)["format-specific"]["data"]["create-type"] == "streamOptimized"
    (ready.root / "tank/bhype/transfers/imports/web1.ova").write_bytes(made.read_bytes())
    transfer_operations.begin("vms.import_ova", pool, "web2", "web1.ova", admin)
    task = finish(ready)
    assert task.status == "succeeded", task.error
    assert read(ready, "web2/disk1", 5 * MIB, 10) == b"round trip"
    assert [disk.bus for disk in VM.objects.get(name="web2").disks.all()] == ["virtio-blk", "virtio-blk"]


def test_the_names_of_new_vms_are_checked_when_asked(ready, vm, pool, admin):
    for name in ("Web", "web1", "-x"):
        with pytest.raises(Refused):
            transfer_operations.begin("vms.import_ova", pool, name, "box.ova", admin)
    with pytest.raises(Refused):
        transfer_operations.begin("vms.import_ova", pool, "box", "box.ova", make_user("nobody1", "viewer"))
    assert VM.objects.count() == 1
