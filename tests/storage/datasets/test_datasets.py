"""Filesystems and volumes, and who has them: the operations, in the lab."""

from __future__ import annotations

import uuid

import pytest

from bhype.hosts.models import Host
from bhype.tasks import ask
from bhype.tasks.models import Task
from storage.datasets import observe as observe_datasets
from storage.datasets import uses
from storage.models import Dataset, Image, Pool
from vms.models import VM, Disk

MIB = 1 << 20


@pytest.fixture
def look(ready):
    """Observe datasets, and find one's row by the end of its name."""

    def look(name: str = "") -> Dataset:
        observe_datasets.refresh(ready.host, Pool.objects.get(name="tank"))
        return Dataset.objects.select_related("pool").get(name=f"tank/bhype{name}")

    return look


@pytest.fixture
def do(ready):
    def do(operation: str, row: Dataset | int, **params) -> Task:
        number = row if isinstance(row, int) else row.pk
        task = ask(operation, {"dataset_id": number, **params}, None)
        ready.run_tasks()
        task.refresh_from_db()
        return task

    return do


def zfs(lab, *words: str) -> str:
    return lab.commands("/sbin/zfs", *words).strip()


def prop(lab, name: str, key: str) -> str:
    return zfs(lab, "get", "-Hp", "-o", "value,source", key, f"tank/bhype{name}")


@pytest.fixture
def vm(ready) -> VM:
    row = VM.objects.create(
        host=Host.objects.get(),
        pool=Pool.objects.get(),
        name="web1",
        memory=1,
        vnc_port=5900,
        vnc_password="x",
        state=VM.State.STOPPED,
    )
    Disk.objects.create(vm=row, index=0, size=8 * MIB)
    mark = f"org.bhype:id={row.uuid}"
    zfs(ready, "create", "-o", mark, row.dataset)
    zfs(ready, "create", "-s", "-o", mark, "-V", "8M", f"{row.dataset}/disk0")
    return row


def test_each_dataset_is_somebodys_or_an_orphan(ready, look, vm):
    other, gone = uuid.uuid4(), uuid.uuid4()
    Image.objects.create(pool=vm.pool, name="deb", uuid=other)
    for name, mark in (
        ("vms/web1/disk1", vm.uuid), ("images/deb", other), ("vms/old/disk0", gone), ("vms/old", gone),
        ("data", "dataset"),
    ):  # fmt: skip
        size = () if name in {"data", "vms/old"} else ("-s", "-V", "8M")
        zfs(ready, "create", "-p", *size, "-o", f"org.bhype:id={mark}", f"tank/bhype/{name}")
    zfs(ready, "set", f"org.bhype:id={gone}", "tank/bhype/vms/old")
    zfs(ready, "create", "-o", "org.bhype:id=", "tank/bhype/hers")
    look()
    found = {
        use.name.removeprefix("tank/bhype"): use.kind
        for use in uses.uses(Dataset.objects.select_related("pool"))
    }
    assert found == {
        **dict.fromkeys(
            ("", "/vms", "/isos", "/images", "/templates", "/jails", "/backups", "/transfers"), "layout"
        ),
        "/vms/web1": "owned", "/vms/web1/disk0": "owned", "/vms/web1/disk1": "stray", "/images/deb": "owned",
        "/vms/old": "orphan", "/vms/old/disk0": "orphan", "/data": "data", "/hers": "foreign",
    }  # fmt: skip
    assert [use.short for use in uses.left()] == ["old", "disk1"]


def test_a_filesystem_is_made_with_its_settings_and_changed(ready, look, do):
    made = do(
        "storage.create_dataset",
        look(),
        name="data",
        properties={"compression": "zstd", "quota": str(64 * MIB)},
    )
    assert made.status == "succeeded" and made.result == {"dataset": "tank/bhype/data"}
    row = Dataset.objects.get(name="tank/bhype/data")
    assert row.properties["compression"] == ["zstd", "local"]
    assert row.properties["quota"] == [str(64 * MIB), "local"] and row.bhype_id == "dataset"
    inner = do("storage.create_dataset", row, name="inner")
    assert inner.status == "succeeded", inner.error
    row = Dataset.objects.get(name="tank/bhype/data/inner")
    assert row.properties["compression"] == ["zstd", "inherited from tank/bhype/data"]
    changes = {"compression": "lz4", "quota": str(8 * MIB), "atime": "off", "sync": None}
    assert do("storage.set_properties", row, changes=changes).status == "succeeded"
    row.refresh_from_db()
    assert row.properties["compression"] == ["lz4", "local"] and row.properties["atime"] == ["off", "local"]
    assert (
        do("storage.set_properties", row, changes={"compression": None, "quota": None}).status == "succeeded"
    )
    row.refresh_from_db()
    assert row.properties["compression"] == ["zstd", "inherited from tank/bhype/data"]
    assert prop(ready, "/data/inner", "quota") == "0\tdefault"


