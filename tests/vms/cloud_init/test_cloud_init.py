"""What cloud-init tells the guest of a VM: stored, written beside its disks, taken out, and shown without secrets."""

from __future__ import annotations

import hashlib
import json

import pytest

from bhype import cloudinit
from bhype.accounts.models import AuditEntry, SshKey
from bhype.tasks.models import Task, TaskLine
from tests.cloudinit.examples import HASH, key
from vms import plan, wanted
from vms.cloud_init import changes, seeds
from vms.forms import VMForm
from vms.models import VM, Device, Snippet

VALUES = {"user": "alice", "password_hash": HASH, "ssh_keys": [key()], "networks": [{"nic": 0, "dhcp": True}]}


@pytest.fixture
def made(ready, admin) -> VM:
    """A VM that is off, on the lab's host."""
    switch = VMForm(user=admin).fields["switch"].queryset.get()
    form = VMForm(
        {
            "name": "web1",
            "cpus": "1",
            "memory": "128M",
            "disk_size": "4M",
            "switch": switch.pk,
            "has_serial": "on",
        },
        user=admin,
    )
    assert form.is_valid(), form.errors
    form.save(admin)
    run(ready)
    return wanted.load(VM.objects.get().pk)


def run(lab) -> None:
    for task in lab.run_tasks():
        assert task.status == "succeeded", task.error


def seed_of(lab, vm):
    return lab.root / plan.seed_path(vm).lstrip("/")


def entry_of(vm: VM) -> dict:
    """The seed in the VM's document; {} without one."""
    return next((each for each in plan.document(wanted.load(vm.pk))["emulations"] if plan.is_seed(each)), {})


# On the host.


def test_the_seed_lies_beside_the_disks_for_root_alone(ready, made, admin):
    changes.save(made, VALUES, admin)
    run(ready)
    path = seed_of(ready, made)
    assert path.stat().st_mode & 0o777 == 0o600
    vm = wanted.load(made.pk)
    assert path.read_bytes() == seeds.image(vm)
    written = json.loads((path.parent / "vm.json").read_text())
    assert entry_of(vm) in written["emulations"]
    assert entry_of(vm) == {"device": "virtio-blk", "slot": "0:30:0", "path": plan.seed_path(vm), "ro": True}


def test_no_secret_is_in_tasks_logs_or_the_audit(ready, made, admin, as_user):
    page = as_user(admin).post(
        "/vms/web1/cloud-init/edit/",
        {"kind": "cloud-init", "user": "alice", "password": "hunter2!", "revision": made.revision},
    )
    assert page.status_code == 302, page.content.decode()
    run(ready)
    stored = VM.objects.get().cloud_init["password_hash"]
    assert stored.startswith("$6$")
    told = [
        *Task.objects.values_list("params", "result", "title", "error"),
        *TaskLine.objects.values_list("text"),
    ]
    told += AuditEntry.objects.values_list("detail", "object")
    assert "hunter2!" not in str(told) and stored not in str(told)
    assert AuditEntry.objects.filter(action="vms.cloud_init", object="vm web1").exists()


def test_the_same_settings_do_not_write_it_again(ready, made, admin):
    vm, _ = changes.save(made, VALUES, admin)
    run(ready)
    before = seed_of(ready, made).stat().st_ino
    assert changes.save(vm, VALUES, admin)[1] is None
    seeds.write(ready.host, wanted.load(made.pk))
    assert seed_of(ready, made).stat().st_ino == before


def test_changed_settings_and_a_changed_address_reach_the_seed(ready, made, admin):
    vm, _ = changes.save(made, VALUES, admin)
    run(ready)
    before = hashlib.sha256(seed_of(ready, made).read_bytes()).digest()
    document = plan.document(wanted.load(vm.pk))
    next(each for each in document["emulations"] if "mac" in each)["mac"] = "58:9c:fc:aa:bb:cc"
    wanted.save(vm, document, admin)
    run(ready)
    data = seed_of(ready, made).read_bytes()
    assert b"58:9c:fc:aa:bb:cc" in data and hashlib.sha256(data).digest() != before


def test_a_file_that_somebody_has_opened_up_is_closed_again(ready, made, admin):
    vm, _ = changes.save(made, VALUES, admin)
    run(ready)
    seed_of(ready, made).chmod(0o644)
    seeds.write(ready.host, wanted.load(vm.pk))
    assert seed_of(ready, made).stat().st_mode & 0o777 == 0o600


def test_settings_that_go_take_the_file_along(ready, made, admin):
    vm, _ = changes.save(made, VALUES, admin)
    run(ready)
    changes.save(vm, {}, admin)
    run(ready)
    assert not seed_of(ready, made).exists() and not entry_of(made) and wanted.load(vm.pk).cloud_init == {}


