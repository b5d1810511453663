"""Images of the library: from a web server or a file to a volume that disks are cloned from, and back to nothing."""

from __future__ import annotations

import hashlib
import lzma
import os

import pytest

from bhype.tasks import ask
from storage.models import Image, Pool
from tests.conftest import make_user
from tests.storage.web import serving

MIB = 2**20


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
