"""A vm.json that somebody edited by hand: noticed, never overwritten unseen, taken over or written again."""

from __future__ import annotations

import json
import os

import pytest

from bhype.tasks import ask
from tests.vms.test_operations import finish, maker, new_vm  # noqa: F401
from vms import edited, wanted
from vms.models import VM


@pytest.fixture
def made(ready, maker):  # noqa: F811
    vm, _ = new_vm(maker, disk_size=["32M"])
    assert finish(ready).status == "succeeded"
    return wanted.load(vm.pk)


def path(ready, vm: VM):
    return ready.root / f"tank/bhype/vms/{vm.name}/vm.json"


def edit(ready, vm: VM, **changes: object) -> None:
    document = json.loads(path(ready, vm).read_text()) | changes
    path(ready, vm).write_text(json.dumps(document))


def row(vm: VM) -> VM:
    return wanted.load(vm.pk)


def test_an_edit_is_noticed_shown_and_taken_over(ready, made, maker):  # noqa: F811
    ready.sweep()
    assert row(made).edited is None
    edit(ready, made, mem="512M", graphic={"host": "127.0.0.1", "password": "secret12"})
    ready.sweep()
    found = row(made)
    assert found.edited["document"]["mem"] == "512M"
    assert "secret12" not in json.dumps(found.edited)
    # Neither a start nor a change writes over what nobody has looked at.
    written = path(ready, made).read_text()
    for operation in ("vms.start", "vms.configure"):
        ask(operation, {"vm_id": made.pk}, None)
        task = finish(ready)
        assert task.status == "failed"
        assert "changed by hand" in task.error
        assert path(ready, made).read_text() == written
    change, _ = edited.take_over(row(made), maker)
    assert change.after["mem"] == "512M"
    assert finish(ready).status == "succeeded"
    assert json.loads(path(ready, made).read_text())["mem"] == "512M"
    ready.sweep()
    assert row(made).edited is None
    assert row(made).vnc_password == made.vnc_password


def test_bhypes_own_is_written_again(ready, made, maker):  # noqa: F811
    written = path(ready, made).read_text()
    edit(ready, made, mem="512M")
    # What is noticed by the operation itself is kept for the page, too.
    ask("vms.configure", {"vm_id": made.pk}, None)
    assert finish(ready).status == "failed"
    assert row(made).edited["document"]["mem"] == "512M"
    edited.write_again(row(made), maker)
    # Somebody edits again before the worker comes: that is another question.
    edit(ready, made, mem="768M")
    assert finish(ready).status == "failed"
    assert row(made).edited["document"]["mem"] == "768M"
    edited.write_again(row(made), maker)
    assert finish(ready).status == "succeeded"
    assert path(ready, made).read_text() == written


def test_what_means_the_same_is_no_edit(ready, made):
    path(ready, made).write_text(
        json.dumps(json.loads(path(ready, made).read_text()), sort_keys=True, indent=8)
    )
    ready.sweep()
    assert row(made).edited is None
    ask("vms.configure", {"vm_id": made.pk}, None)
    assert finish(ready).status == "succeeded"


def test_what_cannot_be_read_is_said_and_can_be_written_again(ready, made, maker):  # noqa: F811
    for text, word in (
        (b"{", "JSON"),
        (b"\xff\xfe", "UTF-8"),
        (b"[]", "object"),
        (b'{"a": "\\u0000"}', "NUL"),
        (b" " * 300_000, "KiB"),
    ):
        path(ready, made).write_bytes(text)
        assert edited.notice(ready.host, row(made))
        found = row(made).edited
        assert found["document"] is None
        assert word in found["problem"], found
    with pytest.raises(LookupError):
        edited.take_over(row(made), maker)
    edited.write_again(row(made), maker)
    assert finish(ready).status == "succeeded"


def test_links_and_pipes_are_not_followed(ready, made):
    """T7: what is shown on the page never comes from elsewhere on the host."""
    secret = ready.root / "etc/secret.json"
    secret.write_text('{"password": "of the host"}')
    path(ready, made).unlink()
    path(ready, made).symlink_to(secret)
    ready.sweep()
    assert row(made).edited is None
    path(ready, made).unlink()
    os.mkfifo(path(ready, made))
    assert edited.find(ready.host, row(made))["document"] is None


def test_a_folder_that_is_not_bhypes_is_not_shown(ready, made):
    edit(ready, made, mem="512M")
    ready.commands("/sbin/zfs", "set", "org.bhype:id=somebody", "tank/bhype/vms")
    ready.sweep()
    assert row(made).edited is None


def test_a_worker_that_died_while_writing_leaves_no_edit(ready, made):
    """The file is there already, the row does not know its digest yet; and the other way round."""
    VM.objects.filter(pk=made.pk).update(file_digest="0" * 64)
    assert not edited.notice(ready.host, row(made))
    ask("vms.configure", {"vm_id": made.pk}, None)
    assert finish(ready).status == "succeeded"


def test_an_edit_is_answered_by_the_api(ready, made, maker, as_user):  # noqa: F811
    url, client = f"/api/v1/vms/{made.name}/edited", as_user(maker)

    def answer(**body: object):
        return client.post(url, body, content_type="application/json", HTTP_ORIGIN="http://testserver")

    assert client.get(url).json() is None
    assert answer(take=True).status_code == 409
    edit(ready, made, mem="512M")
    edited.notice(ready.host, row(made))
    assert client.get(url).json()["document"]["mem"] == "512M"
    assert answer(take=True).status_code == 202
    assert finish(ready).status == "succeeded"
    assert (row(made).memory >> 20, row(made).edited) == (512, None)
    edit(ready, made, mem="1K")
    edited.notice(ready.host, row(made))
    assert (answer(take=True).status_code, answer(take=True).json()["field"]) == (422, "mem")
    assert answer(take=False).status_code == 202
    assert finish(ready).status == "succeeded"
    assert json.loads(path(ready, made).read_text())["mem"] == "512M"