def test_rows_that_are_not_right_are_refused_by_the_worker(ready, made):
    VM.objects.update(cloud_init={"user": "root; rm -rf /"})
    with pytest.raises(Exception, match="not right"):
        seeds.write(ready.host, wanted.load(made.pk))
    assert not seed_of(ready, made).exists()


def test_it_is_taken_out_at_the_start_after_the_guest_has_said_so(ready, made, admin):
    vm, _ = changes.save(made, {**VALUES, "eject": True}, admin)
    run(ready)
    seeds.settle(ready.host, wanted.load(vm.pk))
    assert entry_of(vm), "the guest has not said anything yet"
    log = ready.root / "var/run/bhype/vms/web1/serial1.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(f"[ 12.0] cloud-init: {cloudinit.applied_text(plan.instance_id(vm))}\n")
    seeds.settle(ready.host, wanted.load(vm.pk))
    assert not entry_of(vm) and not seed_of(ready, made).exists()
    # Told again as a new one, it is there again: what was said was about the old one.
    changes.put_back(wanted.load(vm.pk), admin, again=True)
    run(ready)
    seeds.settle(ready.host, wanted.load(vm.pk))
    assert entry_of(vm)["slot"] == "0:30:0" and seed_of(ready, made).exists()


# As a device.


def test_no_other_device_moves(ready, made, admin):
    before = {each["slot"]: each["device"] for each in plan.document(made)["emulations"]}
    changes.save(made, VALUES, admin)
    after = {each["slot"]: each["device"] for each in plan.document(wanted.load(made.pk))["emulations"]}
    assert before.items() <= after.items() and set(after) - set(before) == {"0:30:0"}


def test_it_takes_another_slot_where_its_own_is_taken(vm, admin):
    Device.objects.create(vm=vm, kind="virtio-rnd", slot="0:30:0")
    vm, _ = changes.save(vm, VALUES, admin)
    assert entry_of(vm)["slot"] != "0:30:0"


def test_unplugging_it_in_the_hardware_takes_it_out(vm, admin):
    vm, _ = changes.save(vm, VALUES, admin)
    document = plan.document(wanted.load(vm.pk))
    document["emulations"] = [each for each in document["emulations"] if not plan.is_seed(each)]
    wanted.apply(vm, document, admin)
    assert not plan.has_seed(wanted.load(vm.pk)) and wanted.load(vm.pk).cloud_init["user"] == "alice"
    assert wanted.load(vm.pk).disks.count() == 1


def test_it_may_become_a_cd_and_move(vm, admin):
    vm, _ = changes.save(vm, VALUES, admin)
    document = plan.document(wanted.load(vm.pk))
    entry = next(each for each in document["emulations"] if plan.is_seed(each))
    entry.clear()
    entry |= {"device": "ahci-cd", "slot": "0:7:0", "path": plan.seed_path(vm)}
    wanted.apply(vm, document, admin)
    assert entry_of(vm) == {"device": "ahci-cd", "slot": "0:7:0", "path": plan.seed_path(vm)}
    assert wanted.load(vm.pk).devices.count() == 0


def test_it_is_never_writable_and_never_another_vms(vm, admin):
    vm, _ = changes.save(vm, VALUES, admin)
    for change in ({"ro": False}, {"path": "/tank/bhype/vms/other/seed.iso"}):
        document = plan.document(wanted.load(vm.pk))
        next(each for each in document["emulations"] if plan.is_seed(each)).update(change)
        with pytest.raises(wanted.WantedError):
            wanted.apply(vm, document, admin)


def test_a_vm_without_settings_has_no_seed_to_plug_in(vm, admin):
    document = plan.document(wanted.load(vm.pk))
    document["emulations"].append({"device": "virtio-blk", "path": plan.seed_path(vm), "ro": True})
    with pytest.raises(wanted.WantedError, match="no settings for cloud-init"):
        wanted.apply(vm, document, admin)


def test_a_copy_of_the_document_is_without_it(vm, admin, pool, host):
    vm, _ = changes.save(vm, VALUES, admin)
    document = plan.document(wanted.load(vm.pk)) | {"name": "web2"}
    document["emulations"] = [each for each in document["emulations"] if plan.is_seed(each)]
    other = VM(host=host, pool=pool, owner=admin, name="web2")
    change = wanted.apply(other, document, admin, create=True)
    assert not any(plan.is_seed(each) for each in change.after["emulations"])


# Pages.


@pytest.fixture
def told(vm, admin) -> VM:
    return changes.save(vm, {**VALUES, "scripts": ["#!/bin/sh\necho topsecret\n"]}, admin)[0]


def test_the_tab_shows_the_documents_without_the_password(told, as_user, alice, viewer):
    mine = as_user(alice).get("/vms/web1/cloud-init/").content.decode()
    assert "user-data" in mine and "alice" in mine and HASH not in mine and "topsecret" in mine
    theirs = as_user(viewer).get("/vms/web1/cloud-init/").content.decode()
    assert "user-data" in theirs and "topsecret" not in theirs and HASH not in theirs


