from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.hosts.models import Host
from bhype.hosts.observer import Observer
from bhype.tasks.models import Task
from storage import observe, operations, plan, views
from storage.models import Dataset, Image, Iso, Pool


def adopt(lab) -> Task:
    host = Host.objects.this()
    pool, _ = Pool.objects.get_or_create(host=host, name="tank")
    operations.adopt.ask({"pool_id": pool.pk}, None)
    (task,) = lab.run_tasks()
    return task


def marks(lab) -> dict[str, str]:
    text = lab.commands(
        "/sbin/zfs", "get", "-H", "-r", "-t", "filesystem", "-o", "name,value", "org.bhype:id", "tank"
    )
    return dict(line.split("\t") for line in text.splitlines())


def test_adoption_makes_the_layout_with_its_mark(lab):
    assert adopt(lab).status == "succeeded"
    found = marks(lab)
    assert found.pop("tank") == "-"
    assert found == dict.fromkeys(plan.layout("tank/bhype"), "bhype")
    assert Pool.objects.get().is_adopted
    assert (lab.root / "tank/bhype/isos").is_dir()


def test_adoption_can_be_repeated(lab):
    adopt(lab)
    lab.commands("/sbin/zfs", "destroy", "tank/bhype/jails")
    assert adopt(lab).status == "succeeded"
    assert "tank/bhype/jails" in marks(lab)


def test_a_home_that_somebody_else_made_is_refused(lab):
    lab.commands("/sbin/zfs", "create", "tank/bhype")
    task = adopt(lab)
    assert task.status == "failed"
    assert "was not made by bHype" in task.error
    assert not Pool.objects.get().is_adopted
    assert set(marks(lab)) == {"tank", "tank/bhype"}


def test_a_mark_that_is_only_inherited_does_not_count(lab):
    lab.commands("/sbin/zfs", "set", "org.bhype:id=bhype", "tank")
    lab.commands("/sbin/zfs", "create", "tank/bhype")
    assert "was not made by bHype" in adopt(lab).error


@pytest.mark.parametrize("nth", [1, 3, 7])
def test_an_adoption_that_broke_off_is_finished_by_the_next(lab, nth):
    lab.fault(command="zfs create", do="kill", nth=nth)
    assert adopt(lab).status == "failed"
    lab.clear_faults()
    assert adopt(lab).status == "succeeded"
    assert set(plan.layout("tank/bhype")) <= set(marks(lab))


def test_media_come_and_go_with_their_files(ready, vm):
    observer = Observer(ready.host)
    folder = ready.root / "tank/bhype/isos"
    for name in ("debian.iso", "disk.IMG", ".partial.iso", "notes.txt", "a,b.iso", "a%b.iso"):
        (folder / name).write_bytes(b"x" * 7)
    observer.sweep()
    assert dict(Iso.objects.values_list("name", "size")) == {"debian.iso": 7, "disk.IMG": 7}
    vm.devices.create(kind="ahci-cd", iso=Iso.objects.get(name="debian.iso"))
    for name in ("debian.iso", "disk.IMG"):
        (folder / name).unlink()
    observer.number = 0
    observer.sweep()
    # A medium that a VM wants is not forgotten: its start will say that it is missing.
    assert dict(Iso.objects.values_list("name", "size")) == {"debian.iso": 0}


@pytest.fixture
def vm(ready):
    from vms.models import VM

    return VM.objects.create(
        host=Host.objects.get(), pool=Pool.objects.get(), name="web1", memory=1, vnc_port=1, vnc_password="x"
    )


def test_datasets_are_followed(ready):
    observer = Observer(ready.host)
    observer.sweep()
    assert Dataset.objects.filter(kind="filesystem").count() == len(plan.layout("tank/bhype"))
    ready.commands("/sbin/zfs", "create", "-s", "-V", "64M", "-o", "org.bhype:id=u", "tank/bhype/vms/disk")
    observer.number = 0
    observer.sweep()
    disk = Dataset.objects.get(kind="volume")
    assert (disk.name, disk.volsize, disk.bhype_id) == ("tank/bhype/vms/disk", 64 * 2**20, "u")
    ready.commands("/sbin/zfs", "destroy", "tank/bhype/vms/disk")
    observer.number = 0
    observer.sweep()
    assert not Dataset.objects.filter(kind="volume").exists()


def test_on_freebsd_no_pool_is_taken_without_being_asked():
    assert plan.may_adopt_itself(["tank"], [], is_lab=False) is None
    assert plan.may_adopt_itself(["tank"], [], is_lab=True) == "tank"
    assert plan.may_adopt_itself(["tank", "zroot"], [], is_lab=True) is None
    assert plan.may_adopt_itself(["tank"], ["tank"], is_lab=True) is None


@given(st.text(max_size=140))
def test_a_medium_has_a_name_that_bhyve_takes(name):
    if plan.is_medium(name):
        assert not set(name) & set(",%\\/\0\n")
        assert not name.startswith(".")


@pytest.mark.parametrize(
    ("dataset", "owner"),
    [
        ("tank/bhype", ("", "")), ("tank/bhype/vms", ("", "")), ("tank/bhype/vms/web1", ("vms", "web1")),
        ("tank/bhype/vms/web1/disk0", ("vms", "web1")),
    ],
)  # fmt: skip
def test_a_dataset_tells_what_it_belongs_to(dataset, owner):
    assert plan.owner_of(dataset, "tank/bhype") == owner


