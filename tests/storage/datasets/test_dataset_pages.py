"""The pages of datasets: what they show, to whom, and what they ask for."""

from __future__ import annotations

import uuid

import pytest
from django.utils import timezone

from bhype.accounts.models import AuditEntry
from bhype.tasks.models import Task
from storage.datasets import uses
from storage.models import Dataset, Image, Pool, Snapshot
from vms.models import VM

GIB = 2**30


@pytest.fixture
def rows(pool: Pool, vm) -> dict[str, Dataset]:
    def make(name: str, **columns) -> Dataset:
        columns = {"kind": "filesystem", "used": GIB, "encryption": "off", **columns}
        return Dataset.objects.create(pool=pool, name=f"tank/bhype{name}", **columns)

    facts = {
        "usedbydataset": [str(GIB), "-"], "usedbysnapshots": [str(3 * GIB), "-"], "compressratio": ["1.50", "-"],
        "compression": ["zstd", "local"], "quota": [str(8 * GIB), "local"], "creation": ["1767225600", "-"],
    }  # fmt: skip
    made = {
        "": make("", bhype_id="bhype", properties={"atime": ["off", "local"]}),
        "/vms": make("/vms", bhype_id="bhype"),
        "/vms/web1": make("/vms/web1", bhype_id=str(vm.uuid)),
        "/vms/web1/disk0": make("/vms/web1/disk0", kind="volume", volsize=10 * GIB, bhype_id=str(vm.uuid)),
        "/vms/old": make("/vms/old", bhype_id=str(uuid.uuid4())),
        "/data": make("/data", bhype_id="dataset", used=4 * GIB, properties=facts),
        "/data/in": make("/data/in", bhype_id="dataset"),
        "/safe": make(
            "/safe", bhype_id="dataset", encryption="aes-256-gcm", encryption_root="tank/bhype/safe"
        ),
    }
    Dataset.objects.filter(name="tank/bhype/data/in").update(
        properties={"compression": ["zstd", "inherited from tank/bhype/data"]}
    )
    return made


def text(answer) -> str:
    return " ".join(answer.content.decode().split())


def last() -> tuple[str, dict]:
    task = Task.objects.latest("pk")
    return task.operation, task.params


def test_the_list_is_a_tree_that_tells_who_uses_what(as_user, viewer, rows):
    page = text(as_user(viewer).get("/storage/datasets/"))
    assert 'href="/storage/datasets/tank/bhype/vms/web1/disk0/"' in page
    assert '<a href="/vms/web1/">web1</a> <span class="text-secondary">virtual machine</span>' in page
    assert '<span class="text-warning">nobody</span>' in page
    assert "unlocked" in page and "1.50" in page and "New dataset" not in page
    assert page.index("tank/bhype/vms/web1/") < page.index("tank/bhype/vms/web1/disk0/")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=disk", {"/vms/web1/disk0"}), ("kind=volume", {"/vms/web1/disk0"}), ("show=orphans", {"/vms/old"}),
        ("show=encrypted", {"/safe"}), ("show=locked", set()), ("pool=nope", set()), ("q=%00&page=x", None),
        ("sort=-used&q=data", {"/data", "/data/in"}), ("kind=x&show=y&sort=z", None),
        ("sort=-volsize", {"/vms/web1/disk0"}),
    ],
)  # fmt: skip
def test_the_list_is_filtered_by_its_address(as_user, viewer, rows, query, found):
    page = text(as_user(viewer).get(f"/storage/datasets/?{query}"))
    shown = {name for name in rows if f'href="/storage/datasets/tank/bhype{name}/"' in page}
    assert shown == (set(rows) if found is None else found)
    if found == set():
        assert "No dataset matches" in page


def test_two_thousand_datasets_take_no_more_queries(as_user, admin, pool, vm, django_assert_max_num_queries):
    ids = [str(uuid.uuid4()) for _ in range(40)]
    Image.objects.bulk_create(
        Image(pool=pool, name=f"i{number}", uuid=word) for number, word in enumerate(ids)
    )
    Dataset.objects.bulk_create(
        Dataset(pool=pool, name=f"tank/bhype/images/i{number}", kind="volume", bhype_id=ids[number % 40])
        for number in range(2000)
    )
    client = as_user(admin)
    for path in ("datasets/", "datasets/?page=20", "datasets/?show=orphans", "orphans/", "datasets/?q=i19"):
        with django_assert_max_num_queries(14):
            assert client.get(f"/storage/{path}").status_code == 200
    assert "2000 of 2000" in text(client.get("/storage/datasets/?page=20"))
    with django_assert_max_num_queries(16):
        client.get("/storage/datasets/tank/bhype/images/i7/")
    with django_assert_max_num_queries(18):
        client.get("/storage/datasets/tank/bhype/images/i7/-/danger/")