def test_the_seed_is_for_those_who_may_change_the_vm(told, as_user, alice, viewer, stranger):
    page = as_user(alice).get("/vms/web1/cloud-init/seed.iso")
    assert page.status_code == 200 and page.content == seeds.image(wanted.load(told.pk))
    for other in (viewer, stranger):
        assert as_user(other).get("/vms/web1/cloud-init/seed.iso").status_code == 404


def test_an_empty_form_offers_the_keys_of_the_profile(vm, as_user, alice):
    SshKey.objects.create(user=alice, name="desk", text=key(), fingerprint="SHA256:x")
    page = as_user(alice).get("/vms/web1/cloud-init/edit/").content.decode()
    assert "desk" in page and "checked" in page
    answer = as_user(alice).post(
        "/vms/web1/cloud-init/edit/",
        {
            "kind": "cloud-init",
            "user": "alice",
            "profile_keys": [alice.ssh_keys.get().pk],
            "revision": vm.revision,
        },
    )
    assert answer.status_code == 302
    assert VM.objects.get().cloud_init["ssh_keys"] == [key()]


def post(client, vm, **values):
    vm.refresh_from_db()
    return client.post(
        "/vms/web1/cloud-init/edit/", {"kind": "cloud-init", "revision": vm.revision, **values}
    )


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"user": "root"}, "id_user"), ({"ssh_keys": "nonsense"}, "id_ssh_keys"), ({"hostname": "a_b"}, "id_hostname"),
        ({"user_data": "packages: [a]"}, "id_user_data"), ({"script0": "echo"}, "id_script0"),
        ({"net0_mode": "static", "net0_addresses": "10.0.0.5"}, "id_net0_addresses"),
        ({"net0_mode": "static", "net0_addresses": "10.0.0.5/24", "net0_gateways": "10.0.1.1"}, "id_net0_gateways"),
        ({"net0_mode": "dhcp", "net0_nameservers": "x"}, "id_net0_nameservers"), ({"packages": "-y"}, "id_packages"),
        ({"installer": "preseed"}, "id_user"), ({"timezone": "x y"}, "id_timezone"),
        ({"installer": "autounattend", "user": "alice", "password": "secret"}, "id_password"),
    ],
)  # fmt: skip
def test_a_mistake_stands_beside_its_field(vm, as_user, alice, values, field):
    page = post(as_user(alice), vm, **values)
    assert page.status_code == 422 and f'id="{field}_error"' in page.content.decode()
    vm.refresh_from_db()
    assert vm.cloud_init == {} and not Task.objects.exists()


def test_fixed_addresses_scripts_and_user_data_are_stored(vm, as_user, alice):
    page = post(
        as_user(alice), vm, net0_mode="static", net0_addresses="10.0.0.5/24 fd00::5/64",
        net0_gateways="10.0.0.1, fe80::1",
        net0_nameservers="1.1.1.1", script0="#!/bin/sh\r\necho a\r\n", script1="#!/bin/sh\necho b\n",
        user_data="#cloud-config\nruncmd: [a]\n", packages="vim, curl",
    )  # fmt: skip
    assert page.status_code == 302, page.content.decode()
    vm.refresh_from_db()
    assert vm.cloud_init["networks"] == [
        {"nic": 0, "dhcp": False, "addresses": ["10.0.0.5/24", "fd00::5/64"], "gateway4": "10.0.0.1",
         "gateway6": "fe80::1",
         "nameservers": ["1.1.1.1"]}
    ]  # fmt: skip
    assert vm.cloud_init["scripts"] == ["#!/bin/sh\necho a\n", "#!/bin/sh\necho b\n"]
    assert vm.cloud_init["packages"] == ["vim", "curl"]
    page = as_user(alice).get("/vms/web1/cloud-init/edit/").content.decode()
    assert "10.0.0.5/24 fd00::5/64" in page and 'name="script2"' in page


def test_a_password_stays_until_it_is_changed_or_taken_away(told, as_user, alice):
    client = as_user(alice)
    assert post(client, told, user="alice").status_code == 302
    assert VM.objects.get().cloud_init["password_hash"] == HASH
    assert post(client, told, user="alice", no_password="on").status_code == 302
    assert "password_hash" not in VM.objects.get().cloud_init


def test_a_stale_form_changes_nothing(told, as_user, alice):
    page = as_user(alice).post(
        "/vms/web1/cloud-init/edit/", {"kind": "cloud-init", "user": "bob", "revision": 1}
    )
    assert page.status_code == 422 and VM.objects.get().cloud_init["user"] == "alice"


