"""The pages and the API of a VM's life: rename, clone, start options, schedules, disks, deletion, orphans."""

from __future__ import annotations

import json

import pytest

from bhype.accounts.models import ApiToken, AuditEntry
from bhype.tasks import Refused
from bhype.tasks.models import Schedule, Task
from storage.models import Dataset, Iso
from vms.models import VM, Disk
from vms.operating import changed

GIB = 2**30


def last() -> tuple[str, dict]:
    task = Task.objects.order_by("-id").first()
    return (task.operation, task.params) if task else ("", {})


@pytest.fixture
def other(vm) -> VM:
    return VM.objects.create(
        host=vm.host, pool=vm.pool, owner=vm.owner, name="web2", memory=GIB, vnc_port=5901, vnc_password="x" * 8,
        state="stopped",
    )  # fmt: skip


@pytest.fixture
def api(client, request):
    def call(user, method: str, path: str, body: object = None):
        _, secret = ApiToken.objects.issue(user, "t", "full", None)
        return client.generic(
            method, f"/api/v1{path}", data=json.dumps(body or {}), content_type="application/json",
            HTTP_AUTHORIZATION=f"Bearer {secret}",
        )  # fmt: skip

    return call


def test_a_vm_is_renamed_by_a_task(as_user, alice, vm, other):
    client = as_user(alice)
    assert "New name" in client.get("/vms/web1/rename/").content.decode()
    for name in ("web2", "new", "Web", "web1", "a" * 41, ""):
        assert client.post("/vms/web1/rename/", {"name": name}).status_code == 422
    assert not Task.objects.exists()
    answer = client.post("/vms/web1/rename/", {"name": "shop"})
    assert last() == ("vms.rename", {"vm_id": vm.pk, "name": "shop"})
    assert answer.url == f"/tasks/{Task.objects.get().pk}/"
    VM.objects.filter(pk=vm.pk).update(state="running")
    assert "Stop it first" in client.post("/vms/web1/rename/", {"name": "shop2"}).content.decode()


def test_a_vm_is_cloned_by_who_may_create(as_user, admin, alice, vm):
    assert as_user(alice).get("/vms/web1/clone/").status_code == 404
    client = as_user(admin)
    assert "1 disk" in client.get("/vms/web1/clone/").content.decode()
    assert client.post("/vms/web1/clone/", {"name": "web1"}).status_code == 422
    answer = client.post("/vms/web1/clone/", {"name": "copy", "linked": "on"})
    assert answer.url == "/vms/copy/"
    copy = VM.objects.get(name="copy")
    operation, params = last()
    assert (operation, params["vm_id"], params["source_id"], params["linked"]) == (
        "vms.clone",
        copy.pk,
        vm.pk,
        True,
    )
    assert copy.nics.get().mac != vm.nics.get().mac
    assert copy.state == "creating"


def test_a_start_has_options(as_user, admin, alice, vm, pool):
    iso = Iso.objects.create(pool=pool, name="debian.iso", size=1)
    VM.objects.filter(pk=vm.pk).update(settings={"targets": {"rescue": {}}})
    page = as_user(alice).get("/vms/web1/start/").content.decode()
    assert "debian.iso" in page and "rescue" in page and "memory is short" not in page
    as_user(alice).post("/vms/web1/start/", {"iso": iso.pk, "force": "on"})
    assert last() == ("vms.start", {"vm_id": vm.pk, "iso_id": iso.pk})
    Task.objects.all().delete()
    as_user(admin).post("/vms/web1/start/", {"target": "rescue", "force": "on"})
    assert last() == ("vms.start", {"vm_id": vm.pk, "target": "rescue", "force": True})
    assert as_user(admin).post("/vms/web1/start/", {"target": "nope"}).status_code == 422


