"""Install media of the library: fetched, uploaded, renamed, deleted."""

from __future__ import annotations

import hashlib
import os

import pytest

from bhype.tasks import ask
from storage.models import Iso, Pool
from tests.conftest import make_user
from tests.storage.web import serving


@pytest.fixture
def web(settings):
    settings.FETCH_ALLOW = ["127.0.0.0/8"]
    with serving() as made:
        yield made


@pytest.fixture
def admin(db):
    return make_user("root1", "admin")


def run(ready, operation, user=None, **params):
    task = ask(operation, params, user)
    ready.run_tasks()
    task.refresh_from_db()
    return task


def test_a_medium_is_fetched_renamed_and_deleted(ready, admin, web):
    pool = Pool.objects.get()
    body = os.urandom(100_000)
    web.files["/x.iso"] = body
    digest = hashlib.sha512(body).hexdigest()
    task = run(
        ready,
        "storage.fetch_iso",
        admin,
        pool_id=pool.pk,
        name="x.iso",
        url=web.url("/x.iso"),
        checksum=digest,
    )
    assert task.status == "succeeded", task.error
    iso = Iso.objects.get()
    assert (iso.name, iso.size, iso.verified) == ("x.iso", 100_000, "SHA-512")
    folder = ready.root / "tank/bhype/isos"
    assert (folder / "x.iso").read_bytes() == body
    assert run(ready, "storage.rename_iso", admin, iso_id=iso.pk, name="y.iso").status == "succeeded"
    assert [path.name for path in folder.iterdir()] == ["y.iso"]
    assert run(ready, "storage.delete_iso", admin, iso_id=iso.pk).status == "succeeded"
    assert not list(folder.iterdir()) and not Iso.objects.exists()
