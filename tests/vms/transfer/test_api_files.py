"""Uploaded packages, streams and images by the API: one's own only, and with the rules of the pages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bhype.host import LocalHost
from bhype.tasks.models import Task
from storage.uploads import store
from tests.vms import packages
from vms.models import VM

URL = "/api/v1/vms/import/files"


@pytest.fixture
def call(as_user, operator):
    client = as_user(operator)

    def ask(method: str, path: str = "", **body: object):
        more = {"content_type": "application/json", "HTTP_ORIGIN": "http://testserver"}
        return client.generic(method, URL + path, json.dumps(body), **more)

    return ask


@pytest.fixture
def arrived(operator, pool, settings, tmp_path) -> Path:
    """The folder of the operator's files, with a package, an image and what is no package."""
    settings.BHYPE_ROOT = str(tmp_path)
    folder = store.folder(pool, operator)
    assert str(folder).startswith(LocalHost(settings.BHYPE_ROOT).path("/"))
    folder.mkdir(parents=True)
    (folder / "box.ova").write_bytes(packages.ova(packages.VIRTUALBOX, {"box-disk001.vmdk": b"image"}))
    (folder / "broken.ova").write_bytes(b"no package")
    (folder / "disk.qcow2").write_bytes(b"x")
    return folder


def test_files_are_listed_and_removed_by_their_owner_alone(call, arrived, as_user, alice, viewer):
    found = {one["name"]: one["kind"] for one in call("GET").json()}
    assert found == {"box.ova": "ova", "broken.ova": "ova", "disk.qcow2": "image"}
    assert as_user(viewer).get(URL).status_code == 404
    assert call("DELETE", "/none.ova").status_code == 404
    assert call("DELETE", "/broken.ova").status_code == 204
    assert not (arrived / "broken.ova").exists()


def test_a_package_becomes_a_vm(call, arrived, switch):
    answer = call("POST", "/broken.ova")
    assert (answer.status_code, answer.json()["field"]) == (422, "file")
    answer = call("POST", "/box.ova", name="-x")
    assert (answer.status_code, answer.json()["field"]) == (422, "name")
    answer = call("POST", "/box.ova")
    assert answer.status_code == 202, answer.content
    assert VM.objects.get().name == "debian-box"
    assert Task.objects.get().operation == "vms.import_ova"


def test_an_image_is_written_over_a_disk_that_may_be_changed(call, arrived, vm, operator):
    assert call("POST", "/disk.qcow2", vm="web1", disk=0).status_code == 422
    VM.objects.update(owner=operator)
    for body in ({}, {"vm": "web1"}, {"vm": "web1", "disk": 9}, {"vm": "other", "disk": 0}):
        answer = call("POST", "/disk.qcow2", **body)
        assert (answer.status_code, answer.json()["field"]) == (422, "disk")
    answer = call("POST", "/disk.qcow2", vm="web1", disk=0)
    assert answer.status_code == 202, answer.content
    assert Task.objects.get().params["vm_id"] == vm.pk
