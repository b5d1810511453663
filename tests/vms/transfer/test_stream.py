"""VMs as one ZFS stream: out, and in again with the same checks as a form."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from bhype.accounts.models import User
from bhype.tasks import ask
from bhype.tasks.models import Task
from storage.models import Pool
from tests.conftest import make_user
from tests.vms.test_operations import Killed, finish, new_vm
from tests.vms.transfer.test_copies import die_at, read, snapshots, write
from vms.models import VM, Nic
from vms.transfer import copies
from vms.transfer import operations as transfer_operations

MIB = 2**20
HOME = "tank/bhype/vms/web1"


@pytest.fixture
def admin(db) -> User:
    return make_user("root1", "admin")


@pytest.fixture
def vm(ready, admin) -> VM:
    from vms.forms import VMForm

    switch = VMForm(user=admin).fields["switch"].queryset.get()
    row, _ = new_vm(admin, switch=str(switch.pk))
    assert finish(ready).status == "succeeded"
    write(ready, "web1/disk0", 3 * MIB, b"hello")
    return VM.objects.get(pk=row.pk)


def export(ready, vm, user) -> bytes:
    ask("vms.export_stream", {"vm_id": vm.pk}, user)
    task = finish(ready)
    assert task.status == "succeeded", task.error
    return (ready.root / task.result["path"].lstrip("/")).read_bytes()


def bring(ready, data: bytes, user, name="web2") -> Task:
    """Import a stream; the task, when all that comes of it is done."""
    imports = ready.root / "tank/bhype/transfers/imports"
    (imports / "file.zfs").write_bytes(data)
    transfer_operations.begin("vms.import_stream", Pool.objects.get(), name, "file.zfs", user)
    return next(task for task in ready.run_tasks() if task.operation == "vms.import_stream")


def test_a_vm_goes_out_and_comes_back_beside_itself(ready, vm, admin):
    ready.commands("/sbin/zfs", "snapshot", "-r", f"{HOME}@mine")
    data = export(ready, vm, admin)
    assert snapshots(ready) == [f"{HOME}@mine", f"{HOME}/disk0@mine", f"{HOME}/disk1@mine"]
    task = bring(ready, data, admin)
    assert task.status == "succeeded", task.error
    copy = VM.objects.get(name="web2")
    assert (copy.state, copy.memory, copy.cpus) == ("stopped", vm.memory, vm.cpus)
    assert copy.uuid != vm.uuid
    assert copy.vnc_port != vm.vnc_port
    assert copy.nics.get().mac != vm.nics.get().mac
    assert read(ready, "web2/disk0", 3 * MIB, 5) == b"hello"
    assert [name for name in snapshots(ready) if "web2" in name] == []
    document = json.loads((ready.root / "tank/bhype/vms/web2/vm.json").read_text())
    assert "web1" not in json.dumps(document)
    marks = ready.commands("/sbin/zfs", "get", "-H", "-r", "-o", "value,source", "org.bhype:id", copy.dataset)
    assert marks == f"{copy.uuid}\tlocal\n" * 3
    ask("vms.delete", {"vm_id": copy.pk}, admin)
    assert finish(ready).status == "succeeded"


def test_a_vm_that_is_gone_comes_back_as_it_was(ready, vm, admin):
    data, mac = export(ready, vm, admin), vm.nics.get().mac
    ask("vms.delete", {"vm_id": vm.pk}, admin)
    assert finish(ready).status == "succeeded"
    task = bring(ready, data, admin, "web1")
    assert task.status == "succeeded", task.error
    back = VM.objects.get(name="web1")
    assert (back.uuid, back.nics.get().mac) == (vm.uuid, mac)
    marks = ready.commands("/sbin/zfs", "get", "-H", "-r", "-o", "value", "org.bhype:id", back.dataset)
    assert set(marks.split()) == {str(vm.uuid)}


def test_a_linked_clone_is_not_exported_without_its_origin(ready, vm, admin):
    copies.make(vm, "web2", admin, linked=True)
    finish(ready)
    ask("vms.export_stream", {"vm_id": VM.objects.get(name="web2").pk}, admin)
    task = finish(ready)
    assert (task.status, "Promote it first" in task.error) == ("failed", True)
    assert list((ready.root / "tank/bhype").glob("transfers/exports/*")) == []


def zfs(ready, *words: str) -> None:
    ready.commands("/sbin/zfs", *words)


def sent(ready, *words: str) -> bytes:
    return subprocess.run([f"{ready.root}/sbin/zfs", "send", *words], check=True, capture_output=True).stdout


def hostile(ready, secret: str):
    """Streams that hold more than a VM, made with zfs alone: a name, what is said of it, the stream."""
    top = "tank/evil"

    def fresh(*more: list[str]) -> None:
        if top in ready.commands("/sbin/zfs", "list", "-H", "-o", "name").split():
            zfs(ready, "destroy", "-R", top)
        zfs(ready, "create", top)
        for words in more:
            zfs(ready, *words)

    def stream() -> bytes:
        zfs(ready, "snapshot", "-r", f"{top}@s")
        return sent(ready, "-R", f"{top}@s")

    fresh(["create", f"{top}/etc"])
    yield "a filesystem inside", "no disk of a VM", stream()
    fresh(["create", "-s", "-V", "1M", f"{top}/swap"])
    yield "a volume of another name", "no disk of a VM", stream()
    fresh(["clone", f"{HOME}/disk0@secret", f"{top}/disk0"])
    yield "a clone of another VM's disk", "builds upon a snapshot that is not in it", stream()
    fresh(["snapshot", f"{top}@a"])
    zfs(ready, "snapshot", f"{top}@b")
    yield "an increment", "builds upon a snapshot", sent(ready, "-R", "-I", "@a", f"{top}@b")
    fresh()
    yield "no vm.json", "no vm.json", stream()
    for name, words in (("vm.json", "link"), ("uefi-vars.fd", "link"), ("disk3.img", "link")):
        fresh()
        (ready.root / f"tank/evil/{name}").symlink_to(secret)
        yield f"a link {name}", words, stream()
    zfs(ready, "destroy", "-R", top)
    zfs(ready, "create", "-s", "-V", "1M", top)
    yield "a volume alone", "It is no VM", stream()
    yield "no stream", "no whole ZFS stream", b"x" * 5000
    whole = sent(ready, "-R", f"{top}@s")
    yield "half a stream", "no whole ZFS stream", whole[: len(whole) // 2]


def test_streams_that_hold_anything_but_a_vm_are_refused(ready, vm, admin, tmp_path):
    (tmp_path / "secret").write_text("secret")
    export(ready, vm, admin)
    zfs(ready, "snapshot", f"{HOME}/disk0@secret")
    before = ready.datasets()
    for what, words, data in hostile(ready, str(tmp_path / "secret")):
        task = bring(ready, data, admin)
        assert (task.status, words in task.error) == ("failed", True), (what, task.error)
        assert ready.datasets() == before, what
        assert [row.name for row in VM.objects.all()] == ["web1"], what
    assert (tmp_path / "secret").read_text() == "secret"


def with_document(ready, change) -> bytes:
    """A stream of a VM whose vm.json somebody has changed."""
    path = ready.root / HOME / "vm.json"
    kept = path.read_text()
    document = json.loads(kept)
    change(document)
    path.write_text(json.dumps(document))
    zfs(ready, "snapshot", "-r", f"{HOME}@evil")
    data = sent(ready, "-R", f"{HOME}@evil")
    zfs(ready, "destroy", "-r", f"{HOME}@evil")
    path.write_text(kept)
    return data


CHANGES = [
    ({"post_start_script": "/tmp/x"}, "post_start_script"),
    ({"extra_options": ["-s", "9,passthru,1/0/0"]}, "extra_options"),
    ({"com2": "tcp=0.0.0.0:4444"}, "com2"),
    ({"mem": "-1"}, "mem"),
    ({"bootrom": "/etc/master.passwd"}, "bootrom"),
    ({"emulations": "x"}, "emulations"),
]


def test_a_stream_s_configuration_is_checked_as_a_form(ready, vm):
    """Somebody without the right vms.root gets nothing by a file that a form would refuse (T9)."""
    maker = make_user("maker", "operator")
    (ready.root / "tank/bhype/transfers/imports").exists() or export(ready, vm, None)
    for change, word in CHANGES:
        data = with_document(ready, lambda document, change=change: document.update(change))
        imports = ready.root / f"tank/bhype/transfers/imports/{maker.pk}"
        imports.mkdir(exist_ok=True)
        (imports / "file.zfs").write_bytes(data)
        transfer_operations.begin(
            "vms.import_stream", Pool.objects.get(), "web2", f"{maker.pk}/file.zfs", maker
        )
        tasks = {task.operation: task for task in ready.run_tasks()}
        task = tasks["vms.import_stream"]
        assert (task.status, word in task.error) == ("failed", True), (change, task.error)
        assert tasks["vms.recover_import"].status == "succeeded"
        assert not VM.objects.filter(name="web2").exists()
        assert not any("web2" in name for name in ready.datasets())
        assert not (ready.root / "tmp/x").exists()


def test_properties_that_reach_beyond_the_vm_do_not_arrive(ready, vm, admin):
    for words in (
        "mountpoint=/etc/evil",
        "sharenfs=on",
        "quota=50G",
        "setuid=on",
        "exec=on",
        "compression=zstd",
    ):
        zfs(ready, "set", "-u", words, HOME)
    zfs(ready, "snapshot", "-r", f"{HOME}@evil")
    data = sent(ready, "-R", f"{HOME}@evil")
    zfs(ready, "inherit", "mountpoint", HOME)
    zfs(ready, "destroy", "-r", f"{HOME}@evil")
    export(ready, vm, admin)
    task = bring(ready, data, admin)
    assert task.status == "succeeded", task.error
    keys = "mountpoint,sharenfs,quota,setuid,exec,compression"
    got = ready.commands("/sbin/zfs", "get", "-Hp", "-o", "value", keys, "tank/bhype/vms/web2").split()
    assert got == ["/tank/bhype/vms/web2", "off", "0", "off", "off", "zstd"]
    assert not (ready.root / "etc/evil/vm.json").exists()


def test_t07_nobody_else_can_write_where_root_follows(ready, vm, admin):
    """A stream brings owners and modes along: a local user of that number could put links in root's way later."""
    export(ready, vm, admin)
    zfs(ready, "set", "aclmode=passthrough", HOME)
    folder = ready.root / HOME
    before = folder.stat()
    (folder / "disk7.img").write_bytes(b"x" * MIB)
    for path, mode in ((folder, 0o777), (folder / "uefi-vars.fd", 0o666), (folder / "disk7.img", 0o4777)):
        os.chown(path, 65534, 65534)
        path.chmod(mode)
    data = with_document(ready, lambda document: None)
    os.chown(folder, before.st_uid, before.st_gid)
    folder.chmod(before.st_mode & 0o7777)
    task = bring(ready, data, admin)
    assert task.status == "succeeded", task.error
    copy = ready.root / "tank/bhype/vms/web2"
    for path in (copy, *copy.rglob("*")):
        found = path.stat()
        assert (found.st_uid, found.st_mode & 0o7077) == (os.geteuid(), 0), path
    assert (
        ready.commands(
            "/sbin/zfs", "get", "-H", "-o", "value", "aclmode", copy.relative_to(ready.root).as_posix()
        )
        == "discard\n"
    )


