"""Images of the library: from a web server or a file to a volume that disks are cloned from, and back to nothing."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from bhype.tasks import Refused, ask
from storage.library import adding, arriving, images, operations_images
from storage.models import Image, Pool
from tests.conftest import make_user
from tests.storage.web import serving
from tests.vms.packages import broken_image

MIB = 2**20
SIGNED = Path(__file__).with_name("signed")


@pytest.fixture
def web(settings):
    settings.FETCH_ALLOW = ["127.0.0.0/8"]
    with serving() as made:
        yield made


@pytest.fixture
def admin(db):
    return make_user("root1", "admin")


@pytest.fixture
def image(ready) -> Image:
    return Image.objects.create(pool=Pool.objects.get(), name="debian12")


def disk(size: int = 3 * MIB) -> bytes:
    """A raw disk with something at 2 MiB."""
    body = bytearray(size)
    body[2 * MIB : 2 * MIB + 8] = b"contents"
    return bytes(body)


def run(ready, operation, user=None, **params):
    task = ask(operation, params, user)
    ready.run_tasks()
    task.refresh_from_db()
    return task


def test_an_image_is_fetched_checked_and_made(ready, admin, image, web):
    packed = lzma.compress(disk())
    web.files["/a/disk.raw.xz"] = packed
    web.files["/a/SHA256SUMS"] = f"{hashlib.sha256(packed).hexdigest()}  disk.raw.xz\n".encode()
    task = run(
        ready, "storage.fetch_image", admin,
        image_id=image.pk, url=web.url("/a/disk.raw.xz"), checksum_url=web.url("/a/SHA256SUMS"),
    )  # fmt: skip
    assert task.status == "succeeded", task.error
    image.refresh_from_db()
    assert (image.state, image.size, image.verified) == ("ready", 3 * MIB, "SHA-256")
    device = ready.root / "dev/zvol/tank/bhype/images/debian12"
    with device.open("rb") as file:
        assert os.pread(file.fileno(), 8, 2 * MIB) == b"contents"
    listed = ready.commands("/sbin/zfs", "list", "-H", "-t", "all", "-r", "-o", "name", "tank/bhype/images")
    assert "tank/bhype/images/debian12@base" in listed


def leftovers(ready) -> list[str]:
    """What there is of images and of what is on its way."""
    listed = ready.commands(
        "/sbin/zfs", "list", "-H", "-t", "all", "-r", "-o", "name", "tank/bhype/images"
    ).split()
    transfers = ready.root / "tank/bhype/transfers"
    found = [path.name for part in ("work", "fetches") for path in (transfers / part).glob("*")]
    return listed[1:] + found


@pytest.mark.parametrize("kind", ["qcow2", "vmdk", "vhdx", "vpc"])
def test_images_of_other_kinds_are_converted(ready, admin, image, web, tmp_path, kind):
    (tmp_path / "raw").write_bytes(disk(4 * MIB))
    words = ["qemu-img", "convert", "-f", "raw", "-O", kind, tmp_path / "raw", tmp_path / "image"]
    subprocess.run(words, check=True)
    web.files["/image"] = gzip.compress((tmp_path / "image").read_bytes())
    task = run(ready, "storage.fetch_image", admin, image_id=image.pk, url=web.url("/image"))
    assert task.status == "succeeded", task.error
    with (ready.root / "dev/zvol/tank/bhype/images/debian12").open("rb") as file:
        assert os.pread(file.fileno(), 8, 2 * MIB) == b"contents"
    image.refresh_from_db()
    assert image.state == "ready" and image.size >= 4 * MIB and image.verified == ""
    assert leftovers(ready) == ["tank/bhype/images/debian12", "tank/bhype/images/debian12@base"]


def test_a_wrong_checksum_leaves_nothing(ready, admin, image, web):
    web.files["/disk.raw"] = disk()
    task = run(
        ready, "storage.fetch_image", admin, image_id=image.pk, url=web.url("/disk.raw"), checksum="0" * 64
    )
    assert (task.status, "thrown away" in task.error) == ("failed", True)
    image.refresh_from_db()
    assert (image.state, "thrown away" in image.reason) == ("failed", True)
    assert leftovers(ready) == []


def test_a_wrong_signature_leaves_nothing(ready, admin, image, web):
    for name in ("disk.img", "SHA256SUMS", "SHA256SUMS.gpg", "SHA256SUMS.signed", "disk.img.sig"):
        web.files[f"/{name}"] = (SIGNED / name).read_bytes()
    urls = {"url": web.url("/disk.img"), "checksum_url": web.url("/SHA256SUMS")}
    signature = web.url("/SHA256SUMS.gpg")
    other, key = ((SIGNED / name).read_text() for name in ("other.asc", "key.asc"))
    task = run(
        ready,
        "storage.fetch_image",
        admin,
        image_id=image.pk,
        **urls,
        signature_url=signature,
        signing_key=other,
    )
    assert (task.status, "another key" in task.error) == ("failed", True), task.error
    assert leftovers(ready) == []
    clear = {"url": web.url("/disk.img"), "checksum_url": web.url("/SHA256SUMS.signed"), "signing_key": key}
    itself = {"url": web.url("/disk.img"), "signature_url": web.url("/disk.img.sig"), "signing_key": key}
    beside = {**urls, "signature_url": signature, "signing_key": key}
    for source, verified in ((beside, "SHA-256, OpenPGP"), (clear, "SHA-256, OpenPGP"), (itself, "OpenPGP")):
        Image.objects.update(state="failed")
        task = run(ready, "storage.fetch_image", admin, image_id=image.pk, **source)
        assert task.status == "succeeded", task.error
        image.refresh_from_db()
        assert image.verified == verified
    Image.objects.update(state="failed")
    bad = itself | {"signature_url": signature}
    task = run(ready, "storage.fetch_image", admin, image_id=image.pk, **bad)
    assert (task.status, "not what was signed" in task.error) == ("failed", True), task.error
    assert leftovers(ready) == []


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (
            {"command": "zfs create", "do": "full"},
            "out of space",
        ),
        (
            {"command": "zfs snapshot", "do": "fail", "text": "cannot create snapshot: out of space"},
            "out of space",
        ),
    ],
)
def test_a_failure_on_the_way_leaves_nothing_half_made(ready, admin, image, web, fault, says):
    web.files["/disk.raw"] = disk()
    ready.fault(**fault)
    task = run(ready, "storage.fetch_image", admin, image_id=image.pk, url=web.url("/disk.raw"))
    assert (task.status, says in task.error) == ("failed", True), task.error
    ready.clear_faults()
    ready.run_tasks()
    image.refresh_from_db()
    assert image.state == "failed" and says in image.reason
    assert not [name for name in leftovers(ready) if name.startswith("tank")]
    asked = len(web.asked)
    again = adding.again(admin, image)
    ready.run_tasks()
    again.refresh_from_db()
    assert again.status == "succeeded", again.error
    assert len(web.asked) == asked, "what had been fetched was fetched again"
    image.refresh_from_db()
    assert image.state == "ready"


def test_what_was_fetched_stays_when_the_host_is_to_blame(ready, admin, image, web, monkeypatch):
    web.files["/disk.raw.gz"] = gzip.compress(disk())
    with monkeypatch.context() as patch:
        patch.setattr(arriving, "SPARE", 1 << 60)
        task = run(ready, "storage.fetch_image", admin, image_id=image.pk, url=web.url("/disk.raw.gz"))
    assert (task.status, "not enough room" in task.error) == ("failed", True), task.error
    ready.run_tasks()
    asked = len(web.asked)
    image.refresh_from_db()
    adding.again(admin, image)
    assert [each.status for each in ready.run_tasks()] == ["succeeded"]
    assert len(web.asked) == asked, "what had been fetched was fetched again"


def test_an_image_that_breaks_while_it_is_read_becomes_none(ready, admin, image, web, tmp_path):
    broken_image(tmp_path / "disk.qcow2")
    web.files["/disk.qcow2"] = (tmp_path / "disk.qcow2").read_bytes()
    task = run(ready, "storage.fetch_image", admin, image_id=image.pk, url=web.url("/disk.qcow2"))
    assert (task.status, "cannot read it" in task.error) == ("failed", True), task.error
    ready.run_tasks()
    assert leftovers(ready) == []


class Killed(BaseException):
    """The worker is killed."""


@pytest.mark.parametrize("step", ["fetch", "unpack", "create", "convert", "snapshot", "ready"])
def test_a_worker_killed_at_any_step(ready, admin, image, web, monkeypatch, step):
    packed = gzip.compress(disk())
    web.files["/disk.raw.gz"] = packed

    def die(*words, **more):
        raise Killed

    places = {
        "fetch": (arriving, "unpacked"), "unpack": (images, "examine"), "create": (images, "wait_for_device"),
        "convert": (operations_images.zfs, "snapshot"), "snapshot": (operations_images, "mark_ready"),
        "ready": (arriving.fetching, "forget"),
    }  # fmt: skip
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(*places[step], die)
        run(ready, "storage.fetch_image", admin, image_id=image.pk, url=web.url("/disk.raw.gz"))
    (task,) = ready.interrupt()
    assert task.operation == "storage.fetch_image"
    assert [each.status for each in ready.run_tasks()] == ["succeeded"]
    image.refresh_from_db()
    if step == "ready":  # it was finished
        assert image.state == "ready" and len(leftovers(ready)) == 2
        return
    assert (image.state, "interrupted" in image.reason) == ("failed", True)
    assert not [name for name in leftovers(ready) if name.startswith("tank")]
    adding.again(admin, image)
    assert [each.status for each in ready.run_tasks()] == ["succeeded"]
    image.refresh_from_db()
    assert image.state == "ready"
    assert leftovers(ready) == ["tank/bhype/images/debian12", "tank/bhype/images/debian12@base"]


def test_what_bhype_did_not_make_is_left_alone(ready, admin, image, web):
    web.files["/disk.raw"] = disk()
    ready.commands("/sbin/zfs", "create", "-V", "1M", "tank/bhype/images/debian12")
    task = run(ready, "storage.fetch_image", admin, image_id=image.pk, url=web.url("/disk.raw"))
    assert (task.status, "left alone" in task.error) == ("failed", True)
    task = run(ready, "storage.delete_image", admin, image_id=image.pk)
    assert (task.status, "left alone" in task.error) == ("failed", True)
    assert "tank/bhype/images/debian12" in leftovers(ready)


def test_an_image_with_clones_is_not_deleted(ready, admin, image, web):
    web.files["/disk.raw"] = disk()
    run(ready, "storage.fetch_image", admin, image_id=image.pk, url=web.url("/disk.raw"))
    ready.commands("/sbin/zfs", "clone", "tank/bhype/images/debian12@base", "tank/bhype/vms/clone")
    task = run(ready, "storage.delete_image", admin, image_id=image.pk)
    assert (task.status, "tank/bhype/vms/clone" in task.error) == ("failed", True), task.error
    image.refresh_from_db()
    assert image.state == "ready"
    ready.commands("/sbin/zfs", "destroy", "tank/bhype/vms/clone")
    assert run(ready, "storage.delete_image", admin, image_id=image.pk).status == "succeeded"
    assert leftovers(ready) == [] and not Image.objects.exists()


def test_a_deletion_that_was_broken_off_is_finished(ready, admin, image, web, monkeypatch):
    web.files["/disk.raw"] = disk()
    run(ready, "storage.fetch_image", admin, image_id=image.pk, url=web.url("/disk.raw"))

    def die(*words):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(operations_images, "destroy", die)
        run(ready, "storage.delete_image", admin, image_id=image.pk)
    ready.interrupt()
    assert [each.status for each in ready.run_tasks()] == ["succeeded"]
    assert leftovers(ready) == [] and not Image.objects.exists()


def test_hostile_rows_and_files(ready, admin, image, web, tmp_path):
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", tmp_path / "backed"],
        check=True,
    )
    web.files["/backed"] = (tmp_path / "backed").read_bytes()
    task = run(ready, "storage.fetch_image", admin, image_id=image.pk, url=web.url("/backed"))
    assert (task.status, "backing file" in task.error) == ("failed", True)
    web.files["/empty"] = b""
    task = run(ready, "storage.fetch_image", admin, image_id=image.pk, url=web.url("/empty"))
    assert (task.status, "empty" in task.error) == ("failed", True), task.error
    for name in ("../vms/web1", "a/b", "a@b", "a b", ""):
        Image.objects.update(name=name, state="failed")
        task = run(ready, "storage.delete_image", admin, image_id=image.pk)
        assert task.status == "failed", name
    assert leftovers(ready) == []


def test_the_newest_of_an_index(ready, admin, image, web):
    web.files["/index"] = b'{"vm_images": [{"debian12": ["debian12-9.zip", "debian12-10.zip"]}]}'
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("disk0.img", disk())
    web.files["/images/debian12-10.zip"] = out.getvalue()
    task = run(
        ready, "storage.fetch_image", admin, image_id=image.pk, index_url=web.url("/index"), index_pattern="debian12",
        url=web.url("/images/{name}"),
    )  # fmt: skip
    assert task.status == "succeeded", task.error
    image.refresh_from_db()
    assert image.source.endswith("/images/debian12-10.zip") and image.version


def test_what_may_be_asked(ready, admin, image):
    for source in (
        {}, {"url": "file:///etc/passwd"}, {"url": "http://a/b", "file": "1/x"}, {"file": "../../etc/passwd"},
        {"url": "http://a/b", "checksum": "zz"}, {"url": "http://a/b", "signing_key": "k"},
        {"url": "http://a/b", "signature_url": "http://a/c"}, {"url": "http://a/b", "index_url": "http://a"},
        {"file": "1/x", "checksum_url": "http://a/b"},
    ):  # fmt: skip
        with pytest.raises(Refused):
            ask("storage.fetch_image", {"image_id": image.pk, **source}, admin)
    operator = make_user("op", "operator")
    with pytest.raises(Refused):
        ask("storage.fetch_image", {"image_id": image.pk, "url": "http://a/b"}, operator)
