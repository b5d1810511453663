"""The API of pools and physical disks."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from bhype.accounts.models import AuditEntry
from bhype.tasks.models import Task
from storage.models import ArcSample, PhysicalDisk, PoolSample
from tests.storage.pools.test_pool_pages import disks, sick  # noqa: F401

GIB = 2**30


@pytest.fixture
def client(as_user, admin):
    return as_user(admin)


def post(client, path: str, body: object = None):
    return client.post(f"/api/v1{path}", body or {}, content_type="application/json")


def test_pools_are_told_with_what_to_do(client, sick):  # noqa: F811
    (row,) = client.get("/api/v1/pools").json()
    assert (row["health"], row["level"], row["forecast"]) == ("DEGRADED", 90, "")
    assert any("/dev/da2 is gone" in said for said in row["advice"])
    one = client.get("/api/v1/pools/tank").json()
    assert one["status"]["scan"]["percent"] == 26.04 and one["properties"]["autotrim"] == ["off", "default"]


def test_samples_are_told(client, pool):
    now = timezone.now()
    PoolSample.objects.create(pool=pool, at=now - timedelta(minutes=5), size=100, allocated=50, reads=3)
    PoolSample.objects.create(pool=pool, at=now - timedelta(days=3), size=100, allocated=40)
    ArcSample.objects.create(host=pool.host, size=GIB, target=GIB, hits=9, misses=1)
    assert [row["allocated"] for row in client.get("/api/v1/pools/tank/samples").json()] == [50]
    assert len(client.get("/api/v1/pools/tank/samples?range=week").json()) == 2
    assert client.get("/api/v1/pools/tank/samples?range=never").status_code == 422
    assert [row["hits"] for row in client.get("/api/v1/arc").json()] == [9]


def test_layouts_are_compared(client, disks):  # noqa: F811
    found = client.get("/api/v1/pool-layouts?data=da8&data=da9&data=da10&data=da11").json()
    mirror = next(one for one in found if one["is_advised"])
    assert (mirror["name"], mirror["survives"]) == ("Mirror, 2 groups of 2 disks", 1)
    assert mirror["groups"][0] == {"role": "data", "kind": "mirror", "disks": ["da8", "da9"]}
    assert client.get("/api/v1/pool-layouts?data=ada0").status_code == 422


def test_a_pool_is_made_of_free_disks(client, disks):  # noqa: F811
    groups = [{"role": "data", "kind": "mirror", "disks": ["da8", "da9"]}]
    assert post(client, "/pools", {"name": "data", "groups": groups}).status_code == 202
    task = Task.objects.get()
    assert (task.operation, task.params["groups"], task.params["ashift"]) == (
        "storage.create_pool",
        groups,
        12,
    )
    assert AuditEntry.objects.filter(action="storage.create_pool").exists()
    for body, field in (
        ({"name": "raidz", "groups": groups}, "name"),
        ({"name": "new2", "groups": [groups[0] | {"disks": ["ada0", "da8"]}]}, "disks"),
        ({"name": "new2", "groups": [groups[0] | {"disks": ["da7", "da8"]}]}, "erase"),
    ):
        answer = post(client, "/pools", body)
        assert answer.status_code == 422 and answer.json()["field"] == field, answer.json()
    left = {"name": "new2", "groups": [groups[0] | {"disks": ["da7", "da8"]}], "erase": ["da7"]}
    assert post(client, "/pools", left).status_code == 202


@pytest.mark.parametrize(
    ("path", "body", "operation", "params"),
    [
        ("adopt", {}, "storage.adopt", {}),
        ("scrub", {}, "storage.scrub", {"action": "start"}),
        ("scrub", {"action": "pause"}, "storage.scrub", {"action": "pause"}),
        ("trim", {"action": "stop"}, "storage.trim", {"action": "stop"}),
        ("clear", {}, "storage.clear_errors", {}),
        ("export", {}, "storage.export_pool", {}),
        ("destroy", {"confirm": "tank"}, "storage.destroy_pool", {}),
        (
            "property", {"name": "autotrim", "value": "on"}, "storage.set_pool_property",
            {"name": "autotrim", "value": "on"},
        ),
        (
            "disks", {"groups": [{"role": "spare", "kind": "stripe", "disks": ["da8"]}]}, "storage.add_disks",
            {"groups": [{"role": "spare", "kind": "stripe", "disks": ["da8"]}], "erase": []},
        ),
        (
            "replace", {"member": "4711", "disk": "da8"}, "storage.replace_disk",
            {"member": "4711", "disk": "da8", "erase": False},
        ),
        (
            "attach", {"member": "da1", "disk": "da7", "erase": True}, "storage.attach_disk",
            {"member": "da1", "disk": "da7", "erase": True},
        ),
        (
            "member", {"member": "da1", "action": "offline"}, "storage.change_disk",
            {"member": "da1", "action": "offline"},
        ),
    ],
)  # fmt: skip
def test_what_is_done_to_a_pool(client, sick, disks, path, body, operation, params):  # noqa: F811
    assert post(client, f"/pools/tank/{path}", body).status_code == 202
    task = Task.objects.get()
    assert (task.operation, task.params) == (operation, {"pool_id": sick.pk} | params)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("destroy", {"confirm": "tonk"}), ("property", {"name": "readonly", "value": "on"}), ("scrub", {"action": "x"}),
        ("replace", {"member": "da1", "disk": "ada0"}), ("attach", {"member": "da1", "disk": "da7"}),
        ("disks", {"groups": []}), ("member", {"member": "da1", "action": "split"}),
    ],
)  # fmt: skip
def test_what_is_refused(client, sick, disks, path, body):  # noqa: F811
    assert post(client, f"/pools/tank/{path}", body).status_code == 422
    assert not Task.objects.exists()


def test_found_pools_are_told_and_imported(client, host):
    assert client.get("/api/v1/importable-pools").json() == []
    assert post(client, "/importable-pools/look").status_code == 202
    found = [{"name": "old", "guid": "4711"}]
    Task.objects.update(status=Task.Status.SUCCEEDED, result={"pools": found})
    assert client.get("/api/v1/importable-pools").json() == found
    assert post(client, "/importable-pools/import", {"guid": "4711", "name": "old"}).status_code == 202
    assert post(client, "/importable-pools/import", {"guid": "-f", "name": "old"}).status_code == 422


def test_disks_are_told_and_tested(client, disks):  # noqa: F811
    found = {row["name"]: row for row in client.get("/api/v1/disks").json()}
    assert found["da7"]["leftover"] == "of the exported pool old" and found["da8"]["used_by"] == ""
    pk = PhysicalDisk.objects.get(name="da8").pk
    assert post(client, f"/disks/{pk}/test", {"kind": "long"}).status_code == 202
    assert Task.objects.get().params == {"disk_id": pk, "kind": "long"}


def test_only_admins_change_anything(as_user, operator, viewer, sick, disks):  # noqa: F811
    assert as_user(viewer).get("/api/v1/disks").status_code == 200
    for path in ("scrub", "clear", "export"):
        assert post(as_user(operator), f"/pools/tank/{path}").status_code == 404
    assert as_user(operator).get("/api/v1/pool-layouts").status_code == 404
    assert as_user(operator).get("/api/v1/importable-pools").status_code == 404
    assert not Task.objects.exists()
