"""Snapshots of a VM as one unit: taken, destroyed, held, looked into, and gone back to, also when killed on the way."""

from __future__ import annotations

import json

import pytest
from django.utils import timezone

from bhype.accounts.models import User
from bhype.tasks import Refused, ask
from bhype.tasks.models import Task
from storage.models import Dataset, Snapshot
from tests.conftest import make_user
from tests.vms.test_operations import finish, new_vm
from tests.vms.transfer.test_copies import MIB, read, snapshots, write
from vms import plan, wanted
from vms.models import VM


@pytest.fixture
def alice(db) -> User:
    return make_user("alice", "operator")


@pytest.fixture
def vm(ready, alice):
    """A stopped VM of alice with two disks, of which the first has something on it, and rows of its datasets."""
    from vms.forms import VMForm

    switch = VMForm(user=alice).fields["switch"].queryset.get()
    made, _ = new_vm(alice, switch=str(switch.pk))
    assert finish(ready).status == "succeeded"
    write(ready, "web1/disk0", 3 * MIB, b"hello")
    ready.sweep()
    return VM.objects.get(pk=made.pk)


def do(lab, operation, user, vm, **params) -> Task:
    ask(operation, {"vm_id": vm.pk, **params}, user)
    return finish(lab)


def take(lab, vm, name, user=None, note=""):
    task = do(lab, "vms.take_snapshot", user, vm, name=name, note=note)
    assert task.status == "succeeded", task.error
    return task


def config(lab, name="web1"):
    return json.loads((lab.root / f"tank/bhype/vms/{name}/vm.json").read_text())


def tails(lab):
    return {name.partition("@")[2] for name in snapshots(lab) if "/vms/" in name}


def test_a_snapshot_is_of_all_disks_and_the_configuration_at_one_moment(ready, vm, alice):
    take(ready, vm, "before", alice, note="before the update: 100% sure")
    assert snapshots(ready) == [f"tank/bhype/vms/web1{part}@before" for part in ("", "/disk0", "/disk1")]
    rows = Snapshot.objects.filter(name="before")
    assert {row.is_root for row in rows} == {True, False} and len({row.txg for row in rows}) == 1
    root = rows.get(is_root=True)
    assert (root.dataset.name, root.kind, root.bhype_id) == (vm.dataset, "manual", str(vm.uuid))
    assert root.note == "before the update: 100 percent sure"
    assert (ready.root / "tank/bhype/vms/web1/.zfs/snapshot/before/vm.json").exists()


def test_a_name_that_is_taken_or_that_zfs_does_not_take_is_refused(ready, vm, alice):
    take(ready, vm, "one")
    assert "has a snapshot called one already" in do(ready, "vms.take_snapshot", alice, vm, name="one").error
    assert "snapshot name" in do(ready, "vms.take_snapshot", alice, vm, name="a b").error
    with pytest.raises(Refused):
        do(ready, "vms.take_snapshot", alice, vm, name="x" * 201)
    assert tails(ready) == {"one"}


def test_going_back_brings_disks_and_configuration_back(ready, vm, alice):
    take(ready, vm, "good", alice)
    before = config(ready)
    write(ready, "web1/disk0", 3 * MIB, b"worse")
    document = plan.document(wanted.load(vm.pk))
    wanted.save(vm, {**document, "mem": "2G"}, alice)
    assert finish(ready).status == "succeeded"
    take(ready, vm, "later", alice)
    preview = do(ready, "vms.preview_rollback", alice, vm, name="good")
    assert preview.status == "succeeded", preview.error
    told = preview.result
    assert [one["name"] for one in told["goes"]] == [
        f"{vm.dataset}{part}@later" for part in ("", "/disk0", "/disk1")
    ]
    assert told["blocked"] == told["faults"] == []
    assert [(one["label"], one["before"], one["after"]) for one in told["changes"]] == [
        ("Memory", "2 GiB", "256 MiB")
    ]
    assert tails(ready) == {"good", "later"} and VM.objects.get().memory == 2 << 30
    task = do(ready, "vms.rollback", alice, vm, name="good", goes=[one["name"] for one in told["goes"]])
    assert task.status == "succeeded", task.error
    assert read(ready, "web1/disk0", 3 * MIB, 5) == b"hello"
    vm.refresh_from_db()
    assert (vm.memory, vm.rolling_back_to, vm.edited) == (256 * MIB, "", None)
    after = config(ready)
    assert {key: value for key, value in after.items() if key != "bhype"} == {
        key: value for key, value in before.items() if key != "bhype"
    }
    assert tails(ready) == {"good"} == set(Snapshot.objects.values_list("name", flat=True))


