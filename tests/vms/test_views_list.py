"""The list of VMs: filters in the URL, constant queries, live rows, bulk actions."""

from __future__ import annotations

import pytest
from django.db import connection
from django.db.models import F
from django.http import QueryDict
from django.test.utils import CaptureQueriesContext

from bhype.accounts.models import AuditEntry
from bhype.hosts.models import Host
from bhype.tasks.models import Task
from vms.listing import Filters, listing
from vms.models import VM, Disk, Nic, Tag

GIB = 2**30
HTMX = {"HX-Request": "true", "HX-Target": "vm-table"}
BULK = {"HX-Request": "true", "HX-Target": "result"}
EVIL = '"><script>alert(1)</script>'


def make_vms(count: int, like: VM, **columns) -> list[VM]:
    first = VM.objects.count() + 1
    defaults = {
        "host": like.host,
        "pool": like.pool,
        "owner": like.owner,
        "memory": GIB,
        "state": "stopped",
    } | columns
    rows = VM.objects.bulk_create(
        [
            VM(name=f"vm-{n:04}", vnc_port=6000 + n, vnc_password="x" * 8, **defaults)
            for n in range(first, first + count)
        ]
    )
    switch = like.nics.get().switch
    tag, _ = Tag.objects.get_or_create(name="many")
    Disk.objects.bulk_create([Disk(vm=row, index=i, size=GIB) for row in rows for i in range(2)])
    Nic.objects.bulk_create(
        [
            Nic(vm=row, index=0, switch=switch, mac=f"58:9c:fc:01:{n >> 8:02x}:{n & 255:02x}")
            for n, row in enumerate(rows, first)
        ]
    )
    VM.tags.through.objects.bulk_create([VM.tags.through(vm=row, tag=tag) for row in rows])
    Task.objects.bulk_create(
        [
            Task(host="lab", operation="vms.start", title="Start", subject=row.subject, status="queued")
            for row in rows
        ]
    )
    return rows


def names(response) -> list[str]:
    import re

    return re.findall(r'class="vm-name" href="/vms/([^/"]+)/"', response.content.decode())


def test_it_shows_a_vm_with_all_that_matters(as_user, admin, vm):
    vm.tags.create(name="prod")
    html = as_user(admin).get("/vms/").content.decode()
    for text in ("web1", "Stopped", "2 GiB", "10 GiB", "nat", "alice", "prod"):
        assert text in html


def test_it_shows_each_user_what_is_theirs(as_user, alice, stranger, viewer, vm):
    assert names(as_user(alice).get("/vms/")) == ["web1"]
    assert names(as_user(viewer).get("/vms/")) == ["web1"]
    assert names(as_user(stranger).get("/vms/")) == []


def test_nobody_is_sent_to_sign_in(client, db):
    assert client.get("/vms/").url.startswith("/accounts/sign-in/")


def test_it_changes_nothing_by_get(as_user, admin, vm):
    assert as_user(admin).post("/vms/").status_code == 405
    assert as_user(admin).get("/vms/_bulk/?action=start&vm=1").status_code == 405
    assert as_user(admin).get(f"/vms/{vm.name}/action/?action=start").status_code == 405
    assert Task.objects.count() == 0


def test_an_empty_list_tells_the_next_step(as_user, admin, stranger):
    assert "/vms/_new/" in as_user(admin).get("/vms/").content.decode()
    html = as_user(stranger).get("/vms/").content.decode()
    assert "names you as its owner" in html
    assert "/vms/_new/" not in html


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["db1", "web1"]), ("?q=WEB", ["web1"]), ("?q=00:00:01", ["web1"]), ("?q=shop", ["db1"]),
        ("?state=running", ["db1"]), ("?state=stopped", ["web1"]), ("?state=problem", []),
        ("?state=creating", []),
        ("?tag=prod", ["db1"]), ("?tag=none", []), ("?owner=alice", ["web1"]), ("?owner=operator", ["db1"]),
        ("?host=lab", ["db1", "web1"]), ("?host=other", []), ("?sort=-name", ["web1", "db1"]),
        ("?sort=memory", ["db1", "web1"]), ("?sort=-memory", ["web1", "db1"]),
        ("?sort=disk", ["web1", "db1"]),
        ("?sort=owner", ["web1", "db1"]), ("?q=web&state=running", []),
        ("?state=running&tag=prod&owner=operator", ["db1"]),
        # Words that mean nothing filter nothing.
        ("?sort=password&page=-1&state=levitating", ["db1", "web1"]), ("?page=999999", ["db1", "web1"]),
        ("?page=%00&q=%00", ["db1", "web1"]), ("?q=%25", []), ("?sort=&page=", ["db1", "web1"]),
    ],
)  # fmt: skip
def test_filters_and_order_are_in_the_url(as_user, admin, operator, vm, query, found):
    other = VM.objects.create(
        host=vm.host, pool=vm.pool, owner=operator, name="db1", memory=GIB, state="running",
        vnc_port=5901, vnc_password="x" * 8, notes="the shop",
    )  # fmt: skip
    other.tags.create(name="prod")
    client = as_user(admin)
    for headers in ({}, HTMX):
        assert names(client.get(f"/vms/{query}", headers=headers)) == found


