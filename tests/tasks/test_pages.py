from __future__ import annotations

import html
import json
import re
from datetime import timedelta

import pytest
from django.utils import timezone

from bhype.accounts.models import ApiToken, AuditEntry
from bhype.tasks import ask, links
from bhype.tasks.models import Task, TaskLine
from bhype.tasks.runner import run_queued

pytestmark = pytest.mark.urls("tests.tasks.urls")


def add(user, count=1, **values):
    return [
        Task.objects.create(
            host="lab", operation="sample.free", title=f"Number {n}", user=user, params={}, **values
        )
        for n in range(count)
    ]


def titles(response):
    return re.findall(r'/tasks/\d+/">([^<]+)</a>', response.content.decode())


def test_the_list_shows_ones_own_tasks_only(as_user, alice, stranger, operator):
    add(alice)
    assert titles(as_user(alice).get("/tasks/")) == ["Number 0"]
    assert titles(as_user(stranger).get("/tasks/")) == []
    assert titles(as_user(operator).get("/tasks/")) == ["Number 0"]


def test_nobody_sees_anything(client, alice):
    [task] = add(alice)
    for path in ("", "drawer/", "badge/", f"{task.pk}/", f"{task.pk}/log/"):
        assert client.get(f"/tasks/{path}").status_code == 302
    assert client.get("/api/v1/tasks").status_code == 401


def test_the_list_is_filtered_by_the_url(as_user, alice, admin):
    add(alice, status="failed", subject="vm:1")
    add(admin, status="succeeded", subject="vm:2")
    browser = as_user(admin)
    for query, users in [
        ("status=failed", {alice}), ("status=unfinished", set()), ("user=alice", {alice}),
        ("subject=vm:2", {admin}), ("operation=sample.free", {alice, admin}), ("operation=x", set()),
        ("status=nonsense", set()), ("before=x", set()), ("user=a%00b", set()),
        ("subject=" + "x" * 99, set()),
    ]:  # fmt: skip
        response = browser.get(f"/tasks/?{query}")
        assert response.status_code == 200
        assert {task.user for task in response.context["tasks"]} == users, query


def test_the_list_goes_on_with_older_tasks(as_user, alice):
    add(alice, 60)
    browser = as_user(alice)
    first = browser.get("/tasks/")
    assert len(titles(first)) == 50
    second = browser.get(f"/tasks/?before={first.context['older']}")
    assert len(titles(second)) == 10
    assert second.context["older"] is None


def test_the_list_asks_the_database_the_same_for_one_and_for_many(
    as_user, alice, django_assert_max_num_queries
):
    add(alice, 50)
    browser = as_user(alice)
    with django_assert_max_num_queries(5):
        browser.get("/tasks/")


def test_a_live_page_fetches_its_fragment_only(as_user, alice):
    [task] = add(alice)
    browser = as_user(alice)
    for path in ("", f"{task.pk}/"):
        text = browser.get(f"/tasks/{path}", headers={"HX-Request": "true"}).content.decode()
        assert "<html" not in text
        assert 'hx-trigger="live"' in text


def test_the_page_of_a_task_shows_how_it_went(as_user, alice):
    ask("sample.tell", {"password": "hidden word", "text": "<b>x</b>"}, alice)
    [task] = run_queued()
    text = as_user(alice).get(f"/tasks/{task.pk}/").content.decode()
    assert "$ /bin/cat" in text
    assert "&lt;b&gt;x&lt;/b&gt;" in text
    assert "hidden word" not in text


def test_a_link_leads_to_what_the_task_is_about(as_user, alice, monkeypatch):
    monkeypatch.setattr(links, "_finders", {})
    links.register("bed", lambda key: (f"/beds/{key}", key) if key == "soft" else None)
    for name, found in (("soft", True), ("hard", False)):
        task = ask("sample.sleep", {"name": name}, alice)
        assert (f'href="/beds/{name}"' in as_user(alice).get(f"/tasks/{task.pk}/").content.decode()) == found


