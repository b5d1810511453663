"""What goes out of a VM: asked for on a page, listed, taken along by those who may, gone with the VM."""

from __future__ import annotations

import asyncio

import pytest
from django.core.signals import request_finished
from django.db import close_old_connections

from bhype.accounts.models import AuditEntry, User
from bhype.tasks import Refused, ask
from bhype.tasks.models import Task
from tests.conftest import make_user
from tests.vms.test_operations import finish, new_vm
from vms.models import VM
from vms.transfer import exports, folders


@pytest.fixture
def owner(db) -> User:
    return make_user("olga")


@pytest.fixture
def vm(ready, owner) -> VM:
    row, _ = new_vm(make_user("root1", "admin"))
    assert finish(ready).status == "succeeded"
    VM.objects.filter(pk=row.pk).update(owner=owner)
    return VM.objects.get(pk=row.pk)


def body(response) -> bytes:
    async def read() -> bytes:
        return b"".join([piece async for piece in response])

    found = asyncio.run(read())
    # As the test client does: the end of a request would close the connection that the test is in.
    request_finished.disconnect(close_old_connections)
    try:
        response.close()
    finally:
        request_finished.connect(close_old_connections)
    return found


def test_a_page_exports_lists_and_gives_what_was_made(ready, vm, owner, as_user):
    client = as_user(owner)
    assert "Nothing was exported yet" in client.get("/vms/web1/export/").content.decode()
    assert (
        client.post("/vms/web1/export/", {"kind": "image", "disk": "0", "format": "raw"}).status_code == 302
    )
    assert "Export a disk of web1" in client.get("/vms/web1/export/").content.decode()
    task = finish(ready)
    assert (task.status, task.user) == ("succeeded", owner), task.error
    (made,) = exports.exports(vm)
    assert (made.name, made.label, made.size) == ("web1-disk0.raw", "raw image", vm.disks.get(index=0).size)
    assert "web1-disk0.raw" in client.get("/vms/web1/export/").content.decode()
    answer = client.post("/vms/web1/export/web1-disk0.raw/")
    assert answer["Content-Length"] == str(made.size)
    assert len(body(answer)) == made.size
    assert AuditEntry.objects.filter(action="vms.download", object="vm web1").exists()
    _only_who_may_change_takes_it(as_user)
    _no_other_file_is_given(client, vm)
    assert client.post("/vms/web1/export/web1-disk0.raw/remove/").status_code == 302
    assert finish(ready).status == "succeeded"
    assert exports.exports(vm) == []


def _only_who_may_change_takes_it(as_user):
    for name, role in (("eve", ""), ("vic", "viewer"), ("opal", "operator")):
        client = as_user(make_user(name, role))
        assert client.get("/vms/web1/export/").status_code == 404
        assert client.post("/vms/web1/export/", {"kind": "ova"}).status_code == 404
        for address in ("web1-disk0.raw/", "web1-disk0.raw/remove/"):
            assert client.post(f"/vms/web1/export/{address}").status_code == 404


def _no_other_file_is_given(client, vm):
    for name in ("..", "vm.json", "%2e%2e%2fweb1-disk0.raw", "x" * 300, ".hidden", "%00"):
        assert client.post(f"/vms/web1/export/{name}/").status_code in {404, 405}, name
        assert client.post(f"/vms/web1/export/{name}/remove/").status_code in {404, 405}, name
    assert Task.objects.filter(operation="vms.remove_export").count() == 0
    for name in ("../x", "a/b", ".x", ""):
        with pytest.raises(Refused):
            ask("vms.remove_export", {"vm_id": vm.pk, "file": name}, None)


def test_a_link_among_the_exports_leads_nowhere(ready, vm, tmp_path):
    folder = ready.root / folders.export_folder(vm).lstrip("/")
    folder.mkdir(parents=True)
    (tmp_path / "secret").write_text("x")
    (folder / "a.raw").symlink_to(tmp_path / "secret")
    assert exports.exports(vm) == []
    assert exports.download(vm, "a.raw") is None


def test_a_vm_of_the_same_name_has_none_of_them_and_they_go_with_their_own(ready, vm, owner):
    ask("vms.export_stream", {"vm_id": vm.pk}, owner)
    task = finish(ready)
    assert task.status == "succeeded", task.error
    path = ready.root / task.result["path"].lstrip("/")
    assert path.parent.stat().st_mode & 0o777 == 0o750
    VM.objects.filter(pk=vm.pk).update(name="old")
    twin = VM.objects.create(
        host=vm.host, pool=vm.pool, name="web1", memory=1, vnc_port=5990, vnc_password="x", state="stopped"
    )
    assert exports.exports(twin) == []
    VM.objects.filter(pk=twin.pk).delete()
    VM.objects.filter(pk=vm.pk).update(name="web1")
    ask("vms.delete", {"vm_id": vm.pk, "keep_disks": True}, owner)
    assert finish(ready).status == "succeeded"
    assert not path.parent.exists()


def test_what_cannot_be_exported_says_why(vm, owner, as_user):
    client = as_user(owner)
    VM.objects.filter(pk=vm.pk).update(state="running")
    answer = client.post("/vms/web1/export/", {"kind": "ova"})
    assert (answer.status_code, "web1 is on: stop it first." in answer.content.decode()) == (422, True)
    VM.objects.filter(pk=vm.pk).update(state="stopped")
    for wrong in (
        {"kind": "tar"},
        {"kind": "image", "disk": "9"},
        {"kind": "image", "disk": "0", "format": "x"},
    ):
        assert client.post("/vms/web1/export/", wrong).status_code == 422, wrong
    assert not Task.objects.unfinished().exists()
