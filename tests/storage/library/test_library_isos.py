"""Install media of the library: fetched, uploaded, renamed, deleted."""

from __future__ import annotations

import gzip
import hashlib
import os

import pytest

from bhype.tasks import ask
from storage.library import operations_isos
from storage.models import Iso, Pool
from tests.conftest import make_user
from tests.storage.web import serving
from vms.models import VM, Device


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


def files(ready) -> list[str]:
    """All that lies in the library, and what is on its way."""
    transfers = ready.root / "tank/bhype/transfers"
    found = [path.name for path in (ready.root / "tank/bhype/isos").iterdir()]
    return found + [path.name for part in ("work", "fetches") for path in (transfers / part).glob("*")]


def test_a_packed_medium_is_unpacked(ready, admin, web):
    web.files["/x.iso.gz"] = gzip.compress(b"medium" * 1000)
    pool = Pool.objects.get()
    task = run(ready, "storage.fetch_iso", admin, pool_id=pool.pk, name="x.iso", url=web.url("/x.iso.gz"))
    assert task.status == "succeeded", task.error
    assert (ready.root / "tank/bhype/isos/x.iso").read_bytes() == b"medium" * 1000
    assert files(ready) == ["x.iso"]


def test_a_wrong_or_broken_medium_leaves_nothing(ready, admin, web):
    web.files["/x.iso"], web.files["/y.iso.gz"] = b"x" * 1000, gzip.compress(b"y" * 1000)[:-9]
    pool = Pool.objects.get()
    for path, source in (("/x.iso", {"checksum": "0" * 64}), ("/y.iso.gz", {}), ("/missing.iso", {})):
        task = run(
            ready, "storage.fetch_iso", admin, pool_id=pool.pk, name="x.iso", url=web.url(path), **source
        )
        assert task.status == "failed", path
    assert [name for name in files(ready) if not name.endswith((".part", ".json"))] == []
    assert not Iso.objects.exists()


class Killed(BaseException):
    """The worker is killed."""


def test_a_worker_killed_while_it_writes(ready, admin, web, monkeypatch):
    web.files["/x.iso"] = b"x" * 1000
    pool = Pool.objects.get()
    params = {"pool_id": pool.pk, "name": "x.iso", "url": web.url("/x.iso")}

    def die(*words):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(operations_isos, "_keep", die)
        run(ready, "storage.fetch_iso", admin, **params)
    (ready.root / operations_isos._new_path(pool, "x.iso").lstrip("/")).write_bytes(b"half")
    ready.sweep()
    assert not Iso.objects.exists(), "half a medium is none"
    ready.interrupt()
    ready.run_tasks()
    assert not list((ready.root / "tank/bhype/isos").iterdir())
    assert run(ready, "storage.fetch_iso", admin, **params).status == "succeeded"
    assert len(web.asked) == 1


def test_a_renaming_that_was_broken_off_is_finished(ready, admin):
    pool, folder = Pool.objects.get(), ready.root / "tank/bhype/isos"
    iso = Iso.objects.create(pool=pool, name="a.iso", size=1)
    (folder / "a.iso").write_bytes(b"x")
    os.link(folder / "a.iso", folder / "b.iso")
    ready.sweep()
    assert run(ready, "storage.rename_iso", admin, iso_id=iso.pk, name="b.iso").status == "succeeded"
    assert [path.name for path in folder.iterdir()] == ["b.iso"]
    assert [each.name for each in Iso.objects.all()] == ["b.iso"]


@pytest.fixture
def vm_with_medium(ready, admin) -> Iso:
    """A medium that is in the drive of web1."""
    pool = Pool.objects.get()
    vm = VM.objects.create(
        host=pool.host,
        pool=pool,
        owner=admin,
        name="web1",
        memory=2**30,
        vnc_port=5900,
        vnc_password="pw123456",
    )
    iso = Iso.objects.create(pool=pool, name="a.iso", size=1)
    Device.objects.create(vm=vm, kind="ahci-cd", slot="0:3:0", iso=iso)
    return iso


def test_nothing_is_overwritten_and_nothing_in_use_goes(ready, admin, vm_with_medium):
    iso = vm_with_medium
    folder = ready.root / "tank/bhype/isos"
    (folder / "a.iso").write_bytes(b"a")
    (folder / "b.iso").write_bytes(b"b")
    for operation, more in (("storage.delete_iso", {}), ("storage.rename_iso", {"name": "c.iso"})):
        task = run(ready, operation, admin, iso_id=iso.pk, **more)
        assert (task.status, "in the drive of web1" in task.error) == ("failed", True)
    iso.drives.all().delete()
    task = run(ready, "storage.rename_iso", admin, iso_id=iso.pk, name="b.iso")
    assert (task.status, "already a medium" in task.error) == ("failed", True)
    task = run(
        ready, "storage.fetch_iso", admin, pool_id=iso.pool_id, name="b.iso", url="http://127.0.0.1:9/b.iso"
    )
    assert (task.status, "already a medium" in task.error) == ("failed", True)
    (folder / "a.iso").unlink()
    (folder / "a.iso").symlink_to("/etc/passwd")
    assert "not a plain file" in run(ready, "storage.delete_iso", admin, iso_id=iso.pk).error
    assert (folder / "b.iso").read_bytes() == b"b"
