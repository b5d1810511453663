from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from bhype.accounts.models import ApiToken, AuditEntry, Failures, User
from bhype.live.models import Event


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def post(body: dict, secret: str):
    return Client().post("/api/v1/tokens", body, "application/json", headers=bearer(secret))


def issue(user: User, scope: str = "full", expires_at=None) -> tuple[ApiToken, str]:
    return ApiToken.objects.issue(user, "t", scope, expires_at)


def test_the_secret_is_long_and_not_stored(alice):
    row, secret = issue(alice)
    assert len(secret) > 40 and secret.startswith("bhype_")
    assert secret not in str(list(ApiToken.objects.values()))
    assert secret.endswith(row.hint)


def test_a_token_signs_in_to_the_api(alice):
    _, secret = issue(alice)
    assert Client().get("/api/v1/tokens", headers=bearer(secret)).status_code == 200


def test_a_token_does_not_sign_in_to_pages(admin):
    _, secret = issue(admin)
    assert Client().get("/accounts/users/", headers=bearer(secret)).status_code == 302


@pytest.mark.parametrize(
    "spoil",
    [lambda row: ApiToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1)),
     lambda row: ApiToken.objects.update(revoked_at=timezone.now()),
     lambda row: User.objects.update(is_active=False),
     lambda row: row.delete(), lambda row: row.user.delete()],
    ids=["expired", "revoked", "inactive user", "deleted", "deleted user"],
)  # fmt: skip
def test_a_token_that_is_no_longer_good_is_refused(alice, spoil):
    row, secret = issue(alice)
    spoil(row)
    assert Client().get("/api/v1/tokens", headers=bearer(secret)).status_code == 401


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer ", "Bearer x", "Basic YTpi", "Bearer bhype_\u00e9", "x" * 5000]
)
def test_nonsense_is_no_token(alice, header):
    assert Client().get("/api/v1/tokens", headers={"Authorization": header}).status_code == 401


def test_a_wrong_token_is_not_helped_by_a_session(as_user, alice):
    assert as_user(alice).get("/api/v1/tokens", headers=bearer("wrong")).status_code == 401


def test_many_wrong_tokens_are_throttled_and_good_ones_are_not(alice):
    _, secret = issue(alice)
    codes = [Client().get("/api/v1/tokens", headers=bearer("wrong")).status_code for _ in range(22)]
    assert codes[:20] == [401] * 20 and codes[-1] == 429
    assert Client().get("/api/v1/tokens", headers=bearer(secret)).status_code == 200
    assert Failures.objects.get().key == "token:127.0.0.1"


def test_last_use_is_written_at_most_once_a_minute(alice, django_assert_num_queries):
    _, secret = issue(alice)
    Client().get("/api/v1/tokens", headers=bearer(secret))
    first = ApiToken.objects.get().last_used_at
    assert first is not None
    with django_assert_num_queries(2):
        Client().get("/api/v1/tokens", headers=bearer(secret))
    assert ApiToken.objects.get().last_used_at == first


def test_the_session_needs_a_csrf_token_for_changes(alice):
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice, backend="bhype.accounts.backends.PanelBackend")
    assert client.get("/api/v1/tokens").status_code == 200
    answer = client.post("/api/v1/tokens", {"name": "x"}, content_type="application/json")
    assert answer.status_code == 403 and answer.json()["code"] == "csrf"
    assert not ApiToken.objects.exists()


def test_a_token_is_made_listed_and_revoked_by_the_api(alice):
    _, secret = issue(alice)
    made = Client().post(
        "/api/v1/tokens", {"name": "ci", "scope": "read"}, "application/json", headers=bearer(secret)
    )
    assert made.status_code == 201
    listed = Client().get("/api/v1/tokens", headers=bearer(made.json()["secret"])).json()
    assert "ci" in [row["name"] for row in listed]
    assert made.json()["secret"] not in str(listed)
    number = made.json()["token"]["id"]
    assert Client().delete(f"/api/v1/tokens/{number}", headers=bearer(secret)).status_code == 204
    assert Client().get("/api/v1/tokens", headers=bearer(made.json()["secret"])).status_code == 401
    assert made.json()["secret"] not in str(list(AuditEntry.objects.values()))


@pytest.mark.parametrize("scope", ["read", "operate"])
def test_a_narrow_token_makes_no_wider_one(admin, scope):
    _, secret = issue(admin, scope)
    answer = Client().post(
        "/api/v1/tokens", {"name": "x", "scope": "full"}, "application/json", headers=bearer(secret)
    )
    assert answer.status_code == 403
    row, _ = issue(admin)
    assert Client().delete(f"/api/v1/tokens/{row.pk}", headers=bearer(secret)).status_code == 403


@pytest.mark.parametrize(
    ("body", "field"), [({"name": ""}, "name"), ({"name": "x" * 65}, "name"), ({"name": "a\nb"}, "name"),
                        ({"name": "x", "scope": "god"}, "scope"), ({"name": "x", "days": -1}, "days"),
                        ({"name": "x", "days": 10**6}, "days")],
)  # fmt: skip
def test_bad_input_is_refused_with_its_field(alice, body, field):
    _, secret = issue(alice)
    answer = post(body, secret)
    assert answer.status_code == 422 and answer.json()["field"] == field
    assert ApiToken.objects.count() == 1


def test_nobody_revokes_the_tokens_of_others(alice, admin):
    row, _ = issue(alice)
    _, secret = issue(admin)
    assert Client().delete(f"/api/v1/tokens/{row.pk}", headers=bearer(secret)).status_code == 404


def test_revoking_ends_what_was_opened_with_it(as_user, alice):
    row, _ = issue(alice)
    as_user(alice).post(f"/accounts/tokens/{row.pk}/revoke/")
    assert Event.objects.filter(topic=f"session:{row.digest}").exists()
    row.refresh_from_db()
    assert not row.is_valid


def test_the_profile_shows_a_new_secret_once(as_user, alice):
    client = as_user(alice)
    answer = client.post("/accounts/tokens/", {"name": "laptop", "scope": "operate", "days": "90"})
    secret = answer.context["secret"]
    assert secret.encode() in answer.content and "no-store" in answer["Cache-Control"]
    assert secret.encode() not in client.get("/accounts/profile/").content
    row = ApiToken.objects.get()
    assert row.scope == "operate"
    assert timedelta(days=89) < row.expires_at - timezone.now() <= timedelta(days=90)


def test_a_bad_token_form_makes_nothing(as_user, alice):
    answer = as_user(alice).post("/accounts/tokens/", {"name": "", "scope": "god", "days": "5"})
    assert answer.status_code == 422 and not ApiToken.objects.exists()


def test_the_command_prints_the_token_and_nothing_else(alice):
    out = StringIO()
    call_command("token", "alice", "--scope", "read", "--days", "1", stdout=out)
    lines = out.getvalue().splitlines()
    assert len(lines) == 1
    row = ApiToken.objects.valid(lines[0])
    assert row is not None and row.user == alice and row.scope == "read"


@pytest.mark.parametrize("words", [["nobody"], ["alice", "--days", "-3"], ["alice", "--name", ""]])
def test_the_command_refuses(alice, words):
    with pytest.raises(CommandError):
        call_command("token", *words)
    assert not ApiToken.objects.exists()
