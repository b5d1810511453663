from __future__ import annotations

import pytest
from django.conf import settings
from django.urls import resolve, reverse

from bhype.tasks.models import Task
from bhype.ui import search
from storage.models import Dataset
from vms import finder
from vms.models import VM


def test_it_finds_vms_by_name_tag_note_and_mac(as_user, admin, vm):
    vm.notes = "front end of the shop"
    vm.save()
    vm.tags.create(name="prod")
    client = as_user(admin)
    for query in ("web", "prod", "FRONT END", "58:9c:fc:00:00:01"):
        assert "/vms/web1/" in client.get("/search/", {"q": query}).content.decode()


def test_the_vm_whose_name_was_begun_is_the_first(admin, vm, host, pool):
    for port, name in enumerate(("apache", "cobweb", "web2"), 5901):
        more = {"cpus": 1, "memory": 2**30, "vnc_port": port, "notes": "a web server"}
        VM.objects.create(host=host, pool=pool, name=name, **more)
    assert [hit.title for hit in finder.find(admin, "web")] == ["web1", "web2", "cobweb", "apache"]


def test_it_finds_nothing_of_others(as_user, stranger, alice, vm):
    assert "/vms/web1/" not in as_user(stranger).get("/search/", {"q": "web1"}).content.decode()
    assert "/vms/web1/" in as_user(alice).get("/search/", {"q": "web1"}).content.decode()


def test_it_finds_pages_by_right(as_user, admin, stranger):
    assert "/accounts/audit/" in as_user(admin).get("/search/", {"q": "audit"}).content.decode()
    html = as_user(stranger).get("/search/", {"q": "audit"}, headers={"HX-Request": "true"}).content.decode()
    assert "/accounts/audit/" not in html


def test_each_page_that_it_names_asks_for_the_right_that_it_is_shown_by():
    for label, name, right, icon in (*search.MAKERS, *search.PARTS):
        assert resolve(reverse(name)).func.access.right == right, label
        assert f'id="{icon}"' in (settings.BASE_DIR / "static/bhype/icons.svg").read_text()


def test_parts_of_pages_are_found_by_name_and_not_listed_unasked(admin, stranger):
    assert [hit.title for hit in search.pages(admin, "lease")] == ["DHCP leases"]
    assert not search.pages(stranger, "lease")
    assert "DHCP leases" not in [hit.title for hit in search.pages(admin, "")]


def test_a_vm_comes_before_its_disks_and_what_was_done_to_it(admin, vm, pool):
    Dataset.objects.create(pool=pool, name=vm.dataset, kind="filesystem")
    Task.objects.create(host="lab", operation="vms.start", title=f"Start {vm.name}", user=admin)
    groups = [name for name, _ in search.find(admin, vm.name)]
    assert groups[0] == "Virtual machines" and groups[-1] == "Tasks" and "Storage" in groups


def test_it_answers_a_fragment_to_the_dialog_and_a_page_to_others(as_user, admin):
    client = as_user(admin)
    assert "<html" not in client.get("/search/?q=vm", headers={"HX-Request": "true"}).content.decode()
    assert "<html" in client.get("/search/?q=vm").content.decode()


@pytest.mark.parametrize("query", ["%", "_", "\\", "'", "\0", '"><script>', "x" * 5000, ""])
def test_no_query_breaks_it(as_user, admin, vm, query):
    response = as_user(admin).get("/search/", {"q": query}, headers={"HX-Request": "true"})
    assert response.status_code == 200
    assert "<script>" not in response.content.decode()


def test_a_percent_sign_matches_only_itself(as_user, admin, vm):
    html = as_user(admin).get("/search/", {"q": "%"}, headers={"HX-Request": "true"}).content.decode()
    assert "web1" not in html


def test_strangers_are_sent_to_sign_in(client, db):
    assert client.get("/search/?q=x").status_code == 302


def test_each_group_has_an_end(admin):
    def many(user, query):
        return (search.Hit(f"hit {number}", f"/{number}") for number in range(10**9))

    search.register("Endless", many)
    try:
        groups = dict(search.find(admin, "hit"))
    finally:
        search._finders.pop("Endless")
    assert len(groups["Endless"]) == search.LIMIT


def test_it_finds_tasks_by_title_and_number_of_those_who_may_see_them(as_user, admin, alice, stranger):
    task = Task.objects.create(host="lab", operation="vms.start", title="Start shop", user=alice)
    for query in ("shop", f"#{task.pk}", str(task.pk)):
        for user in (admin, alice):
            assert f"/tasks/{task.pk}/" in as_user(user).get("/search/", {"q": query}).content.decode()
        assert f"/tasks/{task.pk}/" not in as_user(stranger).get("/search/", {"q": query}).content.decode()
