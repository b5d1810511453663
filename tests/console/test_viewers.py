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
