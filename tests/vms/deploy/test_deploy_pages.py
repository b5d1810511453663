"""The pages and the API of templates and deployments, and new identities; rows only, but for the identity."""

from __future__ import annotations

import json

import pytest

from bhype.accounts.models import ApiToken, AuditEntry, SshKey
from bhype.cloudinit import is_hash
from bhype.tasks.models import Task
from storage.models import Dataset, Image
from tests.vms.test_operations import Killed, new_vm
from tests.vms.transfer.test_copies import die_at
from vms.deploy.forms import DeployForm
from vms.models import VM, OsPreset, Template
from vms.os_templates import documents

GIB = 2**30
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGyu0wgd9ZlXZBlxaC6mAGpRK5VhTbLTyQqNgd1lJmGu ann@example"


@pytest.fixture
def golden(host, pool) -> Template:
    draft = documents.of_image(
        OsPreset.objects.get(name="debian12"), size=2 * GIB, firmware="uefi", cpus=2, memory=GIB
    )
    return Template.objects.create(
        host=host, pool=pool, name="golden", document=draft.document, disks=draft.disks, state="ready",
        is_published=True,
        cloud_init_kind="cloud-init", login="debian", preset=OsPreset.objects.get(name="debian12"),
    )  # fmt: skip


@pytest.fixture
def image(pool) -> Image:
    return Image.objects.create(pool=pool, name="debian", os="debian12", size=2 * GIB, state="ready")


def filled(user, **more) -> dict:
    """What a browser would send of the form as it begins."""
    form = DeployForm(user=user)
    data = {name: form.get_initial_for_field(field, name) for name, field in form.fields.items()}
    return {key: getattr(value, "pk", value) for key, value in data.items() if value is not None} | more


def caller(user, scope="full"):
    _, secret = ApiToken.objects.issue(user, "t", scope, None)
    return {"HTTP_AUTHORIZATION": f"Bearer {secret}", "content_type": "application/json"}


# Deploying.


def test_the_form_begins_with_what_the_template_has(golden, switch, operator, as_user):
    SshKey.objects.create(user=operator, name="laptop", text=KEY, fingerprint="SHA256:x")
    data = filled(operator)
    found = {key: data[key] for key in ("template", "name", "cpus", "memory", "disk_size", "user", "switch")}
    assert found == {
        "template": golden.pk, "name": "golden-1", "cpus": 2, "memory": "1G", "disk_size": "2G", "user": "debian",
        "switch": switch.pk,
    }  # fmt: skip
    page = as_user(operator).get("/vms/deploy/").content.decode()
    assert "laptop" in page
    assert "golden v1" in page


def test_a_new_vm_begins_with_the_templates_where_there_are_any(golden, operator, as_user):
    browser = as_user(operator)
    assert browser.get("/vms/_new/").url == "/vms/deploy/"
    golden.delete()
    assert browser.get("/vms/_new/").url == "/vms/new/"


