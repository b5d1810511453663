"""Descriptions of VMs in and out by the API."""

from __future__ import annotations

import pytest
from django.test import Client

from bhype.accounts.models import ApiToken
from bhype.foreign import read
from bhype.tasks.models import Task
from tests.vms.transfer.test_views_import import CONF
from vms import plan
from vms.models import VM

GIB = 2**30


@pytest.fixture
def call(operator):
    _, secret = ApiToken.objects.issue(operator, "t", "full", None)
    client = Client(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return lambda **body: client.post("/api/v1/vms/import", body, content_type="application/json")


def test_a_dry_run_tells_and_makes_nothing(call, pool, switch):
    answer = call(text=CONF, source_name="web9", dry_run=True)
    found = answer.json()
    assert answer.status_code == 200
    assert (found["format"], found["document"]["name"], found["problems"]) == ("vm-bhyve", "web9", [])
    assert any("volblocksize" in note for note in found["notes"])
    assert not VM.objects.exists()


def test_a_vm_is_made(call, pool, switch):
    answer = call(text=CONF, name="web9", disk_size="25G", switch="nat", pool="tank", start=True)
    assert answer.status_code == 202, answer.content
    vm = VM.objects.get()
    assert [disk.size for disk in vm.disks.all()] == [25 * GIB]
    assert Task.objects.get().params == {"vm_id": vm.pk, "start": True}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"text": "nothing"}, "text"),
        ({"text": "<!DOCTYPE a><domain/>", "format": "libvirt"}, "text"),
        ({"format": "hyper-v"}, "format"),
        ({"name": "-x"}, "name"),
        ({"pool": "other"}, "pool"),
        ({"switch": "other"}, "switch"),
        ({"disk_size": "huge"}, "disk_size"),
        ({"text": CONF.replace('"nvme"', '"floppy"')}, "text"),
    ],
)
def test_what_is_wrong_is_told_with_its_field(call, pool, switch, change, field):
    answer = call(**({"text": CONF, "name": "web9"} | change))
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert not VM.objects.exists()


def test_a_vm_is_described_for_libvirt_and_as_vm_json(as_user, alice, vm):
    client = as_user(alice)
    found = client.get("/api/v1/vms/web1/export?format=libvirt").json()
    again = read("libvirt", found["text"])
    assert again.problems == ()
    assert [entry["device"] for entry in again.document["emulations"]] == ["virtio-blk", "virtio-net"]
    assert vm.vnc_password not in found["text"]
    found = client.get("/api/v1/vms/web1/export").json()
    assert read("vmrun", found["text"]).document["uuid"] == plan.document(vm)["uuid"]
    answer = client.get("/api/v1/vms/web1/export?format=libvirt&download=true")
    assert answer["Content-Disposition"] == 'attachment; filename="web1.xml"'
    assert client.get("/api/v1/vms/web1/export?format=vbox").status_code == 422


def test_only_who_may_change_a_vm_gets_its_description(as_user, viewer, vm):
    assert as_user(viewer).get("/api/v1/vms/web1/export").status_code == 404
