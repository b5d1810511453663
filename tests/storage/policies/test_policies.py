"""Policies: of what, when, what goes again, on a lab and in the pages; also when killed, held up or out of space."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from bhype.hosts.models import Host
from bhype.tasks import Refused, ask
from bhype.tasks.models import Task
from storage.models import Dataset, Pool, Snapshot, SnapshotPolicy, SnapshotTier
from storage.policies import plan as policies
from tests.conftest import make_user
from vms.models import VM, Tag

NOW = datetime(2026, 5, 10, 12, 7, tzinfo=UTC)
HOUR = timedelta(hours=1)


def make(host, *targets, enabled=True, **tiers) -> SnapshotPolicy:
    row = SnapshotPolicy.objects.create(
        host=host, name=f"p{SnapshotPolicy.objects.count()}", is_enabled=enabled
    )
    policies.write(row, targets, tiers or {"hourly": ("every hour", 2)})
    return row


def make_vm(pool, name, port, **columns) -> VM:
    return VM.objects.create(
        host=pool.host,
        pool=pool,
        name=name,
        memory=1,
        vnc_port=port,
        vnc_password="x",
        state="stopped",
        **columns,
    )


@pytest.fixture
def two(ready):
    """A lab with two VMs of which there are datasets, one of them in production and tagged."""
    pool = Pool.objects.get()
    made = [
        make_vm(pool, name, 5900 + number, is_production=not number)
        for number, name in enumerate(("web1", "web2"))
    ]
    made[0].tags.add(Tag.objects.create(name="db"))
    for vm in made:
        ready.commands("/sbin/zfs", "create", "-o", f"org.bhype:id={vm.uuid}", vm.dataset)
        ready.commands("/sbin/zfs", "create", "-s", "-V", "64M", f"{vm.dataset}/disk0")
    ready.sweep()
    return made


def run(lab, policy, at=NOW, kind="hourly") -> Task:
    ask("storage.run_tier", {"tier_id": policy.tiers.get(kind=kind).pk, "at": at.isoformat()}, None)
    return lab.run_tasks()[0]


def there(lab, vm) -> list[str]:
    found = lab.commands("/sbin/zfs", "list", "-H", "-o", "name", "-t", "snapshot", "-d", "1", vm.dataset)
    return [line.partition("@")[2] for line in found.split()]


def slots(policy, *hours, kind="hourly"):
    return [f"{kind}-20260510T{hour:02}0700Z-p{policy.pk}" for hour in hours]


# Of what.


def test_targets_are_things_tags_marks_and_datasets_each_once(host, pool, vm):
    other = make_vm(pool, "web2", 5901, is_production=True)
    other.tags.add(Tag.objects.create(name="db"))
    Dataset.objects.create(pool=pool, name="tank/bhype/isos", kind="filesystem", bhype_id="bhype")
    Dataset.objects.create(pool=pool, name="tank/bhype/vms", kind="filesystem", bhype_id="bhype")
    Dataset.objects.create(pool=pool, name="tank/alien", kind="filesystem")

    def of(*targets):
        return [unit.name for unit in policies.chosen(host, targets)]

    assert of(("production", "")) == of(("tag", "db")) == ["web2"]
    assert of(("vm", str(vm.uuid)), ("tag", "db"), ("production", "")) == ["web1", "web2"]
    assert of(("dataset", "tank/bhype/isos"), ("dataset", "tank/alien"), ("dataset", "nosuch")) == [
        "tank/bhype/isos"
    ]
    assert of(("dataset", "tank/bhype/vms"), ("vm", str(vm.uuid))) == ["tank/bhype/vms"]
    assert of(("vm", "nosuch"), ("tag", ""), ("production", "x")) == []


# When.


def test_what_is_due_is_asked_for_once_and_missed_runs_are_made_up_for_once(host):
    policy = make(host, ("production", ""))
    tier = policy.tiers.get()
    assert policies.tick(host, tier.next_run - timedelta(seconds=1)) == []
    late = tier.next_run + 5 * HOUR + timedelta(minutes=3)
    (task,) = policies.tick(host, late)
    assert task.by_system and task.operation == "storage.run_tier"
    assert datetime.fromisoformat(task.params["at"]) == tier.next_run + 5 * HOUR
    tier.refresh_from_db()
    assert tier.next_run > late
    # While that waits, nothing piles up behind it; what became due is made up for afterwards.
    assert policies.tick(host, late + 3 * HOUR) == []
    Task.objects.update(status="succeeded")
    (task,) = policies.tick(host, late + 3 * HOUR)
    assert datetime.fromisoformat(task.params["at"]) > late


def test_a_clock_that_was_set_back_does_not_keep_it_waiting(host):
    policy = make(host, ("production", ""))
    SnapshotTier.objects.update(next_run=timezone.now() + timedelta(days=4000))
    assert policies.tick(host, timezone.now()) == []
    policies.tick(host, timezone.now(), check=True)
    assert policy.tiers.get().next_run < timezone.now() + 2 * HOUR


def test_what_is_off_or_makes_no_sense_takes_nothing(host):
    off = make(host, ("production", ""), enabled=False)
    assert off.tiers.get().next_run is None
    bad = make(host, ("production", ""))
    SnapshotTier.objects.filter(policy=bad).update(when="never ever", next_run=None)
    assert policies.tick(host, timezone.now(), check=True) == []
    assert "time that repeats" in bad.tiers.get().problem


def test_a_policy_outlives_who_made_it(host):
    maker = make_user("maker", "admin")
    policy = make(host, ("production", ""))
    SnapshotPolicy.objects.update(created_by=maker)
    maker.delete()
    policy.refresh_from_db()
    assert policy.created_by is None
    (task,) = policies.tick(host, policy.tiers.get().next_run)
    assert task.user is None and task.by_system


# What goes.


def test_a_run_takes_each_unit_and_keeps_what_it_must(ready, two):
    web1, web2 = two
    policy = make(web1.host, ("production", ""), ("vm", str(web2.uuid)), hourly=("every hour", 2))
    ready.commands("/sbin/zfs", "snapshot", "-r", f"{web1.dataset}@by-hand")
    for hour in range(3):
        task = run(ready, policy, NOW + hour * HOUR)
        assert task.status == "succeeded", task.error
    assert task.result == {"taken": 2, "destroyed": 2, "problems": {}}
    assert there(ready, web1) == ["by-hand", *slots(policy, 13, 14)]
    assert there(ready, web2) == slots(policy, 13, 14)
    row = Snapshot.objects.get(dataset__name=f"{web1.dataset}/disk0", name=slots(policy, 14)[0])
    assert (row.kind, row.is_root) == ("hourly", False)
    # What is held, cloned from, or common with a replica stays, whatever comes after.
    ready.commands("/sbin/zfs", "hold", "keep", f"{web1.dataset}/disk0@{slots(policy, 13)[0]}")
    ready.commands("/sbin/zfs", "clone", f"{web2.dataset}@{slots(policy, 13)[0]}", "tank/elsewhere")
    ready.commands("/sbin/zfs", "set", "org.bhype:common=other", f"{web1.dataset}@{slots(policy, 14)[0]}")
    for hour in range(3, 6):
        assert run(ready, policy, NOW + hour * HOUR).status == "succeeded"
    assert there(ready, web1) == ["by-hand", *slots(policy, 13, 14, 16, 17)]
    assert there(ready, web2) == slots(policy, 13, 16, 17)


def test_two_policies_of_one_thing_do_not_touch_each_other(ready, two):
    first, second = (make(two[0].host, ("production", ""), hourly=("every hour", 1)) for _ in range(2))
    for hour in range(2):
        for policy in (first, second):
            assert run(ready, policy, NOW + hour * HOUR).status == "succeeded"
    assert sorted(there(ready, two[0])) == sorted([*slots(first, 13), *slots(second, 13)])


@pytest.mark.parametrize(
    ("command", "when"), [("zfs snapshot", "after"), ("zfs destroy", "before"), ("zfs destroy", "after")]
)
def test_a_run_that_was_killed_anywhere_is_made_good_by_its_repetition(ready, two, command, when):
    policy = make(two[0].host, ("production", ""), hourly=("every hour", 1))
    run(ready, policy, NOW)
    ready.fault(command=command, do="kill", nth=1, when=when)
    run(ready, policy, NOW + HOUR)
    ready.clear_faults()
    assert run(ready, policy, NOW + HOUR).status == "succeeded"
    assert there(ready, two[0]) == slots(policy, 13)


def test_one_that_fails_does_not_hold_up_the_others_and_is_told(ready, two):
    policy = make(two[0].host, *(("vm", str(vm.uuid)) for vm in two))
    ready.fault(command="zfs snapshot", nth=1, do="fail", text="cannot create snapshot: out of space")
    task = run(ready, policy)
    assert task.status == "failed" and "web1: cannot create snapshot: out of space" in task.error
    assert (there(ready, two[0]), there(ready, two[1])) == ([], slots(policy, 12))
    assert "out of space" in policy.tiers.get().problem
    ready.clear_faults()
    assert run(ready, policy).status == "succeeded"
    assert policy.tiers.get().problem == "" and there(ready, two[0]) == slots(policy, 12)


def test_what_is_being_rolled_back_is_left_alone(ready, two):
    VM.objects.filter(pk=two[0].pk).update(rolling_back_to="good")
    task = run(ready, make(two[0].host, ("production", "")))
    assert task.status == "failed" and "rolled back" in task.error
    assert there(ready, two[0]) == []


def test_a_snapshot_of_all_in_production_leaves_out_the_rest(ready, two):
    ask("storage.snapshot_all", {"note": "before the move"}, make_user("root1", "admin"))
    (task,) = ready.run_tasks()
    assert task.status == "succeeded", task.error
    assert task.result["taken"] == ["web1"] and there(ready, two[1]) == []
    row = Snapshot.objects.get(dataset__name=two[0].dataset)
    assert (row.kind, row.note) == ("manual", "before the move")
    VM.objects.update(is_production=False)
    ask("storage.snapshot_all", {}, None)
    assert "Nothing is marked" in ready.run_tasks()[0].error


def test_only_who_may_change_storage_runs_a_policy(host, pool, vm):
    tier = make(host, ("production", "")).tiers.get()
    for operation, params in (
        ("storage.run_tier", {"tier_id": tier.pk, "at": NOW.isoformat()}),
        ("storage.snapshot_all", {}),
    ):
        with pytest.raises(Refused):
            ask(operation, params, make_user(f"o{operation[-3:]}", "operator"))


# Pages and API.

FORM = {
    "name": "nightly", "time_zone": "Europe/Berlin", "is_enabled": "on", "production": "on",
    "when_daily": "every day 02:30",
}  # fmt: skip


def test_an_admin_makes_changes_switches_and_removes_a_policy(as_user, admin, host, pool, vm):
    client = as_user(admin)
    page = client.get("/storage/policies/new/").content.decode()
    assert "web1" in page and "Next:" in page
    answer = client.post("/storage/policies/new/", {**FORM, "things": f"vm {vm.uuid}", "keep_daily": "9"})
    row = SnapshotPolicy.objects.get()
    assert answer["Location"] == f"/storage/policies/{row.pk}/"
    assert {(one.kind, one.value) for one in row.targets.all()} == {("production", ""), ("vm", str(vm.uuid))}
    tier = row.tiers.get()
    assert (tier.kind, tier.when, tier.keep) == (
        "daily",
        "every day 02:30",
        9,
    ) and tier.next_run > timezone.now()
    page = client.get(answer["Location"]).content.decode()
    assert page.count(":30 CE") >= 5 and "web1" in page and "would be taken" in page
    edit = f"/storage/policies/{row.pk}/edit/"
    assert 'value="every day 02:30"' in client.get(edit).content.decode()
    client.post(edit, {**FORM, "when_daily": "", "when_hourly": "0 * * * *"})
    assert [(one.kind, one.keep) for one in row.tiers.all()] == [("hourly", 24)]
    client.post(f"/storage/policies/{row.pk}/run/", {"tier": "hourly"})
    assert Task.objects.get().operation == "storage.run_tier"
    assert client.post(f"/storage/policies/{row.pk}/run/", {"tier": "yearly"}).status_code == 400
    client.post(f"/storage/policies/{row.pk}/change/", {"do": "disable"})
    row.refresh_from_db()
    assert not row.is_enabled and row.tiers.get().next_run is None
    assert "nightly" in client.get("/storage/policies/").content.decode()
    client.post(f"/storage/policies/{row.pk}/change/", {"do": "remove"})
    assert not SnapshotPolicy.objects.exists()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": ""}, "required"), ({"when_daily": "now and then"}, "not a time that repeats"),
        ({"time_zone": "Mars/Crater"}, "Select a valid choice"), ({"keep_daily": "0"}, "greater than or equal to 1"),
        ({"datasets": "tank"}, "no dataset of bHype"), ({"production": ""}, "Say of what"),
        ({"when_daily": ""}, "Say when"), ({"name": "taken"}, "already"), ({"things": "vm nosuch"}, "valid choice"),
        ({"when_daily": "0 0 31 2 *"}, "not a time that repeats"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_beside_its_field(as_user, admin, host, wrong, said):
    SnapshotPolicy.objects.create(host=host, name="taken")
    answer = as_user(admin).post("/storage/policies/new/", {**FORM, **wrong})
    assert answer.status_code == 422 and said in answer.content.decode()
    assert SnapshotPolicy.objects.count() == 1


def test_the_next_runs_show_while_one_types(as_user, admin, viewer):
    client = as_user(admin)
    good = client.get(
        "/storage/policies/times/", {"when_daily": "every day 02:30", "time_zone": "Asia/Tokyo"}
    )
    assert good.content.decode().count("JST") == 5
    assert "not a time" in client.get("/storage/policies/times/?when_daily=x&time_zone=UTC").content.decode()
    assert (
        "not a time zone"
        in client.get("/storage/policies/times/?when_daily=hourly&time_zone=x").content.decode()
    )
    assert as_user(viewer).get("/storage/policies/times/").status_code == 404


def test_who_may_only_look_sees_policies_and_changes_none(as_user, viewer, stranger, host, pool, vm):
    row = make(host, ("vm", str(vm.uuid)))
    client = as_user(viewer)
    assert "every hour" in client.get("/storage/policies/").content.decode()
    assert ">Edit<" not in client.get(f"/storage/policies/{row.pk}/").content.decode()
    for path in ("new/", f"{row.pk}/edit/", f"{row.pk}/change/", f"{row.pk}/run/"):
        assert client.post(f"/storage/policies/{path}").status_code == 404
    assert as_user(stranger).get("/storage/policies/").status_code == 404
    assert as_user(stranger).get(f"/api/v1/snapshot-policies/{row.pk}").status_code == 404


def test_the_api_makes_shows_tries_and_removes_policies(as_user, admin, viewer, host, pool, vm):
    client = as_user(admin)
    body = {
        "name": "p", "time_zone": "UTC", "targets": [{"kind": "vm", "value": str(vm.uuid)}],
        "tiers": [{"kind": "daily", "when": "every day 00:30", "keep": 7}],
    }  # fmt: skip

    def send(method, path, data=None):
        return getattr(client, method)(
            f"/api/v1/snapshot-policies{path}", data, content_type="application/json"
        )

    made = send("post", "", body)
    assert made.status_code == 201, made.content
    key = made.json()["id"]
    assert len(made.json()["tiers"][0]["upcoming"]) == 5
    assert send("post", "", body).json()["field"] == "name"
    bad = {**body, "name": "q", "tiers": [{"kind": "daily", "when": "x", "keep": 1}]}
    assert send("post", "", bad).json()["field"] == "when_daily"
    assert client.get(f"/api/v1/snapshot-policies/{key}/dry-run").json()[0]["takes"][0].startswith("daily-")
    assert send("put", f"/{key}", {**body, "is_enabled": False}).json()["tiers"][0]["next_run"] is None
    assert send("post", f"/{key}/run", {"tier": "daily"}).status_code == 202
    assert send("post", f"/{key}/run", {"tier": "yearly"}).status_code == 422
    assert as_user(viewer).delete(f"/api/v1/snapshot-policies/{key}").status_code == 404
    assert client.delete(f"/api/v1/snapshot-policies/{key}").status_code == 204
    assert client.get("/api/v1/snapshot-policies").json() == []


def test_a_dry_run_tells_what_would_go_and_why_the_rest_stays(host, pool, vm):
    policy = make(host, ("vm", str(vm.uuid)), hourly=("every hour", 2))
    row = Dataset.objects.create(pool=pool, name=vm.dataset, kind="filesystem", bhype_id=str(vm.uuid))
    for number in range(4):
        Snapshot.objects.create(
            dataset=row, name=f"hourly-2026010{number}T000000Z-p{policy.pk}", guid=str(number), txg=number,
            created_at=NOW, kind="hourly", holds=int(number == 0),
        )  # fmt: skip
    ((forecast,), hidden) = policies.dry_run(policy, NOW)
    assert hidden == 0 and forecast.unit.name == "web1" and len(forecast.takes) == 1
    assert [name[:15] for name in forecast.decision.goes] == ["hourly-20260101", "hourly-20260102"]
    assert {name[:15]: why for name, why in forecast.decision.stays.items()} == {
        "hourly-20260100": "held", "hourly-20260103": "among the newest 2 hourly",
    }  # fmt: skip
    assert Host.objects.count() == 1


def test_the_page_of_a_policy_asks_as_often_for_many_vms_as_for_one(
    as_user, viewer, host, pool, vm, django_assert_max_num_queries
):
    tag = Tag.objects.create(name="web")
    policy = make(host, ("tag", "web"), hourly=("every hour", 2), daily=("every day 00:30", 7))
    for number in range(30):
        made = make_vm(pool, f"n{number:02}", 6000 + number)
        made.tags.add(tag)
        Dataset.objects.create(pool=pool, name=made.dataset, kind="filesystem", bhype_id=str(made.uuid))
    client = as_user(viewer)
    with django_assert_max_num_queries(15):
        html = client.get(f"/storage/policies/{policy.pk}/").content.decode()
    assert "n00" in html and "n19" in html and "n20" not in html
