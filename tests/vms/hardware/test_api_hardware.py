"""The hardware by the API: the same rules as the forms, and every refusal names its field."""

from __future__ import annotations

import json

import pytest

from bhype.tasks.models import Task
from storage.models import Iso
from vms import plan, wanted
from vms.models import VM

URL = "/api/v1/vms/web1"


class Api:
    def __init__(self, client) -> None:
        self.client = client

    def __call__(self, method: str, path: str, body: object = None):
        data = "" if body is None else json.dumps(body)
        return self.client.generic(
            method, URL + path, data=data, content_type="application/json", HTTP_ORIGIN="http://testserver"
        )


@pytest.fixture
def api(as_user, alice, vm):
    return Api(as_user(alice))


@pytest.fixture
def root(as_user, admin, vm):
    return Api(as_user(admin))


def document() -> dict:
    return plan.document(wanted.load(VM.objects.get().pk))


def test_a_document_is_read_changed_and_written(api):
    config = api("GET", "/config").json()
    config["mem"] = "1G"
    config["cpu"] = 1
    answer = api("PUT", "/config", config)
    assert answer.status_code == 200, answer.content
    assert answer.json()["config"]["mem"] == "1024M"
    assert answer.json()["task"]["operation"] == "vms.configure"
    assert document()["cpu"] == {"sockets": 1, "cores": 1, "threads": 1}
    # The revision that was read is no more.
    assert api("PUT", "/config", config | {"mem": "2G"}).status_code == 409
    del config["bhype"]
    assert api("PUT", "/config", config | {"mem": "1G"}).json()["task"] is None


def test_a_passed_through_device_has_memory_wired(root):
    assert root("POST", "/devices", {"device": "passthru", "src": "1:0:0"}).status_code == 200
    assert document()["wire_guest_mem"] is True


def test_a_cpu_that_another_vm_is_pinned_to_is_shared_by_request_only(api, vm):
    config = api("GET", "/config").json() | {"pinning": {"0": [5, 6]}}
    pins = {"settings": {"pinning": {"0": [6]}}}
    VM.objects.create(host=vm.host, pool=vm.pool, name="db1", memory=2**30, vnc_port=5999, **pins)
    answer = api("PUT", "/config", config)
    assert (answer.status_code, answer.json()["field"]) == (409, "pinning")
    assert "CPU 6: another VM" in answer.json()["message"]
    assert api("PUT", "/config?share_cpus=true", config).status_code == 200
    config = api("GET", "/config").json() | {"mem": "1G"}
    assert api("PUT", "/config", config).status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "cpu"),
        ({"cpu": 1, "mem": "1G", "emulations": [], "surprise": 1}, "surprise"),
        ({"cpu": 1, "mem": "1G", "emulations": [{"device": "toaster"}]}, "device"),
        ({"cpu": 1, "mem": "1G", "emulations": [], "extra_options": ["-G", "1"]}, "extra_options"),
        (
            {"cpu": 1, "mem": "1G", "emulations": [{"device": "virtio-9p", "share": "x", "path": "/etc"}]},
            "path",
        ),
        (
            {
                "cpu": 1,
                "mem": "1G",
                "emulations": [{"device": "virtio-net", "bridge": "sw-no", "name": "tap0"}],
            },
            "bridge",
        ),
        (
            {
                "cpu": 1,
                "mem": "1G",
                "emulations": [{"device": "virtio-blk", "path": "/tank/bhype/vms/db1/x"}],
            },
            "path",
        ),
    ],
)
def test_a_document_that_does_not_fit_is_refused_by_name(api, body, field):
    before = document()
    answer = api("PUT", "/config", body)
    assert answer.status_code == 422
    assert answer.json()["field"] == field, answer.json()
    assert document() == before
    assert not Task.objects.exists()


def test_devices_come_change_and_go(api, pool):
    iso = Iso.objects.create(pool=pool, name="debian.iso", size=1)
    assert api("POST", "/devices", {"device": "ahci-cd"}).status_code == 200
    assert api("PATCH", "/devices/0:3:0", {"path": iso.path}).status_code == 200
    found = {row["slot"]: row for row in api("GET", "/devices").json()}
    assert (found["0:3:0"]["summary"], found["0:3:0"]["device"]["path"]) == ("debian.iso", iso.path)
    assert found["0:4:0"]["label"] == "VirtIO disk"
    assert api("PATCH", "/devices/0-3-0", {"path": None}).status_code == 200
    assert "path" not in document()["emulations"][0]
    assert api("DELETE", "/devices/0:3:0").status_code == 200
    assert api("DELETE", "/devices/0:3:0").status_code == 404
    assert api("POST", "/devices", {"device": "raw", "value": "x"}).status_code == 422


