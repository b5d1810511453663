from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from bhype.console import viewers
from bhype.console.models import Viewer
from bhype.live.models import Event

pytestmark = pytest.mark.django_db


def enter(user, session="s1", subject="vm:1", kind="vnc", **options):
    return viewers.enter(user, session, subject, kind, **{"take_over": False} | options)


def test_a_screen_has_one_viewer_and_the_second_hears_who_has_it(alice, operator):
    enter(alice)
    with pytest.raises(viewers.InUse) as busy:
        enter(operator)
    assert busy.value.by == "alice"
    with pytest.raises(viewers.InUse):
        viewers.check(operator, "s9", "vm:1", "vnc", take_over=False)


def test_a_serial_console_has_many(alice, operator):
    enter(alice, kind="serial")
    enter(operator, kind="serial")
    enter(operator, kind="serial")
    enter(operator)
    assert Viewer.objects.count() == 4


def test_taking_over_ends_the_first_viewer_and_tells_it(alice, operator):
    first = enter(alice)
    second = enter(operator, take_over=True)
    assert not viewers.renew(first) and viewers.taken_over_by(first) == "operator"
    assert viewers.renew(second) and viewers.taken_over_by(second) == ""
    assert Event.objects.filter(topic=viewers.topic(first)).exists()
    with pytest.raises(viewers.InUse) as busy:
        enter(alice)
    assert busy.value.by == "operator"


def test_ones_own_earlier_viewer_does_not_stand_in_the_way_of_a_reload(alice):
    first = enter(alice)
    enter(alice)
    assert viewers.taken_over_by(first) == "alice"


def test_the_same_user_elsewhere_is_somebody_else(alice):
    enter(alice, session="s1")
    with pytest.raises(viewers.InUse):
        enter(alice, session="s2")


def test_a_viewer_that_left_or_died_is_no_obstacle(alice, operator):
    viewers.leave(enter(alice))
    enter(operator)
    Viewer.objects.update(seen_at=timezone.now() - timedelta(seconds=31))
    enter(alice)
    assert Viewer.objects.get().user == alice


def test_a_viewer_whose_row_is_gone_cannot_renew(alice):
    viewer = enter(alice)
    Viewer.objects.all().delete()
    assert not viewers.renew(viewer) and viewers.taken_over_by(viewer) == ""


def test_consoles_are_limited_per_user_and_in_all(alice, operator, monkeypatch):
    for number in range(viewers.PER_USER):
        enter(alice, subject=f"vm:{number}")
    with pytest.raises(viewers.TooMany, match="You have 16"):
        enter(alice, subject="vm:99")
    monkeypatch.setattr(viewers, "PER_HOST", viewers.PER_USER)
    with pytest.raises(viewers.TooMany, match="on this panel"):
        enter(operator, subject="vm:99", kind="serial")


# Serial lines.


def line(user, **options):
    return enter(user, kind="serial", **options)


def writer(viewer):
    found = viewers.line(viewer).writer
    return found.pk if found else None


def test_who_comes_first_to_a_line_writes(alice, operator):
    first, second = line(alice), line(operator)
    assert writer(first) == writer(second) == first.pk
    assert viewers.line(second).seen_by(second) | {"here": None} == {
        "writes": False, "writer": "alice", "since": first.writes_since.isoformat(), "here": None, "size": [80, 24],
    }  # fmt: skip
    assert [(each["name"], each["writes"], each["you"]) for each in viewers.line(first).seen_by(first)["here"]] == [
        ("alice", True, True), ("operator", False, False),
    ]  # fmt: skip


def test_control_is_taken_at_once_and_all_hear_of_it(alice, operator):
    first, second = line(alice), line(operator)
    Event.objects.all().delete()
    viewers.take_control(second)
    assert writer(first) == second.pk
    assert Event.objects.filter(topic=viewers.line_topic("vm:1", "serial")).exists()
    assert writer(line(alice, take_over=True)) not in {first.pk, second.pk}


def test_who_may_only_watch_never_writes(alice, operator):
    watcher = line(alice, right="watch", take_over=True)
    assert writer(watcher) is None
    viewers.take_control(watcher)
    assert writer(watcher) is None
    second = line(operator)
    assert writer(second) == second.pk
    viewers.leave(second)
    assert writer(watcher) is None


def test_control_passes_to_the_one_who_is_left_and_among_several_to_nobody(alice, operator, stranger):
    first, second, third = line(alice), line(operator), line(stranger)
    line(alice, right="watch")
    viewers.leave(first)
    assert writer(second) is None
    viewers.take_control(second)
    viewers.leave(second)
    assert writer(third) == third.pk
    viewers.leave(line(operator))
    assert writer(third) == third.pk


def test_a_writer_who_loads_the_page_again_keeps_control(alice, operator):
    first, _ = line(alice), line(operator)
    line(alice, session="s2")
    again = line(alice)
    viewers.leave(first)
    assert writer(again) == again.pk


def test_a_writer_that_died_stands_in_nobodys_way(alice, operator):
    line(alice)
    Viewer.objects.update(seen_at=timezone.now() - timedelta(seconds=31))
    second = line(operator)
    assert writer(second) == second.pk


def test_lines_of_one_machine_are_apart(alice, operator):
    first, second = line(alice), enter(operator, kind="serial2")
    assert (writer(first), writer(second)) == (first.pk, second.pk)


def test_the_writers_size_is_everybodys(alice, operator):
    first, second = line(alice, size=(132, 43)), line(operator, size=(40, 10))
    assert viewers.line(second).seen_by(second)["size"] == [132, 43]
    viewers.resize(first, 100, 30)
    assert viewers.line(second).seen_by(second)["size"] == [100, 30]
    viewers.leave(first)
    assert viewers.line(second).seen_by(second)["size"] == [40, 10]


def test_who_may_only_watch_takes_no_screen_over(alice, operator):
    enter(alice)
    with pytest.raises(viewers.InUse):
        enter(operator, right="watch", take_over=True)
    viewers.leave(Viewer.objects.get())
    enter(operator, right="watch")
    enter(alice, take_over=True)


def test_a_line_is_limited_per_user_and_in_all(alice, operator, monkeypatch):
    for _ in range(viewers.PER_USER_ON_LINE):
        line(alice)
    with pytest.raises(viewers.TooMany, match="open 6 times"):
        line(alice)
    enter(alice, kind="serial2")
    monkeypatch.setattr(viewers, "PER_LINE", viewers.PER_USER_ON_LINE)
    with pytest.raises(viewers.TooMany, match="watch this console"):
        line(operator)
