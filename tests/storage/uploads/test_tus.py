"""Files that come in pieces: whole in the end or not there, whatever stops them on the way."""

from __future__ import annotations

import base64
import fcntl
import os
from datetime import timedelta

import pytest
from django.utils import timezone

from bhype.accounts.models import ApiToken, AuditEntry
from bhype.tasks import ask
from bhype.tasks.models import Task
from storage.models import Image, Iso, Pool, Upload
from storage.uploads import store as uploads
from storage.uploads import tus
from tests.conftest import make_user
from tests.storage.tusclient import TYPE, Sender

MIB = 2**20


@pytest.fixture
def person(ready):
    """Somebody who may create, on a host that takes uploads."""
    ask("storage.ready_transfers", {}, None)
    assert [task.status for task in ready.run_tasks()] == ["succeeded"]
    return make_user("sender", "operator")


@pytest.fixture
def sender(as_user, person) -> Sender:
    return Sender(as_user(person))


def here(person) -> dict[str, int]:
    """The names of all files in the person's folder, and their sizes."""
    place = uploads.folder(Pool.objects.get(), person)
    return {path.name: path.stat().st_size for path in place.iterdir()}


def test_the_first_file_asks_for_the_folder(ready, as_user):
    sender = Sender(as_user(make_user("first", "operator")))
    answer = sender.begin("a.img", 3)
    assert (answer.status_code, answer.json()["code"]) == (409, "not_ready")
    assert [task.status for task in ready.run_tasks()] == ["succeeded"]
    assert sender.begin("a.img", 3).status_code == 201


def test_a_file_arrives_in_pieces(person, sender):
    body = os.urandom(3 * MIB + 5)
    address = sender.send("debian.qcow2", body)
    assert here(person) == {"debian.qcow2": len(body)}
    place = uploads.folder(Pool.objects.get(), person) / "debian.qcow2"
    assert place.read_bytes() == body and place.stat().st_mode & 0o777 == 0o600
    head = sender.call("HEAD", address)
    assert (head.status_code, head["Upload-Offset"], head["Upload-Length"]) == (
        200,
        str(len(body)),
        str(len(body)),
    )
    assert head["Cache-Control"] == "no-store" and "Upload-Expires" not in head
    assert AuditEntry.objects.filter(action="storage.upload").count() == 1
    assert Upload.objects.get().finished_at


def test_it_tells_what_it_can_do(sender):
    answer = sender.client.options("/storage/uploads/")
    assert answer.status_code == 204
    assert answer["Tus-Version"] == "1.0.0"
    assert answer["Tus-Extension"] == "creation,checksum,expiration,termination"
    assert "sha1" in answer["Tus-Checksum-Algorithm"] and int(answer["Tus-Max-Size"]) == uploads.LIMIT


def test_pieces_go_where_the_last_one_ended(person, sender):
    address = sender.begin("a.img", 10)["Location"]
    assert sender.piece(address, 0, b"01234").status_code == 204
    for start in (0, 3, 7, 10):
        answer = sender.piece(address, start, b"xxx")
        assert (answer.status_code, answer["Upload-Offset"]) == (409, "5"), start
    assert sender.piece(address, 5, b"too long").status_code == 413
    assert sender.call("HEAD", address)["Upload-Offset"] == "5"
    assert "Upload-Expires" in sender.call("HEAD", address)
    assert sender.piece(address, 5, b"56789").status_code == 204
    assert (uploads.folder(Pool.objects.get(), person) / "a.img").read_bytes() == b"0123456789"
    assert sender.piece(address, 10, b"").status_code == 204
    assert sender.piece(address, 10, b"x").status_code in {204, 409}
    assert here(person) == {"a.img": 10}


