"""A person's own SSH keys."""

from __future__ import annotations

import json

import pytest

from bhype.accounts.models import ApiToken, AuditEntry, SshKey
from tests.cloudinit.examples import key


def test_a_key_is_added_and_removed(as_user, alice):
    client = as_user(alice)
    assert b"No keys." in client.get("/accounts/profile/").content
    assert client.post("/accounts/keys/", {"text": f"  {key(comment='alice@desk')}\n"}).status_code == 302
    row = SshKey.objects.get()
    assert (
        row.name == "alice@desk"
        and row.text == key(comment="alice@desk")
        and row.fingerprint.startswith("SHA256:")
    )
    assert row.fingerprint in client.get("/accounts/profile/").content.decode()
    client.post(f"/accounts/keys/{row.pk}/remove/")
    assert not SshKey.objects.exists()
    assert set(AuditEntry.objects.values_list("action", flat=True)) >= {"ssh_key.add", "ssh_key.remove"}


@pytest.mark.parametrize(
    "text", ["", "nonsense", "-----BEGIN OPENSSH PRIVATE KEY-----", 'command="x" ' + key()]
)
def test_what_is_no_public_key_is_refused_beside_the_field(as_user, alice, text):
    page = as_user(alice).post("/accounts/keys/", {"text": text})
    assert (
        page.status_code == 422 and "key_text_error" in page.content.decode() and not SshKey.objects.exists()
    )


def test_the_same_key_twice_is_refused(as_user, alice, stranger):
    client = as_user(alice)
    client.post("/accounts/keys/", {"text": key()})
    assert client.post("/accounts/keys/", {"text": key(comment="again")}).status_code == 422
    assert as_user(stranger).post("/accounts/keys/", {"text": key()}).status_code == 302


def test_nobody_else_sees_or_removes_it(as_user, alice, admin):
    row = SshKey.objects.create(user=alice, name="alices", text=key(), fingerprint="SHA256:x")
    assert as_user(admin).post(f"/accounts/keys/{row.pk}/remove/").status_code == 404
    assert b"alices" not in as_user(admin).get("/accounts/profile/").content and SshKey.objects.exists()


def test_the_api_does_the_same_but_not_for_a_narrow_token(as_user, alice, client):
    def api(method, path="", body=None, **headers):
        text = json.dumps(body) if body is not None else ""
        return client.generic(method, f"/api/v1/ssh-keys{path}", text, "application/json", **headers)

    _, full = ApiToken.objects.issue(alice, "t", "full", None)
    _, narrow = ApiToken.objects.issue(alice, "t", "operate", None)
    by = {"HTTP_AUTHORIZATION": f"Bearer {full}"}
    assert api("POST", body={"text": key()}, HTTP_AUTHORIZATION=f"Bearer {narrow}").status_code == 403
    made = api("POST", body={"text": key(), "name": "desk"}, **by)
    assert made.status_code == 201 and api("GET", **by).json() == [made.json()]
    assert api("POST", body={"text": "x"}, **by).json()["field"] == "text"
    assert api("DELETE", f"/{made.json()['id']}", **by).status_code == 204
