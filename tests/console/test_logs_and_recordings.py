"""The pages of logs and recordings: who may see what, what is on record, what is shown of what a guest wrote."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
from django.utils import timezone

from bhype.accounts.models import AuditEntry
from bhype.console import pictures, recordings, subjects, viewers
from bhype.console.models import Recording
from tests.conftest import make_user

from .guests import run_directory

pytestmark = pytest.mark.django_db

PAGE = "/console/thing/web1/"
ROWS = PAGE + "recordings/"


@pytest.fixture
def watcher(db):
    return make_user("wim", "watcher")


@pytest.fixture
def thing(monkeypatch, settings, gate, alice):
    """A subject "thing" named web1 of alice's, with a gateway and a run directory."""
    monkeypatch.setattr(subjects, "_entries", {})
    settings.STATE_DIR = settings.RUN_DIR = gate.folder
    (gate.folder / "recordings").mkdir(exist_ok=True)
    fields = {
        "topic": "thing:1", "name": "web1", "title": "web1", "back_url": "/vms/web1/",
        "kinds": ("vnc", "serial", "serial2"), "is_on": True, "state": "Running",
    }  # fmt: skip

    def resolve(user, name, right):
        allowed = name == "web1" and user.can(right, owner_id=alice.pk)
        return subjects.Subject(**fields) if allowed else None

    subjects.register("thing", resolve)
    return fields


@pytest.fixture
def log(gate):
    """Writes the files of the first serial line."""
    folder = run_directory(gate.root, "web1")

    def write(name: str, data: bytes) -> None:
        (folder / name).write_bytes(data)

    yield write
    for file in folder.glob("serial*"):
        file.unlink()


def recorded(user, **fields) -> Recording:
    row = recordings.begin(user, "thing:1", fields.pop("kind", "serial"))
    recordings.path(row).write_bytes(fields.pop("data", b'{"version": 2}\n'))
    recordings.end(row)
    Recording.objects.filter(pk=row.pk).update(**fields)
    row.refresh_from_db()
    return row


# Logs.


def test_the_log_is_read_without_what_a_terminal_would_do(thing, log, watcher, as_user):
    log("serial1.log.1", b"older\r\n")
    log("serial1.log", b"\x1b[31m<script>alert(1)</script>\x1b[0m\r\nlogin: ")
    html = as_user(watcher).get(PAGE + "log/").content.decode()
    assert "older\n&lt;script&gt;alert(1)&lt;/script&gt;\nlogin: </pre>" in html
    assert "\x1b" not in html and "<script>alert" not in html


def test_it_is_searched_with_what_stands_around(thing, log, watcher, as_user):
    log("serial1.log", b"one\ntwo\nan <b>Error</b>\nfour\n")
    html = as_user(watcher).get(PAGE + "log/", {"q": "<b>error"}).content.decode()
    assert "an <mark>&lt;b&gt;Error</mark>&lt;/b&gt;" in html and "1 line with" in html
    assert "No line has" in as_user(watcher).get(PAGE + "log/", {"q": "nothing"}).content.decode()


def test_only_its_end_is_shown_from_the_beginning_of_a_line(thing, log, watcher, as_user):
    log("serial1.log", b"".join(b"line %06d\n" % number for number in range(20000)))
    response = as_user(watcher).get(PAGE + "log/text/", {"kb": "16"})
    text = response.content.decode()
    assert len(text) <= 16 * 1024 and text.startswith("line ") and text.endswith("line 019999\n")
    again = as_user(watcher).get(
        PAGE + "log/text/", {"kb": "16"}, headers={"If-None-Match": response["ETag"]}
    )
    assert again.status_code == 304
    assert "private" in response["Cache-Control"]


def test_every_line_has_its_own(thing, log, watcher, as_user):
    log("serial1.log", b"first")
    log("serial2.log", b"second")
    assert as_user(watcher).get(PAGE + "log/text/", {"line": "serial2"}).content == b"second"
    for line in ("serial", "vnc", "../x", "serial3"):
        assert as_user(watcher).get(PAGE + "log/text/", {"line": line}).content == b"first"


