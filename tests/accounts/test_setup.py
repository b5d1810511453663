from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import call_command
from django.http import Http404
from django.test import Client

from bhype.accounts import setup, signin
from bhype.accounts.models import AuditEntry, SetupCode, User

FORM = {
    "kind": "panel",
    "username": "boss",
    "password": "a long enough secret",
    "again": "a long enough secret",
}


def link() -> str:
    out = StringIO()
    call_command("setup_link", stdout=out)
    return "/setup/" + out.getvalue().split("/setup/")[1].strip()


def test_the_link_makes_the_first_admin_and_signs_them_in(db):
    client, path = Client(), link()
    assert client.get(path).status_code == 200
    assert client.post(path, FORM).status_code == 302
    boss = User.objects.get()
    assert (boss.username, boss.role, boss.source) == ("boss", "admin", "panel")
    assert client.get("/accounts/users/").status_code == 200
    assert AuditEntry.objects.filter(action="setup", username="boss").count() == 1


def test_the_link_works_once(db):
    path = link()
    Client().post(path, FORM)
    assert Client().get(path).status_code == 404
    assert Client().post(path, FORM | {"username": "thief"}).status_code == 404
    assert User.objects.count() == 1


def test_a_new_link_makes_the_old_one_void(db):
    old, new = link(), link()
    assert Client().get(old).status_code == 404
    assert Client().get(new).status_code == 200


def test_no_link_works_while_there_is_an_admin(db, admin):
    code = "x" * 43
    SetupCode.objects.create(digest=setup.digest(code))
    assert Client().get(f"/setup/{code}/").status_code == 404
    out = StringIO()
    call_command("setup_link", stdout=out)
    assert "setup/" not in out.getvalue() and "admin" in out.getvalue()


def test_a_guessed_code_is_not_found(db):
    link()
    assert Client().get("/setup/" + "A" * 43 + "/").status_code == 404


def test_the_code_is_stored_as_a_digest_only(db):
    path = link()
    assert path.split("/")[2] not in str(list(SetupCode.objects.values()))


@pytest.mark.parametrize(
    ("change", "field"),
    [({"again": "another"}, "again"), ({"password": "short", "again": "short"}, "password"),
     ({"password": "password1234", "again": "password1234"}, "password"),
     ({"username": "a b"}, "username"), ({"username": "-x"}, "username"), ({"username": ""}, "username"),
     ({"kind": "other"}, "kind")],
)  # fmt: skip
def test_bad_input_is_refused_beside_the_field_and_the_link_stays_good(db, change, field):
    path = link()
    answer = Client().post(path, FORM | change)
    assert answer.status_code == 422
    assert field in answer.context["form"].errors
    assert not User.objects.exists()
    assert Client().post(path, FORM).status_code == 302


def test_a_system_account_with_a_wrong_password_does_not_become_admin(db):
    path = link()
    answer = Client().post(path, FORM | {"kind": "system", "password": "x", "again": ""})
    assert answer.status_code == 422 and signin.AWAY.strip() in str(answer.context["form"].errors)
    assert not setup.has_admin()


def test_of_two_uses_at_once_one_wins(rf, at_once):
    code = setup.issue()

    def use(name: str) -> str:
        try:
            return setup.use(rf.post("/"), code, User(username=name, source="panel")).username
        except Http404:
            return "lost"

    results = at_once(lambda: use("one"), lambda: use("two"))
    assert len(results) == 2 and results.count("lost") == 1
    assert User.objects.get(role="admin").username in results
