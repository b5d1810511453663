"""What becomes of pools and disks on a lab host."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bhype.hosts.models import Host
from bhype.hosts.observer import Observer
from bhype.lab import tree
from bhype.tasks import ask
from bhype.tasks.models import Schedule, Task
from storage.models import ArcSample, PhysicalDisk, Pool, PoolSample
from storage.pools import samples
from tests.labhost import Lab, ready_lab, rows

GIB = 2**30
MIRROR = [{"role": "data", "kind": "mirror", "disks": ["da1", "da2"]}]


def run(lab, operation: str, **params: object) -> Task:
    ask(operation, params, None)
    (task,) = lab.run_tasks()
    return task


def done(lab, operation: str, **params: object) -> Task:
    task = run(lab, operation, **params)
    assert task.status == "succeeded", task.error
    return task


def failed(lab, operation: str, **params: object) -> str:
    task = run(lab, operation, **params)
    assert task.status == "failed", task.result
    return task.error


def zpool(lab, *words: str) -> str:
    return lab.commands("/sbin/zpool", *words)


def names(lab) -> set[str]:
    return set(zpool(lab, "list", "-H", "-o", "name").split())


def health(lab, pool: str) -> str:
    return zpool(lab, "list", "-H", "-o", "health", pool).strip()


_template: list[Path] = []


def template(settings) -> Path:
    """A lab with a second pool, to be copied."""
    if not _template:
        made = ready_lab()
        settings.BHYPE_ROOT = str(made.root)
        done(made, "storage.create_pool", name="data", groups=MIRROR)
        made.stop()
        Host.objects.all().delete()
        Task.objects.all().delete()
        atexit.register(shutil.rmtree, made.folder, ignore_errors=True)
        _template.append(made.folder)
    return _template[0]


@pytest.fixture
def ready(settings, db) -> Iterator[Lab]:
    """A lab with the pools tank and data, a mirror of da1 and da2; both adopted."""
    like = template(settings)
    made = Lab(Path(tempfile.mkdtemp(prefix="bhl-", dir="/tmp")), like)
    host, _, _ = rows()
    Pool.objects.create(host=host, name="data")
    Pool.objects.update(is_adopted=True)
    settings.BHYPE_ROOT = str(made.root)
    yield made
    made.end()


@pytest.fixture
def data(ready) -> Pool:
    return Pool.objects.get(name="data")


def sweep(lab) -> Host:
    Observer(lab.host).sweep()
    return Host.objects.get()


def test_a_pool_is_made_of_free_disks_and_adopted(ready):
    sweep(ready)
    groups = [
        {"role": "data", "kind": "mirror", "disks": ["da3", "da4"]},
        {"role": "cache", "kind": "stripe", "disks": ["nda1"]},
    ]
    # That nothing is left on da4 is no fault.
    params = {"name": "more", "groups": groups, "compression": "zstd", "autotrim": True, "erase": ["da4"]}
    done(ready, "storage.create_pool", **params)
    pool = Pool.objects.get(name="more")
    assert pool.is_adopted and (ready.root / "more/bhype/isos").is_dir()
    used = PhysicalDisk.objects.filter(used_by="in the pool more").values_list("name", flat=True)
    assert set(used) == {"da3", "da4", "nda1"}
    assert zpool(ready, "get", "-H", "-o", "value", "autotrim,ashift", "more").split() == ["on", "12"]
    assert ready.commands("/sbin/zfs", "get", "-H", "-o", "value", "compression", "more").strip() == "zstd"
    sweep(ready)
    pool.refresh_from_db()
    assert pool.health == "ONLINE" and pool.size > 60 * GIB
    assert [one["name"] for one in pool.status["config"][0]["children"]] == ["mirror-0"]
    assert pool.properties["autotrim"] == ["on", "local"]
    # A second run after a kill finds what the first has made; another pool of this name is not made.
    done(ready, "storage.create_pool", **params)
    other = [{"role": "data", "kind": "stripe", "disks": ["ada0"]}]
    assert "There is a pool called more already." in failed(
        ready, "storage.create_pool", name="more", groups=other
    )
    done(ready, "storage.set_pool_property", pool_id=pool.pk, name="autotrim", value="off")
    assert Pool.objects.get(name="more").properties["autotrim"] == ["off", "local"]
    assert "cannot be set" in failed(
        ready, "storage.set_pool_property", pool_id=pool.pk, name="autotrim", value="x y"
    )


@pytest.mark.parametrize("command", ["zpool create", "zfs create"])
def test_a_pool_whose_making_was_killed_is_finished_by_the_next(ready, command):
    groups = [{"role": "data", "kind": "mirror", "disks": ["da3", "da4"]}]
    ready.fault(command=command, do="kill")
    assert run(ready, "storage.create_pool", name="more", groups=groups).status == "failed"
    ready.clear_faults()
    done(ready, "storage.create_pool", name="more", groups=groups)
    assert Pool.objects.get(name="more").is_adopted


@pytest.mark.parametrize(
    ("disk", "why"),
    [
        ("nda0", "nda0 is not free: it holds partitions: efi, freebsd-swap, freebsd-ufs"),
        ("da1", "da1 is not free: it is in the pool data"), ("da99", "The host has no disk da99"),
        ("../etc", "is not the name of a disk"),
    ],
)  # fmt: skip
def test_a_disk_in_use_is_never_taken(ready, disk, why):
    # Rows may say what they want.
    PhysicalDisk.objects.create(host=Host.objects.get(), name=disk[:64], size=GIB)
    groups = [{"role": "data", "kind": "mirror", "disks": ["da3", disk]}]
    assert why in failed(ready, "storage.create_pool", name="more", groups=groups, erase=[disk])
    assert names(ready) == {"tank", "data"}
    said = Task.objects.get().lines.filter(kind="command").values_list("text", flat=True)
    assert not any("create" in text or "labelclear" in text for text in said)


def test_what_an_earlier_pool_left_goes_only_when_it_is_named(ready, data):
    sweep(ready)
    zpool(ready, "export", "data")
    found = done(ready, "storage.find_pools").result["pools"]
    assert [(pool["name"], [disk["name"] for disk in pool["disks"]]) for pool in found] == [
        ("data", ["da1", "da2"])
    ]
    assert PhysicalDisk.objects.get(name="da1").leftover == "of the exported pool data"
    groups = [{"role": "data", "kind": "mirror", "disks": ["da1", "da3"]}]
    said = failed(ready, "storage.create_pool", name="new", groups=groups, erase=["da3"])
    assert "part of exported pool 'data'" in said and "erased" in said
    assert names(ready) == {"tank"}
    done(ready, "storage.create_pool", name="new", groups=groups, erase=["da1"])
    assert names(ready) == {"tank", "new"}
    assert not PhysicalDisk.objects.get(name="da1").leftover


def test_groups_that_differ_are_made_when_they_are_meant(ready, data):
    special = [{"role": "special", "kind": "mirror", "disks": ["da3", "ada0"]}]
    task = done(ready, "storage.add_disks", pool_id=data.pk, groups=special)
    assert task.lines.filter(text__contains="as was planned").exists()
    assert "special" in zpool(ready, "status", "data")


def test_force_never_overrides_a_disk_in_use(ready, data):
    zpool(ready, "export", "data")
    groups = [
        {"role": "data", "kind": "raidz1", "disks": ["da1", "da3", "da4"]},
        {"role": "special", "kind": "stripe", "disks": ["da2"]},
    ]
    assert "part of exported pool" in failed(ready, "storage.create_pool", name="new", groups=groups)
    assert names(ready) == {"tank"}


def test_a_scrub_is_started_paused_and_stopped(ready, data):
    done(ready, "storage.scrub", pool_id=data.pk)
    assert Pool.objects.get(name="data").status["scan"]["function"] == "scrub"
    again = done(ready, "storage.scrub", pool_id=data.pk)
    assert again.lines.filter(text="A scrub is running already.").exists()
    done(ready, "storage.scrub", pool_id=data.pk, action="pause")
    assert Pool.objects.get(name="data").status["scan"]["state"] == "paused"
    done(ready, "storage.scrub", pool_id=data.pk, action="stop")
    assert Pool.objects.get(name="data").status["scan"]["state"] == "canceled"
    assert "there is no active scrub" in failed(ready, "storage.scrub", pool_id=data.pk, action="stop")


def test_a_suspended_pool_waits_and_goes_on(ready):
    groups = [{"role": "data", "kind": "stripe", "disks": ["nda1"]}]
    done(ready, "storage.create_pool", name="flash", groups=groups)
    pool = Pool.objects.get(name="flash")
    done(ready, "storage.trim", pool_id=pool.pk)
    pool.refresh_from_db()
    assert "trimm" in pool.status["config"][0]["children"][0]["trim"]
    tree.disk(str(ready.folder), "pull", "nda1", 0)
    host = sweep(ready)
    pool.refresh_from_db()
    told = [said for said in host.problems if "The pool flash is" in said]
    assert told and "Connect the missing disks" in told[0], (pool.health, host.problems)
    tree.disk(str(ready.folder), "insert", "nda1", 0)
    done(ready, "storage.clear_errors", pool_id=pool.pk)
    assert health(ready, "flash") == "ONLINE"


def test_a_lost_disk_is_told_and_replaced(ready, data):
    tree.disk(str(ready.folder), "pull", "da1", 0)
    host = sweep(ready)
    pool = Pool.objects.get(name="data")
    assert pool.health == "DEGRADED"
    assert any("The pool data is DEGRADED. " in said and "da1 is gone" in said for said in host.problems), (
        host.problems
    )
    mirror = pool.status["config"][0]["children"][0]
    lost = next(one["name"] for one in mirror["children"] if one["state"] != "ONLINE")
    done(ready, "storage.replace_disk", pool_id=pool.pk, member=lost, disk="da3")
    assert "da3" in zpool(ready, "status", "data")
    assert PhysicalDisk.objects.get(name="da3").used_by == "in the pool data"
    # A second run after a kill finds that it was done.
    assert run(ready, "storage.replace_disk", pool_id=pool.pk, member=lost, disk="da3").status in {
        "succeeded",
        "failed",
    }


def test_disks_are_attached_detached_and_taken_offline(ready, data):
    done(ready, "storage.attach_disk", pool_id=data.pk, member="da1", disk="da3")
    assert "da3" in zpool(ready, "status", "data")
    done(ready, "storage.attach_disk", pool_id=data.pk, member="da1", disk="da3")
    zpool(ready, "wait", "-t", "resilver", "data")
    done(ready, "storage.change_disk", pool_id=data.pk, member="da2", action="offline")
    assert health(ready, "data") == "DEGRADED"
    # The last copies stay.
    done(ready, "storage.change_disk", pool_id=data.pk, member="da3", action="offline")
    said = failed(ready, "storage.change_disk", pool_id=data.pk, member="da1", action="offline")
    assert "no valid replicas" in said and "nowhere else" in said
    for disk in ("da2", "da3"):
        done(ready, "storage.change_disk", pool_id=data.pk, member=disk, action="online")
    done(ready, "storage.change_disk", pool_id=data.pk, member="da3", action="detach")
    assert "da3" not in zpool(ready, "status", "data")
    said = failed(ready, "storage.change_disk", pool_id=data.pk, member="da9", action="offline")
    assert "has no disk da9" in said
    done(ready, "storage.clear_errors", pool_id=data.pk)


def test_disks_are_added_and_taken_out(ready, data):
    spare = [{"role": "spare", "kind": "stripe", "disks": ["da3"]}]
    done(ready, "storage.add_disks", pool_id=data.pk, groups=spare)
    done(ready, "storage.add_disks", pool_id=data.pk, groups=spare)
    assert [one["name"] for one in Pool.objects.get(name="data").status["spares"]] == ["da3"]
    done(ready, "storage.change_disk", pool_id=data.pk, member="da3", action="remove")
    assert Pool.objects.get(name="data").status["spares"] == []
    used = [{"role": "cache", "kind": "stripe", "disks": ["nda0"]}]
    assert "not free" in failed(ready, "storage.add_disks", pool_id=data.pk, groups=used)


def weekly_scrub(pool: Pool) -> Schedule:
    return Schedule.objects.create(
        title="Scrub",
        operation="storage.scrub",
        subject=f"pool:{pool.pk}",
        when="sun 03:00",
        is_enabled=False,
    )


def test_a_pool_is_exported_and_imported_again(ready, data):
    done(ready, "storage.export_pool", pool_id=data.pk)
    assert names(ready) == {"tank"} and Pool.objects.get(name="data").health == "UNAVAIL"
    done(ready, "storage.export_pool", pool_id=data.pk)
    (found,) = done(ready, "storage.find_pools").result["pools"]
    done(ready, "storage.import_pool", guid=found["guid"], name="data")
    pool = Pool.objects.get(name="data")
    assert pool.is_adopted and (ready.root / "data/bhype/isos").is_dir()
    mounted = ready.commands("/sbin/zfs", "get", "-H", "-o", "value", "mounted", "data/bhype/isos").strip()
    assert mounted == "yes"
    done(ready, "storage.import_pool", guid=found["guid"], name="data")
    assert "already" in failed(ready, "storage.import_pool", guid="4711", name="data")
    done(ready, "storage.export_pool", pool_id=pool.pk)
    weekly = weekly_scrub(pool)
    sweep(ready)
    assert Pool.objects.filter(pk=pool.pk).exists(), "its schedule would be lost"
    weekly.delete()
    sweep(ready)
    # Nothing of the panel lies in it: it is forgotten.
    assert set(Pool.objects.values_list("name", flat=True)) == {"tank"}


def test_a_pool_with_running_vms_is_not_exported(ready):
    from vms.models import VM

    pool = Pool.objects.get(name="tank")
    VM.objects.create(
        host=pool.host, pool=pool, name="web1", memory=1, vnc_port=1, vnc_password="x", state="running"
    )
    assert "VMs that are on: web1" in failed(ready, "storage.export_pool", pool_id=pool.pk)
    # Nor is the row of a pool that is gone forgotten while a VM lies in it.
    pool.name = "gone"
    pool.save()
    assert "VMs or images of this panel" in failed(ready, "storage.destroy_pool", pool_id=pool.pk)
    assert names(ready) == {"tank", "data"}


def test_only_an_empty_pool_of_its_own_is_destroyed(ready, data):
    ready.commands("/sbin/zfs", "create", "data/mine")
    assert "It holds data/mine." in failed(ready, "storage.destroy_pool", pool_id=data.pk)
    ready.commands("/sbin/zfs", "destroy", "data/mine")
    weekly_scrub(data)
    done(ready, "storage.destroy_pool", pool_id=data.pk)
    assert not Schedule.objects.exists()
    assert names(ready) == {"tank"} and not Pool.objects.filter(name="data").exists()


def test_a_pool_that_bhype_did_not_make_is_left_alone(ready):
    zpool(ready, "create", "theirs", "da3")
    pool = Pool.objects.create(host=Host.objects.get(), name="theirs", is_adopted=True)
    for operation in ("storage.destroy_pool", "storage.export_pool"):
        assert "does not belong to bHype" in failed(ready, operation, pool_id=pool.pk)
    # Nor is one whose mark is inherited.
    ready.commands("/sbin/zfs", "set", "org.bhype:id=bhype", "theirs")
    ready.commands("/sbin/zfs", "create", "theirs/bhype")
    assert "does not belong to bHype" in failed(ready, "storage.destroy_pool", pool_id=pool.pk)
    assert "theirs" in names(ready)


def test_a_host_may_keep_bhype_off_its_pools(ready, settings):
    zpool(ready, "create", "theirs", "da3")
    pool = Pool.objects.create(host=Host.objects.get(), name="theirs", is_adopted=False)
    settings.POOLS = ["tank"]
    for operation in ("storage.adopt", "storage.scrub", "storage.clear_errors"):
        assert "BHYPE_POOLS" in failed(ready, operation, pool_id=pool.pk)
    groups = [{"role": "data", "kind": "stripe", "disks": ["da4"]}]
    assert "BHYPE_POOLS" in failed(ready, "storage.create_pool", name="more", groups=groups)
    assert names(ready) == {"tank", "theirs"} | ({"data"} & names(ready))


def test_levels_are_told(ready):
    sweep(ready)
    pool = Pool.objects.get(name="tank")
    for percent, level in ((79, ""), (80, "level 80"), (86, "level 85"), (94, "level 90"), (99, "level 95")):
        pool.size, pool.allocated = 100, percent
        said = samples.capacity.sentence("tank", pool.percent_full)
        assert level in said and bool(said) == bool(level)


def test_disks_are_observed_with_their_health(ready):
    sweep(ready)
    rows = {row.name: row for row in PhysicalDisk.objects.all()}
    assert rows["da0"].used_by == "in the pool tank" and rows["nda0"].used_by.startswith(
        "holds partitions: efi"
    )
    assert rows["da3"].is_free and rows["da3"].size == 64 * GIB and rows["da3"].is_rotating
    asked = [row for row in rows.values() if row.health_at]
    assert len(asked) == 4 and asked[0].health["passed"] is True and asked[0].health["temperature"] > 0
    tree.disk(str(ready.folder), "pull", "da4", 0)
    sweep(ready)
    assert not PhysicalDisk.objects.filter(name="da4").exists()
    assert PhysicalDisk.objects.exclude(health_at=None).count() == 7


class _Quick(samples.Measuring):
    """Measures one second, and is waited for."""

    def __init__(self) -> None:
        super().__init__(1)

    def start(self) -> None:
        self.run()


def test_samples_are_taken_once_a_minute(ready, monkeypatch):
    monkeypatch.setattr(samples, "Measuring", _Quick)
    observer = Observer(ready.host)
    observer.sweep()
    assert not PoolSample.objects.exists()
    observer.number = samples.FIRST
    observer.sweep()
    observer.sweep()
    sample = PoolSample.objects.get(pool__name="tank")
    assert sample.size > 90 * GIB and sample.reads == 0
    observer.memories[samples.Last].at -= samples.PERIOD
    observer.sweep()
    assert PoolSample.objects.filter(pool__name="tank").last().writes > 0
    assert ArcSample.objects.get().size > 0
