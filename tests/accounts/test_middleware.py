"""Deny by default, on a small project of its own (urls.py beside this file)."""

from __future__ import annotations

from urllib.parse import parse_qs, urlparse

import pytest
from django.contrib.sessions.models import Session as SessionRow
from django.test import Client

from bhype.accounts.models import ApiToken, User

pytestmark = pytest.mark.urls("tests.accounts.urls")


def test_a_view_without_a_rule_is_not_found_even_for_an_admin(as_user, admin):
    assert Client().get("/unmarked/").status_code == 404
    assert as_user(admin).get("/unmarked/").status_code == 404


def test_a_public_view_is_open_to_everybody(db, as_user, alice):
    assert Client().get("/welcome/").content == b"welcome"
    assert as_user(alice).get("/welcome/").content == b"welcome"


def test_the_anonymous_are_sent_to_sign_in_and_back(db):
    answer = Client().get("/mine/?tab=a%26b")
    assert answer.status_code == 302
    target = urlparse(answer["Location"])
    assert target.path == "/accounts/sign-in/" and target.netloc == ""
    assert parse_qs(target.query)["next"] == ["/mine/?tab=a%26b"]


def test_a_form_of_the_anonymous_is_not_the_place_to_come_back_to(db):
    assert Client().post("/vms/web1/operate/")["Location"] == "/accounts/sign-in/"


def test_a_fragment_sends_the_whole_page_to_sign_in(db):
    answer = Client().get(
        "/mine/", headers={"HX-Request": "true", "HX-Current-URL": "http://testserver/manage/?page=2"}
    )
    assert answer.status_code == 401
    assert parse_qs(urlparse(answer["HX-Redirect"]).query)["next"] == ["/manage/?page=2"]


def test_a_missing_right_looks_like_a_missing_page(as_user, operator, admin):
    assert as_user(operator).get("/manage/").status_code == 404
    assert as_user(admin).get("/manage/").content == b"managed"


def test_other_methods_are_not_allowed(as_user, admin, vm):
    client = as_user(admin)
    answer = client.get(f"/vms/{vm.name}/operate/")
    assert answer.status_code == 405 and answer["Allow"] == "POST"
    assert client.delete("/manage/").status_code == 405
    assert client.head("/manage/").status_code == 200
    assert client.options("/manage/").status_code == 405


def test_the_view_gets_the_object_in_place_of_its_name(as_user, alice, operator, vm):
    for user in (alice, operator):
        assert as_user(user).post(f"/vms/{vm.name}/operate/").content == b"VM web1"


def test_missing_and_forbidden_objects_look_the_same(as_user, stranger, viewer, vm):
    for user in (stranger, viewer):
        theirs = as_user(user).post(f"/vms/{vm.name}/operate/")
        missing = as_user(user).post("/vms/no-such/operate/")
        assert theirs.status_code == missing.status_code == 404
        assert theirs.content.replace(b"web1", b"") == missing.content.replace(b"no-such", b"")


@pytest.mark.parametrize("key", ["%00", "web1%00", "%25", "a" * 500, "..%2f", "%ff", "%EF%BC%91"])
def test_a_malformed_key_is_a_missing_object(as_user, admin, vm, key):
    assert as_user(admin).post(f"/vms/{key}/operate/").status_code == 404


def test_a_model_without_owners_needs_the_right_itself(as_user, alice, viewer, pool):
    assert as_user(alice).get("/pools/tank/").status_code == 404
    assert as_user(viewer).get("/pools/tank/").content == b"tank"


def test_a_deactivated_user_is_signed_out_at_once(as_user, alice):
    client = as_user(alice)
    assert client.get("/mine/").status_code == 200
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert client.get("/mine/").status_code == 302
    assert not SessionRow.objects.exists()


def test_the_session_of_a_deleted_user_is_gone(as_user, alice):
    client = as_user(alice)
    alice.delete()
    assert client.get("/mine/").status_code == 302
    assert not SessionRow.objects.exists()


def test_the_api_asks_for_authentication_itself(as_user, alice):
    assert Client().get("/api/v1/me").status_code == 401
    assert as_user(alice).get("/api/v1/me").json() == {"user": "alice", "scope": None}
    _, secret = ApiToken.objects.issue(alice, "t", "read", None)
    answer = Client().get("/api/v1/me", headers={"Authorization": f"Bearer {secret}"})
    assert answer.json() == {"user": "alice", "scope": "read"}


def test_an_api_operation_that_forgot_authentication_is_not_found(as_user, admin):
    assert Client().get("/api/v1/open").status_code == 404
    assert as_user(admin).get("/api/v1/open").status_code == 404
