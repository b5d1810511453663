"""Threats to storage (docs/threat-model.md): what a process that writes rows, a disk or a server of somebody else, or a
dataset that takes another's place could try. One test for each thing tried."""

from __future__ import annotations

import pytest
from django.utils import timezone
from django_q.exceptions import TimeoutException

from bhype.host import LocalHost, Result
from bhype.hosts.observer import Observer
from bhype.tasks import ask, registry
from bhype.tasks.models import Task
from storage.datasets import destroying
from storage.models import Dataset, Image, Pool, Snapshot
from storage.snapshots import files as snapshots_files
from storage.uploads import store as uploads
from storage.uploads import transfers, tus
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


def test_t14_what_lies_in_a_snapshot_is_told_to_nobody_else(seen, admin, as_user):
    """An operator sees all tasks, and not what came of those that only admins may ask for."""
    assert do(seen, "take_snapshot", admin, dataset_id=dataset("isos").pk, name="s1").status == "succeeded"
    row = Snapshot.objects.get(dataset=dataset("isos"), name="s1")
    task = do(seen, "list_snapshot", admin, snapshot_id=row.pk)
    assert task.status == "succeeded" and "entries" in task.result
    for person, shown in (
        (make_user("op", "operator"), False),
        (admin, True),
        (make_user("root2", "admin"), True),
    ):
        client = as_user(person)
        assert ("entries" in client.get(f"/api/v1/tasks/{task.pk}").json()["result"]) is shown
        listed = {each["id"]: each["result"] for each in client.get("/api/v1/tasks").json()}
        assert ("entries" in listed[task.pk]) is shown


def test_t27_one_person_has_so_many_uploads_on_their_way(seen, admin, monkeypatch):
    monkeypatch.setattr(uploads, "MOST_AT_ONCE", 2)
    assert do(seen, "ready_transfers").status == "succeeded"
    for number in range(2):
        tus.begin(admin, f"{number}.img", 1)
    with pytest.raises(uploads.BadUpload, match="on their way"):
        tus.begin(admin, "more.img", 1)
    tus.begin(make_user("other", "admin"), "more.img", 1)


def test_t27_no_copy_of_a_file_fills_the_pool(seen, admin, monkeypatch):
    (seen.root / "tank/bhype/isos/a.iso").write_bytes(b"x" * 100)
    assert do(seen, "take_snapshot", admin, dataset_id=dataset("isos").pk, name="s1").status == "succeeded"
    row = Snapshot.objects.get(dataset=dataset("isos"), name="s1")
    monkeypatch.setattr(uploads, "SPARE", 1 << 60)
    task = do(seen, "fetch_from_snapshot", admin, snapshot_id=row.pk, path="a.iso")
    assert task.status == "failed" and "not enough room" in task.error
    assert not list((seen.root / "tank/bhype/transfers/exports").glob("*/*"))


@pytest.mark.parametrize("error", [ValueError("oops"), TimeoutException("24 h")])
def test_what_breaks_off_in_a_way_that_nobody_thought_of_leaves_nothing_half_made(
    seen, admin, monkeypatch, error
):
    """Nor does a task that ran for too long: the operation cannot catch that."""
    assert do(seen, "ready_transfers").status == "succeeded"
    (seen.root / "tank/bhype/transfers/imports/a.img").write_bytes(b"\0" * (1 << 20))
    image = Image.objects.create(pool=Pool.objects.get(), name="deb")

    def die(*words, **more):
        raise error

    monkeypatch.setattr("storage.library.operations_images.mark_ready", die)
    task = do(seen, "make_image", admin, image_id=image.pk, file="a.img")
    assert task.status == "failed"
    image.refresh_from_db()
    assert image.state == "failed" and "images/deb" not in zfs(seen, "list", "-H", "-o", "name", "-r", "tank")


