"""Linked copies on the pages, as the observer has seen their datasets; and what a VM's page says of its troubles."""

from __future__ import annotations

import datetime

import pytest

from bhype.accounts.models import AuditEntry
from bhype.tasks.models import Task
from storage.models import Dataset
from vms.models import VM, Nic
from vms.transfer import lineage


@pytest.fixture
def copy(vm, stranger) -> VM:
    """A linked copy of the vm that belongs to a stranger."""
    row = VM.objects.create(
        host=vm.host, pool=vm.pool, owner=stranger, name="copy1", memory=2**30, vnc_port=5901,
        vnc_password="x", state="stopped",
    )  # fmt: skip
    for name, origin in ((vm.dataset, ""), (row.dataset, f"{vm.dataset}@bhype-clone-{row.uuid}")):
        Dataset.objects.create(pool=vm.pool, name=name, kind="filesystem", origin=origin)
    return row


def test_both_ends_of_a_linked_copy_are_told(vm, copy):
    assert lineage.of(vm) == lineage.Lineage((), ("copy1",))
    assert lineage.of(copy) == lineage.Lineage(("web1",), ())


def test_the_page_shows_them_and_promotes(vm, copy, admin, as_user):
    client = as_user(admin)
    assert "/vms/copy1/" in client.get("/vms/web1/").content.decode()
    html = client.get("/vms/copy1/").content.decode()
    assert "linked copy of" in html and "/vms/copy1/promote/" in html
    assert client.post("/vms/copy1/promote/").status_code == 302
    task = Task.objects.get()
    assert (task.operation, task.params) == ("vms.promote", {"vm_id": copy.pk})
    assert AuditEntry.objects.filter(action="vms.promote", object="vm copy1").exists()


def test_a_vm_of_somebody_else_is_not_named(vm, copy, alice, as_user):
    html = (
        as_user(alice).get("/vms/web1/").content.decode()
        + as_user(alice).get("/vms/web1/delete/").content.decode()
    )
    assert "copy1" not in html
    assert html.count("a VM of somebody else") == 2
    assert as_user(alice).post("/vms/copy1/promote/").status_code == 404


def test_the_delete_page_offers_to_promote_first(vm, copy, admin, as_user):
    client = as_user(admin)
    html = client.get("/vms/web1/delete/").content.decode()
    assert "/vms/copy1/promote/" in html
    answer = client.post("/vms/web1/delete/", {"name": "web1"})
    assert (answer.status_code, "Promote or delete them first" in answer.content.decode()) == (422, True)
    assert client.post("/vms/web1/delete/", {"name": "web1", "keep_disks": "1"}).status_code == 302


def test_a_shared_address_is_told_on_both_pages(vm, copy, admin, as_user):
    Nic.objects.create(vm=copy, index=0, mac=vm.nics.get().mac, shares_mac=True, switch=vm.nics.get().switch)
    for name, other in (("web1", "copy1"), ("copy1", "web1")):
        html = as_user(admin).get(f"/vms/{name}/").content.decode()
        assert f'The same address as <a href="/vms/{other}/">' in html


def test_what_a_guest_has_not_got_is_told_with_the_mend(vm, alice, as_user):
    again = datetime.datetime(2033, 5, 18, 3, 33, 20, tzinfo=datetime.UTC)
    VM.objects.update(state="starting", warnings=["The limits <b>fail</b>."], next_start=again)
    html = as_user(alice).get("/vms/web1/").content.decode()
    assert "The limits &lt;b&gt;fail&lt;/b&gt;." in html
    assert "03:33:20 UTC" in html
    assert "/vms/web1/hardware/options/" in html


def test_recording_is_a_choice_of_who_may_change(vm, alice, viewer, as_user):
    assert as_user(viewer).post("/vms/web1/recording/", {"has_recording": "on"}).status_code == 404
    client = as_user(alice)
    assert "Record console sessions" in client.get("/vms/web1/access/").content.decode()
    client.post("/vms/web1/recording/", {"has_recording": "on"})
    assert VM.objects.get().has_recording
    client.post("/vms/web1/recording/", {})
    assert not VM.objects.get().has_recording
    assert AuditEntry.objects.filter(action="vms.change", object="vm web1").count() == 2