def test_telling_the_guest_again_gives_it_a_new_identity(told, as_user, alice):
    before = plan.instance_id(told)
    as_user(alice).post("/vms/web1/cloud-init/action/", {"action": "again"})
    told.refresh_from_db()
    assert plan.instance_id(told) != before and told.cloud_init_generation == 2


def test_taking_out_and_putting_back(told, as_user, alice):
    client = as_user(alice)
    client.post("/vms/web1/cloud-init/action/", {"action": "eject"})
    assert not plan.has_seed(VM.objects.get())
    assert "Taken out" in client.get("/vms/web1/cloud-init/").content.decode()
    Task.objects.all().delete()
    client.post("/vms/web1/cloud-init/action/", {"action": "insert"})
    assert plan.has_seed(VM.objects.get())
    assert client.post("/vms/web1/cloud-init/action/", {"action": "explode"}).status_code == 404


def test_a_snippet_of_somebody_else_can_not_be_taken(vm, as_user, alice, stranger):
    secret = Snippet.objects.create(owner=stranger, name="mine", text="#cloud-config\nruncmd: [topsecret]\n")
    assert post(as_user(alice), vm, snippets=[secret.pk]).status_code == 422
    with pytest.raises(cloudinit.Invalid, match="no snippet"):
        changes.save(vm, {"snippets": [secret.pk]}, alice)
    Snippet.objects.update(is_shared=True)
    assert post(as_user(alice), vm, snippets=[secret.pk]).status_code == 302
    assert b"topsecret" in as_user(alice).get("/vms/web1/cloud-init/").content


def test_an_installer_gets_its_answers_on_a_cd(vm, as_user, alice):
    page = post(as_user(alice), vm, installer="kickstart", user="alice", password="secret")
    assert page.status_code == 302, page.content.decode()
    found = wanted.load(vm.pk)
    assert entry_of(found)["device"] == "ahci-cd" and seeds.medium(found)[0] == "OEMDRV"
    page = as_user(alice).get("/vms/web1/cloud-init/").content.decode()
    assert "ks.cfg" in page and "Anaconda" in page and found.cloud_init["password_hash"] not in page


def test_windows_is_told_to_ask_for_a_password(vm, as_user, alice):
    assert post(as_user(alice), vm, installer="autounattend", user="alice").status_code == 302
    page = as_user(alice).get("/vms/web1/cloud-init/").content.decode()
    assert "it is asked for at the first sign-in" in page
    said = {"settings": {"user": "alice", "installer": "autounattend"}, "password": "x"}
    answer = api(as_user(alice), "PUT", "/vms/web1/cloud-init", said)
    assert (answer.status_code, answer.json()["field"]) == (422, "password")
    assert "takes no hash" in answer.json()["message"]


# The API.


def api(client, method: str, path: str, body: object = None):
    return client.generic(
        method, f"/api/v1{path}", json.dumps(body) if body is not None else "", "application/json"
    )


def test_the_api_does_the_same(vm, as_user, alice, viewer):
    client = as_user(alice)
    answer = api(
        client,
        "PUT",
        "/vms/web1/cloud-init",
        {"settings": {"user": "alice", "ssh_keys": [key()]}, "password": "x"},
    )
    assert answer.status_code == 200, answer.content
    found = answer.json()
    assert (
        found["settings"]["user"] == "alice" and found["has_password"] and found["has_seed"] and found["task"]
    )
    assert "password_hash" not in answer.content.decode() and "$6$" not in answer.content.decode()
    Task.objects.all().delete()
    assert api(client, "PUT", "/vms/web1/cloud-init", {"settings": {"user": "alice"}}).json()["has_password"]
    Task.objects.all().delete()
    assert api(client, "POST", "/vms/web1/cloud-init/eject").json()["has_seed"] is False
    assert api(client, "GET", "/vms/web1/seed.iso").status_code == 200
    assert api(as_user(viewer), "GET", "/vms/web1/cloud-init").status_code == 200
    assert api(as_user(viewer), "GET", "/vms/web1/seed.iso").status_code == 404
    Task.objects.all().delete()
    assert api(client, "PUT", "/vms/web1/cloud-init", {"settings": {}}).json()["settings"] == {}


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"user": "root"}, "settings.user"), ({"x": 1}, "settings.x"), ({"password_hash": HASH}, "settings"),
        ({"slot": "0:1:0"}, "settings"),
        ({"device": "nvme"}, "settings.device"),
        ({"snippets": [999]}, "settings.snippets"),
        ({"networks": [{"nic": 5, "dhcp": True}]}, "settings.networks"), ({"user_data": "x"}, "settings.user_data"),
    ],
)  # fmt: skip
def test_the_api_tells_what_is_wrong(vm, as_user, alice, values, field):
    answer = api(as_user(alice), "PUT", "/vms/web1/cloud-init", {"settings": values})
    assert answer.status_code == 422 and answer.json()["field"] == field, answer.content