@pytest.mark.parametrize("number", [9, 17])
def test_nothing_is_left_of_an_import_whose_worker_died(ready, vm, admin, monkeypatch, number):
    data = export(ready, vm, admin)
    before = ready.datasets()
    (ready.root / "tank/bhype/transfers/imports/file.zfs").write_bytes(data)
    transfer_operations.begin("vms.import_stream", Pool.objects.get(), "web2", "file.zfs", admin)
    with monkeypatch.context() as patch:
        die_at(patch, number)
        with pytest.raises(Killed):
            ready.run_tasks()
    ready.interrupt()
    assert [(task.operation, task.status) for task in ready.run_tasks()] == [
        ("vms.recover_import", "succeeded")
    ]
    assert ready.datasets() == before
    assert Nic.objects.count() == 1


def test_the_snapshot_of_an_export_that_died_goes_with_the_next(ready, vm, admin, monkeypatch):
    ask("vms.export_stream", {"vm_id": vm.pk}, admin)
    ready.fault(command="zfs send", do="kill", nth=2)
    task = finish(ready)
    assert task.status == "failed", task.error
    assert snapshots(ready) == []
    ready.commands("/sbin/zfs", "snapshot", "-r", "-o", f"org.bhype:id={vm.uuid}", f"{HOME}@bhype-export-999")
    export(ready, vm, admin)
    assert snapshots(ready) == []
