"""The pages and the API of pools and disks."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from bhype.accounts.models import AuditEntry
from bhype.freebsd import zpool_status
from bhype.tasks.models import Schedule, Task
from storage.models import ArcSample, PhysicalDisk, PoolSample
from storage.pools import advice

GIB = 2**30
STATUS = """\
  pool: tank
 state: {state}
status: One or more devices has been taken offline by the administrator.
action: Online the device using 'zpool online'.
  scan: scrub in progress since Sun Jan  4 03:10:04 2026
\t1.20T / 3.00T scanned at 1.1G/s, 800G / 3.00T issued at 700M/s
\t0B repaired, 26.04% done, 00:55:10 to go
config:

\tNAME        STATE     READ WRITE CKSUM
\ttank        {state}   0     0     0
\t  mirror-0  {state}   0     0     0
\t    da1     ONLINE    0     0     7
\t    4711    {leaf}    0     0     0  was /dev/da2
\tlogs\t
\t  da5       ONLINE    0     0     0
\tspares
\t  da6       AVAIL

errors: No known data errors
"""


def document(state: str = "DEGRADED", leaf: str = "UNAVAIL") -> dict:
    return zpool_status.parse(STATUS.format(state=state, leaf=leaf))[0].document()


@pytest.fixture
def disks(host) -> list[PhysicalDisk]:
    """da1 of tank, da7 with an earlier pool, da8 to da11 free, ada0 with the host's partitions."""
    used = {"ada0": "holds partitions: efi, freebsd-ufs", "da1": "in the pool tank"}
    return [
        PhysicalDisk.objects.create(
            host=host, name=name, size=8 * GIB, description="A disk", used_by=used.get(name, ""),
            leftover="of the exported pool old" if name == "da7" else "",
        )
        for name in ("ada0", "da1", "da7", "da8", "da9", "da10", "da11")
    ]  # fmt: skip


@pytest.fixture
def sick(pool):
    pool.health, pool.status, pool.allocated = "DEGRADED", document(), 91 * GIB
    pool.properties = {"autotrim": ["off", "default"]}
    pool.save()
    return pool


@pytest.fixture
def browser(as_user, admin):
    return as_user(admin)


def text(answer) -> str:
    return " ".join(answer.content.decode().split())


def test_an_unhealthy_pool_comes_first_with_what_to_do(browser, sick, host):
    host.pools.create(name="alpha", health="ONLINE", size=1, status=document("ONLINE", "ONLINE"))
    page = text(browser.get("/storage/"))
    assert page.index(f'id="pool-{sick.pk}"') < page.index(">alpha</a>")
    assert "/dev/da2 is gone. Connect it again and put it online, or replace it." in page
    assert "da1 has had 7 errors." in page
    assert "90% reached" in page and "Scrub: 26.0%" in page and "00:55:10 to go" in page
    assert "1 mirror of 2 disks, 1 log disk, 1 spare" in page


def test_without_a_pool_the_page_tells_the_next_step(browser, disks):
    page = text(browser.get("/storage/"))
    assert "5 disks of this host are free" in page and "/storage/pools/new/" in page


def test_the_status_tree_offers_what_makes_sense(browser, sick, viewer, as_user):
    page = text(browser.get("/storage/pools/tank/"))
    assert "member=da1" in page and "member=4711" in page and "Stop" in page
    assert "member=da1" not in text(as_user(viewer).get("/storage/pools/tank/"))
    one = text(browser.get("/storage/pools/tank/member/?member=4711"))
    assert "Put online" in one and "Detach" in one and "Take offline" not in one
    assert "Take out" in text(browser.get("/storage/pools/tank/member/?member=da6"))
    assert browser.get("/storage/pools/tank/member/?member=da99").status_code == 404


def test_a_trim_that_no_disk_can_do_is_not_offered(browser, sick):
    refused = "None of its disks can be told what is free"
    assert refused not in text(browser.get("/storage/pools/tank/"))
    for part in advice.leaves(sick.status):
        part["trim"] = "unsupported" if part["name"].startswith("da1") else ""
    sick.save()
    assert refused in text(browser.get("/storage/pools/tank/"))


def test_a_disk_is_replaced_by_a_free_one_only(browser, sick, disks):
    address = "/storage/pools/tank/member/"
    refused = browser.post(address, {"member": "4711", "do": "replace", "replace-disk": "ada0"})
    assert refused.status_code == 422 and not Task.objects.exists()
    erase = browser.post(address, {"member": "4711", "do": "replace", "replace-disk": "da7"})
    assert erase.status_code == 422 and "Type da7 to erase that." in text(erase)
    done = browser.post(address, {"member": "4711", "do": "replace", "replace-disk": "da8"})
    assert done.status_code == 302
    task = Task.objects.get()
    assert (task.operation, task.params["disk"], task.params["erase"]) == (
        "storage.replace_disk",
        "da8",
        False,
    )
    assert AuditEntry.objects.filter(action="storage.replace_disk").exists()
    assert browser.post(address, {"member": "da6", "do": "offline"}).status_code == 400


