"""Snapshots of datasets: what the rows say, what goes and what stays, and the pages and API that show and do it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bhype.hosts.observer import Observer
from bhype.tasks import Refused, ask
from bhype.tasks.models import Task
from storage.models import Dataset, Pool, Snapshot
from storage.snapshots import observe as snapshots_observe
from tests.conftest import make_user
from tests.storage.snapshots.test_pure_snapshots import detail

ISOS = "tank/bhype/isos"
KINDS = ("daily", "manual")


@pytest.fixture
def admin(db):
    return make_user("root1", "admin")


@pytest.fixture
def seen(ready):
    """A ready lab of which the rows of datasets are there."""
    ready.sweep()
    return ready


def look(lab):
    observer = Observer(lab.host)
    observer.sweep()


def zfs(lab, *words):
    return lab.commands("/sbin/zfs", *words)


def do(lab, operation, user=None, **params) -> Task:
    ask(f"storage.{operation}", params, user)
    return lab.run_tasks()[-1]


def dataset(name=ISOS) -> Dataset:
    return Dataset.objects.get(name=name)


def take(lab, name, where=ISOS, **params) -> Snapshot:
    task = do(lab, "take_snapshot", dataset_id=dataset(where).pk, name=name, **params)
    assert task.status == "succeeded", task.error
    return Snapshot.objects.get(dataset__name=where, name=name)


def names(lab, where=ISOS):
    return [
        line.partition("@")[2]
        for line in zfs(lab, "list", "-H", "-o", "name", "-t", "snapshot", "-d", "1", where).split()
    ]


def test_what_somebody_else_took_is_seen_and_never_destroyed(seen, admin):
    zfs(seen, "snapshot", "-r", "tank/bhype@by-hand")
    look(seen)
    rows = Snapshot.objects.filter(name="by-hand")
    assert rows.count() == Dataset.objects.count() and set(rows.values_list("kind", flat=True)) == {""}
    assert [str(row) for row in rows.filter(is_root=True)] == ["tank/bhype@by-hand"]
    row = rows.get(dataset__name=ISOS)
    task = do(seen, "delete_snapshots", admin, snapshot_ids=[row.pk])
    assert task.status == "failed" and "bHype did not take it" in task.error
    assert names(seen) == ["by-hand"]


def test_rows_follow_the_host_with_two_commands_for_a_pool(seen):
    for number in range(3):
        zfs(seen, "snapshot", f"{ISOS}@s{number}")
    look(seen)
    assert Snapshot.objects.count() == 3
    zfs(seen, "destroy", f"{ISOS}@s1")
    zfs(seen, "hold", "keep", f"{ISOS}@s2")
    look(seen)
    assert dict(Snapshot.objects.values_list("name", "holds")) == {"s0": 0, "s2": 1}
    asked = []
    host = Observer(seen.host).host
    original = host.query
    host.query = lambda query: asked.append(query.command.argv) or original(query)  # type: ignore[method-assign]
    sweep = Observer(host).sweep()
    assert not sweep.problems
    mine = [argv for argv in asked if "snapshots_changed" in argv or "org.bhype:kind" in ",".join(argv)]
    assert len(mine) <= 2


def test_an_openzfs_that_tells_no_changes_is_looked_at_in_turn(seen):
    zfs(seen, "snapshot", f"{ISOS}@s0")
    seen.fault(
        command="zfs get snapshots_changed", do="fail", code=2, text="bad property list: invalid property"
    )
    look(seen)
    assert Snapshot.objects.count() == 1
    zfs(seen, "destroy", f"{ISOS}@s0")
    look(seen)
    assert not Snapshot.objects.exists()


def test_a_preview_tells_what_goes_and_the_bytes_and_changes_nothing(seen, admin):
    (seen.root / "tank/bhype/isos/big").write_bytes(b"x" * (1 << 20))
    rows = [take(seen, name) for name in ("a", "b", "c", "d")]
    (seen.root / "tank/bhype/isos/big").unlink()
    zfs(seen, "hold", "keep", f"{ISOS}@c")
    task = do(seen, "preview_deletion", admin, snapshot_ids=[row.pk for row in rows])
    assert task.status == "succeeded", task.error
    assert task.result["goes"] == [f"{ISOS}@{name}" for name in "abd"]
    assert task.result["stays"] == {f"{ISOS}@c": "held"}
    assert isinstance(task.result["bytes"], int)
    assert names(seen) == list("abcd")
    task = do(seen, "delete_snapshots", admin, snapshot_ids=[row.pk for row in rows])
    assert task.status == "succeeded", task.error
    assert names(seen) == ["c"] == list(Snapshot.objects.values_list("name", flat=True))


def test_what_has_a_clone_or_was_replaced_stays(seen, admin):
    cloned, replaced = take(seen, "cloned"), take(seen, "replaced")
    zfs(seen, "clone", f"{ISOS}@cloned", "tank/elsewhere")
    zfs(seen, "destroy", f"{ISOS}@replaced")
    zfs(seen, "snapshot", "-o", "org.bhype:kind=manual", f"{ISOS}@replaced")
    task = do(seen, "delete_snapshots", admin, snapshot_ids=[cloned.pk, replaced.pk])
    assert task.status == "failed"
    assert names(seen) == ["cloned", "replaced"]


def test_a_kind_that_is_only_inherited_does_not_count(seen, admin):
    zfs(seen, "snapshot", f"{ISOS}@alien")
    zfs(seen, "set", "org.bhype:kind=manual", ISOS)
    look(seen)
    row = Snapshot.objects.get(name="alien")
    assert do(seen, "delete_snapshots", admin, snapshot_ids=[row.pk]).status == "failed"
    assert names(seen) == ["alien"]


def test_a_hold_keeps_and_a_release_lets_go(seen, admin):
    row = take(seen, "a")
    assert do(seen, "hold_snapshot", admin, snapshot_id=row.pk).status == "succeeded"
    row.refresh_from_db()
    assert row.holds == 1
    assert "held" in do(seen, "delete_snapshots", admin, snapshot_ids=[row.pk]).error
    assert "already" in do(seen, "hold_snapshot", admin, snapshot_id=row.pk).error
    assert "bHype's own" in do(seen, "hold_snapshot", admin, snapshot_id=row.pk, tag="bhype-x").error
    assert do(seen, "release_snapshot", admin, snapshot_id=row.pk).status == "succeeded"
    assert "is not held" in do(seen, "release_snapshot", admin, snapshot_id=row.pk).error
    assert do(seen, "delete_snapshots", admin, snapshot_ids=[row.pk]).status == "succeeded"


def test_it_tells_who_holds_a_snapshot(seen, admin, as_user):
    row = take(seen, "a")
    zfs(seen, "hold", "backup-nightly", f"{ISOS}@a")
    zfs(seen, "hold", "bhype-send", f"{ISOS}@a")
    look(seen)

    task = do(seen, "list_holds", admin, snapshot_id=row.pk)
    page = as_user(admin).get(f"/storage/snapshots/results/{task.pk}/").content.decode()

    assert task.result["holds"] == [
        {"tag": "backup-nightly", "is_own": False},
        {"tag": "bhype-send", "is_own": True},
    ]
    assert 'name="tag" value="backup-nightly"' in page and 'value="bhype-send"' not in page
    assert "Who holds it" in as_user(admin).get(f"/storage/snapshots/{row.pk}/").content.decode()


def test_a_note_is_one_line_and_can_be_changed(seen, admin):
    row = take(seen, "a", note="first")
    assert (
        do(seen, "annotate_snapshot", admin, snapshot_id=row.pk, note="second: 50% done").status
        == "succeeded"
    )
    row.refresh_from_db()
    assert row.note == "second: 50 percent done"
    assert do(seen, "annotate_snapshot", admin, snapshot_id=row.pk, note="").status == "succeeded"
    row.refresh_from_db()
    assert row.note == ""


def test_files_are_listed_and_fetched_and_no_link_leads_out(seen, admin, as_user):
    home = seen.root / "tank/bhype/isos"
    (home / "sub").mkdir()
    (home / "sub/notes.txt").write_bytes(b"hello")
    (home / "out").symlink_to("/etc")
    (home / "passwd").symlink_to("/etc/passwd")
    row = take(seen, "a")
    (home / "sub/notes.txt").unlink()
    task = do(seen, "list_snapshot", admin, snapshot_id=row.pk)
    assert task.status == "succeeded", task.error
    assert [(one["name"], one["kind"]) for one in task.result["entries"]] == [
        ("sub", "folder"), ("out", "link"), ("passwd", "link"),
    ]  # fmt: skip
    for path in ("out", "passwd", "sub/../../../etc", "nosuch", "../x", ""):
        assert do(seen, "fetch_from_snapshot", admin, snapshot_id=row.pk, path=path).status == "failed", path
    assert do(seen, "list_snapshot", admin, snapshot_id=row.pk, path="out").status == "failed"
    task = do(seen, "fetch_from_snapshot", admin, snapshot_id=row.pk, path="sub/notes.txt")
    assert task.status == "succeeded", task.error
    url = f"/storage/snapshots/files/{task.pk}/"
    answer = as_user(admin).post(url)
    assert b"".join(answer) == b"hello"
    assert as_user(make_user("other", "admin")).post(url).status_code == 404
    assert as_user(admin).get(url).status_code == 405
    assert "hello" not in as_user(admin).get(f"/storage/snapshots/results/{task.pk}/").content.decode()


def test_of_a_volume_it_says_why_there_are_no_files(seen, admin):
    zfs(seen, "create", "-s", "-V", "64M", "-o", "org.bhype:id=bhype", "tank/bhype/images/disk")
    look(seen)
    row = take(seen, "a", "tank/bhype/images/disk")
    assert "is a volume" in do(seen, "list_snapshot", admin, snapshot_id=row.pk).error


@pytest.mark.parametrize("nth", [1, 2])
def test_a_deletion_that_was_killed_can_be_repeated(seen, admin, nth):
    rows = [take(seen, name) for name in "abc"]
    zfs(seen, "hold", "keep", f"{ISOS}@b")
    seen.fault(command="zfs destroy", do="kill", nth=nth, when="after")
    do(seen, "delete_snapshots", admin, snapshot_ids=[row.pk for row in rows])
    seen.clear_faults()
    do(seen, "delete_snapshots", admin, snapshot_ids=[row.pk for row in rows])
    assert names(seen) == ["b"]


def test_out_of_space_and_datasets_of_others_are_told(seen, admin):
    seen.fault(command="zfs snapshot", do="full")
    assert "out of space" in do(seen, "take_snapshot", admin, dataset_id=dataset().pk, name="a").error
    seen.clear_faults()
    outside = Dataset.objects.create(
        pool=Pool.objects.get(), name="tank/mine", kind="filesystem", bhype_id="x"
    )
    assert "is not in tank/bhype" in do(seen, "take_snapshot", admin, dataset_id=outside.pk).error
    with pytest.raises(Refused):
        ask("storage.take_snapshot", {"dataset_id": dataset().pk}, make_user("op", "operator"))


# Pages and API; rows only.


@pytest.fixture
def many(pool):
    """Three datasets, one below another, with snapshots together and apart."""
    rows = [
        Dataset.objects.create(pool=pool, name=f"tank/bhype/{name}", kind="filesystem", bhype_id="bhype")
        for name in ("a", "a/b", "c")
    ]
    start = datetime(2026, 1, 1, tzinfo=UTC)
    found = [
        detail(
            f"{row.name}@s{number:03}",
            number,
            kind="manual" if number % 2 else "daily",
            created=start + timedelta(hours=number),
        )
        for row in rows
        for number in range(130)
    ]
    snapshots_observe.write(pool, rows, found)
    return rows


def test_the_list_shows_each_moment_once_and_goes_on_by_keys(
    many, as_user, viewer, django_assert_max_num_queries
):
    client = as_user(viewer)
    seen, address = [], "/api/v1/snapshots"
    while True:
        with django_assert_max_num_queries(12):
            page = client.get(address).json()
        seen += [(one["dataset"], one["name"], one["parts"]) for one in page["snapshots"]]
        if not page["before"]:
            break
        address = "/api/v1/snapshots?before=" + page["before"].replace("+", "%2B")
    assert len(seen) == len(set(seen)) == 260
    assert {(dataset, parts) for dataset, _, parts in seen} == {("tank/bhype/a", 2), ("tank/bhype/c", 1)}
    with django_assert_max_num_queries(12):
        page = client.get("/storage/snapshots/").content.decode()
    assert "s129" in page and "Older" in page and "Delete" not in page


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("q=bhype/c", 100),
        ("q=s005", 2),
        ("q=bhype/a@s005", 1),
        ("kind=daily&q=bhype/c", 65),
        ("kind=other", 0),
        ("held=true", 0),
    ],
)
def test_filters_leave_what_they_say(many, as_user, viewer, query, count):
    assert len(as_user(viewer).get(f"/api/v1/snapshots?{query}").json()["snapshots"]) == count


def test_bad_cursors_and_numbers_are_no_error(many, as_user, admin):
    client = as_user(admin)
    for before in ("x", "2026-01-01_1", "2026-01-01T00:00:00+00:00_x", "_", "9" * 60):
        assert client.get("/storage/snapshots/", {"before": before}).status_code == 200
    for data in (
        {},
        {"do": "preview"},
        {"do": "nosuch", "snapshot": "1"},
        {"do": "hold", "snapshot": "x"},
        {"do": "preview", "snapshot": "9" * 18},
    ):
        assert client.post("/storage/snapshots/do/", data).status_code == 302
    assert client.post("/storage/snapshots/delete/", {"task": "1"}).status_code == 404


def test_who_may_only_look_changes_nothing(many, as_user, viewer, operator, stranger):
    row = Snapshot.objects.first()
    for user in (viewer, operator, stranger):
        client = as_user(user)
        assert client.post("/storage/snapshots/do/", {"do": "hold", "snapshot": row.pk}).status_code == 404
        assert client.post("/storage/snapshots/all/").status_code == 404
        assert (
            client.post("/storage/datasets/tank/bhype/a/-/snapshots/take/", {"name": "x"}).status_code == 404
        )
    assert as_user(stranger).get("/storage/snapshots/").status_code == 404
    assert as_user(stranger).get(f"/storage/snapshots/{row.pk}/").status_code == 404
    assert not Task.objects.exists()


def test_an_admin_takes_looks_and_agrees_by_the_pages(many, as_user, admin):
    client = as_user(admin)
    assert "Take a snapshot" in client.get("/storage/datasets/tank/bhype/a/-/snapshots/").content.decode()
    assert (
        client.post("/storage/datasets/tank/bhype/a/-/snapshots/take/", {"name": "s001"}).status_code == 422
    )
    assert (
        client.post(
            "/storage/datasets/tank/bhype/a/-/snapshots/take/", {"name": "new", "note": "n"}
        ).status_code
        == 302
    )
    row = Snapshot.objects.filter(dataset__name="tank/bhype/a").first()
    assert row.name in client.get(f"/storage/snapshots/{row.pk}/").content.decode()
    answer = client.post("/storage/snapshots/do/", {"do": "preview", "all": "1", "query": "q=bhype/c"})
    task = Task.objects.get(operation="storage.preview_deletion")
    assert (
        answer["Location"] == f"/storage/snapshots/results/{task.pk}/"
        and len(task.params["snapshot_ids"]) == 130
    )
    assert "being asked" in client.get(answer["Location"]).content.decode()
    Task.objects.filter(pk=task.pk).update(
        status="succeeded",
        result={"goes": ["tank/bhype/c@s000"], "stays": {"tank/bhype/c@s001": "held"}, "bytes": 5},
    )
    page = client.get(answer["Location"]).content.decode()
    assert "tank/bhype/c@s000" in page and "held" in page and "5 B" in page
    assert client.post("/storage/snapshots/delete/", {"task": task.pk}).status_code == 302
    assert Task.objects.get(operation="storage.delete_snapshots").params == task.params
    assert as_user(make_user("other", "admin")).get(answer["Location"]).status_code == 404


def test_a_live_page_of_a_dataset_gets_its_list_alone(many, as_user, viewer):
    place = "/storage/datasets/tank/bhype/a/-/snapshots/"
    browser = as_user(viewer)

    page = browser.get(place, {"kind": "manual"}).content.decode()
    fragment = browser.get(place, {"kind": "manual"}, headers={"HX-Target": "snapshots"}).content.decode()

    assert f'hx-get="{place}?kind=manual"' in page and "<html" in page
    assert fragment.startswith('<div id="snapshots"') and "<html" not in fragment
    assert "hx-sync" not in fragment  # htmx would look for filters that this page does not have


def test_a_refresh_of_the_list_waits_for_its_filters(many, as_user, viewer):
    fragment = as_user(viewer).get("/storage/snapshots/", headers={"HX-Target": "snapshots"}).content.decode()

    assert 'hx-sync="#snapshot-filters:drop"' in fragment


def test_it_tells_which_files_have_changed(seen, admin):
    home = seen.root / "tank/bhype/isos"
    for name in ("stays", "goes", "grows"):
        (home / name).write_bytes(b"x")
    row = take(seen, "a")
    (home / "goes").unlink()
    (home / "grows").write_bytes(b"xx" * 100)
    (home / "new file").write_bytes(b"x")
    task = do(seen, "diff_snapshot", admin, snapshot_id=row.pk)
    assert task.status == "succeeded", task.error
    found = {(one["change"], one["path"]) for one in task.result["changes"]}
    assert {("-", "/goes"), ("M", "/grows"), ("+", "/new file")} <= found
    assert not any("stays" in path or ".zfs" in path for _, path in found)
    until = take(seen, "b")
    (home / "stays").unlink()
    task = do(seen, "diff_snapshot", admin, snapshot_id=row.pk, until=until.name)
    assert ("-", "/stays") not in {(one["change"], one["path"]) for one in task.result["changes"]}
    assert do(seen, "diff_snapshot", admin, snapshot_id=row.pk, until="no such").status == "failed"