def test_a_deployment_has_row_task_seed_and_audit(golden, switch, operator, as_user):
    key = SshKey.objects.create(user=operator, name="laptop", text=KEY, fingerprint="SHA256:x")
    data = filled(
        operator, name="web1", memory="512M", keys=[key.pk], password="secret word", address="10.77.0.9/24",
        gateway="10.77.0.1", nameservers="1.1.1.1, 9.9.9.9", packages="htop", script="#!/bin/sh\necho hi", tags="web",
    )  # fmt: skip
    answer = as_user(operator).post("/vms/deploy/", data)
    assert answer.status_code == 302, answer.context["form"].errors
    assert answer["Location"] == "/vms/web1/"
    vm = VM.objects.get()
    told = vm.cloud_init
    assert (vm.template, vm.memory, vm.owner, vm.state) == (golden, GIB // 2, operator, "creating")
    assert (told["kind"], told["user"], told["ssh_keys"], told["packages"]) == (
        "cloud-init",
        "debian",
        [KEY],
        ["htop"],
    )
    assert told["networks"] == [
        {
            "nic": 0,
            "addresses": ["10.77.0.9/24"],
            "gateway4": "10.77.0.1",
            "gateway6": "",
            "nameservers": ["1.1.1.1", "9.9.9.9"],
        }
    ]
    assert is_hash(told["password_hash"])
    task = Task.objects.get()
    assert (task.operation, task.params) == ("vms.deploy", {"vm_id": vm.pk, "start": True})
    everything = json.dumps(
        [*Task.objects.values("params"), *AuditEntry.objects.values("detail")], default=str
    )
    assert "secret word" not in everything
    assert told["password_hash"] not in everything
    assert AuditEntry.objects.filter(action="vms.deploy", object="vm web1").exists()


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": "web1"}, "name"), ({"name": "Web"}, "name"), ({"name": "deploy"}, "name"),
        ({"name": "a{1..}"}, "name"),
        ({"name": "lost"}, "name"), ({"count": "0"}, "count"), ({"count": "201"}, "count"), ({"cpus": "999"}, "cpus"),
        ({"memory": "9T"}, "memory"), ({"memory": "1M"}, "memory"), ({"memory": "x"}, "memory"),
        ({"disk_size": "1G"}, "disk_size"), ({"disk_size": "900G"}, "disk_size"), ({"disk_size": "3000001K"},
        "disk_size"),
        ({"mac": "x"}, "mac"), ({"mac": "58:9c:fc:00:00:01"}, "mac"), ({"mac": "58:9c:fc:00:00:77",
        "count": "2"}, "mac"),
        ({"address": "10.0.0.1"}, "address"), ({"address": "10.77.0.9/24", "switch": ""}, "switch"),
        ({"gateway": "10.77.0.1"}, "address"), ({"gateway": "x"}, "gateway"), ({"ssh_keys": "nonsense"}, "ssh_keys"),
        ({"user": "root"}, "user"), ({"user_data": "\x00"}, "user_data"), ({"script": "echo"}, "script"),
        ({"template": "999"}, "template"), ({"address": "10.77.0.254/24", "count": "3"}, "address"),
        ({"address": "10.77.0.9/24", "gateway": "10.99.0.1"}, "gateway"), ({"tags": "A B"}, "tags"),
        ({"packages": "a b;c"}, "packages"),
    ],
)  # fmt: skip
def test_what_is_wrong_stands_beside_its_field(golden, switch, vm, operator, wrong, field):
    Dataset.objects.create(pool=golden.pool, name="tank/bhype/vms/lost", kind="filesystem")
    form = DeployForm(filled(operator, name="fresh") | wrong, user=operator)
    assert not form.is_valid() or form.save() is None
    assert list(form.errors) == [field], form.errors
    assert VM.objects.count() == 1
    assert not Task.objects.exists()


def test_many_that_are_all_refused_leave_the_form_as_it_was_filled_in(golden, switch, operator, as_user):
    data = filled(operator, name="fresh{1..3}", script="touch /root/x", notes="kept")
    answer = as_user(operator).post("/vms/deploy/", data)
    form = answer.context["form"]
    assert (answer.status_code, list(form.errors), len(form.errors["script"])) == (422, ["script"], 1)
    assert "kept" in answer.content.decode()
    assert not VM.objects.exists()


def test_many_have_names_and_addresses_in_a_row(golden, switch, operator, as_user):
    data = filled(operator, name="web{08..10}", address="10.77.0.20/24", start="")
    answer = as_user(operator).post("/vms/deploy/", data)
    assert answer.status_code == 302, answer.context["form"].errors
    rows = VM.objects.order_by("name")
    assert [(vm.name, vm.cloud_init["networks"][0]["addresses"]) for vm in rows] == [
        ("web08", ["10.77.0.20/24"]), ("web09", ["10.77.0.21/24"]), ("web10", ["10.77.0.22/24"]),
    ]  # fmt: skip
    page = as_user(operator).get(answer["Location"]).content.decode()
    assert all(name in page for name in ("web08", "web09", "web10", "0 of 3 done"))
    Task.objects.filter(subject=rows[0].subject).update(status="failed", error="The pool is full.")
    Task.objects.filter(subject=rows[1].subject).update(status="succeeded")
    page = as_user(operator).get(answer["Location"], HTTP_HX_TARGET="batch").content.decode()
    assert ("2 of 3 done" in page, "1 failed" in page, "The pool is full." in page) == (True, True, True)