def test_htmx_gets_the_table_alone(as_user, admin, vm):
    html = as_user(admin).get("/vms/?q=web", headers=HTMX).content.decode()
    assert html.lstrip().startswith('<div id="vm-table"')
    assert "<html" not in html


def test_links_keep_the_other_filters(as_user, admin, vm):
    html = as_user(admin).get("/vms/?q=web&owner=alice&page=2").content.decode()
    assert 'href="?q=web&amp;owner=alice&amp;sort=-name"' in html
    assert 'href="?q=web&amp;owner=alice&amp;state=running"' in html


def test_pages_have_fifty_rows(as_user, admin, vm):
    make_vms(60, vm)
    client = as_user(admin)
    first, second = client.get("/vms/"), client.get("/vms/?page=2")
    assert len(names(first)) == 50
    assert len(names(second)) == 11
    assert not set(names(first)) & set(names(second))
    assert "50 of 61" in first.content.decode()
    assert "61 of 61" in second.content.decode()


def test_it_asks_at_most_twelve_questions_whatever_the_number_of_vms(as_user, admin, vm):
    client = as_user(admin)
    counts = []
    for more in (9, 190):
        make_vms(more, vm, state="running", running={"bhype": {"revision": vm.revision}})
        with CaptureQueriesContext(connection) as queries:
            assert client.get("/vms/").status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 12
    with CaptureQueriesContext(connection) as queries:
        client.get("/vms/?state=running&tag=many&q=vm&sort=-disk&page=2", headers=HTMX)
    assert len(queries) <= 12
    # Also those whose changes wait for the next start, however many they are.
    VM.objects.update(revision=F("revision") + 1)
    with CaptureQueriesContext(connection) as queries:
        html = client.get("/vms/").content.decode()
    assert len(queries) <= 12 and html.count("at the next start") >= 50