def test_a_volume_grows_and_never_shrinks(ready, look, do):
    assert (
        do("storage.create_dataset", look(), name="disk", kind="volume", size=8 * MIB).status == "succeeded"
    )
    row = look("/disk")
    assert do("storage.resize_volume", row, size=16 * MIB).status == "succeeded"
    assert prop(ready, "/disk", "volsize").startswith(str(16 * MIB))
    assert "can only grow" in do("storage.resize_volume", row, size=8 * MIB).error
    assert "whole number of MiB" in do("storage.resize_volume", row, size=17 * MIB + 1).error
    assert do("storage.resize_volume", row, size=16 * MIB).status == "succeeded"
    assert prop(ready, "/disk", "volsize").startswith(str(16 * MIB))


def test_a_dataset_moves_with_what_is_below_it_and_keeps_its_number(ready, look, do):
    for parent, name in (("", "a"), ("/a", "deep"), ("", "ab"), ("", "b")):
        assert do("storage.create_dataset", look(parent), name=name).status == "succeeded"
    a, deep, ab = look("/a"), look("/a/deep"), look("/ab")
    Dataset.objects.create(pool=a.pool, name="tank/bhype/b/c/deep", kind="filesystem")
    moved = do("storage.rename_dataset", a, name="c", parent_id=look("/b").pk)
    assert moved.status == "succeeded", moved.error
    names = dict(Dataset.objects.filter(pk__in=[a.pk, deep.pk, ab.pk]).values_list("pk", "name"))
    assert names == {a.pk: "tank/bhype/b/c", deep.pk: "tank/bhype/b/c/deep", ab.pk: "tank/bhype/ab"}
    assert "tank/bhype/b/c/deep" in zfs(ready, "list", "-H", "-o", "name")
    assert "needs it where it is" in do("storage.rename_dataset", look("/isos"), name="x").error
    assert "name that bHype needs" in do("storage.rename_dataset", ab, name="vms").error


@pytest.mark.parametrize("name", ["", "..", "a/b", "a@b", "-a", "a b", "ä", "x" * 200, "a\nb", "a%b", "vms"])
def test_hostile_names_make_nothing(ready, look, do, name):
    before = zfs(ready, "list", "-H", "-o", "name")
    row = look()
    try:
        assert do("storage.create_dataset", row, name=name).status == "failed"
    except Exception as error:
        assert type(error).__name__ == "Refused"
    assert zfs(ready, "list", "-H", "-o", "name") == before


def test_what_belongs_to_a_vm_is_left_to_the_vm(ready, look, do, vm):
    home, disk = look("/vms/web1"), look("/vms/web1/disk0")
    for operation, params in (
        ("storage.destroy_dataset", {}), ("storage.rename_dataset", {"name": "x"}), ("storage.preview_destroy", {}),
        ("storage.create_dataset", {"name": "x"}),
    ):  # fmt: skip
        assert "belongs to virtual machine web1" in do(operation, home, **params).error
    assert "belongs to virtual machine web1" in do("storage.resize_volume", disk, size=16 * MIB).error
    assert do("storage.set_properties", home, changes={"compression": "zstd"}).status == "succeeded"
    assert "Here lie virtual machines alone" in do("storage.create_dataset", look("/vms"), name="x").error
    assert "no recordsize" in do("storage.set_properties", disk, changes={"recordsize": "4096"}).error


