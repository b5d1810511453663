"""Encrypted VMs: made, locked, waiting after a start of the host, and going on when somebody gives the passphrase."""

from __future__ import annotations

import json

import pytest

from bhype.accounts.models import User
from bhype.hosts.observer import Observer
from bhype.tasks import ask
from bhype.tasks.models import Task
from storage.datasets import passphrases
from storage.models import Dataset
from tests.conftest import make_user
from tests.test_routes import snapshot
from vms.forms import VMForm
from vms.keys import locking
from vms.life import operations as life_operations
from vms.life import power, starting
from vms.models import VM

WORDS, OTHER = "the words of web1", "quite other words"


@pytest.fixture
def maker(db) -> User:
    return make_user("maker", "admin")


@pytest.fixture
def started(monkeypatch) -> list[str]:
    """No guest runs: which VMs were started."""
    found: list[str] = []
    monkeypatch.setattr(power, "supervise", lambda run, vm, target=None: found.append(vm.name))
    for module in (life_operations, starting):
        monkeypatch.setattr(module, "mark_seen", lambda run, vm: life_operations.mark(vm, "running"))
    return found


def made(ready, maker, name: str = "web1", **data: object) -> VM:
    words = {"passphrase": WORDS, "again": WORDS}
    form = VMForm(
        {"name": name, "cpus": "1", "memory": "64M", "disk_size": ["4M"], **words, **data}, user=maker
    )
    assert form.is_valid(), form.errors
    vm, _ = form.save(maker)
    (task,) = ready.run_tasks()
    assert task.status == "succeeded", task.error
    ready.sweep()
    return VM.objects.get(pk=vm.pk)


def run(ready, operation: str, vm: VM, **params) -> Task:
    for name in ("secret", "new_secret"):
        if name in params:
            params[name] = passphrases.seal(params[name])
    task = ask(operation, {"vm_id": vm.pk, **params}, None)
    ready.run_tasks()
    task.refresh_from_db()
    vm.refresh_from_db()
    return task


def reboot(ready, vm: VM) -> None:
    """The host's memory is gone, and with it the keys."""
    ready.commands("/sbin/zfs", "unmount", vm.dataset)
    ready.commands("/sbin/zfs", "unload-key", vm.dataset)
    observer = Observer(ready.host)
    for _ in range(2):
        observer.sweep()
    vm.refresh_from_db()


def test_a_vm_is_made_encrypted_with_its_disks(ready, maker):
    vm = made(ready, maker)
    rows = Dataset.objects.filter(name__startswith=vm.dataset)
    assert {(row.encryption, row.encryption_root) for row in rows} == {("aes-256-gcm", vm.dataset)}
    assert rows.count() == 2 and vm.state == "stopped"
    assert locking.key_of(vm) == locking.Key("aes-256-gcm", vm.dataset, True, False, "prompt")
    assert json.loads((ready.root / vm.dataset / "vm.json").read_text())["name"] == "web1"
    everything = snapshot() + ready.commands("/sbin/zpool", "history", "tank")
    assert WORDS not in everything and "keyformat=passphrase" in everything


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ({"passphrase": "short", "again": "short"}, "passphrase"),
        ({"passphrase": WORDS, "again": OTHER}, "again"),
    ],
)
def test_a_bad_passphrase_makes_nothing(ready, maker, words, field):
    form = VMForm({"name": "web1", "cpus": "1", "memory": "64M", "disk_size": ["4M"], **words}, user=maker)
    assert not form.is_valid() and field in form.errors
    assert not VM.objects.exists()


def test_a_locked_vm_says_so_and_does_not_start(ready, maker, started):
    vm = made(ready, maker)
    assert run(ready, "vms.lock", vm).status == "succeeded"
    assert (vm.state, vm.reason) == ("locked", locking.REASON)
    Observer(ready.host).sweep()
    vm.refresh_from_db()
    assert vm.state == "locked"
    assert "web1 is locked" in run(ready, "vms.start", vm).error
    assert "web1 is locked" in run(ready, "vms.configure", vm).error
    # Nothing was written beside the dataset, in the clear.
    assert not (ready.root / vm.dataset / "vm.json").exists()
    assert not started and vm.state == "locked"
    assert run(ready, "vms.unlock", vm, secret=OTHER).error == "The passphrase is wrong."
    assert run(ready, "vms.unlock", vm, secret=WORDS).status == "succeeded"
    assert vm.state == "stopped" and not started
    assert run(ready, "vms.start", vm).status == "succeeded"
    assert started == ["web1"]