def test_a_full_page_is_at_most_100_kb(as_user, admin, vm):
    rows = make_vms(200, vm, state="running", cpu_percent=33.3, memory_used=GIB // 2)
    web = Tag.objects.create(name="web")
    VM.tags.through.objects.bulk_create([VM.tags.through(vm=row, tag=web) for row in rows])
    for query in ("", "?state=running", "?q=vm&sort=-memory", "?state=running&tag=web&q=vm&sort=-cpu&page=2"):
        assert len(as_user(admin).get(f"/vms/{query}").content) <= 100_000


def test_the_filters_offer_what_the_visible_vms_have(as_user, admin, alice, operator, vm):
    other = VM.objects.create(
        host=Host.objects.create(name="far"), pool=vm.pool, owner=operator, name="db1", memory=GIB,
        vnc_port=5901, vnc_password="x" * 8,
    )  # fmt: skip
    other.tags.create(name="prod")
    vm.tags.create(name="web")
    found = listing(admin, QueryDict())
    assert (found.tags, found.owners, found.hosts) == (
        ["prod", "web"],
        ["alice", "operator"],
        ["far", "lab"],
    )
    assert not found.one_host
    found = listing(alice, QueryDict())
    assert (found.tags, found.owners, found.hosts) == (["web"], ["alice"], [])
    assert found.one_host


def test_text_of_people_and_guests_is_escaped(as_user, admin, vm):
    vm.notes = vm.reason = EVIL
    vm.state = "crashed"
    vm.save()
    vm.owner.username = EVIL
    vm.owner.save()
    vm.tags.create(name=EVIL[:32])
    client = as_user(admin)
    for path in (
        "/vms/",
        "/vms/?q=" + EVIL,
        "/vms/web1/",
        "/vms/web1/access/",
        "/vms/web1/raw/",
        "/vms/web1/delete/",
    ):
        html = client.get(path).content.decode()
        assert "<script>alert" not in html, path


def test_a_row_comes_alone_and_names_its_live_topic(as_user, alice, vm):
    html = as_user(alice).get("/vms/web1/row/").content.decode()
    assert html.lstrip().startswith("<tr")
    assert f'data-live="vm:{vm.pk}"' in html
    assert 'hx-get="/vms/web1/row/"' in html


def test_a_row_of_another_is_not_there(as_user, stranger, vm):
    for part in ("row", "menu", "head"):
        assert as_user(stranger).get(f"/vms/web1/{part}/").status_code == 404


@pytest.mark.parametrize(
    ("operation", "label"),
    [
        ("vms.start", "Starting"),
        ("vms.stop", "Stopping"),
        ("vms.restart", "Restarting"),
        ("vms.delete", "Deleting"),
    ],
)
def test_an_unfinished_task_shows_before_the_host_was_seen(as_user, alice, vm, operation, label):
    Task.objects.create(host="lab", operation=operation, title="x", subject=vm.subject)
    assert label in as_user(alice).get("/vms/web1/row/").content.decode()


def test_a_finished_task_changes_no_badge(as_user, alice, vm):
    Task.objects.create(host="lab", operation="vms.start", title="x", subject=vm.subject, status="failed")
    assert "Starting" not in as_user(alice).get("/vms/web1/row/").content.decode()


def test_what_cannot_be_done_says_why(as_user, viewer, alice, vm):
    assert "It is off." in as_user(alice).get("/vms/web1/menu/").content.decode()
    html = as_user(viewer).get("/vms/web1/menu/").content.decode()
    assert html.count("but not operate it") >= 5
    assert "hx-post" not in html
    assert "/delete/" not in html


# Bulk.


def test_bulk_gives_each_vm_its_own_result(as_user, operator, vm):
    running = make_vms(1, vm, state="running")[0]
    Task.objects.all().delete()
    response = as_user(operator).post(
        "/vms/_bulk/", {"action": "start", "vm": [vm.pk, running.pk]}, headers=BULK
    )
    html = response.content.decode()
    assert response.status_code == 200
    assert "It is already on." in html
    task = Task.objects.get()
    assert task.operation == "vms.start"
    assert task.params == {"vm_id": vm.pk}
    assert f"/tasks/{task.pk}/" in html
    assert "vms-changed" in response["HX-Trigger-After-Settle"]
    assert AuditEntry.objects.filter(action="vms.start", object="vm web1", task_id=task.pk).exists()


def test_bulk_reaches_all_that_match(as_user, operator, vm):
    make_vms(60, vm)
    Task.objects.all().delete()
    as_user(operator).post(
        "/vms/_bulk/", {"action": "start", "all": "1", "query": "q=vm-&state=stopped"}, headers=BULK
    )
    assert Task.objects.count() == 60
    assert not Task.objects.filter(subject=vm.subject).exists()


def test_bulk_reaches_nothing_of_others(as_user, stranger, vm):
    client = as_user(stranger)
    for data in ({"vm": vm.pk}, {"all": "1"}, {"all": "1", "query": "owner=alice"}):
        html = client.post("/vms/_bulk/", {"action": "poweroff", **data}, headers=BULK).content.decode()
        assert "web1" not in html
    assert Task.objects.count() == 0


def test_bulk_refuses_what_a_viewer_may_not(as_user, viewer, vm):
    html = (
        as_user(viewer).post("/vms/_bulk/", {"action": "start", "vm": vm.pk}, headers=BULK).content.decode()
    )
    assert "but not operate it" in html
    html = (
        as_user(viewer)
        .post("/vms/_bulk/", {"action": "tag", "tags": "x", "vm": vm.pk}, headers=BULK)
        .content.decode()
    )
    assert "may not change" in html
    assert Task.objects.count() == 0
    assert vm.tags.count() == 0


def test_bulk_puts_tags_on_and_takes_them_off(as_user, alice, vm):
    client = as_user(alice)
    client.post("/vms/_bulk/", {"action": "tag", "tags": "prod, web", "vm": vm.pk}, headers=BULK)
    assert set(vm.tags.values_list("name", flat=True)) == {"prod", "web"}
    client.post("/vms/_bulk/", {"action": "untag", "tags": "web", "vm": vm.pk}, headers=BULK)
    assert set(vm.tags.values_list("name", flat=True)) == {"prod"}
    vm.refresh_from_db()
    assert vm.revision == 3


@pytest.mark.parametrize(
    "data",
    [
        {}, {"action": "start"}, {"action": "delete", "vm": "1"}, {"action": "explode", "vm": "1"},
        {"action": "start", "vm": ["x", "-1", "1 OR 1=1", "9" * 40]}, {"action": "tag", "vm": "1"},
        {"action": "tag", "vm": "1", "tags": "Bad Tag!"}, {"action": "tag", "vm": "1", "tags": EVIL},
    ],
)  # fmt: skip
def test_bulk_refuses_bad_input(as_user, admin, vm, data):
    response = as_user(admin).post("/vms/_bulk/", data, headers=BULK)
    assert response.status_code == 422
    assert "Nothing was done" in response.content.decode()
    assert "<script>" not in response.content.decode()
    assert Task.objects.count() == Tag.objects.count() == 0


def test_bulk_works_without_javascript(as_user, operator, vm):
    html = as_user(operator).post("/vms/_bulk/", {"action": "start", "vm": vm.pk}).content.decode()
    assert "<html" in html
    assert "Asked, task" in html


def test_unknown_filters_select_no_state():
    assert Filters(state="levitating").states() == ()
    assert Filters(state="crashed").states() == ("crashed",)