def test_who_may_not_create_sees_none_of_it(golden, viewer, stranger, operator, as_user):
    for path in ("deploy/", "_templates/", f"_templates/{golden.pk}/"):
        assert as_user(operator).get(f"/vms/{path}").status_code == 200, path
        for user in (viewer, stranger):
            assert as_user(user).get(f"/vms/{path}").status_code == 404, path
    Template.objects.update(is_published=False)
    assert as_user(operator).get(f"/vms/_templates/{golden.pk}/").status_code == 404
    assert "golden" not in as_user(operator).get("/vms/deploy/").content.decode()
    form = DeployForm({"template": golden.pk, "name": "x"}, user=operator)
    assert "template" in form.errors


def test_who_has_no_template_is_told_what_they_are(host, operator, as_user):
    assert "no template yet" in as_user(operator).get("/vms/deploy/").content.decode()


def test_choosing_another_template_keeps_what_is_ones_own(golden, switch, operator, as_user):
    Template.objects.create(
        host=golden.host, pool=golden.pool, name="big", document={**golden.document, "mem": "8192M"},
        disks=golden.disks,
        state="ready", is_published=True,
    )  # fmt: skip
    big = Template.objects.get(name="big")
    query = {"template": big.pk, "name": "mine", "memory": "1G", "notes": "\0"}
    page = as_user(operator).get("/vms/deploy/", query).content.decode()
    assert ('value="mine"' in page, 'value="8G"' in page, f'value="{big.pk}" selected' in page) == (
        True,
        True,
        True,
    )


# Templates.


def test_a_template_is_made_published_changed_and_deleted(image, admin, as_user):
    client = as_user(admin)
    assert "debian" in client.get("/vms/_templates/new/").content.decode()
    data = {"image": image.pk, "name": "debian", "size": "8G", "notes": "ours"}
    assert client.post("/vms/_templates/new/", data | {"size": "1G"}).status_code == 422
    assert client.post("/vms/_templates/new/", data | {"name": "No"}).status_code == 422
    assert client.post("/vms/_templates/new/", data).status_code == 302
    row = Template.objects.get()
    assert (row.state, row.preset.name, row.disks, row.is_published) == (
        "making",
        "debian12",
        [{"size": 8 * GIB}],
        False,
    )
    Template.objects.update(state="ready")
    page = f"/vms/_templates/{row.pk}/"
    assert client.post(f"{page}publish/", {"do": "publish"}).status_code == 302
    assert client.post(f"{page}publish/", {"do": "x"}).status_code == 400
    assert (
        client.post(
            f"{page}change/", {"cpus": 4, "memory": "3G", "login": "ann", "is_published": "on"}
        ).status_code
        == 302
    )
    row.refresh_from_db()
    assert (row.document["cpu"]["cores"], row.document["mem"], row.login, row.is_published) == (
        4,
        "3072M",
        "ann",
        True,
    )
    assert client.post(f"{page}change/", {"cpus": 4, "memory": "1M"}).status_code == 422
    assert client.post(f"{page}delete/").status_code == 302
    assert [task.operation for task in Task.objects.order_by("pk")] == [
        "vms.make_template_from_image",
        "vms.delete_template",
    ]


def test_only_admins_change_templates(golden, vm, alice, operator, as_user):
    VM.objects.update(owner=operator)
    for path in (
        f"_templates/{golden.pk}/publish/",
        f"_templates/{golden.pk}/delete/",
        "_templates/new/",
        "web1/template/",
    ):
        assert as_user(operator).post(f"/vms/{path}", {"do": "hide", "name": "x"}).status_code == 404, path
    golden.refresh_from_db()
    assert golden.is_published


def test_its_page_tells_who_lives_on_it_and_hides_what_is_not_ones_own(golden, vm, admin, operator, as_user):
    Dataset.objects.create(
        pool=golden.pool,
        name="tank/bhype/vms/web1/disk0",
        kind="volume",
        origin=f"{golden.dataset}/disk0@base",
    )
    page = f"/vms/_templates/{golden.pk}/"
    assert "web1" in as_user(admin).get(page).content.decode()
    VM.objects.update(owner=None)
    assert "web1" in as_user(operator).get(page).content.decode()
    assert ">1</td>" in as_user(operator).get("/vms/_templates/").content.decode()


# API.


