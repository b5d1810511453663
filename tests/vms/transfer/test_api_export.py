"""The API of exports, linked copies, recordings and serial logs."""

from __future__ import annotations

import json

import pytest

from bhype.accounts.models import ApiToken
from bhype.console import gate
from bhype.console.models import Recording, Ticket
from bhype.tasks.models import Task
from storage.models import Dataset
from tests.vms.transfer.test_exports import body
from vms.models import VM


@pytest.fixture
def program(client, alice):
    _, secret = ApiToken.objects.issue(alice, "t", "full", None)

    def ask(method: str, path: str, data: object = None):
        return client.generic(
            method,
            f"/api/v1/vms/{path}",
            "" if data is None else json.dumps(data),
            content_type="application/json",
            HTTP_AUTHORIZATION=f"Bearer {secret}",
        )

    return ask


def test_exports_are_asked_for(vm, program):
    answer = program("POST", "web1/exports", {"kind": "image", "format": "raw"})
    assert answer.status_code == 202
    task = Task.objects.get(pk=answer.json()["id"])
    assert (task.operation, task.params) == (
        "vms.export_image",
        {"vm_id": vm.pk, "index": 0, "format": "raw"},
    )
    assert program("POST", "web1/exports", {"kind": "image", "disk": 7}).json()["field"] == "disk"
    assert program("POST", "web1/exports", {"kind": "tar"}).status_code == 422
    VM.objects.update(state="running")
    answer = program("POST", "web1/exports", {"kind": "ova"})
    assert (answer.status_code, answer.json()["message"]) == (409, "web1 is on: stop it first.")
    assert program("POST", "web1/exports", {"kind": "stream"}).status_code == 202
    assert program("GET", "web1/exports").json() == []
    for method, path in (("POST", "x.ova/download"), ("DELETE", "x.ova")):
        assert program(method, f"web1/exports/{path}").status_code == 404


def test_linked_copies_are_told_and_promoted(vm, program):
    copy = VM.objects.create(
        host=vm.host, pool=vm.pool, owner=vm.owner, name="copy1", memory=1, vnc_port=1, vnc_password="x",
        state="stopped",
    )  # fmt: skip
    origin = f"{vm.dataset}@bhype-clone-{copy.uuid}"
    Dataset.objects.create(pool=vm.pool, name=copy.dataset, kind="filesystem", origin=origin)
    assert program("GET", "web1/family").json() == {"copy_of": [], "copies": ["copy1"]}
    assert program("GET", "copy1/family").json() == {"copy_of": ["web1"], "copies": []}
    assert program("POST", "copy1/promote").status_code == 202


def test_recordings_are_chosen_listed_taken_and_deleted(vm, program, alice, settings, tmp_path):
    settings.STATE_DIR = tmp_path
    (tmp_path / "recordings").mkdir()
    (tmp_path / "recordings" / "a.cast").write_bytes(b"{}\n")
    assert program("PUT", "web1/recordings", {"on": True}).json() == {"on": True}
    assert VM.objects.get().has_recording
    row = Recording.objects.create(
        subject=vm.subject, kind="serial", user=alice, username="alice", file="a.cast"
    )
    (found,) = program("GET", "web1/recordings").json()
    assert (found["id"], found["user"], found["bytes"]) == (row.pk, "alice", 3)
    assert body(program("POST", f"web1/recordings/{row.pk}/download")) == b"{}\n"
    assert program("DELETE", f"web1/recordings/{row.pk}").status_code == 204
    assert program("DELETE", f"web1/recordings/{row.pk}").status_code == 404


def test_a_log_is_read_and_searched(vm, program, monkeypatch):
    said = b"\x1b[1mready\x1b[0m\r\nlogin: root\r\n"
    monkeypatch.setattr(gate, "fetch", lambda name, kind, tail: said[-tail:] if kind == "log" else b"")
    assert program("GET", "web1/log").content == b"ready\nlogin: root\n"
    assert program("GET", "web1/log?q=LOGIN").content == b"2:login: root\n"
    assert program("GET", "web1/log?bytes=6").content == b"root\n"
    assert program("GET", "web1/log?line=serial2").json()["field"] == "line"
    assert program("GET", "web1/log?line=vnc").status_code == 422


def test_a_console_is_opened_to_watch_only(vm, program):
    VM.objects.update(state="running")
    opened = program("POST", "web1/console", {"kind": "serial", "watch": True}).json()
    assert (opened["right"], Ticket.objects.get().right) == ("watch", "watch")
    assert program("POST", "web1/console", {"kind": "serial"}).json()["right"] == "console"