def test_one_dataset_is_shown_from_all_sides(as_user, viewer, rows):
    client, home = as_user(viewer), "/storage/datasets/tank/bhype/data/"
    page = text(client.get(home))
    assert "3 GiB" in page and "its snapshots" in page and "1.50" in page and "8 GiB" in page
    assert 'href="/storage/datasets/tank/bhype/data/in/"' in page and "width:75.00%" in page
    page = text(client.get(f"{home}in/-/properties/"))
    assert 'href="/storage/datasets/tank/bhype/data/-/properties/"' in page and "128 KiB" in page
    assert "Save" not in page and "<select" not in page
    assert "An admin can" in text(client.get(f"{home}-/danger/"))
    for missing in ("nope/", "data/-/nope/", "vms/-/properties/x/"):
        assert client.get(f"/storage/datasets/tank/bhype/{missing}").status_code == 404


def test_what_is_set_here_and_what_would_be_otherwise(as_user, admin, rows):
    page = text(as_user(admin).get("/storage/datasets/tank/bhype/data/in/-/properties/"))
    assert '<option value="" selected>zstd, inherited</option>' in page
    page = text(as_user(admin).get("/storage/datasets/tank/bhype/data/-/properties/"))
    assert '<option value="">on, the default</option>' in page
    assert '<option value="" selected>off, inherited</option>' in page  # atime, of the home
    assert '<option value="zstd" selected>zstd</option>' in page and 'value="8G"' in page


def test_only_what_differs_is_changed(as_user, admin, viewer, rows):
    address = "/storage/datasets/tank/bhype/data/-/properties/"
    same = {"compression": "zstd", "quota": "8G"}
    assert as_user(viewer).post(address, same).status_code == 404
    client = as_user(admin)
    assert client.post(address, same).status_code == 302 and not Task.objects.exists()
    answer = client.post(address, {"compression": "", "quota": "16 GiB", "atime": "off", "sync": "always"})
    assert answer.status_code == 302
    changes = {"compression": None, "quota": str(16 * GIB), "atime": "off", "sync": "always"}
    assert last() == ("storage.set_properties", {"dataset_id": rows["/data"].pk, "changes": changes})
    assert AuditEntry.objects.latest("pk").object == "dataset tank/bhype/data"
    for bad in ({"quota": "1M"}, {"quota": "much"}, {"recordsize": "3"}, {"compression": "sure"}):
        answer = client.post(address, same | bad)
        assert answer.status_code == 422 and "invalid-feedback" in text(answer)
    assert Task.objects.count() == 1


def test_a_dataset_is_made_and_what_is_wrong_stands_beside_its_field(as_user, admin, operator, rows):
    address = "/storage/datasets/tank/bhype/data/-/new/"
    assert as_user(operator).get(address).status_code == 404
    client = as_user(admin)
    assert client.get(address).status_code == 200
    good = {"name": "disk", "kind": "volume", "size": "20G"}
    for bad, said in (
        ({"name": "in"}, "already a dataset"), ({"name": "a/b"}, "one word"), ({"name": "-x"}, "begins with"),
        ({"size": ""}, "needs a size"), ({"size": "1000"}, "whole number of MiB"), ({"kind": "x"}, "valid choice"),
        ({"encrypted": "on"}, "Give a passphrase"),
        ({"encrypted": "on", "passphrase": "short", "again": "short"}, "8 to"),
        ({"encrypted": "on", "passphrase": "long enough", "again": "other ones"}, "not the same"),
    ):  # fmt: skip
        answer = client.post(address, good | bad)
        assert (answer.status_code, said in text(answer)) == (422, True), (bad, text(answer))
    assert client.post(address, good).status_code == 302
    assert last() == (
        "storage.create_dataset",
        {
            "dataset_id": rows["/data"].pk, "name": "disk", "kind": "volume", "size": 20 * GIB, "properties": {},
            "secret": "",
        },
    )  # fmt: skip
    assert "Here lie virtual machines alone" in text(client.get("/storage/datasets/tank/bhype/vms/-/new/"))


def test_no_passphrase_stands_in_a_row(as_user, admin, rows):
    words = {"old": "the former words", "passphrase": "the secret words", "again": "the secret words"}
    client, safe = as_user(admin), "/storage/datasets/tank/bhype/safe/-/"
    form = {"name": "x", "kind": "filesystem", "encrypted": "on", **words}
    assert client.post("/storage/datasets/tank/bhype/-/new/", form).status_code == 302
    assert client.post(f"{safe}key/", words).status_code == 302
    assert client.post(f"{safe}unlock/", {**words, "start": "on"}).status_code == 302
    assert Task.objects.count() == 3
    from tests.test_routes import snapshot

    assert "secret words" not in snapshot() and "former words" not in snapshot()
    page = text(client.post(f"{safe}key/", {**words, "again": "mistyped words"}))
    assert "not the same" in page and "secret words" not in page and "former words" not in page


