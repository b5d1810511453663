from __future__ import annotations

import json

import pytest

from bhype.accounts.models import AuditEntry
from bhype.tasks.models import Task
from storage.models import Iso
from tests.rows import fill
from vms.models import VM, Tag

API = "/api/v1/vms"


class Api:
    """JSON in, JSON out, as one user."""

    def __init__(self, client) -> None:
        self.client = client

    def __call__(self, method: str, path: str = "", body: object = None):
        data = "" if body is None else json.dumps(body)
        answer = getattr(self.client, method)(f"{API}{path}", data, content_type="application/json")
        return answer.status_code, (answer.json() if answer.content else None)

    def get(self, path: str = ""):
        answer = self.client.get(f"{API}{path}")
        return answer.status_code, answer.json()


@pytest.fixture
def as_api(as_user):
    return lambda user: Api(as_user(user))


def test_a_vm_is_created_as_the_documentation_says(as_api, operator, pool, switch):
    iso = Iso.objects.create(pool=pool, name="debian.iso", size=1)
    body = {
        "name": "db1",
        "cpus": 2,
        "memory": 2**31,
        "disks": [{"size": "20G"}],
        "iso": "debian.iso",
        "switch": "nat",
    }
    status, task = as_api(operator)("post", "", body)
    assert (status, task["operation"], task["status"], task["title"]) == (
        202,
        "vms.create",
        "queued",
        "Create db1",
    )
    vm = VM.objects.get()
    assert (vm.cpus, vm.memory, vm.iso, vm.owner, vm.has_screen) == (2, 2**31, iso, operator, True)
    assert [disk.size for disk in vm.disks.all()] == [20 * 2**30]
    assert vm.nics.get().switch == switch
    assert Task.objects.get().params == {"vm_id": vm.pk, "start": False}
    assert AuditEntry.objects.get(action="vms.create").username == "operator"


def test_only_a_name_is_needed(as_api, operator, pool, switch):
    assert as_api(operator)("post", "", {"name": "db1"})[0] == 202
    vm = VM.objects.get()
    assert not vm.nics.exists()
    assert vm.disks.get().size == 20 * 2**30


def test_everything_can_be_said(as_api, admin, alice, pool, switch):
    body = {
        "name": "db1", "memory": "512M", "disks": [{"size": 2**30}, {"size": "1G"}], "switch": "nat", "start": True,
        "owner": "alice", "pool": "tank", "disk_bus": "nvme", "nic_model": "e1000", "mac": "58:9c:fc:00:00:09",
        "screen": "800x600", "has_screen": True, "has_serial": False, "utc_clock": False, "autostart": True,
        "tags": ["web", "prod"], "notes": "hello",
    }  # fmt: skip
    status, answer = as_api(admin)("post", "", body)
    assert status == 202, answer
    vm = VM.objects.get()
    assert (vm.owner, vm.screen_width, vm.has_serial, vm.utc_clock, vm.autostart) == (
        alice,
        800,
        False,
        False,
        True,
    )
    assert {disk.bus for disk in vm.disks.all()} == {"nvme"}
    assert vm.nics.get().mac == "58:9c:fc:00:00:09"
    status, shown = as_api(alice).get("/db1")
    assert status == 200
    assert (shown["tags"], shown["notes"], shown["screen"], shown["owner"]) == (
        ["prod", "web"],
        "hello",
        "800x600",
        "alice",
    )
    assert shown["disks"][1] == {
        "index": 1, "bus": "nvme", "size": 2**30, "path": "/dev/zvol/tank/bhype/vms/db1/disk1",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "-x"), ("name", "web1"), ("name", "a\0"), ("name", "bulk"), ("cpus", 0), ("cpus", "two"),
        ("memory", "2X"),
        ("memory", 1), ("memory", "64G"), ("disks", [{"size": "x"}]), ("disks", [{"size": "1P"}]),
        ("iso", "/etc/passwd"),
        ("iso", "../x.iso"), ("iso", "a\0"), ("switch", "nosuch"), ("pool", "nosuch"), ("owner", "alice"), ("mac", "x"),
        ("screen", "1x1"), ("tags", ["A B"]), ("notes", "a\0b"), ("disk_bus", "ide"), ("nosuchfield", 1),
    ],
)  # fmt: skip
def test_bad_input_names_its_field_and_changes_nothing(as_api, operator, vm, switch, field, value):
    body = {"name": "db1", "switch": "nat", **{field: value}}
    status, answer = as_api(operator)("post", "", body)
    assert status == 422, answer
    assert answer["field"].split(".")[0] == field
    assert answer["message"]
    assert VM.objects.count() == 1
    assert not Task.objects.exists()


