"""Threats to storage (docs/threat-model.md): what a process that writes rows, a disk or a server of somebody else, or a
dataset that takes another's place could try. One test for each thing tried."""

from __future__ import annotations

import pytest

from bhype.hosts.observer import Observer
from bhype.tasks import ask
from bhype.tasks.models import Task
from storage import snapshots_files, transfers
from storage.models import Dataset, Pool, Snapshot
from tests.conftest import make_user


@pytest.fixture
def admin(db):
    return make_user("root1", "admin")


@pytest.fixture
def seen(ready):
    """A ready lab of which the rows of datasets are there."""
    Observer(ready.host).sweep()
    return ready


def do(lab, operation: str, user=None, **params) -> Task:
    task = ask(f"storage.{operation}", params, user)
    lab.run_tasks()
    task.refresh_from_db()
    return task


def zfs(lab, *words: str) -> str:
    return lab.commands("/sbin/zfs", *words).strip()


def dataset(name: str) -> Dataset:
    return Dataset.objects.get(name=f"tank/bhype/{name}".rstrip("/"))


@pytest.mark.parametrize("name", ["s1/imports/7/way", "s1/imports/7/way/", "../../way", "..", "s1/.."])
def test_t07_the_name_of_a_snapshot_leads_through_no_link(seen, admin, name):
    """The web process can write links into its uploads, and rows of snapshots with any name."""
    uploads = seen.root / "tank/bhype/transfers/imports/7"
    uploads.mkdir(parents=True)
    (uploads / "way").symlink_to(seen.root / "etc")
    (seen.root / "etc").mkdir(exist_ok=True)
    (seen.root / "etc/secret").write_text("of root")
    assert do(seen, "take_snapshot", admin, dataset_id=dataset("transfers").pk, name="s1").status == "succeeded"
    row = Snapshot.objects.get(dataset=dataset("transfers"), name="s1")
    assert do(seen, "list_snapshot", admin, snapshot_id=row.pk, path="imports/7").status == "succeeded"
    Snapshot.objects.filter(pk=row.pk).update(name=name)
    for operation, path in (("fetch_from_snapshot", "secret"), ("list_snapshot", "")):
        task = do(seen, operation, admin, snapshot_id=row.pk, path=path)
        assert task.status == "failed" and "not a snapshot name" in task.error, task.error
        assert "secret" not in str(task.result)
    folder = seen.root / transfers.folder(Pool.objects.get(), transfers.EXPORTS).lstrip("/")
    assert not list(folder.glob("*/secret"))
    assert snapshots_files.fetched(Task.objects.latest("pk")) is None