def test_the_log_gives_new_lines_only(as_user, alice):
    [task] = add(alice)
    first, second = (TaskLine.objects.create(task=task, text=text) for text in ("one", "two"))
    browser = as_user(alice)
    whole = browser.get(f"/tasks/{task.pk}/log/").content.decode()
    assert "one" in whole
    assert "two" in whole
    rest = browser.get(f"/tasks/{task.pk}/log/?after={first.pk}").content.decode()
    assert "one" not in rest
    assert f'data-id="{second.pk}"' in rest
    assert browser.get(f"/tasks/{task.pk}/log/?after={second.pk}").content.strip() == b""
    for bad in ("x", "-1", "9" * 30, "%00", "²"):
        assert "one" in browser.get(f"/tasks/{task.pk}/log/?after={bad}").content.decode()


def test_a_log_without_lines_says_so_and_is_left_out_when_none_will_come(as_user, alice):
    [task] = add(alice)
    page = as_user(alice).get(f"/tasks/{task.pk}/").content.decode()
    assert 'id="task-log"' in page and "Nothing is logged so far." in page

    Task.objects.update(status=Task.Status.SUCCEEDED)
    assert 'id="task-log"' not in as_user(alice).get(f"/tasks/{task.pk}/").content.decode()

    TaskLine.objects.create(task=task, text="Done.")
    assert "Done." in as_user(alice).get(f"/tasks/{task.pk}/").content.decode()


def test_the_whole_log_can_be_downloaded(as_user, alice):
    [task] = add(alice)
    TaskLine.objects.bulk_create([TaskLine(task=task, text=f"line {n}") for n in range(600)])
    browser = as_user(alice)
    page = browser.get(f"/tasks/{task.pk}/")
    assert page.context["is_cut"]
    assert len(page.context["lines"]) == 500
    response = browser.get(f"/tasks/{task.pk}/log/?download")
    assert response["Content-Type"].startswith("text/plain")
    assert response.content.decode().count("line ") == 600


def test_strangers_find_nothing(as_user, alice, stranger):
    [task] = add(alice)
    browser = as_user(stranger)
    for path in ("", "log/"):
        assert browser.get(f"/tasks/{task.pk}/{path}").status_code == 404
    for path in ("cancel/", "retry/"):
        assert browser.post(f"/tasks/{task.pk}/{path}").status_code == 404
    for number in (10**18, 10**30):
        assert browser.get(f"/tasks/{number}/").status_code == 404
    task.refresh_from_db()
    assert task.status == "queued"


def test_the_drawer_shows_what_runs_and_what_ended(as_user, alice, admin):
    add(alice, 3)
    add(alice, 12, status="failed", error="No")
    add(admin, 2)
    response = as_user(alice).get("/tasks/drawer/")
    assert len(response.context["running"]) == 3
    assert len(response.context["ended"]) == 10
    assert f'data-live="tasks:{alice.pk}"' in response.content.decode()


def test_the_bell_counts_unfinished_tasks(as_user, alice):
    browser = as_user(alice)
    assert "hidden>" in browser.get("/tasks/badge/").content.decode()
    add(alice, 2)
    text = browser.get("/tasks/badge/").content.decode()
    assert ">2<" in text
    assert " hidden>" not in text


def test_a_task_that_fails_is_told_once_on_the_page_that_is_open(as_user, alice, admin):
    browser = as_user(alice)
    add(alice, status="failed", error="long ago", finished_at=timezone.now() - timedelta(hours=1))
    add(admin, status="failed", error="not mine", finished_at=timezone.now())

    def look(answer, **headers):
        """The next answer, asked for as the open page does, and what it tells."""
        where = html.unescape(re.search(r'hx-get="([^"]+)"', answer.content.decode())[1])
        answer = browser.get(where, headers=headers)
        return answer, json.loads(answer.headers.get("HX-Trigger", "{}")).get("toast")

    first = browser.get("/tasks/badge/")
    assert "HX-Trigger" not in first.headers
    task = add(
        alice, status="failed", error="cannot offline da4: no valid replicas", finished_at=timezone.now()
    )[0]
    answer, told = look(first)
    assert told == {
        "text": "Number 0: cannot offline da4: no valid replicas", "level": "error", "href": f"/tasks/{task.pk}/",
    }  # fmt: skip
    assert look(answer)[1] is None
    assert look(first, **{"HX-Current-URL": f"http://testserver/tasks/{task.pk}/"})[1] is None
    add(alice, 2, status="interrupted", finished_at=timezone.now())
    assert look(answer)[1]["text"] == "2 tasks failed."
    # A page that has just come is told of what failed while it was on its way.
    assert "3 tasks failed." in browser.get("/tasks/badge/").headers["HX-Trigger"]
    for bad in ("x", "2026-13-01", "2026-01-01", "0001-01-01T00:00:00+23:00"):
        assert browser.get("/tasks/badge/", {"since": bad}).status_code == 200


