"""The pages of one VM."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from bhype.accounts.models import AuditEntry
from bhype.console.models import Viewer
from bhype.tasks.models import Task
from storage.models import Dataset, Snapshot
from vms.models import VM, Disk, Template

GIB = 2**30
TABS = ["", "hardware/", "tasks/", "access/", "raw/"]
EDIT = {
    "cpus": "2",
    "memory": "2G",
    "has_screen": "on",
    "screen": "1024x768",
    "has_serial": "on",
    "utc_clock": "on",
}


@pytest.mark.parametrize("tab", [*TABS, "edit/", "delete/", "row/", "menu/", "head/"])
def test_every_page_is_for_those_who_may_see_it(as_user, client, alice, stranger, admin, vm, tab):
    path = f"/vms/web1/{tab}"
    assert client.get(path).status_code == 302
    assert as_user(stranger).get(path).status_code == 404
    assert as_user(alice).get(path).status_code == 200
    assert as_user(admin).get(path).status_code == 200


@pytest.mark.parametrize("tab", TABS)
def test_tabs_only_show(as_user, admin, vm, tab):
    assert as_user(admin).post(f"/vms/web1/{tab}").status_code == 405


@pytest.mark.parametrize("tab", TABS)
def test_a_tab_asks_a_constant_number_of_questions(as_user, admin, vm, tab):
    client = as_user(admin)
    counts = []
    for part in range(2):
        with CaptureQueriesContext(connection) as queries:
            client.get(f"/vms/web1/{tab}")
        counts.append(len(queries))
        Disk.objects.bulk_create(
            [Disk(vm=vm, index=index, size=GIB) for index in (2 * part + 1, 2 * part + 2)]
        )
        Task.objects.bulk_create(
            [
                Task(host="lab", operation="vms.start", title="x", subject=vm.subject, user=admin)
                for _ in range(40)
            ]
        )
    assert counts[0] == counts[1] <= 18


def test_the_overview_is_live(as_user, alice, vm):
    html = as_user(alice).get("/vms/web1/").content.decode()
    assert html.count(f'data-live="vm:{vm.pk}') >= 3
    assert "/console/vm/web1/" in html


def test_the_overview_tells_of_the_last_snapshot_and_the_template(as_user, admin, alice, vm, pool):
    row = Dataset.objects.create(pool=pool, name=vm.dataset, kind="filesystem", bhype_id=str(vm.uuid))
    for number, name in enumerate(("first", "second")):
        Snapshot.objects.create(
            dataset=row,
            name=name,
            guid=str(number),
            txg=number,
            created_at=timezone.now() + timedelta(number),
        )
    vm.template = Template.objects.create(host=vm.host, pool=pool, name="golden", version=1)
    vm.save()
    html = as_user(alice).get("/vms/web1/").content.decode()
    assert "second</a>" in html and "first</a>" not in html and "golden v1" in html
    assert f"/vms/_templates/{vm.template.pk}/" not in html
    assert f"/vms/_templates/{vm.template.pk}/" in as_user(admin).get("/vms/web1/").content.decode()


def test_hardware_names_every_part(as_user, alice, vm):
    html = as_user(alice).get("/vms/web1/hardware/").content.decode()
    for text in ("tank/bhype/vms/web1/disk0", "58:9c:fc:00:00:01", "VirtIO", "1024", "com1"):
        assert text in html


def test_raw_shows_the_configuration_and_the_command_without_the_password(as_user, alice, vm):
    html = as_user(alice).get("/vms/web1/raw/").content.decode()
    assert "/usr/sbin/bhyve" in html
    assert str(vm.uuid) in html
    assert vm.vnc_password not in html
    vm.command = [
        "/usr/sbin/bhyve",
        "-s",
        f"29,fbuf,tcp=127.0.0.1:5900,password={vm.vnc_password},w=800",
        "web1",
    ]
    vm.save()
    html = as_user(alice).get("/vms/web1/raw/").content.decode()
    assert "fbuf,tcp=127.0.0.1:5900,password=********,w=800" in html
    assert vm.vnc_password not in html


def test_tasks_of_others_stay_hidden(as_user, alice, admin, vm):
    Task.objects.create(
        host="lab", operation="vms.start", title="Start by admin", subject=vm.subject, user=admin
    )
    Task.objects.create(
        host="lab", operation="vms.start", title="Start by alice", subject=vm.subject, user=alice
    )
    html = as_user(alice).get("/vms/web1/tasks/").content.decode()
    assert "Start by alice" in html
    assert "Start by admin" not in html
    assert "Start by admin" in as_user(admin).get("/vms/web1/tasks/").content.decode()


def test_a_task_leads_back_to_its_vm(as_user, alice, vm):
    task = Task.objects.create(
        host="lab", operation="vms.start", title="Start", subject=vm.subject, user=alice
    )
    assert 'href="/vms/web1/"' in as_user(alice).get(f"/tasks/{task.pk}/").content.decode()


def test_access_tells_who_has_a_console_open(as_user, alice, vm):
    Viewer.objects.create(user=alice, session="s", subject=vm.subject, kind="vnc", address="192.0.2.7")
    assert "192.0.2.7" in as_user(alice).get("/vms/web1/access/").content.decode()


def test_a_viewer_sees_no_way_to_change(as_user, viewer, vm):
    html = as_user(viewer).get("/vms/web1/").content.decode()
    assert "/vms/web1/edit/" not in html
    assert "/vms/web1/delete/" not in html
    assert "/vms/web1/notes/" not in html
    client = as_user(viewer)
    for path in ("edit/", "delete/", "notes/", "action/"):
        assert client.post(f"/vms/web1/{path}", {"action": "start", "name": "web1"}).status_code == 404


# Notes.


def test_notes_are_saved_in_place(as_user, alice, vm):
    response = as_user(alice).post(
        "/vms/web1/notes/", {"notes": "a\r\nb", "revision": 1}, headers={"HX-Request": "true"}
    )
    vm.refresh_from_db()
    assert (vm.notes, vm.revision) == ("a\nb", 2)
    assert 'value="2"' in response.content.decode()
    assert json.loads(response["HX-Trigger"])["toast"]["text"] == "Notes saved."


def test_notes_that_somebody_else_changed_are_kept(as_user, alice, vm):
    VM.objects.update(notes="theirs", revision=5)
    response = as_user(alice).post(
        "/vms/web1/notes/", {"notes": "mine", "revision": 1}, headers={"HX-Request": "true"}
    )
    assert response.status_code == 409
    assert "mine" in response.content.decode()
    vm.refresh_from_db()
    assert vm.notes == "theirs"


@pytest.mark.parametrize(
    "data", [{"notes": "x"}, {"notes": "x" * 10_001, "revision": 1}, {"notes": "x", "revision": "z"}]
)
def test_bad_notes_change_nothing(as_user, alice, vm, data):
    assert as_user(alice).post("/vms/web1/notes/", data).status_code == 422
    vm.refresh_from_db()
    assert vm.notes == ""


def test_notes_work_without_javascript(as_user, alice, vm):
    response = as_user(alice).post("/vms/web1/notes/", {"notes": "x", "revision": 1})
    assert response.url == "/vms/web1/"


# Editing.


def test_editing_writes_what_is_wanted_and_leads_back(as_user, alice, vm):
    response = as_user(alice).post("/vms/web1/edit/", EDIT | {"cpus": "4", "tags": "prod", "revision": "1"})
    assert response.url == "/vms/web1/"
    vm.refresh_from_db()
    assert (vm.cpus, vm.revision) == (4, 2)
    assert Task.objects.get().operation == "vms.configure"
    assert AuditEntry.objects.filter(action="vms.change", object="vm web1").exists()


def test_a_stale_form_is_a_conflict_and_changes_nothing(as_user, alice, vm):
    VM.objects.update(revision=7)
    response = as_user(alice).post("/vms/web1/edit/", EDIT | {"cpus": "4", "revision": "1"})
    assert response.status_code == 409
    assert "Somebody else changed" in response.content.decode()
    vm.refresh_from_db()
    assert (vm.cpus, vm.revision) == (2, 7)


@pytest.mark.parametrize(
    ("field", "value"), [("cpus", "0"), ("cpus", "999"), ("memory", "lots"), ("memory", "900T")]
)
def test_an_edit_that_cannot_be_says_so_beside_the_field(as_user, alice, vm, field, value):
    response = as_user(alice).post("/vms/web1/edit/", EDIT | {"revision": "1", field: value})
    assert response.status_code == 422
    assert f'id="id_{field}_error"' in response.content.decode()
    vm.refresh_from_db()
    assert (vm.cpus, vm.memory) == (2, 2 * GIB)
