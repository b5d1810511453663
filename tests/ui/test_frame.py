"""The frame around every page: side bar by right, account menu, error pages, home."""

from __future__ import annotations

import pytest
from django.test import Client

from bhype.ui import context


def nav(html: str) -> set[str]:
    return {
        item.label for item in context.ITEMS if f"<span>{item.label}</span>" in html.partition("</aside>")[0]
    }


def test_the_side_bar_shows_what_one_may_see(as_user, admin, viewer, stranger):
    assert nav(as_user(admin).get("/vms/").content.decode()) == {item.label for item in context.ITEMS}
    assert nav(as_user(viewer).get("/vms/").content.decode()) == {
        "Virtual machines", "Storage", "Network", "Hosts", "Tasks",
    }  # fmt: skip
    assert nav(as_user(stranger).get("/vms/").content.decode()) == {"Virtual machines", "Tasks"}


def test_the_side_bar_marks_where_one_is(as_user, admin):
    html = as_user(admin).get("/vms/").content.decode()
    assert html.count('aria-current="page"') == 2  # side bar, and the bar of a phone


def test_home_is_the_list_of_vms(as_user, stranger, client):
    assert as_user(stranger).get("/").url == "/vms/"
    assert client.get("/").url.startswith("/accounts/sign-in/")


def test_signing_out_is_a_post(as_user, admin):
    html = as_user(admin).get("/vms/").content.decode()
    assert '<form method="post" action="/accounts/sign-out/">' in html


@pytest.mark.parametrize("path", ["/nothing/", "/vms/nothing/", "/vms/web1/nothing/"])
def test_what_is_missing_says_only_that(as_user, stranger, path):
    response = as_user(stranger).get(path)
    assert response.status_code == 404
    assert "There is nothing here" in response.content.decode()


def test_a_missing_vm_and_a_foreign_one_look_the_same(as_user, stranger, vm):
    client = as_user(stranger)
    foreign, missing = client.get(f"/vms/{vm.name}/"), client.get("/vms/absent/")
    assert foreign.status_code == missing.status_code == 404
    assert foreign.content == missing.content


def test_a_form_from_elsewhere_is_refused_without_detail(admin):
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin, backend="bhype.accounts.backends.PanelBackend")
    response = client.post("/vms/_bulk/", {"action": "start"})
    assert response.status_code == 403
    html = response.content.decode()
    assert "out of date" in html
    assert "CSRF" not in html


def test_a_broken_page_says_that_guests_go_on(rf):
    from bhype.ui.views import server_error

    response = server_error(rf.get("/"))
    assert response.status_code == 500
    assert "go on running" in response.content.decode()


def test_the_icon_is_for_everybody(client, db):
    assert client.get("/favicon.ico").url.endswith("favicon.svg")


def test_pages_can_be_reached_by_keyboard(as_user, admin):
    html = as_user(admin).get("/vms/").content.decode()
    assert 'class="skip-link" href="#content"' in html
    assert 'id="live-banner"' in html
    assert 'aria-live="polite"' in html