def test_after_a_start_of_the_host_it_waits_and_starts_when_it_is_unlocked(ready, maker, started):
    vm = made(ready, maker)
    other = made(ready, maker, "db", passphrase="", again="")
    reboot(ready, vm)
    assert vm.state == "locked"
    VM.objects.update(autostart=True)
    task = ask("vms.autostart", {}, None)
    ready.run_tasks()
    task.refresh_from_db()
    assert task.status == "succeeded" and started == [other.name]
    assert "it is locked" in task.result["started"]["web1"]
    row = Dataset.objects.get(name=vm.dataset)
    secret = passphrases.seal(WORDS)
    ask("storage.unlock", {"dataset_id": row.pk, "secret": secret, "start": True}, None)
    assert [task.status for task in ready.run_tasks()] == ["succeeded", "succeeded"]
    assert started == ["db", "web1"]


def test_the_host_is_asked_when_the_rows_are_of_yesterday(ready, maker, started):
    """After a start of the host nobody has looked yet."""
    vm = made(ready, maker)
    VM.objects.update(autostart=True)
    ready.commands("/sbin/zfs", "unmount", vm.dataset)
    ready.commands("/sbin/zfs", "unload-key", vm.dataset)
    ask("vms.autostart", {}, None)
    ready.run_tasks()
    vm.refresh_from_db()
    assert vm.state == "locked" and not started
    assert run(ready, "vms.unlock", vm, secret=WORDS, start=False).status == "succeeded"
    assert vm.state == "stopped" and not started


def test_it_is_not_locked_under_a_running_guest(ready, maker, monkeypatch):
    vm = made(ready, maker)
    monkeypatch.setattr(power, "is_on", lambda host, name: True)
    assert "Stop it first" in run(ready, "vms.lock", vm).error
    assert not Dataset.objects.get(name=vm.dataset).is_locked


def test_its_passphrase_changes_for_whoever_knows_it(ready, maker):
    vm = made(ready, maker)
    assert (
        run(ready, "vms.change_key", vm, secret=OTHER, new_secret=OTHER).error == "The passphrase is wrong."
    )
    assert run(ready, "vms.change_key", vm, secret=WORDS, new_secret=OTHER).status == "succeeded"
    run(ready, "vms.lock", vm)
    assert run(ready, "vms.unlock", vm, secret=WORDS).status == "failed"
    assert run(ready, "vms.unlock", vm, secret=OTHER).status == "succeeded"


def test_a_locked_vm_can_be_deleted(ready, maker):
    vm = made(ready, maker)
    run(ready, "vms.lock", vm)
    task = ask("vms.delete", {"vm_id": vm.pk}, maker)
    ready.run_tasks()
    task.refresh_from_db()
    assert task.status == "succeeded", task.error
    assert not VM.objects.exists() and ready.datasets() == set()


@pytest.mark.parametrize("nth", [1, 2])
def test_a_creation_that_broke_off_leaves_nothing(ready, maker, nth):
    ready.fault(command="zfs create", do="kill", nth=nth, when="after")
    words = {"passphrase": WORDS, "again": WORDS}
    form = VMForm({"name": "web1", "cpus": "1", "memory": "64M", "disk_size": ["4M"], **words}, user=maker)
    assert form.is_valid(), form.errors
    form.save(maker)
    ready.run_tasks()
    assert ready.datasets() == set() and not VM.objects.exists()


# Pages.


@pytest.fixture
def safe(vm, pool) -> VM:
    """The VM of alice, encrypted: rows only."""
    Dataset.objects.create(
        pool=pool, name=vm.dataset, kind="filesystem", bhype_id=str(vm.uuid), encryption="aes-256-gcm",
        encryption_root=vm.dataset, key_status="available", properties={"keylocation": ["prompt", "local"]},
    )  # fmt: skip
    return vm


def lock(vm: VM) -> None:
    Dataset.objects.filter(name=vm.dataset).update(key_status="unavailable")
    VM.objects.filter(pk=vm.pk).update(state="locked", reason=locking.REASON)