def test_a_snapshot_nobody_has_seen_to_be_lost_stops_a_rollback(ready, vm, alice):
    take(ready, vm, "good")
    take(ready, vm, "surprise")
    task = do(ready, "vms.rollback", alice, vm, name="good", goes=[])
    assert task.status == "failed" and "Look again" in task.error
    assert tails(ready) == {"good", "surprise"} and not VM.objects.get().rolling_back_to


@pytest.mark.parametrize(("nth", "when"), [(1, "before"), (1, "after"), (2, "before"), (3, "after")])
def test_a_rollback_killed_between_two_disks_is_finished_by_itself(ready, vm, alice, nth, when):
    take(ready, vm, "good")
    for disk in ("disk0", "disk1"):
        write(ready, f"web1/{disk}", 5 * MIB, b"worse")
    ready.fault(command="zfs rollback", do="kill", nth=nth, when=when)
    ask("vms.rollback", {"vm_id": vm.pk, "name": "good"}, alice)
    broken, finished = ready.run_tasks()
    assert (broken.status, finished.operation, finished.by_system) == ("failed", "vms.finish_rollback", True)
    assert finished.status == "succeeded", finished.error
    assert [read(ready, f"web1/{disk}", 5 * MIB, 5) for disk in ("disk0", "disk1")] == [bytes(5)] * 2
    assert VM.objects.get().rolling_back_to == ""


def test_a_vm_that_is_half_rolled_back_neither_starts_nor_changes(ready, vm, alice):
    take(ready, vm, "good")
    ready.fault(command="zfs rollback", do="fail", text="cannot rollback: I/O error", nth=2)
    VM.objects.filter(pk=vm.pk).update(rolling_back_to="good")
    for operation in ("vms.start", "vms.configure", "vms.take_snapshot", "vms.rollback"):
        params = {"name": "good"} if operation == "vms.rollback" else {}
        assert "half rolled back" in do(ready, operation, alice, vm, **params).error
    assert do(ready, "vms.finish_rollback", alice, vm, name="good").status == "failed"
    assert VM.objects.get().rolling_back_to == "good"
    ready.clear_faults()
    assert do(ready, "vms.finish_rollback", alice, vm, name="good").status == "succeeded"
    assert VM.objects.get().rolling_back_to == ""


def test_a_rollback_that_zfs_refuses_changes_nothing(ready, vm, alice):
    take(ready, vm, "good")
    ready.fault(command="zfs rollback", do="full")
    task = do(ready, "vms.rollback", alice, vm, name="good")
    assert task.status == "failed" and "out of space" in task.error
    assert VM.objects.get().rolling_back_to == ""


def test_what_equals_root_does_not_come_back_by_a_rollback(ready, vm, alice, settings):
    settings.ALLOW = ["raw"]
    admin = make_user("root1", "admin")
    document = plan.document(wanted.load(vm.pk))
    raw = {"device": "raw", "value": "virtio-rnd", "slot": "0:20:0"}
    wanted.save(vm, {**document, "emulations": [*document["emulations"], raw]}, admin)
    assert finish(ready).status == "succeeded"
    take(ready, vm, "with-raw")
    wanted.save(vm, document, admin)
    assert finish(ready).status == "succeeded"
    task = do(ready, "vms.rollback", alice, vm, name="with-raw")
    assert task.status == "failed" and "vms.root" in task.error
    assert not VM.objects.get().devices.filter(kind="raw").exists()
    only_disks = do(ready, "vms.rollback", alice, vm, name="with-raw", keep_config=True)
    assert only_disks.status == "succeeded", only_disks.error
    assert not VM.objects.get().devices.filter(kind="raw").exists()
    assert "raw" not in {entry["device"] for entry in config(ready)["emulations"]}
    assert do(ready, "vms.rollback", admin, vm, name="with-raw").status == "succeeded"
    assert VM.objects.get().devices.filter(kind="raw").exists()


def test_a_rollback_is_blocked_by_what_lives_on_newer_ones_and_by_holds(ready, vm, alice):
    take(ready, vm, "good")
    take(ready, vm, "later")
    ready.commands("/sbin/zfs", "hold", "keep", f"{vm.dataset}/disk1@later")
    ready.commands("/sbin/zfs", "clone", f"{vm.dataset}/disk0@later", "tank/elsewhere")
    ready.commands("/sbin/zfs", "snapshot", f"{vm.dataset}/disk1@by-hand")
    told = do(ready, "vms.preview_rollback", alice, vm, name="good").result
    assert any("tank/elsewhere lives on it" in why for why in told["blocked"])
    assert any("it is held" in why for why in told["blocked"])
    assert any("bHype did not take it" in why for why in told["blocked"])
    task = do(ready, "vms.rollback", alice, vm, name="good")
    assert task.status == "failed" and "lives on it" in task.error
    assert {"good", "later", "by-hand"} <= tails(ready)