def test_the_api_deploys_one_and_many(golden, switch, operator, client):
    headers = caller(operator)
    body = {
        "template": "golden",
        "name": "web1",
        "memory": "512M",
        "user": "ann",
        "ssh_keys": [KEY],
        "start": False,
    }
    answer = client.post("/api/v1/vms/deploy", json.dumps(body), **headers)
    assert (answer.status_code, answer.json()["key"]) == (202, ""), answer.content
    vm = VM.objects.get()
    assert (vm.memory, vm.cpus, vm.cloud_init["user"], vm.nics.get().switch) == (GIB // 2, 2, "ann", switch)
    many = {"template": "golden:1", "name": "n", "count": 2, "switch": None}
    found = client.post("/api/v1/vms/deploy", json.dumps(many), **headers).json()
    assert [item["name"] for item in found["items"]] == ["n1", "n2"]
    assert not VM.objects.get(name="n1").nics.exists()
    tasks = client.get(f"/api/v1/vms/deploy/{found['key']}", **headers).json()
    assert [task["title"] for task in tasks] == ["Deploy n1", "Deploy n2"]
    for wrong, field in (
        ({"template": "none"}, "template"), ({"name": "web1"}, "name"), ({"switch": "x"}, "switch"),
        ({"owner": "admin"}, "owner"),
        ({"memory": "1"}, "memory"), ({"ssh_keys": ["x"]}, "ssh_keys"), ({"snippets": [99]}, "snippets"),
        ({"x": 1}, "x"),
    ):  # fmt: skip
        answer = client.post("/api/v1/vms/deploy", json.dumps(body | {"name": "web9"} | wrong), **headers)
        assert (answer.status_code, answer.json().get("field")) == (422, field), (wrong, answer.content)


def test_the_api_makes_lists_changes_and_deletes_templates(image, vm, admin, operator, client):
    headers = caller(admin)
    for body in ({"name": "a", "image": "debian"}, {"name": "a", "vm": "web1"}):
        answer = client.post("/api/v1/templates", json.dumps(body), **headers)
        assert answer.status_code == 202, answer.content
    for wrong in (
        {"name": "a"},
        {"name": "a", "image": "x"},
        {"name": "A", "image": "debian"},
        {"name": "a", "vm": "x"},
    ):
        assert client.post("/api/v1/templates", json.dumps(wrong), **headers).status_code in {404, 422}, wrong
    rows = client.get("/api/v1/templates", **headers).json()
    assert [(row["name"], row["version"], row["made_from"]) for row in rows] == [
        ("a", 2, "VM web1"), ("a", 1, "image debian"),
    ]  # fmt: skip
    assert client.get("/api/v1/templates", **caller(operator)).json() == []
    path = f"/api/v1/templates/{rows[0]['id']}"
    changed = client.patch(path, json.dumps({"is_published": True, "memory": "3G"}), **headers).json()
    assert (changed["is_published"], changed["memory"], changed["cpus"]) == (True, 3 * GIB, 2)
    assert client.patch(path, json.dumps({"memory": "x"}), **headers).status_code == 422
    assert (
        client.patch(path, json.dumps({"user_data": "no header"}), **headers).json()["field"] == "user_data"
    )
    assert client.patch(path, json.dumps({"user_data": "#cloud-config\n{}\n"}), **headers).status_code == 200
    assert Template.objects.get(pk=rows[0]["id"]).cloud_init == {"user_data": "#cloud-config\n{}\n"}
    assert client.delete(path, **headers).status_code == 202
    assert client.delete(path, **caller(operator)).status_code == 404


def test_the_api_has_presets(host, admin, operator, client):
    headers = caller(admin)
    assert len(client.get("/api/v1/presets", **caller(operator)).json()) > 20
    body = {"title": "Own", "document": {"emulations": [{"device": "nvme"}]}, "memory": GIB}
    assert client.put("/api/v1/presets/own", json.dumps(body), **headers).json()["memory"] == GIB
    assert client.put("/api/v1/presets/own", json.dumps(body), **caller(operator)).status_code == 404
    assert client.put("/api/v1/presets/debian12", json.dumps(body), **headers).json()["is_own"] is True
    assert client.delete("/api/v1/presets/debian12", **headers).json() == {"removed": False}
    assert client.delete("/api/v1/presets/own", **headers).json() == {"removed": True}
    assert client.delete("/api/v1/presets/own", **headers).status_code == 404


# A new identity.


@pytest.fixture
def whole(ready, admin) -> VM:
    """A stopped VM on the lab with a seed."""
    from vms.forms import VMForm

    switch = VMForm(user=admin).fields["switch"].queryset.get()
    made, _ = new_vm(admin, switch=str(switch.pk))
    VM.objects.update(cloud_init={"kind": "cloud-init", "user": "ann", "hostname": "web1"})
    for task in ready.run_tasks():
        assert task.status == "succeeded", task.error
    return VM.objects.get(pk=made.pk)


def identity_of(vm: VM) -> tuple:
    return vm.name, vm.vnc_password, vm.nics.get().mac, vm.cloud_init_generation


def test_a_vm_gets_a_new_identity(ready, whole, admin, as_user):
    before = identity_of(whole)
    assert as_user(admin).get("/vms/web1/identity/").status_code == 200
    data = {
        "name": "web2",
        "macs": "on",
        "screen": "on",
        "address": "10.77.0.5/24",
        "password": "secret word",
        "ssh_keys": KEY,
    }
    assert as_user(admin).post("/vms/web1/identity/", data).status_code == 302
    (task,) = ready.run_tasks()
    assert task.status == "succeeded", task.error
    vm = VM.objects.get(pk=whole.pk)
    assert not set(before) & set(identity_of(vm))
    assert (vm.uuid, vm.cloud_init_generation) == (whole.uuid, 2)
    assert (vm.cloud_init["ssh_keys"], "hostname" in vm.cloud_init) == ([KEY], False)
    folder = ready.root / "tank/bhype/vms/web2"
    document = json.loads((folder / "vm.json").read_text())
    assert (document["name"], document["graphic"]["password"]) == ("web2", vm.vnc_password)
    seed = (folder / "seed.iso").read_bytes()
    assert f"{vm.uuid}-2".encode() in seed
    assert vm.nics.get().mac.encode() in seed
    assert b"10.77.0.5/24" in seed
    assert "secret word" not in json.dumps([*Task.objects.values("params"), *task.lines.values("text")])


def test_what_is_not_chosen_stays(ready, whole, admin, as_user, client):
    before = identity_of(whole)
    answer = client.post(
        "/api/v1/vms/web1/identity", json.dumps({"macs": False, "screen": False}), **caller(admin)
    )
    assert answer.status_code == 202, answer.content
    assert [task.status for task in ready.run_tasks()] == ["succeeded"]
    assert identity_of(VM.objects.get()) == (*before[:3], 2)


def test_a_vm_that_is_on_keeps_its_identity(ready, whole, admin, as_user, client):
    VM.objects.update(state="running")
    assert as_user(admin).post("/vms/web1/identity/", {"macs": "on"}).status_code == 422
    assert client.post("/api/v1/vms/web1/identity", "{}", **caller(admin)).status_code == 409
    VM.objects.update(state="stopped", cloud_init={})
    answer = client.post("/api/v1/vms/web1/identity", json.dumps({"password": "x"}), **caller(admin))
    assert (answer.status_code, answer.json()["field"]) == (422, "password")
    for wrong in ({"name": "Web"}, {"name": "web1"}):
        assert as_user(admin).post("/vms/web1/identity/", wrong).status_code == 422
    assert identity_of(VM.objects.get()) == identity_of(whole)


def test_a_kill_on_the_way_leaves_a_whole_vm(ready, whole, admin, as_user, monkeypatch):
    for number in (4, 8):
        VM.objects.update(state="stopped")
        old, new = VM.objects.get().name, f"web{number}"
        as_user(admin).post(f"/vms/{old}/identity/", {"name": new, "macs": "on"})
        with monkeypatch.context() as patch, pytest.raises(Killed):
            die_at(patch, number)
            ready.run_tasks()
        ready.interrupt()
        assert {task.status for task in ready.run_tasks()} == {"succeeded"}
        vm = VM.objects.get()
        document = json.loads((ready.root / vm.dataset / "vm.json").read_text())
        assert (document["name"], vm.dataset in ready.datasets()) == (vm.name, True)
        assert vm.nics.get().mac in json.dumps(document)
