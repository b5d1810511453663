"""Files that people send, and what they are made into."""

from __future__ import annotations

import pytest

from bhype.tasks.models import Task
from tests.conftest import make_user
from vms import transfers, uploads
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
    assert uploads.files(sender) == [(f"{sender.pk}/debian.qcow2", 3 * MIB + 4)]
    assert "debian.qcow2 (3 MiB)" in client.get("/vms/_import/files/").content.decode()
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
    assert not any("torn" in name or "part" in name for name, _ in uploads.files(sender))
    assert uploads.files(make_user("other", "operator")) == []


class _Torn:
    def __init__(self) -> None:
        self.blocks = [b"abc", b""]

    def read(self, size: int = -1, /) -> bytes:
        return self.blocks.pop(0)


def _what_becomes_of_it(ready, client, sender):
    uploads.receive(sender, "shop.ova", _Torn(), "3")
    ova, image = f"{sender.pk}/shop.ova", f"{sender.pk}/debian.qcow2"
    assert 'id="id_name_error"' in client.post("/vms/_import/files/", {"file": ova}).content.decode()
    assert 'id="id_disk_error"' in client.post("/vms/_import/files/", {"file": image}).content.decode()
    assert client.post("/vms/_import/files/", {"file": "1/other.ova", "name": "a"}).status_code == 422
    answer = client.post("/vms/_import/files/", {"file": ova, "name": "shop"})
    task = Task.objects.get(operation="vms.import_ova")
    assert (answer.status_code, task.params["file"]) == (302, ova)
    vm = VM.objects.get(name="shop")
    VM.objects.filter(pk=vm.pk).update(state="stopped")
    disk = Disk.objects.create(vm=vm, index=0, size=MIB)
    stranger = make_user("elsewhere", "operator")
    VM.objects.filter(pk=vm.pk).update(owner=stranger)
    assert client.post("/vms/_import/files/", {"file": image, "disk": disk.pk}).status_code == 422
    VM.objects.filter(pk=vm.pk).update(owner=sender)
    assert client.post("/vms/_import/files/", {"file": image, "disk": disk.pk}).status_code == 302
    assert Task.objects.get(operation="vms.import_image").params["index"] == 0
    uploads.remove(sender, image)
    assert [name for name, _ in uploads.files(sender)] == [ova, f"{sender.pk}/short.img"]
    assert transfers.is_file(ova)


def test_only_who_may_create_sends_files(as_user, viewer, pool):
    assert send(as_user(viewer), "a.img", b"x").status_code == 404
    assert as_user(viewer).get("/vms/_import/files/").status_code == 404