def test_a_rollback_after_a_rename_and_a_new_disk_keeps_both(ready, vm, alice):
    take(ready, vm, "good")
    document = plan.document(wanted.load(vm.pk))
    disk = {"device": "virtio-blk", "path": f"/dev/zvol/{vm.dataset}/disk2"}
    sizes = {disk["path"]: 32 * MIB}
    wanted.save(vm, {**document, "emulations": [*document["emulations"], disk]}, alice, sizes=sizes)
    assert finish(ready).status == "succeeded"
    ask("vms.rename", {"vm_id": vm.pk, "name": "web9"}, alice)
    assert finish(ready).status == "succeeded"
    ready.sweep()
    told = do(ready, "vms.preview_rollback", alice, vm, name="good").result
    assert told["warnings"] == [
        "tank/bhype/vms/web9/disk2 is newer than the snapshot: it stays as it is, unplugged."
    ]
    assert told["faults"] == []
    task = do(ready, "vms.rollback", alice, vm, name="good")
    assert task.status == "succeeded", task.error
    rows = VM.objects.get().disks
    assert dict(rows.values_list("index", "is_attached")) == {0: True, 1: True, 2: False}
    text = json.dumps(config(ready, "web9"))
    assert "web9" in text and "web1" not in text
    assert "tank/bhype/vms/web9/disk2" in ready.datasets()


def test_a_running_vm_is_not_rolled_back_but_a_snapshot_of_it_is_taken(ready, vm, alice, monkeypatch):
    monkeypatch.setattr("vms.life.power.is_on", lambda _host, _name: True)
    take(ready, vm, "live")
    task = do(ready, "vms.rollback", alice, vm, name="live")
    assert task.status == "failed" and "Stop it first" in task.error


def test_an_owner_destroys_own_snapshots_and_not_those_of_a_policy(ready, vm, alice):
    take(ready, vm, "mine", alice)
    ready.commands("/sbin/zfs", "snapshot", "-r", "-o", "org.bhype:kind=daily", f"{vm.dataset}@daily-1")
    ready.sweep()
    names = ["mine", "daily-1", "gone"]
    look = do(ready, "vms.preview_deletion", make_user("root1", "admin"), vm, names=names)
    assert look.result["goes"] == [f"{vm.dataset}@mine", f"{vm.dataset}@daily-1"]
    task = do(ready, "vms.delete_snapshots", alice, vm, names=names)
    assert task.result["goes"] == [f"{vm.dataset}@mine"]
    assert "only who may change storage" in task.result["stays"][f"{vm.dataset}@daily-1"]
    assert tails(ready) == {"daily-1"}


def test_a_new_vm_is_made_of_a_snapshot(ready, vm, alice):
    from vms.transfer import copies

    take(ready, vm, "good", alice)
    write(ready, "web1/disk0", 3 * MIB, b"worse")
    for name, linked in (("whole", False), ("linked", True)):
        copies.make(vm, name, alice, linked=linked, snapshot="good")
        task = finish(ready)
        assert task.status == "succeeded", task.error
        assert read(ready, f"{name}/disk0", 3 * MIB, 5) == b"hello"
    assert tails(ready) == {"good"}
    with pytest.raises(Refused, match="no snapshot called"):
        copies.make(vm, "other", alice, snapshot="nosuch")
    ready.sweep()
    ask("vms.delete_snapshots", {"vm_id": vm.pk, "names": ["good"]}, alice)
    task = finish(ready)
    assert task.status == "failed" and "a clone lives on it" in task.error


def test_files_of_a_snapshot_are_for_who_may_change_the_vm(ready, vm, alice, as_user, viewer):
    take(ready, vm, "good", alice)
    task = do(ready, "vms.list_snapshot", alice, vm, name="good")
    assert {"vm.json", "uefi-vars.fd"} <= {one["name"] for one in task.result["entries"]}
    task = do(ready, "vms.fetch_from_snapshot", alice, vm, name="good", path="vm.json")
    assert task.status == "succeeded", task.error
    url = f"/storage/snapshots/files/{task.pk}/"
    assert json.loads(b"".join(as_user(alice).post(url)))["uuid"] == str(vm.uuid)
    for word in (f"/vms/web1/snapshots/results/{task.pk}/", url):
        assert as_user(viewer).post(word).status_code in {404, 405}
    VM.objects.update(owner=viewer)
    assert as_user(alice).post(url).status_code == 404


# Pages and API; rows only.


@pytest.fixture
def vm_row(pool, host, viewer):
    return VM.objects.create(
        host=host, pool=pool, owner=viewer, name="web5", memory=1 << 28, vnc_port=5905, vnc_password="x",
        state="stopped",
    )  # fmt: skip


