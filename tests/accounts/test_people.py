from __future__ import annotations

import io
import pwd

import pytest
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.test import Client

from bhype.accounts import people
from bhype.accounts.models import ApiToken, AuditEntry, Failures, SignIn, User, digest
from bhype.live.models import Event

GOOD = "a long enough secret"


def sign_in(username: str) -> Client:
    client = Client()
    answer = client.post("/accounts/sign-in/", {"username": username, "password": "correct horse battery"})
    assert answer.status_code == 302
    return client


def test_an_admin_adds_a_panel_account_that_signs_in(as_user, admin):
    form = {"username": "dora", "role": "operator", "password": GOOD, "again": GOOD}
    assert as_user(admin).post("/accounts/new-user/", form).status_code == 302
    assert Client().post("/accounts/sign-in/", {"username": "dora", "password": GOOD}).status_code == 302
    entry = AuditEntry.objects.get(action="user.create")
    assert entry.username == "admin" and GOOD not in str(entry.detail)


@pytest.mark.parametrize(
    "username", ["alice", "ALICE", "a b", "", "-a", ".", "a/b", "ä", "a\0", "x" * 65, "a\nb"]
)
def test_bad_and_taken_names_are_refused_beside_the_field(as_user, admin, alice, username):
    form = {"username": username, "password": GOOD, "again": GOOD}
    answer = as_user(admin).post("/accounts/new-user/", form)
    assert answer.status_code == 422 and "username" in answer.context["form"].errors
    assert User.objects.count() == 2


def test_an_admin_invites_a_system_account(as_user, admin):
    name = next(entry.pw_name for entry in pwd.getpwall() if entry.pw_uid != 0)
    as_user(admin).post("/accounts/invite/", {"username": name, "role": "viewer"})
    row = User.objects.get(username=name)
    assert (row.source, row.role, row.has_usable_password()) == ("pam", "viewer", False)


@pytest.mark.parametrize("name", ["root", "no-such-account-here"])
def test_root_and_unknown_accounts_are_not_invited(as_user, admin, name):
    answer = as_user(admin).post("/accounts/invite/", {"username": name})
    assert answer.status_code == 422 and "username" in answer.context["form"].errors


def test_the_last_admin_stays(as_user, admin):
    client = as_user(admin)
    for form in ({"role": "viewer", "is_active": "on"}, {"role": "admin"}):
        assert client.post("/accounts/users/admin/", form).status_code == 422
    assert client.post("/accounts/users/admin/delete/", {"confirm": "admin"}).status_code == 422
    admin.refresh_from_db()
    assert admin.role == "admin" and admin.is_active


def test_an_admin_who_may_not_sign_in_does_not_count(as_user, admin):
    User.objects.create_user("asleep", role="admin", is_active=False)
    assert as_user(admin).post("/accounts/users/admin/", {"role": "viewer"}).status_code == 422


def test_one_of_two_admins_may_go(as_user, admin):
    User.objects.create_user("second", role="admin")
    client = as_user(admin)
    assert client.post("/accounts/users/admin/", {"role": "", "is_active": "on"}).status_code == 302
    assert client.get("/accounts/users/").status_code == 404


def test_two_admins_do_not_demote_each_other_at_once(at_once):
    one, two = [User.objects.create_user(name, role="admin") for name in ("one", "two")]

    def demote(user: User) -> str:
        try:
            people.change(None, User.objects.get(pk=user.pk), role="")
            return "demoted"
        except people.NotPossible as error:
            return error.code

    assert sorted(at_once(lambda: demote(one), lambda: demote(two))) == ["demoted", "last_admin"]
    assert User.objects.filter(role="admin").count() == 1


def test_deactivating_ends_sessions_and_tells_what_hangs_on_them(as_user, admin, alice):
    client = sign_in("alice")
    key = client.session.session_key
    as_user(admin).post("/accounts/users/alice/", {"role": ""})
    assert client.get("/accounts/profile/").status_code == 302
    assert not Session.objects.filter(session_key=key).exists()
    assert Event.objects.filter(topic=f"session:{digest(key)}").exists()


def test_deleting_needs_the_name_typed_and_keeps_the_vms(as_user, admin, alice, vm):
    ApiToken.objects.issue(alice, "ci", "read", None)
    client = as_user(admin)
    assert b"ci" in client.get("/accounts/users/alice/").content
    assert client.post("/accounts/users/alice/delete/", {"confirm": "alic"}).status_code == 422
    assert client.post("/accounts/users/alice/delete/", {"confirm": "alice"}).status_code == 302
    vm.refresh_from_db()
    assert vm.owner is None and not ApiToken.objects.exists()
    assert AuditEntry.objects.filter(action="user.delete", object="user alice", username="admin").exists()


