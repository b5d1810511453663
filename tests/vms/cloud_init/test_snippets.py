"""The library of snippets: own ones, shared ones, and nobody else's."""

from __future__ import annotations

import json

import pytest

from bhype.accounts.models import ApiToken
from vms.cloud_init import changes
from vms.models import Snippet

TEXT = "#cloud-config\npackages: [vim]\n"


@pytest.fixture
def own(alice) -> Snippet:
    return Snippet.objects.create(owner=alice, name="base", text=TEXT)


def values(**more: str) -> dict[str, str]:
    return {"name": "tools", "kind": "user-data", "text": TEXT, **more}


def test_one_is_written_changed_and_deleted(as_user, alice):
    client = as_user(alice)
    assert b"No snippets yet" in client.get("/vms/_snippets/").content
    assert client.post("/vms/_snippets/new/", values()).status_code == 302
    row = Snippet.objects.get()
    assert row.owner == alice and row.text == TEXT and not row.is_shared
    client.post(f"/vms/_snippets/{row.pk}/edit/", values(name="tools2", is_shared="on"))
    row.refresh_from_db()
    assert row.name == "tools2" and row.is_shared
    assert b"tools2" in client.get("/vms/_snippets/").content
    client.post(f"/vms/_snippets/{row.pk}/delete/")
    assert not Snippet.objects.exists()


@pytest.mark.parametrize(
    ("kind", "text", "word"),
    [
        ("user-data", "packages: [a]", "first line"), ("user-data", "#cloud-config\nx: 1", "Line 2"),
        ("script", "echo", "#!/bin/sh"), ("autoinstall", "#cloud-config\n", "no key autoinstall"),
        ("preseed", "hello", "owner, question"),
        ("kickstart", "%post\n", "no %end"),
        ("autounattend", "<a>", "not XML"),
        ("installerconfig", "x", "where is it"), ("user-data", " ", "required"),
    ],
)  # fmt: skip
def test_a_text_that_nothing_reads_is_refused(as_user, alice, kind, text, word):
    page = as_user(alice).post("/vms/_snippets/new/", values(kind=kind, text=text))
    assert page.status_code == 422 and word in page.content.decode() and not Snippet.objects.exists()


@pytest.mark.parametrize("kind", Snippet.Kind.values)
def test_a_new_one_begins_with_what_can_be_saved(as_user, alice, kind):
    page = as_user(alice).get(f"/vms/_snippets/new/?kind={kind}")
    assert page.status_code == 200
    text = page.context["form"]["text"].value()
    assert as_user(alice).post("/vms/_snippets/new/", values(kind=kind, text=text)).status_code == 302


def test_others_see_it_when_it_is_shared_and_never_change_it(as_user, own, stranger, viewer):
    client = as_user(stranger)
    assert client.get(f"/vms/_snippets/{own.pk}/").status_code == 404
    Snippet.objects.update(is_shared=True)
    assert client.get(f"/vms/_snippets/{own.pk}/").status_code == 200
    for verb in ("edit", "delete"):
        assert client.post(f"/vms/_snippets/{own.pk}/{verb}/", values()).status_code == 404
    own.refresh_from_db()
    assert own.name == "base"


def test_an_admin_changes_shared_ones_and_does_not_see_private_ones(as_user, own, admin):
    assert as_user(admin).get(f"/vms/_snippets/{own.pk}/").status_code == 404
    Snippet.objects.update(is_shared=True)
    assert as_user(admin).post(f"/vms/_snippets/{own.pk}/edit/", values(is_shared="on")).status_code == 302


def test_one_that_is_used_stays(as_user, own, alice, vm):
    changes.save(vm, {"snippets": [own.pk]}, alice)
    page = as_user(alice).get(f"/vms/_snippets/{own.pk}/").content.decode()
    assert "web1" in page
    as_user(alice).post(f"/vms/_snippets/{own.pk}/delete/")
    assert Snippet.objects.filter(pk=own.pk).exists()


def test_two_of_one_name_are_refused_to_a_person(as_user, own, alice, admin):
    assert as_user(alice).post("/vms/_snippets/new/", values(name="base")).status_code == 422
    assert as_user(admin).post("/vms/_snippets/new/", values(name="base")).status_code == 302


def test_the_api_does_the_same(as_user, alice, stranger):
    client = as_user(alice)

    def api(method, path="", body=None, who=client, **headers):
        text = json.dumps(body) if body is not None else ""
        return who.generic(method, f"/api/v1/snippets{path}", text, "application/json", **headers)

    made = api("POST", body={"name": "a", "text": TEXT})
    assert made.status_code == 201, made.content
    key = made.json()["id"]
    assert api("GET").json()[0]["name"] == "a" and api("GET", f"/{key}").json()["text"] == TEXT
    assert api("PATCH", f"/{key}", {"text": "nonsense"}).json()["field"] == "text"
    assert api("PATCH", f"/{key}", {"notes": "n"}).json()["notes"] == "n"
    assert api("POST", body={"name": "b", "kind": "x", "text": TEXT}).json()["field"] == "kind"
    assert api("GET", f"/{key}", who=as_user(stranger)).status_code == 404
    _, secret = ApiToken.objects.issue(alice, "t", "operate", None)
    narrow = as_user(stranger).__class__()
    answer = api("DELETE", f"/{key}", who=narrow, HTTP_AUTHORIZATION=f"Bearer {secret}")
    assert answer.status_code == 403
    assert api("DELETE", f"/{key}").status_code == 204