@pytest.mark.parametrize(
    ("button", "operation", "params"),
    [
        ("scrub", "storage.scrub", {"action": "start"}), ("pause_scrub", "storage.scrub", {"action": "pause"}),
        ("stop_scrub", "storage.scrub", {"action": "stop"}), ("trim", "storage.trim", {"action": "start"}),
        ("clear", "storage.clear_errors", {}), ("export", "storage.export_pool", {}),
        ("autotrim=on", "storage.set_pool_property", {"name": "autotrim", "value": "on"}),
    ],
)  # fmt: skip
def test_buttons_ask_for_operations(browser, sick, button, operation, params):
    assert browser.post("/storage/pools/tank/do/", {"do": button}).status_code == 302
    task = Task.objects.get()
    assert (task.operation, task.params) == (operation, {"pool_id": sick.pk} | params)


@pytest.mark.parametrize("button", ["", "explode", "readonly=on", "autotrim=maybe", "pause_clear"])
def test_other_buttons_are_refused(browser, sick, button):
    assert browser.post("/storage/pools/tank/do/", {"do": button}).status_code == 400


def test_only_admins_change_pools(as_user, operator, sick, disks):
    client = as_user(operator)
    for path in ("do/", "destroy/", "schedule/", "add/", "member/"):
        assert client.post(f"/storage/pools/tank/{path}", {"do": "scrub"}).status_code == 404
    for path in ("/storage/pools/new/", "/storage/pools/import/"):
        assert client.get(path).status_code == 404
    assert not Task.objects.exists()
    for tab in ("", "usage/", "disks/", "maintenance/"):
        assert client.get(f"/storage/pools/tank/{tab}").status_code == 200


def test_a_scrub_is_scheduled(browser, sick):
    address = "/storage/pools/tank/schedule/"
    wrong = browser.post(address, {"operation": "storage.scrub", "when": "now and then", "time_zone": "UTC"})
    assert wrong.status_code == 422 and "not a time that repeats" in text(wrong)
    made = {"operation": "storage.scrub", "when": "monthly 1 03:00", "time_zone": "UTC"}
    assert browser.post(address, made).status_code == 302
    row = Schedule.objects.get()
    assert (row.operation, row.params, row.subject) == (
        "storage.scrub",
        {"pool_id": sick.pk},
        f"pool:{sick.pk}",
    )
    assert "Start scrubbing tank" in text(browser.get("/storage/pools/tank/maintenance/"))


def test_a_pool_is_destroyed_by_typing_its_name(browser, sick):
    wrong = browser.post("/storage/pools/tank/destroy/", {"confirm": "tonk"})
    assert wrong.status_code == 422 and "Type tank." in text(wrong)
    assert browser.post("/storage/pools/tank/destroy/", {"confirm": "tank"}).status_code == 302
    assert Task.objects.get().operation == "storage.destroy_pool"


def test_a_pool_with_vms_says_so_before_it_is_exported(browser, vm):
    vm.state = "running"
    vm.save()
    page = text(browser.get("/storage/pools/tank/maintenance/"))
    assert "1 VM in it is on: web1. Stop it first." in page


def test_the_new_pool_page_compares_layouts(browser, disks, host):
    page = browser.get("/storage/pools/new/")
    assert "da8" in text(page) and "ada0" not in text(page)
    query = {f"role_da{number}": "data" for number in (8, 9, 10, 11)}
    fragment = text(browser.get("/storage/pools/new/", query, HTTP_HX_TARGET="pool-plan"))
    assert "<html" not in fragment
    for name in ("Mirror, 2 groups of 2 disks", "RAID-Z1, of 4 disks", "RAID-Z2, of 4 disks", "Stripe"):
        assert name in fragment
    assert "survives any 1 disk, up to 1 in each of the 2 groups" in fragment
    assert 'value="mirror-2" checked' in fragment
    whole = text(browser.get("/storage/pools/new/", query | {"shape": "raidz2-4"}))
    assert 'value="raidz2-4" checked' in whole and "Nothing was changed" not in whole