def test_when_it_starts_and_stops_is_changed_and_checked(as_user, alice, viewer, vm):
    client = as_user(alice)
    data = {
        "autostart": "on", "start_order": "5", "start_delay": "10", "health": "tcp:10.77.0.5:22",
        "health_seconds": "60", "stop_seconds": "30", "is_protected": "on",
    }  # fmt: skip
    assert client.post("/vms/web1/life/", data).url == "/vms/web1/schedules/"
    vm.refresh_from_db()
    assert (vm.autostart, vm.start_order, vm.stop_seconds, vm.is_protected) == (True, 5, 30, True)
    assert vm.revision == 2
    for bad in (
        {"health": "http://x"},
        {"health": "tcp:127.0.0.1:22"},
        {"stop_seconds": "0"},
        {"start_order": "-1"},
    ):
        assert client.post("/vms/web1/life/", data | bad).status_code == 422
    assert as_user(viewer).post("/vms/web1/life/", data).status_code == 404
    page = as_user(viewer).get("/vms/web1/schedules/").content.decode()
    assert "Save" not in page and "tcp:10.77.0.5:22" in page


def test_a_change_of_a_vm_that_has_just_gone_finds_nothing(vm):
    VM.objects.all().delete()
    with pytest.raises(Refused) as refused:
        changed(vm, stop_seconds=5)
    assert refused.value.status == 404


def test_what_is_protected_is_not_deleted(as_user, alice, vm):
    VM.objects.filter(pk=vm.pk).update(is_protected=True)
    client = as_user(alice)
    assert client.post("/vms/web1/delete/", {"name": "web1"}).status_code == 422
    assert "protected" in client.get("/vms/web1/delete/").content.decode()
    assert not Task.objects.exists()


def test_a_deletion_can_leave_the_disks(as_user, alice, vm):
    client = as_user(alice)
    assert client.post("/vms/web1/delete/", {"name": "web", "keep_disks": "1"}).status_code == 422
    assert client.post("/vms/web1/delete/", {"name": "web1", "keep_disks": "1"}).url == "/vms/"
    assert last() == ("vms.delete", {"vm_id": vm.pk, "keep_disks": True})


def test_a_power_action_is_scheduled(as_user, alice, viewer, vm):
    client = as_user(alice)
    data = {"action": "stop", "when": "weekdays 20:00", "time_zone": "Europe/Berlin"}
    assert client.post("/vms/web1/schedules/add/", data).url == "/vms/web1/schedules/"
    row = Schedule.objects.get()
    assert (row.operation, row.params, row.subject, row.owner) == (
        "vms.stop",
        {"vm_id": vm.pk},
        vm.subject,
        alice,
    )
    page = client.get("/vms/web1/schedules/").content.decode()
    assert page.count("20:00 CE") == 6
    assert client.post("/vms/web1/schedules/add/", data | {"when": "someday"}).status_code == 422
    assert client.post("/vms/web1/schedules/add/", data | {"action": "delete"}).status_code == 422
    assert as_user(viewer).post("/vms/web1/schedules/add/", data).status_code == 404
    assert "Switch off" not in as_user(viewer).get("/vms/web1/schedules/").content.decode()


def test_all_vms_with_a_tag_are_scheduled(as_user, alice, stranger, vm):
    vm.tags.create(name="night")
    data = {"action": "start", "when": "every day 08:00", "time_zone": "UTC", "tag": "night"}
    assert as_user(stranger).post("/vms/_schedules/", data).status_code == 422
    assert "night" not in as_user(stranger).get("/vms/_schedules/").content.decode()
    assert as_user(alice).post("/vms/_schedules/", data).status_code == 302
    assert Schedule.objects.get().params == {"action": "start", "tag": "night"}
    assert "night" in as_user(alice).get("/vms/web1/schedules/").content.decode()


