from __future__ import annotations

import json
import socket
import threading
from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from bhype.accounts import signin
from bhype.accounts.models import AuditEntry, Failures, SignIn, User, digest
from bhype.live.models import Event

PASSWORD = "correct horse battery"
URL = "/accounts/sign-in/"


def sign_in(client: Client, username: str, password: str, **more):
    return client.post(URL, {"username": username, "password": password}, **more)


class FakeAuthd:
    """Answers on authd's socket; knows the passwords it is given."""

    def __init__(self, path, passwords):
        self.passwords = passwords
        self.asked = []
        self.answer = None
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self.path = path
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(path))
        self.server.listen()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        while True:
            connection, _ = self.server.accept()
            with connection, connection.makefile("rwb") as lines:
                line = lines.readline()
                if line == b"stop\n":
                    return
                if not line:
                    continue
                request = json.loads(line)
                self.asked.append(request["user"])
                right = self.passwords.get(request["user"]) == request["password"]
                answer = self.answer or {"ok": right, "reason": "" if right else "refused", "retry_after": 0}
                lines.write(json.dumps(answer).encode() + b"\n")

    def stop(self):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.path))
            connection.sendall(b"stop\n")
        self.thread.join()
        self.server.close()
        self.path.unlink()


@pytest.fixture
def authd(db):
    fake = FakeAuthd(signin.authd_socket(), {"carol": "carols system password"})
    yield fake
    fake.stop()


def test_a_panel_user_signs_in_without_authd(admin):
    client = Client()
    answer = sign_in(client, "admin", PASSWORD)
    assert answer.status_code == 302
    assert client.get("/accounts/profile/").status_code == 200
    assert AuditEntry.objects.get(action="sign_in").username == "admin"


def test_a_wrong_password_is_said_beside_the_field_and_recorded(admin):
    answer = sign_in(Client(), "admin", "wrong")
    assert answer.status_code == 422
    assert answer.context["form"].errors["password"][0].startswith(signin.WRONG)
    assert AuditEntry.objects.get(action="sign_in.failed").object == "admin"
    assert b'value="admin"' in answer.content and b"wrong" not in answer.content.replace(b"is wrong", b"")


def test_an_unknown_name_is_answered_alike_and_not_written_down(admin):
    known = sign_in(Client(), "admin", "wrong").context["form"].errors
    unknown = sign_in(Client(), "hunter2", "wrong").context["form"].errors
    assert known == unknown
    assert "hunter2" not in str(list(AuditEntry.objects.values()))


def test_an_inactive_user_does_not_sign_in(alice):
    User.objects.update(is_active=False)
    assert sign_in(Client(), "alice", PASSWORD).status_code == 422


def test_the_system_says_who_somebody_is_and_not_what_they_may(authd):
    assert sign_in(Client(), "carol", "carols system password").status_code == 302
    carol = User.objects.get(username="carol")
    assert (carol.source, carol.role) == ("pam", "")
    assert not carol.has_usable_password()


def test_a_name_of_the_panel_is_never_asked_of_the_system(authd, alice):
    authd.passwords["alice"] = "the system's alice"
    assert sign_in(Client(), "alice", "the system's alice").status_code == 422
    assert authd.asked == []


def test_a_system_user_never_signs_in_by_a_hash_of_the_panel(authd):
    carol = User.objects.create_user("carol", password=PASSWORD, source="pam")
    assert sign_in(Client(), "carol", PASSWORD).status_code == 422
    assert carol.check_password(PASSWORD)


def test_a_deactivated_system_user_is_refused_before_the_system_is_asked(authd):
    User.objects.create_user("carol", source="pam", is_active=False)
    assert sign_in(Client(), "carol", "carols system password").status_code == 422
    assert authd.asked == []


def test_an_expired_account_is_told_so(authd):
    authd.answer = {"ok": False, "reason": "expired", "retry_after": 0}
    assert b"expired" in sign_in(Client(), "carol", "x").content


def test_a_wait_of_authd_is_told_with_its_time(authd):
    authd.answer = {"ok": False, "reason": "throttled", "retry_after": 77}
    answer = sign_in(Client(), "carol", "x")
    assert answer.status_code == 429 and answer["Retry-After"] == "77" and b"77 s" in answer.content


def test_without_authd_everybody_is_told_that_system_accounts_cannot_be_checked(admin):
    assert signin.AWAY in sign_in(Client(), "carol", "x").context["form"].errors["password"][0]
    assert signin.AWAY in sign_in(Client(), "admin", "x").context["form"].errors["password"][0]


@pytest.mark.parametrize("username", ["", " ", "a\0b", "x" * 65, "💥", "../etc", "-rf"])
def test_odd_names_are_refused(db, username):
    assert sign_in(Client(), username, "x").status_code == 422
    assert not User.objects.exists()