def test_a_link_in_place_of_the_log_leads_nowhere(thing, gate, watcher, as_user, tmp_path):
    (tmp_path / "secret").write_text("secret")
    os.symlink(tmp_path / "secret", run_directory(gate.root, "web1") / "serial1.log")
    try:
        assert as_user(watcher).get(PAGE + "log/text/").content == b""
    finally:
        (run_directory(gate.root, "web1") / "serial1.log").unlink()


def test_taking_the_log_along_is_on_record(thing, log, watcher, as_user):
    log("serial1.log", b"\x1b[1mraw\r\n")
    assert as_user(watcher).get(PAGE + "log/download/").status_code == 405
    response = as_user(watcher).post(PAGE + "log/download/", {"line": "serial"})
    assert response.content == b"\x1b[1mraw\r\n" and "attachment" in response["Content-Disposition"]
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.object, entry.username) == ("console.log", "thing web1", "wim")


def test_without_a_gateway_the_page_says_so(thing, settings, tmp_path, watcher, as_user):
    settings.RUN_DIR = tmp_path
    assert "does not answer" in as_user(watcher).get(PAGE + "log/").content.decode()
    assert as_user(watcher).get(PAGE + "log/text/").status_code == 404


@pytest.mark.parametrize("path", ["log/", "log/text/", "picture.png", "recordings/"])
def test_who_may_not_watch_learns_nothing(thing, stranger, viewer, as_user, client, path):
    for user in (stranger, viewer):
        assert as_user(user).get(PAGE + path).status_code == 404
    assert client.get(PAGE + path).status_code == 302


# Recordings.


def test_each_sees_their_own_and_who_may_change_the_machine_all(thing, alice, operator, as_user):
    mine, theirs = recorded(alice), recorded(operator)
    html = as_user(operator).get(ROWS).content.decode()
    assert f"/recordings/{theirs.pk}/" in html and f"/recordings/{mine.pk}/" not in html
    html = as_user(alice).get(ROWS).content.decode()
    assert f"/recordings/{theirs.pk}/" in html and f"/recordings/{mine.pk}/" in html
    for path in ("", "file/", "delete/"):
        ask = "get" if not path else "post"
        assert getattr(as_user(operator), ask)(f"{ROWS}{mine.pk}/{path}").status_code == 404
    assert as_user(operator).get(f"{ROWS}{theirs.pk}/").status_code == 200


def test_who_may_only_watch_sees_no_recordings(thing, watcher, as_user):
    row = recorded(watcher)
    assert as_user(watcher).get(ROWS).status_code == 404
    assert as_user(watcher).get(f"{ROWS}{row.pk}/").status_code == 404
    assert as_user(watcher).post(f"{ROWS}{row.pk}/file/").status_code == 404


def test_a_recording_of_another_object_is_not_found_here(thing, alice, as_user):
    row = recorded(alice, subject="thing:2")
    assert as_user(alice).get(f"{ROWS}{row.pk}/").status_code == 404


def test_playing_and_downloading_are_on_record(thing, alice, operator, as_user):
    row = recorded(operator, data=b"x" * 600_000)
    for purpose in ("play", "download"):
        response = as_user(alice).post(f"{ROWS}{row.pk}/file/", {"purpose": purpose})
        assert b"".join(response) == b"x" * 600_000
        assert f"web1-{row.started_at:%Y%m%d-%H%M%S}.cast" in response["Content-Disposition"]
    assert as_user(alice).get(f"{ROWS}{row.pk}/file/").status_code == 405
    assert [(entry.action, entry.detail["of"]) for entry in AuditEntry.objects.order_by("id")] == [
        ("recording.play", "operator"), ("recording.download", "operator"),
    ]  # fmt: skip