def test_disks_by_their_number(api, root, vm):
    answer = api("POST", "/disks", {"size": "5G", "bus": "nvme", "options": {"ro": True}})
    assert answer.status_code == 200, answer.content
    rows = api("GET", "/disks").json()
    assert [(row["index"], row["bus"], row["size"]) for row in rows] == [
        (0, "virtio-blk", 10 * 2**30),
        (1, "nvme", 5 * 2**30),
    ]
    assert api("PATCH", "/disks/1", {"device": "ahci-hd", "ro": None, "size": "6G"}).status_code == 200
    disk = vm.disks.get(index=1)
    assert (disk.bus, disk.size, disk.options) == ("ahci-hd", 6 * 2**30, {})
    for body in ({"device": "e1000"}, {"path": "/x"}, {"size": "1G"}, {"size": []}, {"surprise": 1}):
        assert api("PATCH", "/disks/1", body).status_code == 422
    assert api("PATCH", "/disks/7", {}).status_code == 404
    for body in ({}, {"size": "x"}, {"size": "1G", "bus": "ide"}, {"backing": "path", "path": "/srv/a"}):
        assert api("POST", "/disks", body).status_code == 422
    assert root("POST", "/disks", {"backing": "path", "path": "/srv/a"}).status_code == 200


def test_a_change_between_look_and_write_is_not_undone(api, vm, alice, monkeypatch):
    def meanwhile() -> str:
        wanted.save(vm, document() | {"mem": "1G"}, alice)
        return "S1"

    monkeypatch.setattr("vms.hardware.api.new_serial", meanwhile)
    answer = api("POST", "/disks", {"size": "5G"})
    assert (answer.status_code, answer.json()["code"]) == (409, "stale")
    assert document()["mem"] == "1024M"
    monkeypatch.undo()
    assert api("POST", "/disks", {"size": "5G"}).status_code == 200


def test_ports_by_their_number(api, vm):
    assert api("POST", "/nics", {"switch": "nat", "options": {"link": "down"}}).status_code == 200
    assert (
        api("PATCH", "/nics/1", {"mac": "58:9c:fc:00:00:99", "device": "e1000", "link": None}).status_code
        == 200
    )
    nic = vm.nics.get(index=1)
    assert (nic.mac, nic.model, nic.options) == ("58:9c:fc:00:00:99", "e1000", {})
    assert [row["switch"] for row in api("GET", "/nics").json()] == ["nat", "nat"]
    for body in (
        {"switch": "no"},
        {"switch": []},
        {"mac": "58:9c:fc:00:00:01"},
        {"name": "em0"},
        {"type": "vale"},
    ):
        assert api("PATCH", "/nics/1", body).status_code == 422, body
    for body in (
        {},
        {"switch": "no"},
        {"switch": "nat", "model": "ne2000"},
        {"switch": "nat", "options": {"x": 1}},
    ):
        assert api("POST", "/nics", body).status_code == 422
    assert api("DELETE", "/nics/1").status_code == 200
    assert vm.nics.count() == 1


def test_what_waits_is_told_and_put_back(api, vm):
    assert api("GET", "/pending").json() == []
    assert api("POST", "/revert").status_code == 409
    VM.objects.update(state=VM.State.RUNNING, running=plan.without_secrets(document()))
    config = api("GET", "/config").json()
    api("PUT", "/config", config | {"mem": "1G", "wire_guest_mem": True})
    assert [row["path"] for row in api("GET", "/pending").json()] == ["mem", "wire_guest_mem"]
    assert api("POST", "/revert", {"path": "nonsense"}).status_code == 422
    api("POST", "/revert", {"path": "mem"})
    assert document()["mem"] == "2048M"
    api("POST", "/revert")
    assert api("GET", "/pending").json() == []


@pytest.mark.parametrize(
    "body", ["null", "[]", "1", '"x"', "{", '{"emulations": {}}', '{"bhype": [], "cpu": {}, "mem": []}']
)
def test_bad_bodies_are_refused(api, body):
    for method, path in (
        ("PUT", "/config"),
        ("POST", "/devices"),
        ("PATCH", "/devices/0:4:0"),
        ("PATCH", "/disks/0"),
    ):
        answer = api.client.generic(
            method, URL + path, data=body, content_type="application/json", HTTP_ORIGIN="http://testserver"
        )
        assert answer.status_code in {400, 422}, (path, answer.content)