def test_cancel_and_retry_are_buttons(as_user, alice):
    task = ask("sample.free", {}, alice)
    browser = as_user(alice)
    page = f"/tasks/{task.pk}/"
    assert "Cancel" in browser.get(page).content.decode()
    assert browser.get(f"{page}cancel/").status_code == 405
    assert browser.post(f"{page}cancel/").url == page
    task.refresh_from_db()
    assert task.status == "cancelled"
    assert "Try again" in browser.get(page).content.decode()
    answer = browser.post(f"{page}retry/")
    again = Task.objects.get(retry_of=task)
    assert answer.url == f"/tasks/{again.pk}/"
    assert set(AuditEntry.objects.values_list("action", flat=True)) >= {"tasks.cancel", "tasks.retry"}
    refused = browser.post(f"/tasks/{again.pk}/retry/", follow=True).content.decode()
    assert "Only a task that did not succeed" in refused


def test_an_operator_sees_others_tasks_but_has_no_buttons(as_user, alice, operator):
    [task] = add(alice)
    text = as_user(operator).get(f"/tasks/{task.pk}/").content.decode()
    assert "cancel/" not in text


def test_the_time_left_is_estimated_from_the_percent():
    from datetime import timedelta

    from django.utils import timezone

    task = Task(status="running", percent=25, started_at=timezone.now() - timedelta(seconds=10))
    assert 29 < task.seconds_left < 31
    task.percent = 0
    assert task.seconds_left is None


@pytest.fixture
def api(client):
    def call(user, method, path, scope="full"):
        _, secret = ApiToken.objects.issue(user, "test", scope, None)
        headers = {"Authorization": f"Bearer {secret}"}
        return getattr(client, method)(f"/api/v1/tasks{path}", headers=headers)

    return call


def test_the_api_tells_of_a_task(api, alice):
    ask("sample.tell", {"password": "secret word", "text": "hi"}, alice)
    [task] = run_queued()
    body = api(alice, "get", f"/{task.pk}").json()
    assert set(body) == {
        "id", "operation", "title", "status", "stage", "percent", "error", "result", "user", "subject",
        "created_at", "started_at", "finished_at", "retry_of",
    }  # fmt: skip
    assert (body["status"], body["user"], body["retry_of"]) == ("succeeded", "alice", None)
    log = api(alice, "get", f"/{task.pk}/log").json()
    assert [line["text"] for line in log] == ["hi", "$ /bin/cat", "********"]
    assert api(alice, "get", f"/{task.pk}/log?after={log[1]['id']}").json() == log[2:]


def test_the_api_lists_and_filters(api, alice, admin):
    add(alice, 3)
    add(admin, 1, status="failed")
    mine = api(alice, "get", "").json()
    assert [task["user"] for task in mine] == ["alice"] * 3
    assert api(alice, "get", f"?after={mine[0]['id']}&limit=1").json() == mine[1:2]
    assert len(api(admin, "get", "").json()) == 4
    assert [task["user"] for task in api(admin, "get", "?status=failed").json()] == ["admin"]
    for bad in ("status=x", "limit=0", "limit=100000", "after=x", "user=a%00"):
        assert api(admin, "get", f"?{bad}").status_code == 422, bad


def test_the_api_cancels_and_retries(api, vm, alice, stranger):
    task = ask("sample.start", {"vm_id": vm.pk}, alice)
    assert api(stranger, "post", f"/{task.pk}/cancel").status_code == 404
    assert api(alice, "post", f"/{task.pk}/cancel", scope="read").status_code == 404
    answer = api(alice, "post", f"/{task.pk}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (202, "cancelled")
    assert api(alice, "post", f"/{task.pk}/cancel").status_code == 409
    again = api(alice, "post", f"/{task.pk}/retry")
    assert (again.status_code, again.json()["retry_of"]) == (202, task.pk)
    assert api(alice, "get", f"/{10**30}").status_code == 404