def test_deleting_needs_the_right_to_change_the_machine_and_is_on_record(thing, alice, operator, as_user):
    row = recorded(operator)
    assert as_user(operator).post(f"{ROWS}{row.pk}/delete/").status_code == 404
    assert as_user(alice).post(f"{ROWS}{row.pk}/delete/").status_code == 302
    assert not Recording.objects.exists() and not recordings.path(row).exists()
    assert AuditEntry.objects.get().action == "recording.delete"


def test_a_recording_whose_file_is_gone_is_told_and_deleted(thing, alice, as_user):
    row = recorded(alice)
    recordings.path(row).unlink()
    assert as_user(alice).get(f"{ROWS}{row.pk}/").status_code == 200
    assert as_user(alice).post(f"{ROWS}{row.pk}/file/").status_code == 404
    assert as_user(alice).post(f"{ROWS}{row.pk}/delete/").status_code == 302


def test_the_oldest_go_when_there_are_too_many_or_too_much_of_them(thing, alice, monkeypatch):
    monkeypatch.setattr(recordings, "COUNT", 3)
    rows = [recorded(alice, started_at=timezone.now() - timedelta(hours=9 - number)) for number in range(4)]
    assert list(Recording.objects.order_by("started_at")) == rows[1:]
    assert not recordings.path(rows[0]).exists()
    monkeypatch.setattr(recordings, "BYTES", 1000)
    big = recorded(alice, data=bytes(900))
    recorded(alice, data=bytes(900))
    last = recorded(alice)
    assert list(Recording.objects.all()) == [
        last,
        *Recording.objects.filter(started_at__gt=big.started_at).exclude(pk=last.pk),
    ]
    assert Recording.objects.count() == 2


def test_strange_numbers_are_not_found(thing, alice, as_user):
    for number in ("0", "99999999999999999999999"):
        assert as_user(alice).get(f"{ROWS}{number}/").status_code == 404


# Tickets and pictures.


def test_a_watcher_gets_a_ticket_to_watch_and_the_page_says_so(thing, watcher, as_user):
    answer = as_user(watcher).post(PAGE + "ticket/", {"kind": "serial", "take_over": "1"}).json()
    assert (answer["right"], answer["recorded"]) == ("watch", False)
    html = as_user(watcher).get(PAGE).content.decode()
    assert "recordings/" not in html and "log/?line=serial2" in html


def test_who_may_only_watch_cannot_take_a_screen_over(thing, watcher, operator, as_user):
    viewers.enter(operator, "s1", "thing:1", "vnc", take_over=False)
    response = as_user(watcher).post(PAGE + "ticket/", {"kind": "vnc", "take_over": "1"})
    assert response.status_code == 409 and response.json()["right"] == "watch"


def test_people_are_told_that_a_session_is_recorded(thing, alice, as_user):
    thing["is_recorded"] = True
    assert as_user(alice).post(PAGE + "ticket/", {"kind": "serial"}).json()["recorded"] is True


def test_a_picture_is_for_one_browser_and_checked_again_by_its_tag(thing, watcher, as_user, monkeypatch):
    monkeypatch.setattr(pictures, "of", lambda subject: b"\x89PNG...")
    response = as_user(watcher).get(PAGE + "picture.png")
    assert (response.content, response["Content-Type"]) == (b"\x89PNG...", "image/png")
    assert response["Cache-Control"].startswith("private")
    again = as_user(watcher).get(PAGE + "picture.png", headers={"If-None-Match": response["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_without_a_picture_there_is_a_blank_one(thing, watcher, as_user, monkeypatch):
    monkeypatch.setattr(pictures, "of", lambda subject: None)
    assert as_user(watcher).get(PAGE + "picture.png").content.startswith(b"\x89PNG\r\n")
    monkeypatch.setattr(pictures, "of", lambda subject: pytest.fail("it is off"))
    thing["is_on"] = False
    assert as_user(watcher).get(PAGE + "picture.png").status_code == 200