def test_a_piece_that_was_changed_on_its_way_does_not_count(sender):
    address = sender.begin("a.img", 10)["Location"]
    wrong = "sha256 " + base64.b64encode(bytes(32)).decode()
    assert sender.piece(address, 0, b"01234", HTTP_UPLOAD_CHECKSUM=wrong).status_code == 460
    assert sender.call("HEAD", address)["Upload-Offset"] == "0"
    for header in ("md5 AAAA", "sha256 !!!", "sha256"):
        assert sender.piece(address, 0, b"01234", HTTP_UPLOAD_CHECKSUM=header).status_code in {400, 460}, (
            header
        )
    sha1 = "sha1 " + base64.b64encode(bytes.fromhex("11904bc83e88cf4a2d3f1a7a2ce4ab2e6d8b7b3b")).decode()
    assert sender.piece(address, 0, b"01234", HTTP_UPLOAD_CHECKSUM=sha1).status_code == 460


def test_only_one_piece_is_written_at_a_time(person, sender):
    address = sender.begin("a.img", 10)["Location"]
    part = tus._part(Upload.objects.get())
    with part.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert sender.piece(address, 0, b"01234").status_code == 423
    assert sender.piece(address, 0, b"01234").status_code == 204


def test_after_a_crash_row_and_file_agree(person, sender):
    address = sender.begin("a.img", 10)["Location"]
    sender.piece(address, 0, b"012345")
    upload = Upload.objects.get()
    # The panel died after it had written more than the row says.
    with tus._part(upload).open("ab") as file:
        file.write(b"rubbish")
    assert sender.call("HEAD", address)["Upload-Offset"] == "6"
    # The host died before all of it was on the disk.
    os.truncate(tus._part(upload), 4)
    assert sender.call("HEAD", address)["Upload-Offset"] == "4"
    assert sender.piece(address, 4, b"456789").status_code == 204
    assert (uploads.folder(upload.pool, person) / "a.img").read_bytes() == b"0123456789"


@pytest.mark.parametrize("renamed", [False, True])
def test_a_crash_before_the_end_is_made_good(person, sender, renamed):
    """All has arrived, but nobody has written down that it is complete."""
    address = sender.begin("a.iso", 10)["Location"]
    upload = Upload.objects.get()
    tus._part(upload).write_bytes(b"0123456789")
    if renamed:
        tus._part(upload).rename(tus._part(upload).with_name("a.iso"))
    Upload.objects.update(received=10)
    assert sender.call("HEAD", address)["Upload-Offset"] == "10"
    assert here(person) == {"a.iso": 10}
    assert Upload.objects.get().finished_at


def test_what_is_missing_begins_anew(person, sender):
    address = sender.begin("a.img", 10)["Location"]
    sender.piece(address, 0, b"01234")
    tus._part(Upload.objects.get()).unlink()
    assert sender.call("HEAD", address)["Upload-Offset"] == "0"
    assert sender.piece(address, 0, b"01234").status_code == 410


def test_bad_requests(person, sender):
    for name in ("../x", "a/b", "", ".hidden", "x.part", "x" * 200, "\0", "a\nb"):
        assert sender.begin(name, 5).status_code == 422, name
    for size in ("0", "-1", "x", str(2**60), "1" * 30, "1.5", "\u0661"):
        answer = sender.call(
            "POST", "/storage/uploads/", HTTP_UPLOAD_LENGTH=size, HTTP_UPLOAD_METADATA="filename YQ=="
        )
        assert answer.status_code in {400, 422}, size
    assert sender.call("POST", "/storage/uploads/", HTTP_UPLOAD_DEFER_LENGTH="1").status_code == 400
    bad = sender.call(
        "POST", "/storage/uploads/", HTTP_UPLOAD_LENGTH="5", HTTP_UPLOAD_METADATA="filename %%%"
    )
    assert bad.status_code == 400
    old = sender.call("POST", "/storage/uploads/", HTTP_TUS_RESUMABLE="0.2", HTTP_UPLOAD_LENGTH="5")
    assert (old.status_code, old["Tus-Version"]) == (412, "1.0.0")
    assert sender.begin("a.img", 5, purpose="root").status_code == 422
    assert sender.begin("a.img", 5, sha256="zz").status_code == 422
    address = sender.begin("a.img", 5)["Location"]
    assert sender.call("PATCH", address, b"x", "text/plain", HTTP_UPLOAD_OFFSET="0").status_code == 415
    assert sender.call("PATCH", address, b"x", TYPE).status_code == 400
    assert not here(person).keys() - {f"{Upload.objects.get().uuid}.part"}


