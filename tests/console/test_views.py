from __future__ import annotations

import pytest

from bhype.accounts.models import ApiToken
from bhype.console import subjects, viewers
from bhype.console.models import Ticket

pytestmark = pytest.mark.django_db


@pytest.fixture
def thing(monkeypatch, alice, operator):
    """A subject "thing" named web1 that alice and operators may open; change it by its items."""
    monkeypatch.setattr(subjects, "_entries", {})
    fields = {
        "topic": "thing:1", "name": "web1", "title": "web1", "back_url": "/vms/web1/",
        "kinds": ("vnc", "serial"), "is_on": True, "state": "Running", "password": "pw123456",
        "action_url": "/vms/web1/action/",
    }  # fmt: skip

    def resolve(user, name, right):
        allowed = name == "web1" and user.can(right, owner_id=alice.pk)
        return subjects.Subject(**fields) if allowed else None

    subjects.register("thing", resolve)
    return fields


PAGE = "/console/thing/web1/"


def test_the_page_shows_both_consoles_and_no_password(thing, alice, as_user):
    response = as_user(alice).get(PAGE)
    html = response.content.decode()
    assert response.status_code == 200
    assert "Screen" in html and "Serial" in html and 'data-power="reset"' in html
    assert "pw123456" not in html
    assert "no-store" in response["Cache-Control"]


def test_the_page_allows_no_inline_script_and_no_other_place(thing, alice, as_user):
    response = as_user(alice).get(PAGE, headers={"host": "localhost:8080"})
    policy = response["Content-Security-Policy"]
    assert "default-src 'none'; script-src 'self'; connect-src 'self' ws://localhost:8080;" in policy
    assert "frame-ancestors 'none'" in policy
    html = response.content.decode()
    assert "onclick=" not in html and html.count("<script") == 1 and '<script type="module" src=' in html


def test_a_user_who_may_not_operate_gets_no_power_menu(thing, alice, as_user):
    thing["action_url"] = ""
    assert "data-power" not in as_user(alice).get(PAGE).content.decode()


def test_the_wanted_console_is_shown_if_there_is_one(thing, alice, as_user):
    assert 'data-kind="serial"' in as_user(alice).get(PAGE + "?kind=serial").content.decode()
    assert 'data-kind="vnc"' in as_user(alice).get(PAGE + "?kind=shell").content.decode()
    thing["kinds"] = ()
    assert 'data-kind=""' in as_user(alice).get(PAGE + "?kind=vnc").content.decode()


def test_text_of_the_guest_is_escaped(thing, alice, as_user):
    thing["title"] = thing["state"] = '"><script>alert(1)</script>'
    assert "<script>alert" not in as_user(alice).get(PAGE).content.decode()


def test_a_ticket_brings_path_and_password_to_whoever_may(thing, alice, as_user):
    response = as_user(alice).post(PAGE + "ticket/", {"kind": "vnc"})
    answer = response.json()
    assert response.status_code == 200
    assert answer["path"] == "/ws/console/thing/web1/vnc"
    assert (answer["password"], answer["expires_in"]) == ("pw123456", 30)
    assert Ticket.objects.get().subject == "thing:1"
    assert as_user(alice).post(PAGE + "ticket/", {"kind": "serial"}).json()["password"] == ""


def test_who_may_write_can_ask_to_watch_only(thing, alice, as_user):
    assert 'id="view-only" checked' in as_user(alice).get(PAGE + "?kind=serial&watch=1").content.decode()
    answer = as_user(alice).post(PAGE + "ticket/", {"kind": "serial", "watch": "1", "take_over": "1"}).json()
    assert answer["right"] == "watch"
    ticket = Ticket.objects.get()
    assert (ticket.right, ticket.take_over) == ("watch", False)


def test_without_a_kind_it_is_the_first(thing, alice, as_user):
    thing["kinds"] = ("serial",)
    assert as_user(alice).post(PAGE + "ticket/").json()["kind"] == "serial"


@pytest.mark.parametrize("path", [PAGE, PAGE + "state/", PAGE + "ticket/"])
def test_strangers_and_nobody_learn_nothing(thing, stranger, as_user, client, path):
    ask = "post" if "ticket" in path else "get"
    assert getattr(as_user(stranger), ask)(path).status_code == 404
    assert getattr(as_user(stranger), ask)(path.replace("web1", "none")).status_code == 404
    assert getattr(as_user(stranger), ask)(path.replace("thing", "nothing")).status_code == 404
    assert getattr(client, ask)(path).status_code == 302
    assert not Ticket.objects.exists()


def test_a_ticket_is_no_get(thing, alice, as_user):
    assert as_user(alice).get(PAGE + "ticket/").status_code == 405


def test_a_ticket_needs_the_csrf_token(thing, alice, as_user):
    assert as_user(alice, enforce_csrf_checks=True).post(PAGE + "ticket/").status_code == 403


def test_a_guest_that_is_off_has_no_ticket_but_a_state(thing, alice, as_user):
    thing |= {"is_on": False, "state": "Stopped"}
    response = as_user(alice).post(PAGE + "ticket/")
    assert response.status_code == 409
    assert response.json() == {"code": "off", "message": "web1 is not running: Stopped."}
    assert as_user(alice).get(PAGE + "state/").json() == {"is_on": False, "state": "Stopped"}


def test_a_console_that_is_not_there_is_not_found(thing, alice, as_user):
    thing["kinds"] = ("vnc",)
    for kind in ["serial", "shell", "../x"]:
        response = as_user(alice).post(PAGE + "ticket/", {"kind": kind})
        assert (response.status_code, response.json()["code"]) == (404, "no_console")


def test_a_screen_in_use_says_by_whom_and_can_be_taken_over(thing, alice, operator, as_user):
    viewers.enter(operator, "s1", "thing:1", "vnc", take_over=False)
    response = as_user(alice).post(PAGE + "ticket/", {"kind": "vnc"})
    assert response.status_code == 409
    assert response.json()["code"] == "in_use" and response.json()["by"] == "operator"
    assert as_user(alice).post(PAGE + "ticket/", {"kind": "serial"}).status_code == 200
    assert as_user(alice).post(PAGE + "ticket/", {"kind": "vnc", "take_over": "1"}).status_code == 200
    assert Ticket.objects.get(kind="vnc").take_over


def test_the_limit_of_consoles_is_told(thing, alice, as_user, monkeypatch):
    monkeypatch.setattr(viewers, "PER_USER", 0)
    response = as_user(alice).post(PAGE + "ticket/")
    assert (response.status_code, response.json()["code"]) == (429, "too_many")


def test_a_ticket_for_a_token_is_bound_to_the_token(thing, alice, rf):
    from bhype.console.api import open_console

    token, secret = ApiToken.objects.issue(alice, "t", "operate", None)
    request = rf.post("/api/v1/vms/web1/console", headers={"authorization": f"Bearer {secret}"})
    request.user, request.api_token = alice, token
    open_console(request, "thing", "web1")
    assert Ticket.objects.get().session == token.digest