def test_what_was_deleted_goes_with_all_that_is_in_it(ready, look, do, vm):
    zfs(ready, "snapshot", "-r", "tank/bhype/vms/web1@one")
    mark = f"org.bhype:id={vm.uuid}"
    zfs(ready, "clone", "-o", mark, "tank/bhype/vms/web1/disk0@one", "tank/bhype/vms/web1/disk9")
    vm.delete()
    row = look("/vms/web1")
    seen = do("storage.preview_destroy", row)
    assert seen.status == "succeeded", seen.error
    assert set(seen.result["goes"]) == {
        "tank/bhype/vms/web1", "tank/bhype/vms/web1@one", "tank/bhype/vms/web1/disk0",
        "tank/bhype/vms/web1/disk0@one", "tank/bhype/vms/web1/disk9",
    }  # fmt: skip
    gone = do("storage.destroy_dataset", row)
    assert gone.status == "succeeded", gone.error
    assert "web1" not in zfs(ready, "list", "-H", "-o", "name", "-t", "all")
    assert not Dataset.objects.filter(name__contains="web1").exists()


def test_nothing_goes_that_bhype_did_not_make_or_others_live_on(ready, look, do, vm):
    zfs(ready, "create", "tank/bhype/vms/web1/hers")
    zfs(ready, "snapshot", "tank/bhype/vms/web1/disk0@one")
    vm.delete()
    row = look("/vms/web1")
    assert "hers was not made by bHype" in do("storage.destroy_dataset", row).error
    zfs(ready, "destroy", "tank/bhype/vms/web1/hers")
    zfs(ready, "clone", "tank/bhype/vms/web1/disk0@one", "tank/bhype/vms/copy")
    assert "tank/bhype/vms/copy" in do("storage.destroy_dataset", row).error
    assert "tank/bhype/vms/web1/disk0" in zfs(ready, "list", "-H", "-o", "name")
    zfs(ready, "set", f"org.bhype:id={uuid.uuid4()}", "tank/bhype/vms/web1")
    assert "changed meanwhile" in do("storage.destroy_dataset", row).error
    assert "needs it where it is" in do("storage.destroy_dataset", look()).error


@pytest.mark.parametrize("nth", [2, 3])
def test_a_destruction_that_broke_off_can_be_done_again(ready, look, do, vm, nth):
    vm.delete()
    row = look("/vms/web1")
    # The first only asks what would go.
    ready.fault(command="zfs destroy", do="kill", nth=nth)
    assert do("storage.destroy_dataset", row).status == "failed"
    ready.clear_faults()
    assert "tank/bhype/vms/web1" in zfs(ready, "list", "-H", "-o", "name")
    assert do("storage.destroy_dataset", row).status == "succeeded"
    assert "web1" not in zfs(ready, "list", "-H", "-o", "name", "-t", "all")


def test_an_orphan_can_be_kept(ready, look, do, vm):
    vm.delete()
    row = look("/vms/web1")
    assert do("storage.keep_dataset", row).status == "succeeded"
    (use,) = uses.left()
    assert use.is_kept and prop(ready, "/vms/web1", "org.bhype:kept") == "yes\tlocal"
    assert do("storage.keep_dataset", row, keep=False).status == "succeeded"
    assert not uses.left()[0].is_kept
    assert "no orphan" in do("storage.keep_dataset", look("/isos")).error


def test_what_zfs_refuses_is_told(ready, look, do):
    do("storage.create_dataset", look(), name="data")
    row = look("/data")
    ready.fault(command="zfs set", do="fail", text="cannot set property for 'tank/bhype/data': out of space")
    assert "out of space" in do("storage.set_properties", row, changes={"compression": "zstd"}).error
    ready.fault(command="zfs create", do="fail", text="cannot create 'tank/bhype/data/x': out of space")
    assert "out of space" in do("storage.create_dataset", row, name="x").error
    ready.clear_faults()
    assert not Dataset.objects.filter(name="tank/bhype/data/x").exists()


def test_the_worker_believes_no_row(ready, look, do):
    """The web process, which is not root, writes the rows."""
    row = look("/isos")
    Dataset.objects.filter(pk=row.pk).update(name="tank", bhype_id="dataset")
    assert "does not lie where" in do("storage.destroy_dataset", row).error
    Dataset.objects.filter(pk=row.pk).update(name="tank/bhypes")
    assert "does not lie where" in do("storage.set_properties", row, changes={"sync": "always"}).error
    Dataset.objects.filter(pk=row.pk).update(name="tank/bhype/isos", bhype_id="dataset")
    Pool.objects.update(is_adopted=False)
    assert "does not lie where" in do("storage.set_properties", row, changes={"sync": "always"}).error