@pytest.fixture
def vm_of_alice(request):
    from vms.models import VM

    return VM.objects.create(
        host=request.getfixturevalue("host"), pool=request.getfixturevalue("pool"), name="web1", memory=1, vnc_port=1,
        vnc_password="x", owner=request.getfixturevalue("alice"),
    )  # fmt: skip


def test_only_admins_adopt_a_pool(as_user, admin, operator, pool):
    Pool.objects.update(is_adopted=False)
    assert "Adopt tank" not in as_user(operator).get("/storage/").content.decode()
    assert as_user(operator).post("/storage/pools/tank/adopt/").status_code == 404
    assert as_user(admin).get("/storage/pools/tank/adopt/").status_code == 405
    assert not Task.objects.exists()
    assert "Adopt tank" in as_user(admin).get("/storage/").content.decode()
    assert as_user(admin).post("/storage/pools/tank/adopt/").status_code == 302
    assert Task.objects.get().operation == "storage.adopt"


def test_the_library_page_shows_who_uses_a_medium(as_user, viewer, pool, vm_of_alice):
    vm_of_alice.devices.create(
        kind="ahci-cd", iso=Iso.objects.create(pool=pool, name="debian.iso", size=5 * 2**20)
    )
    page = as_user(viewer).get("/storage/isos/").content.decode()
    assert "debian.iso" in page and "5 MiB" in page and "web1" in page
    assert "/tank/bhype/isos" in page


def test_the_api_tells_of_storage(as_user, viewer, operator, stranger, admin, pool, vm_of_alice):
    vm_of_alice.devices.create(kind="ahci-cd", iso=Iso.objects.create(pool=pool, name="debian.iso", size=5))
    Dataset.objects.create(pool=pool, name="tank/bhype", kind="filesystem", used=3)
    client = as_user(viewer)
    assert client.get("/api/v1/pools").json()[0]["size"] == 100 * 2**30
    assert client.get("/api/v1/pools/tank").json()["host"] == "lab"
    row = client.get("/api/v1/datasets").json()[0]
    assert (row["name"], row["pool"], row["kind"], row["used"]) == ("tank/bhype", "tank", "filesystem", 3)
    assert client.get("/api/v1/isos").json() == [
        {
            "id": Iso.objects.get().pk,
            "source": "",
            "sha256": "",
            "verified": "",
            "name": "debian.iso",
            "pool": "tank",
            "path": "/tank/bhype/isos/debian.iso",
            "size": 5,
            "vms": ["web1"],
        }
    ]
    for path in ("pools", "pools/tank", "datasets", "isos"):
        assert as_user(stranger).get(f"/api/v1/{path}").status_code == 404
    assert client.get("/api/v1/pools/nosuch").status_code == 404
    assert client.get("/api/v1/isos?limit=0").status_code == 422
    assert as_user(operator).post("/api/v1/pools/tank/adopt").status_code == 404
    assert as_user(admin).post("/api/v1/pools/tank/adopt").status_code == 202


def test_the_number_of_queries_does_not_grow(as_user, viewer, pool, django_assert_max_num_queries):
    Dataset.objects.bulk_create(
        Dataset(pool=pool, name=f"tank/bhype/vms/m{number}", kind="filesystem") for number in range(50)
    )
    Iso.objects.bulk_create(Iso(pool=pool, name=f"m{number}.iso", size=1) for number in range(50))
    client = as_user(viewer)
    for path in ("/storage/", "/storage/isos/", "/api/v1/isos", "/api/v1/datasets"):
        with django_assert_max_num_queries(12):
            assert client.get(path).status_code == 200


def test_a_failing_pool_is_told_until_it_is_seen_well_again(ready):
    observer = Observer(ready.host)
    observer.sweep()
    ready.fault(command="zfs list", do="fail", text="cannot open 'tank/bhype': I/O error")
    told = [observer.sweep().problems for _ in range(8)]
    ready.clear_faults()
    assert [len(problems) for problems in told] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert told[-1] == ["storage: /sbin/zfs failed with exit status 1: cannot open 'tank/bhype': I/O error"]
    assert Host.objects.get().problems == told[-1]
    observer.sweep()
    assert Host.objects.get().problems != []
    observer.sweep()
    assert Host.objects.get().problems == []


def test_the_first_steps_lead_to_where_they_are_done(as_user, admin, host, pool):
    page = as_user(admin).get(f"/hosts/{host.name}/").content.decode()
    assert "/storage/catalogue/" in page and "/storage/isos/" in page
    Image.objects.create(pool=pool, name="debian", state=Image.State.READY)
    done = next(item for item in observe.checklist(host) if "image" in item.what)
    assert done.is_done


def test_a_dataset_that_is_searched_for_leads_to_its_page(admin, stranger, pool):
    Dataset.objects.create(pool=pool, name="tank/bhype/vms/web1", kind="filesystem")
    (hit,) = views.find(admin, "vms/web1")
    assert hit.href == "/storage/datasets/tank/bhype/vms/web1/"
    assert not list(views.find(stranger, "vms/web1"))