@pytest.fixture
def shown(vm_row):
    dataset = Dataset.objects.create(
        pool=vm_row.pool, name=vm_row.dataset, kind="filesystem", bhype_id=str(vm_row.uuid)
    )
    for number, kind in enumerate(("manual", "daily", "")):
        Snapshot.objects.create(
            dataset=dataset, name=f"s{number}", guid=str(number), txg=number, created_at=timezone.now(), kind=kind,
            note=f"note {number}",
        )  # fmt: skip
    return vm_row


def test_the_tab_shows_the_tree_and_what_can_be_done(shown, as_user, viewer, stranger, admin):
    page = as_user(viewer).get("/vms/web5/snapshots/").content.decode()
    assert page.index("s2") < page.index("s1") < page.index("s0")
    assert "note 1" in page and "Roll back" in page and "Now" in page
    assert page.count('type="checkbox" class="form-check-input" name="snapshot"') == 1
    page = as_user(admin).get("/vms/web5/snapshots/").content.decode()
    assert page.count('type="checkbox" class="form-check-input" name="snapshot"') == 2
    assert as_user(stranger).get("/vms/web5/snapshots/").status_code == 404


def test_an_owner_takes_looks_and_goes_back_by_the_pages(shown, as_user, viewer):
    client = as_user(viewer)
    assert client.post("/vms/web5/snapshots/take/", {"name": "s1"}).status_code == 422
    assert client.post("/vms/web5/snapshots/take/", {"name": "new", "note": "why"}).status_code == 302
    assert Task.objects.get().params == {"vm_id": shown.pk, "name": "new", "note": "why"}
    answer = client.post("/vms/web5/snapshots/do/", {"do": "preview_rollback", "snapshot": "s0"})
    look = Task.objects.get(operation="vms.preview_rollback")
    assert answer["Location"] == f"/vms/web5/snapshots/results/{look.pk}/"
    assert client.post("/vms/web5/snapshots/rollback/", {"task": look.pk}).status_code == 404
    goes = [{"name": f"{shown.dataset}@s1", "at": "", "kind": "daily", "note": ""}]
    told = {
        "snapshot": "s0", "goes": goes, "blocked": [], "warnings": ["mind"], "faults": [],
        "changes": [{"label": "Memory", "before": "2 GiB", "after": "1 GiB"}],
    }  # fmt: skip
    Task.objects.filter(pk=look.pk).update(status="succeeded", result=told)
    page = client.get(answer["Location"]).content.decode()
    assert f"{shown.dataset}@s1" in page and "2 GiB" in page and "mind" in page
    client.post("/vms/web5/snapshots/rollback/", {"task": look.pk, "keep_config": "on"})
    asked = Task.objects.get(operation="vms.rollback").params
    assert asked == {"vm_id": shown.pk, "name": "s0", "goes": [goes[0]["name"]], "keep_config": True}
    VM.objects.update(rolling_back_to="s0")
    assert "Finish it" in client.get("/vms/web5/snapshots/").content.decode()
    client.post("/vms/web5/snapshots/finish/")
    assert Task.objects.get(operation="vms.finish_rollback").params["keep_config"] is True


def test_by_the_api_too(shown, as_user, viewer, stranger):
    client = as_user(viewer)
    found = client.get("/api/v1/vms/web5/snapshots").json()
    assert [one["name"] for one in found] == ["s2", "s1", "s0"] and found[1]["why"].startswith("a policy")

    def post(user, path, body):
        return as_user(user).post(f"/api/v1/vms/web5/snapshots{path}", body, content_type="application/json")

    bodies = {
        "": {"name": "x"}, "/preview": {"names": ["s0"]}, "/delete": {"names": ["s0"]}, "/list": {"name": "s0"},
        "/preview-rollback": {"name": "s0"}, "/rollback": {"name": "s0"}, "/finish": {"name": "s0"},
        "/hold": {"name": "s0"}, "/release": {"name": "s0"}, "/note": {"name": "s0", "note": "n"},
        "/diff": {"name": "s0"}, "/fetch": {"name": "s0", "path": "vm.json"},
    }  # fmt: skip
    for path, body in bodies.items():
        assert post(stranger, path, body).status_code == 404
        assert post(viewer, path, body).status_code == 202, path
    assert post(viewer, "/rollback", {"name": "s0", "x": 1}).status_code == 422


def test_vms_are_marked_as_in_production_one_by_one_and_many_at_once(shown, as_user, viewer, admin):
    client = as_user(admin)
    client.post("/vms/_bulk/", {"action": "mark", "vm": [shown.pk]})
    shown.refresh_from_db()
    assert shown.is_production
    assert "web5" in client.get("/vms/?mark=production").content.decode()
    client.post("/vms/_bulk/", {"action": "unmark", "vm": [shown.pk]})
    assert "web5" not in client.get("/vms/?mark=production").content.decode().partition("vm-table")[2]
    changed = as_user(viewer).patch(
        "/api/v1/vms/web5/life", {"is_production": True}, content_type="application/json"
    )
    assert changed.json()["is_production"] is True
