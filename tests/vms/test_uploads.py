"""Files that people send, and what they are made into."""

from __future__ import annotations

import pytest

from bhype.tasks import ask
from bhype.tasks.models import Task
from storage.uploads import store as uploads
from tests.conftest import make_user
from tests.storage.tusclient import Sender
from tests.vms import packages
from vms.models import VM, Disk

MIB = 2**20


@pytest.fixture
def sender(ready):
    """Somebody who may create, on a host that takes uploads."""
    return make_user("sender", "operator")


def test_what_becomes_of_files(ready, as_user, sender):
    client = as_user(sender)
    ask("storage.ready_transfers", {}, None)
    assert [task.status for task in ready.run_tasks()] == ["succeeded"]
    send(client, "debian.qcow2", b"QFI\xfb" + bytes(3 * MIB))
    assert [(one.file, one.size) for one in uploads.files(sender)] == [
        (f"{sender.pk}/debian.qcow2", 3 * MIB + 4)
    ]
    assert "debian.qcow2</a>" in client.get("/vms/_import/files/").content.decode()
    _what_becomes_of_it(ready, client, sender)


def send(client, name: str, data: bytes) -> None:
    Sender(client).send(name, data, 8 * MIB)


def _what_becomes_of_it(ready, client, sender):
    files = "/vms/_import/files"
    send(client, "bad.ova", b"abc")
    assert "This package cannot be imported" in client.get(f"{files}/bad.ova/").content.decode()
    assert client.post(f"{files}/bad.ova/", {"name": "bad"}).status_code == 422
    package = packages.ova(packages.VIRTUALBOX, {"box-disk001.vmdk": b"image"})
    send(client, "shop.ova", package)
    html = client.get(f"{files}/shop.ova/").content.decode()
    assert (
        "2 GiB" in html and "64 MiB" in html and "on the switch nat" in html and 'value="debian-box"' in html
    )
    assert "sound" in html
    assert 'id="id_name_error"' in client.post(f"{files}/shop.ova/", {"name": "Shop!"}).content.decode()
    assert "no VM with a disk" in client.post(f"{files}/debian.qcow2/", {}).content.decode()
    ova, image = f"{sender.pk}/shop.ova", f"{sender.pk}/debian.qcow2"
    answer = client.post(f"{files}/shop.ova/", {"name": "shop"})
    task = Task.objects.get(operation="vms.import_ova")
    assert (answer.status_code, task.params["file"]) == (302, ova)
    vm = VM.objects.get(name="shop")
    VM.objects.filter(pk=vm.pk).update(state="stopped")
    disk = Disk.objects.create(vm=vm, index=0, size=MIB)
    stranger = make_user("elsewhere", "operator")
    VM.objects.filter(pk=vm.pk).update(owner=stranger)
    assert client.post(f"{files}/debian.qcow2/", {"disk": disk.pk}).status_code == 422
    VM.objects.filter(pk=vm.pk).update(owner=sender)
    assert 'id="id_disk_error"' in client.post(f"{files}/debian.qcow2/", {}).content.decode()
    assert client.post(f"{files}/debian.qcow2/", {"disk": disk.pk}).status_code == 302
    assert Task.objects.get(operation="vms.import_image").params["file"] == image
    assert client.post(f"{files}/debian.qcow2/remove/").status_code == 302
    names = {one.name for one in uploads.files(sender)}
    assert names == {"shop.ova", "bad.ova"}


def test_the_files_of_others_look_as_if_they_were_not_there(ready, as_user, sender):
    ask("storage.ready_transfers", {}, None)
    ready.run_tasks()
    other = make_user("other", "operator")
    client = as_user(sender)
    send(client, "a.img", b"x")
    assert client.get("/vms/_import/files/a.img/").status_code == 200
    for name in ("a.img", f"{sender.pk}/a.img", "..", "a.img.part", "%00", "x" * 300):
        for address in (f"/vms/_import/files/{name}/", f"/vms/_import/files/{name}/remove/"):
            assert as_user(other).post(address, {"name": "x"}).status_code in {404, 405}, address
    assert [one.name for one in uploads.files(sender)] == ["a.img"]


def test_only_who_may_create_sends_files(as_user, viewer, pool):
    assert Sender(as_user(viewer)).begin("a.img", 1).status_code == 404
    assert as_user(viewer).get("/vms/_import/files/").status_code == 404