def test_a_body_that_is_no_json_is_refused(as_user, operator):
    answer = as_user(operator).post(API, "{", content_type="application/json")
    assert answer.status_code in {400, 422}
    assert set(answer.json()) >= {"code", "message"}


def test_who_may_not_create_finds_nothing(as_api, viewer, stranger, pool):
    for user in (viewer, stranger):
        assert as_api(user)("post", "", {"name": "db1"})[0] == 404
    assert not VM.objects.exists()


def test_the_list_is_filtered_and_paged(as_api, viewer, alice, stranger, vm):
    vm.tags.add(Tag.objects.create(name="prod"))
    api = as_api(viewer)
    for query, count in (
        ("", 1), ("?q=web", 1), ("?q=WEB1", 1), ("?q=58:9c", 1), ("?q=nosuch", 0), ("?q=%25", 0),
        ("?state=stopped,running", 1),
        ("?state=running", 0), ("?tag=prod", 1), ("?tag=dev", 0), ("?offset=1", 1),
    ):  # fmt: skip
        status, answer = api.get(query)
        assert (status, answer["count"]) == (200, count), query
    assert api.get("?offset=1")[1]["items"] == []
    assert as_api(alice).get()[1]["count"] == 1
    assert as_api(stranger).get()[1]["count"] == 0
    for query in ("?limit=0", "?limit=x", "?offset=-1", "?q=a%00b"):
        assert api.get(query)[0] == 422


def test_the_list_takes_a_constant_number_of_queries(as_api, viewer, vm, django_assert_max_num_queries):
    fill(vms=60, tasks=10)
    api = as_api(viewer)
    with django_assert_max_num_queries(12):
        assert api.get("?limit=50")[1]["count"] == 61


def test_a_vm_shows_no_password(as_api, admin, vm):
    for path in ("/web1", "/web1/config", "/web1/command", ""):
        status, answer = as_api(admin).get(path)
        assert status == 200
        assert vm.vnc_password not in json.dumps(answer)
    assert as_api(admin).get("/web1/config")[1]["name"] == "web1"
    assert as_api(admin).get("/web1/command")[1]["command"].startswith("/usr/sbin/bhyve ")


def test_a_change_keeps_what_it_does_not_name(as_api, alice, vm):
    vm.tags.add(Tag.objects.create(name="prod"))
    vm.notes = "keep"
    vm.save()
    status, answer = as_api(alice)("patch", "/web1", {"memory": "4G", "revision": 1})
    assert status == 200, answer
    assert (answer["vm"]["memory"], answer["vm"]["tags"], answer["vm"]["notes"]) == (2**32, ["prod"], "keep")
    assert (answer["vm"]["cpus"], answer["vm"]["has_screen"], answer["vm"]["revision"]) == (2, True, 2)
    assert answer["task"]["operation"] == "vms.configure"
    status, answer = as_api(alice)("patch", "/web1", {"notes": "", "tags": []})
    assert (status, answer["vm"]["notes"], answer["vm"]["tags"], answer["task"]) == (200, "", [], None)
    status, answer = as_api(alice)("patch", "/web1", {"memory": "1G", "revision": 1})
    assert (status, answer["code"]) == (409, "stale")
    assert as_api(alice)("patch", "/web1", {"cpus": 99})[1]["field"] == "cpus"
    assert as_api(alice)("patch", "/web1", {"name": "other"})[0] == 422


