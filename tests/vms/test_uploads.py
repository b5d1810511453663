"""Files that people send, and what they are made into."""

from __future__ import annotations

import pytest

from bhype.tasks.models import Task
from tests.conftest import make_user
from tests.vms import packages
from vms import uploads
from vms.models import VM, Disk

MIB = 2**20


@pytest.fixture
def sender(ready):
    """Somebody who may create, on a host that takes uploads."""
    return make_user("sender", "operator")


def send(client, name: str, data: bytes, **headers: str):
    return client.generic(
        "POST", f"/vms/_import/upload/?name={name}", data, content_type="application/octet-stream", **headers
    )


def test_the_first_file_asks_for_the_folder_and_then_arrives(ready, as_user, sender):
    client = as_user(sender)
    answer = send(client, "debian.qcow2", b"QFI\xfb" + bytes(3 * MIB))
    assert (answer.status_code, answer.json()["again"]) == (409, True)
    assert [task.status for task in ready.run_tasks()] == ["succeeded"]
    answer = send(client, "debian.qcow2", b"QFI\xfb" + bytes(3 * MIB))
    assert answer.json() == {"file": f"{sender.pk}/debian.qcow2"}
    assert [(one.file, one.size) for one in uploads.files(sender)] == [
        (f"{sender.pk}/debian.qcow2", 3 * MIB + 4)
    ]
    assert "debian.qcow2</a>" in client.get("/vms/_import/files/").content.decode()
    _what_is_refused(client, sender)
    _what_becomes_of_it(ready, client, sender)


def _what_is_refused(client, sender):
    for name in ("../x", "a/b", "", ".hidden", "x.part", "x" * 200, "%00", "a%2f..%2fb"):
        assert send(client, name, b"x").status_code == 422, name
    assert send(client, "empty.img", b"").status_code == 422
    short = send(client, "short.img", b"abc", CONTENT_LENGTH="3")
    assert short.status_code == 200
    with pytest.raises(uploads.BadUpload, match="Only 3 of 9"):
        uploads.receive(sender, "torn.img", _Torn(), "9")
    with pytest.raises(uploads.BadUpload, match="tell its size"):
        uploads.receive(sender, "huge.img", _Torn(), str(2**60))
    assert not any("torn" in one.name or "part" in one.name for one in uploads.files(sender))
    assert uploads.files(make_user("other", "operator")) == []


class _Torn:
    def __init__(self) -> None:
        self.blocks = [b"abc", b""]

    def read(self, size: int = -1, /) -> bytes:
        return self.blocks.pop(0)


def _what_becomes_of_it(ready, client, sender):
    files = "/vms/_import/files"
    uploads.receive(sender, "bad.ova", _Torn(), "3")
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
    assert names == {"shop.ova", "bad.ova", "short.img"}


def test_the_files_of_others_look_as_if_they_were_not_there(ready, as_user, sender):
    ready.run_tasks()
    other = make_user("other", "operator")
    client = as_user(sender)
    send(client, "a.img", b"x")
    ready.run_tasks()
    assert send(client, "a.img", b"x").status_code == 200
    assert client.get("/vms/_import/files/a.img/").status_code == 200
    for name in ("a.img", f"{sender.pk}/a.img", "..", "a.img.part", "%00", "x" * 300):
        for address in (f"/vms/_import/files/{name}/", f"/vms/_import/files/{name}/remove/"):
            assert as_user(other).post(address, {"name": "x"}).status_code in {404, 405}, address
    assert [one.name for one in uploads.files(sender)] == ["a.img"]


def test_only_who_may_create_sends_files(as_user, viewer, pool):
    assert send(as_user(viewer), "a.img", b"x").status_code == 404
    assert as_user(viewer).get("/vms/_import/files/").status_code == 404
