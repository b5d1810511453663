"""Power actions and deletion from the pages."""

from __future__ import annotations

import json

import pytest

from bhype.accounts.models import AuditEntry
from bhype.tasks.models import Task
from vms.models import VM

EVIL = '"><script>alert(1)</script>'


def act(client, action, target="", **more):
    headers = {"HX-Request": "true", "HX-Target": target} if target else {}
    return client.post("/vms/web1/action/", {"action": action}, headers=headers, **more)


def test_starting_shows_at_once_in_the_row(as_user, alice, vm):
    response = act(as_user(alice), "start", f"vm-{vm.pk}")
    html = response.content.decode()
    task = Task.objects.get()
    assert task.operation == "vms.start"
    assert html.lstrip().startswith("<tr")
    assert "Starting" in html
    assert json.loads(response["HX-Trigger"])["toast"] == {
        "text": "Start: web1", "level": "success", "href": f"/tasks/{task.pk}/",
    }  # fmt: skip
    assert AuditEntry.objects.filter(action="vms.start", object="vm web1").exists()


def test_starting_from_the_page_renews_its_head(as_user, alice, vm):
    assert 'id="vm-head"' in act(as_user(alice), "start", "vm-head").content.decode()


def test_starting_from_elsewhere_swaps_nothing(as_user, alice, vm):
    assert act(as_user(alice), "start", "console").status_code == 204


def test_starting_works_without_javascript(as_user, alice, vm):
    response = act(as_user(alice), "start")
    assert response.url == "/vms/web1/"


@pytest.mark.parametrize("action", ["stop", "poweroff", "reset", "restart"])
def test_a_running_vm_can_be(as_user, operator, vm, action):
    VM.objects.update(state="running")
    act(as_user(operator), action, f"vm-{vm.pk}")
    assert Task.objects.get().operation == f"vms.{action}"


@pytest.mark.parametrize("action", ["stop", "poweroff", "reset", "restart"])
def test_a_stopped_vm_cannot_be_and_the_toast_says_why(as_user, operator, vm, action):
    toast = json.loads(act(as_user(operator), action, f"vm-{vm.pk}")["HX-Trigger"])["toast"]
    assert toast["level"] == "error"
    assert "It is off." in toast["text"]
    assert Task.objects.count() == 0


def test_a_second_click_asks_no_second_task(as_user, alice, vm):
    client = as_user(alice)
    act(client, "start", f"vm-{vm.pk}")
    act(client, "start", f"vm-{vm.pk}")
    assert Task.objects.count() == 1


@pytest.mark.parametrize("action", ["", "delete", "create", "vms.start", EVIL, "__class__"])
def test_other_words_are_no_actions(as_user, admin, vm, action):
    response = act(as_user(admin), action)
    assert response.status_code == 400
    assert Task.objects.count() == 0


def test_who_may_not_operate_is_told_nothing(as_user, viewer, stranger, client, vm):
    assert act(as_user(viewer), "start").status_code == 404
    assert act(as_user(stranger), "start").status_code == 404
    assert act(client, "start").status_code == 302
    assert Task.objects.count() == 0


def test_hard_actions_ask_first_and_name_the_vm(as_user, alice, vm):
    VM.objects.update(state="running")
    html = as_user(alice).get("/vms/web1/menu/").content.decode()
    assert 'hx-confirm="Power off web1?' in html
    assert 'hx-confirm="Reset web1?' in html


# Deletion.


def test_the_delete_page_lists_everything_that_goes(as_user, alice, vm):
    html = as_user(alice).get("/vms/web1/delete/").content.decode()
    for text in ("tank/bhype/vms/web1/disk0", "10 GiB", "58:9c:fc:00:00:01", "Delete web1"):
        assert text in html


def test_deleting_takes_the_name_typed(as_user, alice, vm):
    response = as_user(alice).post("/vms/web1/delete/", {"name": "web1"})
    assert response.url == "/vms/"
    task = Task.objects.get()
    assert (task.operation, task.params) == ("vms.delete", {"vm_id": vm.pk})
    assert AuditEntry.objects.filter(action="vms.delete", object="vm web1").exists()


@pytest.mark.parametrize("typed", ["", "web", "WEB1", "web2", EVIL, "web1\0"])
def test_another_name_deletes_nothing(as_user, alice, vm, typed):
    response = as_user(alice).post("/vms/web1/delete/", {"name": typed})
    html = response.content.decode()
    assert response.status_code == 422
    assert 'id="id_name_error"' in html
    assert "<script>alert" not in html
    assert Task.objects.count() == 0


def test_a_running_vm_is_not_deleted(as_user, alice, vm):
    VM.objects.update(state="running")
    response = as_user(alice).post("/vms/web1/delete/", {"name": "web1"})
    assert response.status_code == 422
    assert "Power it off first" in response.content.decode()
    assert Task.objects.count() == 0


def test_an_operator_does_not_delete_what_others_own(as_user, operator, vm):
    assert as_user(operator).get("/vms/web1/delete/").status_code == 404
    assert as_user(operator).post("/vms/web1/delete/", {"name": "web1"}).status_code == 404
