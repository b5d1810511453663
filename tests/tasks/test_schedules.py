"""What is asked for again and again: words and cron, time zones, missed runs, rights, the page and the API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.accounts.models import ApiToken, AuditEntry, User
from bhype.tasks import Refused, ask, queue, schedules
from bhype.tasks.models import Schedule, Task
from vms.models import VM

NOW = datetime(2026, 3, 28, 12, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "cron"),
    [
        ("every day 08:00", "0 8 * * *"),
        ("Every  day at 8:05", "5 8 * * *"),
        ("daily 23.59", "59 23 * * *"),
        ("weekdays 20:00", "0 20 * * 1-5"),
        ("every weekend 9:30", "30 9 * * 0,6"),
        ("every monday 06:00", "0 6 * * 1"),
        ("mon,wed and fri 6:30", "30 6 * * 1,3,5"),
        ("Sundays 0:00", "0 0 * * 0"),
        ("monthly 1 03:00", "0 3 1 * *"),
        ("every month on the last day 03:00", "0 3 l * *"),
        ("hourly", "0 * * * *"),
        ("every hour at :20", "20 * * * *"),
        ("every 15 minutes", "*/15 * * * *"),
        ("every 6 hours", "0 */6 * * *"),
        ("30 2 * * 6", "30 2 * * 6"),
    ],
)
def test_words_stand_for_the_fields_of_crontab(text, cron):
    assert schedules.cron_of(text).lower() == cron
    assert schedules.upcoming(text, "UTC", NOW, 1)


@pytest.mark.parametrize(
    "text",
    ["", "now", "every day", "every day 25:00", "every frizday 08:00", "* * * *", "* * * * * *", "61 * * * *",
     "0 0 30 2 *", "every 7 minutes", "a b c d e", "0 0 * * 8", "x" * 500, "*/0 * * * *", "٣ ٣ * * *"],
)  # fmt: skip
def test_what_is_no_time_is_refused_with_a_sentence(text):
    with pytest.raises(schedules.BadSchedule, match=r"\w+.*\."):
        schedules.upcoming(text, "UTC", NOW)


@given(st.text(max_size=40))
def test_no_text_breaks_the_reader(text):
    try:
        found = schedules.upcoming(text, "Europe/Berlin", NOW, 3)
    except schedules.BadSchedule:
        return
    assert found == sorted(found) and found[0] > NOW


@given(hour=st.integers(0, 23), minute=st.integers(0, 59))
def test_every_time_of_day_comes_once_a_day(hour, minute):
    found = schedules.upcoming(f"every day {hour}:{minute:02}", "Europe/Berlin", at("2026-01-01T00:00"), 365)
    assert len({moment.date() for moment in found}) == 365
    assert sum((moment.hour, moment.minute) != (hour, minute) for moment in found) <= 1


def test_the_skipped_hour_runs_after_it_and_the_doubled_one_once():
    spring = schedules.upcoming("every day 02:30", "Europe/Berlin", NOW, 2)
    assert [moment.astimezone(UTC) for moment in spring] == [at("2026-03-29T01:00"), at("2026-03-30T00:30")]
    autumn = schedules.upcoming("every day 02:30", "Europe/Berlin", at("2026-10-24T12:00"), 2)
    assert [moment.astimezone(UTC) for moment in autumn] == [at("2026-10-25T00:30"), at("2026-10-26T01:30")]
    last = schedules.latest("every day 02:30", "Europe/Berlin", at("2026-10-25T12:00"))
    assert last.astimezone(UTC) == at("2026-10-25T00:30")


@pytest.mark.parametrize("name", ["Mars/Base", "", "../etc/passwd", "Europe/Berlin\0"])
def test_an_unknown_time_zone_is_refused(name):
    with pytest.raises(schedules.BadSchedule, match="time zone"):
        schedules.upcoming("hourly", name, NOW)


def planned(user: User, operation: str = "sample.free", **columns) -> Schedule:
    row = schedules.add(
        operation, columns.pop("params", {"name": "x"}), columns.pop("when", "every day 08:00"), user
    )
    Schedule.objects.filter(pk=row.pk).update(**{"host": "lab", **columns})
    row.refresh_from_db()
    return row


def test_it_is_asked_for_when_it_is_due_and_once(alice):
    row = planned(alice, next_run=at("2026-03-28T08:00"))
    assert schedules.tick(at("2026-03-28T07:59")) == []
    [task] = schedules.tick(at("2026-03-28T08:00"))
    assert schedules.tick(at("2026-03-28T08:00")) == []
    assert (task.operation, task.user, task.params["name"]) == ("sample.free", alice, "x")
    row.refresh_from_db()
    assert (row.next_run, row.last_task, row.problem) == (at("2026-03-29T08:00"), task, "")


def test_missed_runs_are_made_up_for_once_and_in_the_order_in_which_they_were_due_last(alice):
    planned(alice, params={"name": "stop"}, when="every day 20:00", next_run=at("2026-03-20T20:00"))
    planned(alice, params={"name": "start"}, next_run=at("2026-03-21T08:00"))
    assert [task.params["name"] for task in schedules.tick(NOW)] == ["stop", "start"]
    assert Schedule.objects.filter(next_run__gt=NOW).count() == 2
    Task.objects.all().delete()
    assert schedules.tick(NOW + timedelta(minutes=1)) == []


def test_what_is_off_or_another_hosts_is_left_alone(alice):
    planned(alice, next_run=NOW, is_enabled=False)
    planned(alice, next_run=NOW, host="other")
    assert schedules.tick(NOW) == []


def test_a_second_observer_does_not_ask_again(alice):
    row = planned(alice, next_run=NOW)
    stale = Schedule.objects.get(pk=row.pk)
    assert schedules._run(row, NOW)
    assert schedules._run(stale, NOW) is None
    assert Task.objects.count() == 1


def test_an_owner_who_lost_the_right_is_told(vm, alice, operator):
    row = planned(operator, "sample.start", params={"vm_id": vm.pk}, next_run=NOW)
    User.objects.filter(pk=operator.pk).update(role="viewer")
    assert schedules.tick(NOW) == []
    row.refresh_from_db()
    assert "operator has no right" in row.problem
    assert row.next_run and row.next_run > NOW
    User.objects.filter(pk=operator.pk).update(role="operator")
    assert len(schedules.tick(row.next_run)) == 1
    row.refresh_from_db()
    assert row.problem == ""


def test_an_owner_or_an_object_that_is_gone_is_told(vm, operator):
    first = planned(operator, "sample.start", params={"vm_id": vm.pk}, next_run=NOW)
    VM.objects.all().delete()
    schedules.tick(NOW)
    first.refresh_from_db()
    assert "gone" in first.problem
    User.objects.filter(pk=operator.pk).delete()
    schedules.tick(first.next_run)
    first.refresh_from_db()
    assert "in your own name" in first.problem


def test_only_what_one_may_ask_for_can_be_scheduled(vm, stranger, alice):
    for operation, params in [("sample.start", {"vm_id": vm.pk}), ("sample.recover", {"name": "x"})]:
        with pytest.raises(Refused):
            schedules.add(operation, params, "hourly", stranger)
    with pytest.raises(Refused):
        schedules.add("no.such", {}, "hourly", alice)
    assert schedules.add("sample.start", {"vm_id": vm.pk}, "hourly", alice).subject == vm.subject
    assert not Schedule.objects.filter(owner=stranger).exists()


def test_the_page_shows_five_runs_and_switches(as_user, alice, stranger):
    row = planned(alice, when="every day 08:00")
    client = as_user(alice)
    html = client.get("/tasks/schedules/").content.decode()
    assert "Free x" in html
    assert html.count("08:00 UTC") == 6
    assert "Free x" not in as_user(stranger).get("/tasks/schedules/").content.decode()
    address = f"/tasks/schedules/{row.pk}/"
    assert as_user(stranger).post(address, {"do": "remove"}).status_code == 404
    assert client.get(address).status_code == 405
    assert client.post(address, {"do": "dance"}).status_code == 400
    answer = client.post(address, {"do": "disable", "next": "//evil.example/"})
    assert answer["Location"] == "/tasks/schedules/"
    row.refresh_from_db()
    assert (row.is_enabled, row.next_run) == (False, None)
    client.post(address, {"do": "enable", "next": "/vms/"})
    row.refresh_from_db()
    assert row.next_run
    assert client.post(address, {"do": "remove"}).status_code == 302
    assert not Schedule.objects.exists()
    assert AuditEntry.objects.filter(action__startswith="schedules.").count() == 3


def test_the_api_makes_shows_switches_and_removes(client, alice, stranger):
    def call(user, method, path, body=None, scope="full"):
        _, secret = ApiToken.objects.issue(user, "t", scope, None)
        return client.generic(
            method, f"/api/v1/schedules{path}", data=body or "{}", content_type="application/json",
            HTTP_AUTHORIZATION=f"Bearer {secret}",
        )  # fmt: skip

    body = '{"operation": "sample.free", "params": {"name": "x"}, "when": "weekdays 8:00", "time_zone": "Asia/Tokyo"}'
    made = call(alice, "POST", "", body).json()
    assert len(made["upcoming"]) == 5
    assert made["owner"] == "alice"
    assert [row["id"] for row in call(alice, "GET", "").json()] == [made["id"]]
    assert call(stranger, "GET", "").json() == []
    for method, extra in (("GET", "{}"), ("PATCH", '{"is_enabled": false}'), ("DELETE", "{}")):
        assert call(stranger, method, f"/{made['id']}", extra).status_code == 404
    bad = call(alice, "POST", "", body.replace("weekdays", "someday"))
    assert (bad.status_code, bad.json()["field"]) == (422, "when")
    assert call(alice, "PATCH", f"/{made['id']}", '{"is_enabled": false}').json()["next_run"] is None
    assert call(alice, "DELETE", f"/{made['id']}").status_code == 204


def test_a_token_that_may_only_look_schedules_nothing(client, vm, alice):
    _, secret = ApiToken.objects.issue(alice, "t", "read", None)
    body = f'{{"operation": "sample.start", "params": {{"vm_id": {vm.pk}}}, "when": "hourly"}}'
    answer = client.post(
        "/api/v1/schedules", body, content_type="application/json", HTTP_AUTHORIZATION=f"Bearer {secret}"
    )
    assert answer.status_code == 404
    assert not Schedule.objects.exists()


@pytest.mark.parametrize("scope", ["read", "operate"])
def test_t13_a_token_of_small_scope_schedules_nothing_that_runs_without_it(client, vm, alice, scope):
    """vms.bulk is for everybody who is signed in; it would run later, with all rights of the user."""
    _, secret = ApiToken.objects.issue(alice, "t", scope, None)
    header = {"HTTP_AUTHORIZATION": f"Bearer {secret}"}
    params = {"action": "poweroff", "vm_ids": [vm.pk]}
    body = {"operation": "vms.bulk", "params": params, "when": "hourly"}
    assert (
        client.post("/api/v1/schedules", body, content_type="application/json", **header).status_code == 404
    )
    assert not Schedule.objects.exists()
    if scope != "read":
        return
    row = schedules.add("vms.bulk", params, "hourly", alice)
    assert client.delete(f"/api/v1/schedules/{row.pk}", **header).status_code == 404
    task = ask("vms.bulk", params, alice)
    for verb in ("cancel", "retry"):
        assert client.post(f"/api/v1/tasks/{task.pk}/{verb}", **header).status_code == 404
    assert Schedule.objects.exists() and Task.objects.get().status == "queued"


def test_of_a_pool_only_so_many_run(alice):
    def put(pool="p", lock=""):
        return Task.objects.create(
            host="lab", operation="sample.free", title="T", user=alice, pool=pool, pool_size=2, lock=lock
        )

    pooled = [put() for _ in range(4)]
    free = put("")
    claimed = [queue.claim(100) for _ in range(4)]
    assert [found and found[0] for found in claimed] == [pooled[0].pk, pooled[1].pk, free.pk, None]
    Task.objects.filter(pk=pooled[0].pk).update(status="succeeded")
    assert queue.claim(100)[0] == pooled[2].pk
    assert queue.claim(100) is None


def test_whoever_waits_behind_a_pool_is_let_through(alice, stranger):
    def put(user, lock, status, **columns):
        return Task.objects.create(
            host="lab", operation="sample.free", title="T", user=user, lock=lock, status=status, **columns
        )

    put(alice, "vm:1", "running", pool="p", pool_size=1)
    first = put(alice, "vm:2", "queued", pool="p", pool_size=1)
    put(stranger, "vm:2", "queued")
    assert queue.claim(100)[0] == first.pk