def test_one_s_own_files_only(person, sender, as_user):
    address = sender.begin("a.img", 5)["Location"]
    other = Sender(as_user(make_user("other", "operator")))
    for method in ("HEAD", "PATCH", "DELETE"):
        assert other.call(method, address, HTTP_UPLOAD_OFFSET="0").status_code == 404, method
    viewer = Sender(as_user(make_user("viewer", "viewer")))
    assert viewer.begin("a.img", 5).status_code == 404
    assert viewer.call("HEAD", address).status_code == 404
    assert Upload.objects.count() == 1


def test_an_upload_is_given_up(person, sender):
    address = sender.begin("a.img", 5)["Location"]
    sender.piece(address, 0, b"123")
    assert sender.call("DELETE", address).status_code == 204
    assert not here(person) and not Upload.objects.exists()
    assert sender.call("HEAD", address).status_code == 404


def test_an_upload_that_is_given_up_in_another_window_meanwhile(person, sender, monkeypatch):
    address = sender.begin("a.img", 5)["Location"]
    plain = tus._add

    def slow(*words):
        there = plain(*words)
        tus.end(Upload.objects.get())
        return there

    monkeypatch.setattr(tus, "_add", slow)
    assert sender.piece(address, 0, b"12345").status_code == 410
    assert not here(person) and not Upload.objects.exists()


def test_no_upload_takes_the_place_of_another_file(person, sender):
    long = "x" * 117 + ".img"
    for name in ("a.img", "a.img", "a.img", "plain", "plain", long, long):
        sender.send(name, name.encode() + os.urandom(3))
    assert here(person).keys() == {
        "a.img", "a-2.img", "a-3.img", "plain", "plain-2", long, "x" * 115 + "-2.img",
    }  # fmt: skip
    assert {upload.name for upload in Upload.objects.all()} == here(person).keys()


def test_a_crash_while_a_file_gets_its_name(person, sender):
    address = sender.begin("a.iso", 10)["Location"]
    part = tus._part(Upload.objects.get())
    part.with_name("a.iso").write_bytes(b"another")
    part.write_bytes(b"0123456789")
    os.link(part, part.with_name("a-2.iso"))
    Upload.objects.update(received=10)
    assert sender.call("HEAD", address)["Upload-Offset"] == "10"
    assert here(person) == {"a.iso": 7, "a-2.iso": 10}
    assert Upload.objects.get().name == "a-2.iso"


def test_a_person_has_a_quota(person, sender, settings):
    settings.UPLOAD_QUOTA = 100
    assert sender.begin("a.img", 60).status_code == 201
    answer = sender.begin("b.img", 60)
    assert (answer.status_code, "You may keep" in answer.json()["message"]) == (422, True)
    sender.send("c.img", b"x" * 40)
    assert sender.begin("d.img", 1).status_code == 422


def test_a_full_pool_takes_nothing(person, sender, monkeypatch):
    monkeypatch.setattr(uploads, "SPARE", 1 << 60)
    answer = sender.begin("a.img", 5)
    assert (answer.status_code, "not enough room" in answer.json()["message"]) == (422, True)


def test_out_of_space_in_the_middle_keeps_what_is_there(person, sender, monkeypatch):
    address = sender.begin("a.img", 10)["Location"]
    sender.piece(address, 0, b"01234")

    def full(*words):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tus.os, "pwrite", full)
        answer = sender.piece(address, 5, b"56789")
    assert (answer.status_code, "No space left" in answer.json()["message"]) == (507, True)
    assert sender.call("HEAD", address)["Upload-Offset"] == "5"