def test_the_key_is_shown_to_admins_as_it_is(as_user, admin, viewer, rows):
    address = "/storage/datasets/tank/bhype/safe/"
    page = text(as_user(admin).get(address))
    assert "Change the passphrase" in page and ">Unlock<" not in page
    assert as_user(admin).post(f"{address}-/lock/").status_code == 302
    assert last() == ("storage.lock", {"dataset_id": rows["/safe"].pk})
    live = f'id="key" data-live="dataset:{rows["/safe"].pk}"'
    assert live not in page and live in text(as_user(admin).get(address))
    Dataset.objects.filter(pk=rows["/safe"].pk).update(key_status="unavailable")
    page = text(as_user(admin).get(address))
    assert "cannot be read" in page and "</svg>Unlock</button>" in page
    assert live not in page  # what is typed into it stays
    assert "An admin can lock and unlock it" in text(as_user(viewer).get(address))
    assert "locked" in text(as_user(viewer).get("/storage/datasets/?show=locked"))


def test_what_goes_is_listed_and_its_name_typed(as_user, admin, rows, pool):
    old = rows["/vms/old"]
    Snapshot.objects.create(dataset=old, name="one", guid="1", created_at=timezone.now())
    address, client = "/storage/datasets/tank/bhype/vms/old/-/", as_user(admin)
    assert "tank/bhype/vms/old@one" in text(client.get(f"{address}danger/"))
    assert client.post(f"{address}destroy/", {"name": "old"}).status_code == 422
    assert client.post(f"{address}preview/").status_code == 302
    assert last() == ("storage.preview_destroy", {"dataset_id": old.pk})
    Task.objects.update(
        status="succeeded", result={"goes": ["tank/bhype/vms/old"], "count": 1, "freed": 5 * GIB}
    )
    assert "5 GiB get free" in text(client.get(f"{address}danger/"))
    assert client.post(f"{address}destroy/", {"name": old.name}).status_code == 302
    assert last() == ("storage.destroy_dataset", {"dataset_id": old.pk})
    Dataset.objects.create(pool=pool, name="tank/bhype/copy", kind="volume", origin=f"{old.name}@one")
    page = text(client.get(f"{address}danger/"))
    assert "Linked clones live on its data" in page and "tank/bhype/copy" in page


def test_what_belongs_to_a_vm_points_to_the_vm(as_user, admin, rows):
    page = text(as_user(admin).get("/storage/datasets/tank/bhype/vms/web1/-/danger/"))
    assert "belongs to virtual machine web1" in page and "Destroy</button>" not in page


def test_a_dataset_is_renamed_and_moved(as_user, admin, rows):
    address, client = "/storage/datasets/tank/bhype/data/in/-/rename/", as_user(admin)
    form = {"name": "deep", "parent": rows["/safe"].pk}
    assert client.post(address, form).status_code == 302
    params = {"dataset_id": rows["/data/in"].pk, "name": "deep", "parent_id": rows["/safe"].pk}
    assert last() == ("storage.rename_dataset", params)
    for bad in ({"name": "in", "parent": rows["/data"].pk}, {"parent": rows["/vms"].pk}, {"name": "a/b"}):
        assert client.post(address, form | bad).status_code == 422


def test_a_volume_only_grows(as_user, admin, rows, pool):
    Dataset.objects.create(
        pool=pool, name="tank/bhype/disk", kind="volume", volsize=10 * GIB, bhype_id="dataset"
    )
    address, client = "/storage/datasets/tank/bhype/disk/-/grow/", as_user(admin)
    assert client.post(address, {"size": "10G"}).status_code == 422
    assert client.post(address, {"size": "11G"}).status_code == 302
    assert last()[1]["size"] == 11 * GIB


def test_orphans_are_given_kept_or_destroyed(as_user, admin, viewer, rows, vm, pool):
    Dataset.objects.create(
        pool=pool, name=f"{vm.dataset}/disk7", kind="volume", bhype_id=str(vm.uuid), volsize=GIB
    )
    page = text(as_user(viewer).get("/storage/orphans/"))
    assert "tank/bhype/vms/old" in page and "Keep" not in page
    assert "a volume that web1 does not know" in page
    client = as_user(admin)
    page = text(client.get("/storage/orphans/"))
    assert f'href="/vms/_orphans/{rows["/vms/old"].pk}/"' in page
    assert client.post("/storage/datasets/tank/bhype/vms/old/-/keep/").status_code == 302
    assert last() == ("storage.keep_dataset", {"dataset_id": rows["/vms/old"].pk, "keep": True})
    Dataset.objects.filter(pk=rows["/vms/old"].pk).update(properties={"org.bhype:kept": ["yes", "local"]})
    page = text(client.get("/storage/orphans/"))
    assert "Do not keep" in page and 'aria-label="Kept datasets"' in page


def test_what_has_lost_its_data_is_reported(as_user, viewer, rows, pool, vm):
    Image.objects.create(pool=pool, name="deb", state="ready")
    Image.objects.create(pool=pool, name="soon", state="making")
    Image.objects.create(pool=pool, name="never", state="failed")
    assert [owner.name for owner in uses.missing()] == ["deb"]
    VM.objects.filter(pk=vm.pk).update(state="lost")
    assert {owner.name for owner in uses.missing()} == {"deb", "web1"}
    page = text(as_user(viewer).get("/storage/orphans/"))
    assert "Without their data" in page and "tank/bhype/images/deb" in page