def test_a_pool_is_made_as_planned(browser, disks):
    query = {f"role_da{number}": "data" for number in (8, 9)} | {"role_da10": "spare", "role_da7": "cache"}
    query |= {"name": "data", "shape": "mirror-2", "compression": "zstd", "autotrim": "on"}
    refused = browser.post("/storage/pools/new/", query)
    assert refused.status_code == 422 and "Type da7 to erase that." in text(refused)
    assert browser.post("/storage/pools/new/", query | {"erase": "da7"}).status_code == 302
    task = Task.objects.get()
    assert task.params["groups"] == [
        {"role": "data", "kind": "mirror", "disks": ["da8", "da9"]},
        {"role": "cache", "kind": "stripe", "disks": ["da7"]},
        {"role": "spare", "kind": "stripe", "disks": ["da10"]},
    ]
    assert (task.params["erase"], task.params["compression"], task.params["autotrim"]) == (
        ["da7"],
        "zstd",
        True,
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "mirror1"}, "means something else"), ({"name": "9x"}, "starts with a letter"),
        ({"name": "tank"}, "already"), ({"erase": "da11"}, "not chosen"),
        ({"shape": "raidz3-9"}, "The disks have changed"),
        ({"role_da8": "", "role_da9": ""}, "Choose at least one disk for data."),
        ({"role_ada0": "data", "role_da9": "special"}, "give special two disks"),
        ({"name": ""}, "This field is required"),
    ],
)  # fmt: skip
def test_a_wrong_pool_is_refused_beside_the_field(browser, pool, disks, changes, said):
    query = {"role_da8": "data", "role_da9": "data", "name": "data", "shape": "mirror-2"}
    if changes.get("role_da9"):
        query |= {"role_da10": "data"}
    answer = browser.post("/storage/pools/new/", query | changes)
    assert answer.status_code == 422 and said in text(answer)
    assert not Task.objects.exists()


def test_disks_are_added_by_the_plan(browser, pool, disks):
    pool.status = document("ONLINE", "ONLINE")
    pool.save()
    address = "/storage/pools/tank/add/"
    alone = browser.post(address, {"role": "data", "kind": "stripe", "disks": ["da8"]})
    assert alone.status_code == 422 and "add a mirror" in text(alone)
    assert (
        browser.post(address, {"role": "data", "kind": "mirror", "disks": ["da8", "da9"]}).status_code == 302
    )
    assert Task.objects.get().params["groups"] == [
        {"role": "data", "kind": "mirror", "disks": ["da8", "da9"]}
    ]


def test_found_pools_are_imported(browser, host):
    assert "Nobody has looked yet" in text(browser.get("/storage/pools/import/"))
    browser.post("/storage/pools/import/", {"do": "look"})
    assert Task.objects.get().operation == "storage.find_pools"
    rest = {"state": "ONLINE", "status": "", "action": "", "disks": []}
    pools = [
        rest | {"name": "old", "guid": "4711", "is_destroyed": False},
        rest | {"name": "dead", "guid": "4712", "is_destroyed": True},
    ]
    now = timezone.now()
    Task.objects.update(status=Task.Status.SUCCEEDED, result={"pools": pools}, finished_at=now)
    page = text(browser.get("/storage/pools/import/"))
    assert "Import old" in page and "Import dead" not in page
    assert browser.post("/storage/pools/import/", {"guid": "4712", "name": "dead"}).status_code == 422
    assert browser.post("/storage/pools/import/", {"guid": "4711", "name": "log"}).status_code == 422
    assert (
        browser.post("/storage/pools/import/", {"guid": "4711", "name": "old2", "force": "on"}).status_code
        == 302
    )
    made = Task.objects.get(operation="storage.import_pool")
    assert (made.params["guid"], made.params["name"], made.params["force"], made.params["mount"]) == (
        "4711",
        "old2",
        True,
        False,
    )


def test_usage_is_drawn_and_forecast(browser, pool, django_assert_max_num_queries):
    now = timezone.now()
    PoolSample.objects.bulk_create(
        PoolSample(
            pool=pool, at=now - timedelta(hours=hours), size=100 * GIB, allocated=(60 - hours // 24) * GIB, reads=hours,
            bytes_written=hours * 1000,
        )
        for hours in range(0, 24 * 14, 2)
    )  # fmt: skip
    ArcSample.objects.create(
        host=pool.host, at=now - timedelta(hours=1), size=GIB, target=2 * GIB, hits=90, misses=10
    )
    type(pool).objects.update(allocated=60 * GIB)
    with django_assert_max_num_queries(14):
        page = text(browser.get("/storage/pools/tank/usage/?range=week"))
    assert page.count("<polyline") >= 5 and "full in about" in page and "90%" in page
    assert "full in about 40 days" in page
    assert "full in about 40 days" in text(browser.get("/storage/"))
    assert browser.get("/storage/pools/tank/usage/?range=never").status_code == 200


def test_the_disks_page_tells_what_has_each(browser, disks):
    PhysicalDisk.objects.filter(name="da8").update(
        health={"passed": True, "temperature": 35, "hours": 100, "warnings": []}
    )
    PhysicalDisk.objects.filter(name="da9").update(health={"passed": False, "warnings": ["It is failing."]})
    page = text(browser.get("/storage/disks/"))
    assert "holds partitions: efi, freebsd-ufs" in page and "of the exported pool old" in page
    assert "35 °C" in page and "It is failing." in page
    pk = PhysicalDisk.objects.get(name="da8").pk
    assert browser.post(f"/storage/disks/{pk}/test/").status_code == 302
    assert Task.objects.get().operation == "storage.test_disk"
    assert browser.post("/storage/disks/99999/test/").status_code == 404