def test_five_failures_make_the_name_wait_even_with_the_right_password(admin):
    for _ in range(5):
        assert sign_in(Client(), "admin", "wrong").status_code == 422
    answer = sign_in(Client(), "admin", PASSWORD)
    assert answer.status_code == 429
    assert 1 <= int(answer["Retry-After"]) <= 30
    assert b"Try again in" in answer.content


def test_another_name_may_sign_in_while_one_waits(admin, alice):
    for _ in range(6):
        sign_in(Client(), "admin", "wrong")
    assert sign_in(Client(), "alice", PASSWORD).status_code == 302


def test_the_wait_ends_and_success_forgets_the_failures(admin):
    for _ in range(5):
        sign_in(Client(), "admin", "wrong")
    Failures.objects.update(last_at=timezone.now() - timedelta(seconds=31))
    assert sign_in(Client(), "admin", PASSWORD).status_code == 302
    assert not Failures.objects.filter(key="user:admin").exists()


def test_an_address_waits_after_twenty_names_and_a_header_does_not_change_it(admin):
    for number in range(20):
        sign_in(Client(), f"name{number}", "x", headers={"X-Forwarded-For": f"192.0.2.{number}"})
    assert sign_in(Client(), "admin", PASSWORD).status_code == 429
    assert sign_in(Client(REMOTE_ADDR="192.0.2.200"), "admin", PASSWORD).status_code == 302


def test_old_failures_are_cleaned_up(admin):
    Failures.objects.create(key="user:old", count=9, last_at=timezone.now() - timedelta(hours=1))
    sign_in(Client(), "admin", "wrong")
    assert not Failures.objects.filter(key="user:old").exists()


def test_the_session_key_is_new_after_signing_in(admin):
    client = Client()
    session = client.session
    session["planted"] = "by an attacker"
    session.save()
    client.cookies["bhype_session"] = session.session_key
    sign_in(client, "admin", PASSWORD)
    assert client.session.session_key != session.session_key
    assert "planted" not in client.session
    assert not Session.objects.filter(session_key=session.session_key).exists()


@pytest.mark.parametrize(
    "target",
    [
        *("//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "\\\\evil"),
        *("///evil.example", "http:evil", "/\t/evil.example", "evil", ""),
    ],
)
def test_signing_in_never_leads_elsewhere(admin, target):
    answer = Client().post(URL, {"username": "admin", "password": PASSWORD, "next": target})
    assert answer["Location"] == "/vms/"


def test_signing_in_leads_back(admin):
    answer = Client().post(URL, {"username": "admin", "password": PASSWORD, "next": "/accounts/users/?a=1"})
    assert answer["Location"] == "/accounts/users/?a=1"
    page = Client().get(URL + "?next=/accounts/users/").content
    assert b'value="/accounts/users/"' in page


def test_who_is_signed_in_goes_on(as_user, admin):
    assert as_user(admin).get(URL + "?next=//evil")["Location"] == "/vms/"


def test_signing_out_deletes_the_session_and_tells_what_hangs_on_it(admin):
    client = Client()
    sign_in(client, "admin", PASSWORD)
    key = client.session.session_key
    assert client.get("/accounts/sign-out/").status_code == 405
    assert client.post("/accounts/sign-out/")["Location"] == URL
    assert not Session.objects.filter(session_key=key).exists()
    assert not SignIn.objects.exists()
    assert Event.objects.filter(topic=f"session:{digest(key)}").exists()
    assert client.get("/accounts/profile/").status_code == 302


def test_signing_in_and_out_need_a_csrf_token(admin):
    client = Client(enforce_csrf_checks=True)
    assert sign_in(client, "admin", PASSWORD).status_code == 403
    client.force_login(admin, backend="bhype.accounts.backends.PanelBackend")
    assert client.post("/accounts/sign-out/").status_code == 403


def test_no_page_keeps_a_password(admin):
    for path in (URL,):
        answer = Client().post(path, {"username": "admin", "password": "s3cret-typed-wrong"})
        assert b"s3cret-typed-wrong" not in answer.content
        assert "no-store" in answer["Cache-Control"]


def test_every_refusal_takes_the_same_time(admin, monkeypatch):
    slept = []
    monkeypatch.setattr(signin, "REFUSAL_SECONDS", 0.8)
    monkeypatch.setattr(signin.time, "sleep", slept.append)
    sign_in(Client(), "admin", "wrong")
    sign_in(Client(), "nobody-here", "wrong")
    assert len(slept) == 2 and all(0.3 < seconds <= 0.8 for seconds in slept)