def last() -> tuple[str, set[str]]:
    task = Task.objects.latest("pk")
    return task.operation, set(task.params)


def test_list_page_and_start_say_that_it_is_locked(as_user, alice, safe):
    client = as_user(alice)
    assert "aes-256-gcm" in client.get("/vms/web1/").content.decode()
    lock(safe)
    assert locking.REASON in client.get("/vms/").content.decode()
    page = client.get("/vms/web1/").content.decode()
    assert "It is locked" in page and 'href="/vms/web1/key/"' in page
    assert "Unlock it first" in client.get("/vms/web1/start/").content.decode()
    assert "web1" in client.get("/vms/?state=locked").content.decode()


def test_a_passphrase_that_was_wrong_is_told_where_the_vm_waits(as_user, alice, safe):
    lock(safe)
    Task.objects.create(
        host="lab", operation="vms.unlock", title="Unlock web1", subject=safe.subject, user=alice, status="failed",
        error="The passphrase is not that of web1.",
    )  # fmt: skip
    page = as_user(alice).get("/vms/web1/").content.decode()
    assert "could not be unlocked: The passphrase is not that of web1." in page


def test_its_owner_unlocks_locks_and_changes_its_key(as_user, alice, viewer, stranger, safe):
    client = as_user(alice)
    assert "Another passphrase" in client.get("/vms/web1/key/").content.decode()
    words = {"old": WORDS, "passphrase": OTHER, "again": OTHER}
    assert client.post("/vms/web1/key/change/", words).status_code == 302
    assert last() == ("vms.change_key", {"vm_id", "secret", "new_secret"})
    assert client.post("/vms/web1/key/change/", words | {"again": WORDS}).status_code == 422
    assert client.post("/vms/web1/key/lock/").status_code == 302
    lock(safe)
    page = client.get("/vms/web1/key/").content.decode()
    assert 'type="password"' in page and "Another passphrase" not in page
    assert client.post("/vms/web1/key/unlock/", {"passphrase": "short"}).status_code == 422
    assert client.post("/vms/web1/key/unlock/", {"passphrase": WORDS, "start": "on"}).status_code == 302
    assert last() == ("vms.unlock", {"vm_id", "secret", "start"})
    assert "not unlock it" in as_user(viewer).get("/vms/web1/key/").content.decode()
    assert as_user(viewer).post("/vms/web1/key/unlock/", {"passphrase": WORDS}).status_code == 404
    assert as_user(stranger).get("/vms/web1/key/").status_code == 404
    assert WORDS not in snapshot() and OTHER not in snapshot()


def test_a_vm_that_is_not_encrypted_has_no_page_of_a_key(as_user, alice, vm):
    assert as_user(alice).get("/vms/web1/key/").status_code == 404


def test_the_api_locks_and_unlocks(as_user, alice, stranger, safe):
    client, address = as_user(alice), "/api/v1/vms/web1"
    assert client.get(f"{address}/key").json() == {
        "cipher": "aes-256-gcm", "root": safe.dataset, "is_own": True, "is_locked": False,
    }  # fmt: skip
    assert client.post(f"{address}/lock").status_code == 202

    def post(path: str, body: dict):
        return client.post(f"{address}/{path}", json.dumps(body), content_type="application/json")

    assert post("unlock", {"passphrase": WORDS}).status_code == 202
    assert post("key", {"passphrase": WORDS, "new_passphrase": OTHER}).status_code == 202
    assert last() == ("vms.change_key", {"vm_id", "secret", "new_secret"})
    answer = post("key", {"passphrase": WORDS, "new_passphrase": "short"})
    assert (answer.status_code, answer.json()["field"]) == (422, "new_passphrase")
    assert as_user(stranger).get(f"{address}/key").status_code == 404
    assert WORDS not in snapshot() and OTHER not in snapshot()


def test_the_api_makes_an_encrypted_vm(as_user, admin, pool, switch, settings):
    settings.HOST_NAME = "lab"
    body = {"name": "safe", "passphrase": WORDS}
    answer = as_user(admin).post("/api/v1/vms", json.dumps(body), content_type="application/json")
    assert answer.status_code == 202, answer.content
    assert last() == ("vms.create", {"vm_id", "start", "secret"})
    assert WORDS not in snapshot()