@pytest.mark.parametrize(
    ("action", "state"),
    [
        ("start", "stopped"),
        ("stop", "running"),
        ("poweroff", "running"),
        ("reset", "running"),
        ("restart", "running"),
    ],
)
def test_power_is_a_task_where_the_state_allows_it(as_api, alice, viewer, stranger, vm, action, state):
    VM.objects.update(state=state)
    for user in (viewer, stranger):
        assert as_api(user)("post", f"/web1/{action}")[0] == 404
    status, task = as_api(alice)("post", f"/web1/{action}")
    assert (status, task["operation"], task["subject"]) == (202, f"vms.{action}", vm.subject)
    Task.objects.all().delete()
    VM.objects.update(state="creating")
    status, answer = as_api(alice)("post", f"/web1/{action}")
    assert (status, answer["code"]) == (409, "conflict")
    assert not Task.objects.exists()


def test_a_stop_takes_a_time_limit(as_api, alice, vm):
    VM.objects.update(state="running")
    assert as_api(alice)("post", "/web1/stop", {"timeout": 0})[0] == 422
    assert as_api(alice)("post", "/web1/stop", {"timeout": 7})[0] == 202
    assert Task.objects.get().params["timeout"] == 7


def test_a_deletion_needs_the_name_again(as_api, alice, viewer, vm):
    assert as_api(viewer)("delete", "/web1", {"confirm": "web1"})[0] == 404
    for body in (None, {}, {"confirm": "web2"}):
        status, answer = as_api(alice)("delete", "/web1", body)
        assert (status, answer["field"]) == (422, "confirm")
    assert not Task.objects.exists()
    VM.objects.update(state="running")
    assert as_api(alice)("delete", "/web1", {"confirm": "web1"})[0] == 409
    VM.objects.update(state="stopped")
    assert as_api(alice)("delete", "/web1?confirm=web1")[0] == 202
    assert Task.objects.get().operation == "vms.delete"


def test_what_is_missing_and_what_is_not_yours_look_the_same(as_api, stranger, vm):
    api = as_api(stranger)
    for method, path in (
        ("get", ""), ("patch", ""), ("delete", ""), ("post", "/start"), ("post", "/console"), ("get", "/config"),
        ("get", "/command"),
    ):  # fmt: skip
        body = {} if method != "get" else None
        yours = api(method, f"/web1{path}", body) if method != "get" else api.get(f"/web1{path}")
        nobodys = api(method, f"/nosuch{path}", body) if method != "get" else api.get(f"/nosuch{path}")
        assert yours == nobodys
        assert yours[0] == 404


def test_many_at_once_have_a_result_each(as_api, operator, alice, vm, host, pool):
    VM.objects.create(
        host=host, pool=pool, name="on", memory=1, vnc_port=1, vnc_password="x", state="running"
    )
    status, results = as_api(operator)(
        "post", "/bulk", {"names": ["web1", "on", "nosuch", "web1"], "action": "start"}
    )
    assert status == 200
    by_name = {result["name"]: result for result in results}
    assert len(results) == 3
    assert by_name["web1"]["task"]["operation"] == "vms.start"
    assert by_name["on"]["task"] is None and "already" in by_name["on"]["error"]
    assert "no such VM" in by_name["nosuch"]["error"]
    assert as_api(operator)("post", "/bulk", {"names": ["web1"], "action": "delete"})[0] == 422
    assert as_api(operator)("post", "/bulk", {"names": ["x"] * 1001, "action": "start"})[0] == 422


def test_a_console_is_opened_with_a_ticket(as_api, alice, viewer, vm):
    assert as_api(viewer)("post", "/web1/console", {})[0] == 404
    assert as_api(alice)("post", "/web1/console", {"kind": "vnc"})[1]["code"] == "off"
    VM.objects.update(state="running")
    status, opened = as_api(alice)("post", "/web1/console", {"kind": "vnc"})
    assert status == 200
    assert opened["path"] == "/ws/console/vm/web1/vnc"
    assert opened["password"] == vm.vnc_password
    assert opened["ticket"]
    assert as_api(alice)("post", "/web1/console", {"kind": "serial"})[1]["password"] == ""