def test_a_disk_has_a_page(as_user, alice, vm, other):
    disk = vm.disks.get()
    client = as_user(alice)
    page, change = f"/vms/web1/disks/{disk.pk}/", f"/vms/web1/disks/{disk.pk}/change/"
    assert "10 GiB" in client.get(page).content.decode()
    assert client.get(f"/vms/web2/disks/{disk.pk}/").status_code == 404
    client.post(change, {"do": "grow", "size": "20G"})
    assert last() == ("vms.grow_disk", {"disk_id": disk.pk, "size": 20 * GIB})
    for size in ("5G", "10G", "x", "200T", "10737418241"):
        assert client.post(change, {"do": "grow", "size": size}).status_code == 422
    client.post(change, {"do": "move", "vm": other.pk})
    assert last() == ("vms.move_disk", {"disk_id": disk.pk, "vm_id": other.pk})
    assert client.post(change, {"do": "remove", "name": "disk0"}).status_code == 422
    client.post(change, {"do": "remove", "name": "web1/disk0"})
    assert last() == ("vms.remove_disk", {"disk_id": disk.pk})
    client.post(change, {"do": "detach"})
    disk.refresh_from_db()
    assert (disk.is_attached, last()[0]) == (False, "vms.configure")
    client.post(change, {"do": "attach"})
    disk.refresh_from_db()
    assert disk.is_attached
    assert client.post(change, {"do": "eat"}).status_code == 400
    assert AuditEntry.objects.filter(object="vm web1 disk 0").count() == 5


def test_the_order_of_start_and_stopping_all(as_user, admin, operator, vm, other):
    VM.objects.filter(pk=vm.pk).update(autostart=True, start_order=9, state="running")
    VM.objects.filter(pk=other.pk).update(autostart=True, start_order=1)
    page = as_user(operator).get("/vms/_autostart/").content.decode()
    assert page.index("/vms/web2/") < page.index("/vms/web1/")
    assert "Stop all" not in page
    assert as_user(operator).post("/vms/_autostart/do/", {"do": "stop"}).status_code == 404
    client = as_user(admin)
    assert "Stop all 1 VMs" in client.get("/vms/_autostart/").content.decode()
    client.post("/vms/_autostart/do/", {"do": "stop"})
    assert last() == ("vms.stop_all", {})
    assert client.post("/vms/_autostart/do/", {"do": "dance"}).status_code == 400


@pytest.fixture
def kept(vm, pool) -> Dataset:
    """What is left of a VM that is no more, beside the dataset of one that is."""
    Dataset.objects.create(pool=pool, name=vm.dataset, kind="filesystem", bhype_id=str(vm.uuid))
    Dataset.objects.create(pool=pool, name=f"{pool.home}/vms", kind="filesystem", bhype_id="bhype")
    uuid = "00000000-1111-2222-3333-444444444444"
    found = Dataset.objects.create(
        pool=pool, name=f"{pool.home}/vms/old", kind="filesystem", used=GIB, bhype_id=uuid
    )
    Dataset.objects.create(pool=pool, name=f"{found.name}/disk0", kind="volume", volsize=GIB, bhype_id=uuid)
    return found


def test_orphans_are_listed_and_their_disks_given(as_user, admin, viewer, settings, vm, kept, api):
    settings.HOST_NAME = "lab"
    page = as_user(viewer).get("/storage/orphans/").content.decode()
    assert kept.name in page and vm.dataset not in page and "Destroy" not in page
    assert as_user(viewer).get(f"/vms/_orphans/{kept.pk}/").status_code == 404
    client, address = as_user(admin), f"/vms/_orphans/{kept.pk}/"
    page = client.get(address).content.decode()
    assert "disk0" in page and f"/storage/datasets/{kept.name}/-/danger/" in page
    mine = Dataset.objects.get(name=vm.dataset)
    assert client.get(f"/vms/_orphans/{mine.pk}/").status_code == 404
    assert [row["name"] for row in api(admin, "GET", "/orphans").json()] == [kept.name]