HOSTILE = (
    "-rf", "tank/bhype/-r", "tank/bhype/a b", "tank/bhype/a\n/sbin/x", "tank/bhype/a@b", "tank/bhype/a,b",
    "tank/bhype/a%b", "tank/bhype/../../etc", "/etc", "tank/bhype/", "", "tank/bhype/a#b", "tank/" + "a" * 300,
)  # fmt: skip


def about(field: str, key: int) -> list[tuple[str, dict]]:
    """All operations of storage that are about one such row, with parameters that they take."""
    more = {
        "name": "other", "kind": "filesystem", "changes": {"atime": "off"}, "size": 1 << 30, "keep": True, "tag": "t",
        "note": "n", "path": "", "until": "", "properties": {}, "promote": False, "url": "", "file": "1/a.img",
    }  # fmt: skip
    found = []
    for name in registry.names():
        fields = registry.get(name).params.model_fields
        if name.startswith("storage.") and field in fields and "new_secret" not in fields:
            given = {each: more[each] for each in fields if each in more}
            found.append((name.partition(".")[2], {**given, field: key}))
    assert len(found) > 2
    return found


@pytest.fixture
def asked(monkeypatch) -> list[tuple[str, ...]]:
    """What is asked of the host, which answers nothing."""
    found: list[tuple[str, ...]] = []

    def run(self, command, kept=0, heard=None):
        found.append(command.argv)
        return Result(0, "", "", 0.0, False)

    monkeypatch.setattr(LocalHost, "_run", run)
    return found


@pytest.mark.parametrize("field", ["dataset_id", "snapshot_id", "image_id"])
def test_t06_no_hostile_name_of_a_row_reaches_an_argv(ready, asked, field):
    pool = Pool.objects.get()
    for name in HOSTILE:
        row = Dataset.objects.create(pool=pool, name=name, kind="filesystem", bhype_id="dataset")
        held = Snapshot.objects.create(
            dataset=row, name="s", guid="1", kind="manual", created_at=timezone.now()
        )
        image = Image.objects.create(pool=pool, name=name[:100], state="ready")
        key = {"dataset_id": row, "snapshot_id": held, "image_id": image}[field].pk
        for operation, params in about(field, key):
            # What refuses the row itself is as good; but that no other row is meant.
            task = do(ready, operation, **params)
            assert task.status == "failed" or operation.startswith(("recover", "look_again")), (
                name,
                operation,
            )
        words = {word for argv in asked for word in argv[1:]}
        assert not any(name and name in word for word in words), (name, words)
        for each in (held, image, row):
            each.delete()


def test_t20_a_row_leads_root_to_nothing_that_bhype_did_not_make(seen):
    """Rows of foreign datasets and snapshots, with a mark that the web process has made up."""
    zfs(seen, "create", "tank/theirs")
    zfs(seen, "create", "-o", f"org.bhype:id={ORPHAN}", "tank/marked")
    zfs(seen, "create", "-o", "org.bhype:id=", "tank/bhype/hers")
    zfs(seen, "snapshot", "-r", "tank@s")

    def everything() -> str:
        there = zfs(
            seen, "list", "-H", "-o", "name,userrefs,org.bhype:kind,org.bhype:note,volsize,atime", "-t", "all"
        )
        return there + zfs(seen, "get", "-H", "-r", "-s", "local", "-o", "name,property,value", "all", "tank")

    before, pool = everything(), Pool.objects.get()
    for name, mark in (
        ("tank", "dataset"),
        ("tank/theirs", "dataset"),
        ("tank/marked", ORPHAN),
        ("tank/bhype/hers", ""),
    ):
        row, _ = Dataset.objects.update_or_create(
            pool=pool, name=name, defaults={"kind": "filesystem", "bhype_id": mark}
        )
        held, _ = Snapshot.objects.update_or_create(
            dataset=row, name="s", defaults={"guid": "1", "kind": "manual", "created_at": timezone.now()}
        )
        works = [*about("dataset_id", row.pk), *about("snapshot_id", held.pk)]
        for operation, params in [*works, ("delete_snapshots", {"snapshot_ids": [held.pk]})]:
            do(seen, operation, **params)
    assert everything() == before