@pytest.mark.parametrize(
    "path", ["users/", "new-user/", "invite/", "users/alice/", "users/nobody/", "audit/", "audit.csv"]
)
def test_others_find_no_admin_pages(as_user, operator, alice, path):
    assert as_user(operator).get(f"/accounts/{path}").status_code == 404


def test_the_password_is_changed_with_the_old_one_and_other_sessions_end(alice):
    here, elsewhere = sign_in("alice"), sign_in("alice")
    form = {"current": "correct horse battery", "password": GOOD, "again": GOOD}
    assert here.post("/accounts/profile/password/", form | {"current": "wrong"}).status_code == 422
    assert here.post("/accounts/profile/password/", form | {"again": "other"}).status_code == 422
    assert here.post("/accounts/profile/password/", form).status_code == 302
    assert here.get("/accounts/profile/").status_code == 200
    assert elsewhere.get("/accounts/profile/").status_code == 302
    assert SignIn.objects.get().session_key == here.session.session_key
    alice.refresh_from_db()
    assert alice.check_password(GOOD)


def test_a_session_is_ended_from_another_one_and_only_by_its_owner(alice, stranger):
    here, elsewhere, other = sign_in("alice"), sign_in("alice"), sign_in("stranger")
    row = SignIn.objects.get(session_key=elsewhere.session.session_key)
    assert other.post(f"/accounts/sessions/{row.pk}/end/").status_code == 404
    assert here.post(f"/accounts/sessions/{row.pk}/end/").status_code == 302
    assert elsewhere.get("/accounts/profile/").status_code == 302
    assert here.get("/accounts/profile/").status_code == 200


def test_ending_ones_own_session_is_signing_out(alice):
    client = sign_in("alice")
    answer = client.post(f"/accounts/sessions/{SignIn.objects.get().pk}/end/")
    assert answer["Location"] == "/accounts/sign-in/"


def test_the_api_manages_users(as_user, admin):
    client = as_user(admin)

    def call(method: str, path: str, body: str):
        return client.generic(
            method, f"/api/v1/users{path}", io.BytesIO() if body is None else body, "application/json"
        )

    made = call("POST", "", '{"username": "erin", "password": "a long enough secret", "role": "viewer"}')
    assert made.status_code == 201 and "password" not in made.json()
    assert [row["username"] for row in client.get("/api/v1/users").json()] == ["admin", "erin"]
    assert call("PATCH", "/erin", '{"role": "operator"}').json()["role"] == "operator"
    assert call("PATCH", "/erin", '{"role": "king"}').json()["field"] == "role"
    taken = call("POST", "", '{"username": "erin", "password": "a long enough secret"}')
    assert (taken.status_code, taken.json()["code"]) == (409, "in_use")
    last = client.delete("/api/v1/users/admin")
    assert (last.status_code, last.json()["code"]) == (409, "last_admin")
    assert client.delete("/api/v1/users/erin").status_code == 204
    assert client.get("/api/v1/users/erin").status_code == 404


def test_the_api_of_users_is_for_admins(as_user, operator):
    client = as_user(operator)
    for answer in (
        client.get("/api/v1/users"),
        client.get("/api/v1/users/operator"),
        client.get("/api/v1/audit"),
        client.post("/api/v1/users", {"username": "x"}, "application/json"),
        client.delete("/api/v1/users/operator"),
    ):
        assert answer.status_code == 404


def command(*words: str, stdin: str = "", monkeypatch=None) -> str:
    out = io.StringIO()
    if monkeypatch is not None:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
    call_command("user", *words, stdout=out)
    return out.getvalue()


def test_the_command_makes_an_admin_with_a_password(db, monkeypatch):
    text = command(
        "rescue", "--role", "admin", "--password-stdin", stdin=GOOD + "\n", monkeypatch=monkeypatch
    )
    assert "rescue" in text and GOOD not in text
    rescue = User.objects.get()
    assert rescue.role == "admin" and rescue.check_password(GOOD)


def test_the_command_lets_a_locked_out_user_in(alice):
    User.objects.update(is_active=False)
    Failures.objects.create(key="user:alice", count=99)
    assert "active" in command("alice", "--unlock")
    sign_in("alice")


def test_the_command_refuses_what_makes_no_sense(admin, monkeypatch):
    for words in (["ghost", "--unlock"], ["no-such-account-here"], ["admin", "--role", "viewer"]):
        with pytest.raises(CommandError):
            command(*words)
    with pytest.raises(CommandError):
        command("new", "--password-stdin", stdin="short\n", monkeypatch=monkeypatch)
    assert User.objects.get().role == "admin"
