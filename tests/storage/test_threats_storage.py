"""Threats to storage (docs/threat-model.md): what a process that writes rows, a disk or a server of somebody else, or a
dataset that takes another's place could try. One test for each thing tried."""

from __future__ import annotations

import pytest

from bhype.host import LocalHost
from bhype.hosts.observer import Observer
from bhype.tasks import ask
from bhype.tasks.models import Task
from storage import destroying, snapshots_files, transfers
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


def test_t07_the_name_of_a_snapshot_leads_through_no_link(seen, admin):
    """The web process can write links into its uploads, and rows of snapshots with any name."""
    uploads = seen.root / "tank/bhype/transfers/imports/7"
    uploads.mkdir(parents=True)
    (uploads / "way").symlink_to(seen.root / "etc")
    (seen.root / "etc").mkdir(exist_ok=True)
    (seen.root / "etc/secret").write_text("of root")
    assert (
        do(seen, "take_snapshot", admin, dataset_id=dataset("transfers").pk, name="s1").status == "succeeded"
    )
    row = Snapshot.objects.get(dataset=dataset("transfers"), name="s1")
    assert do(seen, "list_snapshot", admin, snapshot_id=row.pk, path="imports/7").status == "succeeded"
    for name in ("s1/imports/7/way", "s1/imports/7/way/", "../../way", "..", "s1/.."):
        Snapshot.objects.filter(pk=row.pk).update(name=name)
        for operation, path in (("fetch_from_snapshot", "secret"), ("list_snapshot", "")):
            task = do(seen, operation, admin, snapshot_id=row.pk, path=path)
            assert task.status == "failed" and "not a snapshot name" in task.error, (name, task.error)
            assert "secret" not in str(task.result)
    folder = seen.root / transfers.folder(Pool.objects.get(), transfers.EXPORTS).lstrip("/")
    assert not list(folder.glob("*/secret"))
    assert snapshots_files.fetched(Task.objects.latest("pk")) is None


def just_before(words: list[str], monkeypatch, act) -> None:
    """Call ``act`` once, before the first command that begins with these words is run."""
    run_it, waiting = LocalHost.run, [act]

    def run(self, command, **more):
        if waiting and list(command.argv[: len(words)]) == words:
            waiting.pop()()
        return run_it(self, command, **more)

    monkeypatch.setattr(LocalHost, "run", run)


ORPHAN = "6d7f2c1e-0000-4000-8000-000000000001"


@pytest.fixture
def orphan(seen):
    """What is left of a thing: a filesystem with a volume, both with a snapshot."""
    zfs(seen, "create", "-o", f"org.bhype:id={ORPHAN}", "tank/bhype/vms/old")
    zfs(seen, "create", "-s", "-V", "8M", "-o", f"org.bhype:id={ORPHAN}", "tank/bhype/vms/old/disk0")
    zfs(seen, "snapshot", "-r", "tank/bhype/vms/old@s")
    Observer(seen.host).sweep()
    return dataset("vms/old")


def test_t25_what_is_made_between_the_look_and_the_destruction_stays(seen, orphan, monkeypatch):
    """``zfs destroy -r`` would take along what somebody makes in it meanwhile."""
    mine = "tank/bhype/vms/old/mine"
    just_before(["/sbin/zfs", "destroy"], monkeypatch, lambda: zfs(seen, "create", mine))
    task = do(seen, "destroy_dataset", dataset_id=orphan.pk)
    assert task.status == "failed" and mine in zfs(seen, "list", "-H", "-o", "name", "-r", "tank")
    zfs(seen, "destroy", mine)
    Observer(seen.host).sweep()
    assert do(seen, "destroy_dataset", dataset_id=dataset("vms/old").pk).status == "succeeded"
    assert "vms/old" not in zfs(seen, "list", "-H", "-o", "name", "-r", "tank")


def test_t25_what_takes_the_place_of_another_before_its_turn_stays(seen, orphan, monkeypatch):
    def swap() -> None:
        zfs(seen, "rename", "tank/bhype/vms/old", "tank/bhype/vms/away")
        zfs(seen, "create", "tank/bhype/vms/old")

    one = destroying.one

    def first(run, name, **more):
        one(run, name, **more)
        if name.endswith("/disk0"):
            swap()

    monkeypatch.setattr(destroying, "one", first)
    task = do(seen, "destroy_dataset", dataset_id=orphan.pk)
    assert task.status == "failed" and "was replaced meanwhile" in task.error
    there = zfs(seen, "list", "-H", "-o", "name", "-r", "tank")
    assert "vms/old" in there and "vms/away" in there


def import_again(lab, name: str, **params) -> Task:
    """Export the pool "data" by hand and import it as ``name``."""
    lab.commands("/sbin/zpool", "export", "data")
    (found,) = do(lab, "find_pools").result["pools"]
    return do(lab, "import_pool", guid=found["guid"], name=name, **params)


def is_mounted(lab, name: str) -> bool:
    return zfs(lab, "get", "-H", "-o", "value", "mounted", name) == "yes"


def test_t07_a_pool_from_elsewhere_is_mounted_over_nothing_of_this_host(seen):
    """Its file systems say where they want to be; and the name that somebody gives it is a folder, too."""
    for folder in ("etc", "usr/local/etc", "srv/empty"):
        (seen.root / folder).mkdir(parents=True, exist_ok=True)
    for folder in ("etc", "usr/local/etc"):
        (seen.root / folder / "passwd").write_text("ours")
    seen.commands("/sbin/zpool", "create", "data", "da1")
    zfs(seen, "create", "data/one")
    zfs(seen, "create", "-o", "mountpoint=/srv/empty", "data/two")
    zfs(seen, "create", "-o", "canmount=noauto", "-o", "mountpoint=/srv/third", "data/three")
    zfs(seen, "create", "-o", "org.bhype:id=bhype", "data/bhype")
    for name, folder in (("data/evil", "/etc"), ("data/bhype/isos", "/usr/local/etc")):
        zfs(seen, "create", "-u", name)
        zfs(seen, "set", "-u", f"mountpoint={folder}", name)
    assert import_again(seen, "data", mount=True).status == "succeeded"
    found = {
        name: is_mounted(seen, f"data/{name}")
        for name in ("one", "two", "three", "evil", "bhype", "bhype/isos")
    }
    assert found == {
        "one": True,
        "two": True,
        "three": False,
        "evil": False,
        "bhype": True,
        "bhype/isos": False,
    }
    assert (
        (seen.root / "etc/passwd").read_text() == (seen.root / "usr/local/etc/passwd").read_text() == "ours"
    )


def test_t07_a_pool_that_is_called_etc_is_not_mounted_there(seen):
    (seen.root / "etc").mkdir(exist_ok=True)
    (seen.root / "etc/passwd").write_text("ours")
    seen.commands("/sbin/zpool", "create", "data", "da1")
    assert import_again(seen, "etc", mount=True).status == "succeeded"
    assert not is_mounted(seen, "etc") and (seen.root / "etc/passwd").read_text() == "ours"