def test_what_nobody_goes_on_with_expires(ready, person, sender):
    sender.begin("old.img", 5)
    sender.begin("new.img", 5)
    sender.send("whole.img", b"12345")
    before = timezone.now() - timedelta(days=8)
    Upload.objects.filter(name="old.img").update(changed_at=before)
    Upload.objects.filter(name="whole.img").update(finished_at=before)
    ask("storage.tidy_uploads", {}, None)
    assert [task.status for task in ready.run_tasks()] == ["succeeded"]
    assert [upload.name for upload in Upload.objects.all()] == ["new.img"]
    assert sorted(here(person)) == sorted(["whole.img", f"{Upload.objects.get().uuid}.part"])


def test_the_api_takes_them_with_a_token(person, client):
    _, secret = ApiToken.objects.issue(person, "t", "full", None)
    sender = Sender(client, "/api/v1/uploads", HTTP_AUTHORIZATION=f"Bearer {secret}")
    assert sender.call("OPTIONS", "/api/v1/uploads").status_code == 204
    address = sender.send("a.img", b"x" * 100, 30)
    assert address.startswith("/api/v1/uploads/")
    assert sender.call("HEAD", address)["Upload-Offset"] == "100"
    (listed,) = client.get("/api/v1/uploads", HTTP_AUTHORIZATION=f"Bearer {secret}").json()
    assert (listed["name"], listed["received"], listed["purpose"]) == ("a.img", 100, "file")
    assert sender.call("DELETE", address).status_code == 204
    assert here(person) == {"a.img": 100}
    _, weak = ApiToken.objects.issue(person, "t", "read", None)
    weak_sender = Sender(client, "/api/v1/uploads", HTTP_AUTHORIZATION=f"Bearer {weak}")
    assert weak_sender.begin("a.img", 5).status_code == 404


def test_browsers_need_the_token_of_their_page(person, as_user):
    client = as_user(person)
    client.handler.enforce_csrf_checks = True
    assert Sender(client).begin("a.img", 5).status_code == 403
    assert not Upload.objects.exists()


def test_a_medium_is_put_into_the_library(ready, person, as_user):
    admin = make_user("root1", "admin")
    sender = Sender(as_user(admin))
    body = os.urandom(70_000)
    sender.send("my.iso", body, purpose="iso")
    assert [task.status for task in ready.run_tasks()] == ["succeeded"]
    iso = Iso.objects.get()
    assert (iso.name, iso.size) == ("my.iso", 70_000) and len(iso.sha256) == 64
    assert (ready.root / "tank/bhype/isos/my.iso").read_bytes() == body
    assert not here(admin)
    assert sender.begin("my.iso", 5, purpose="iso").status_code == 409
    assert sender.begin("my.exe", 5, purpose="iso").status_code == 422
    assert Sender(as_user(person)).begin("b.iso", 5, purpose="iso").status_code == 404


def test_an_image_is_made_of_an_upload(ready, person, as_user):
    admin = make_user("root1", "admin")
    sender = Sender(as_user(admin))
    facts = '{"os": "debian12", "cloud_init": "cloud-init", "login": "debian"}'
    sender.send("Debian 12.raw", bytes(MIB) + b"x" * 100, purpose="image", facts=facts)
    assert [task.status for task in ready.run_tasks()] == ["succeeded"], Task.objects.last().error
    image = Image.objects.get()
    assert (image.name, image.state, image.size, image.os) == ("debian-12", "ready", 2 * MIB, "debian12")
    assert not here(admin)
    assert sender.begin("debian-12.raw", 5, purpose="image").status_code == 409
    assert sender.begin("b.raw", 5, purpose="image", facts='{"cloud_init": "magic"}').status_code == 422
    assert sender.begin("b.raw", 5, purpose="image", name="../x").status_code == 422


def test_a_wrong_digest_never_becomes_an_image(ready, person, as_user):
    admin = make_user("root1", "admin")
    Sender(as_user(admin)).send("a.raw", b"x" * 512, purpose="image", sha256="0" * 64)
    statuses = [task.status for task in ready.run_tasks()]
    assert statuses[0] == "failed"
    image = Image.objects.get()
    assert (image.state, "not the one that was announced" in image.reason) == ("failed", True)
    assert not here(admin)
    assert "images/a" not in ready.commands(
        "/sbin/zfs", "list", "-H", "-o", "name", "-t", "all", "-r", "tank/bhype"
    )