def test_the_api_does_what_the_pages_do(api, alice, admin, vm, other, pool):
    disk, nic = vm.disks.get(), vm.nics.get()
    Iso.objects.create(pool=pool, name="debian.iso", size=1)
    asked = [
        ("POST", "/vms/web1/rename", {"name": "shop"}, "vms.rename", {"vm_id": vm.pk, "name": "shop"}),
        ("POST", "/vms/web1/disks/0/grow", {"size": "20G"}, "vms.grow_disk", {"disk_id": disk.pk, "size": 20 * GIB}),
        ("POST", "/vms/web1/disks/0/move", {"vm": "web2"}, "vms.move_disk", {"disk_id": disk.pk, "vm_id": other.pk}),
        ("DELETE", "/vms/web1/disks/0", {"confirm": "web1/disk0"}, "vms.remove_disk", {"disk_id": disk.pk}),
        ("POST", "/vms/web1/disks/0/detach", {}, "vms.configure", {"vm_id": vm.pk}),
        ("POST", "/vms/web1/reset-vars", {}, "vms.reset_vars", {"vm_id": vm.pk}),
        ("POST", "/vms/web1/nics/0/link", {"link": "down"}, "vms.set_link", {"nic_id": nic.pk, "link": "down"}),
        ("POST", "/vms/web1/limits", {"nice": 5}, "vms.set_limits", {"vm_id": vm.pk, "nice": 5}),
    ]  # fmt: skip
    for method, path, body, operation, params in asked:
        answer = api(alice, method, path, body)
        assert answer.status_code == 202, answer.content
        assert last() == (operation, params), path
    assert not Disk.objects.get(pk=disk.pk).is_attached
    refused = [
        ("POST", "/vms/web1/rename", {"name": "web2"}, 422), ("POST", "/vms/web1/disks/7/grow", {"size": "20G"}, 404),
        ("POST", "/vms/web1/disks/0/grow", {"size": "1G"}, 422), ("DELETE", "/vms/web1/disks/0", {}, 422),
        ("POST", "/vms/web1/disks/0/move", {"vm": "nope"}, 404), ("PATCH", "/vms/web1/life", {"health": "x"}, 422),
        ("POST", "/vms/web1/nics/0/link", {"link": "sideways"}, 422), ("POST", "/vms/web1/clone", {"name": "c"}, 404),
        ("POST", "/vms/web1/limits", {"pcpu": 1}, 422), ("POST", "/boot/stop", {}, 404),
        ("POST", "/vms/web1/start", {"force": True}, 422), ("POST", "/vms/web1/start", {"iso": "nope"}, 422),
    ]  # fmt: skip
    before = Task.objects.count()
    for method, path, body, status in refused:
        assert api(alice, method, path, body).status_code == status, path
    assert Task.objects.count() == before
    changed = api(alice, "PATCH", "/vms/web1/life", {"autostart": True, "is_protected": True}).json()
    assert (changed["autostart"], changed["is_protected"], changed["stop_seconds"]) == (True, True, 120)
    assert [row["name"] for row in api(alice, "GET", "/boot").json()] == ["web1"]
    assert api(alice, "DELETE", "/vms/web1", {"confirm": "web1"}).status_code == 409
    assert api(alice, "POST", "/vms/web1/start", {"iso": "debian.iso"}).status_code == 202
    assert last()[1].keys() == {"vm_id", "iso_id"}
    assert api(admin, "POST", "/boot/stop", {"parallel": 8}).status_code == 202
    assert api(admin, "POST", "/vms/web2/clone", {"name": "copy"}).status_code == 202


def test_a_tag_names_the_vms_of_a_bulk_action(api, alice, vm, other):
    vm.tags.create(name="night")
    answer = api(alice, "POST", "/vms/bulk", {"action": "start", "tag": "night", "parallel": 2}).json()
    assert [row["name"] for row in answer] == ["web1"]
    assert api(alice, "POST", "/vms/bulk", {"action": "start", "tag": "no"}).json() == []
