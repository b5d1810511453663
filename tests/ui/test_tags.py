from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django import forms
from django.template import Context, Template
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from bhype.ui.templatetags import ui

EVIL = '"><script>alert(1)</script>'


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536 * 2**20, "1.5 GiB"), (2 * 2**30, "2 GiB"),
        (20 * 2**40, "20 TiB"), (2**60, "1024 PiB"), (None, ""), ("", ""),
    ],
)  # fmt: skip
def test_sizes_are_iec(size, text):
    assert ui.filesize(size) == text


@given(st.integers(min_value=0, max_value=2**62))
def test_every_size_is_short(size):
    assert len(ui.filesize(size)) <= 9


def test_times_carry_their_full_stamp():
    moment = datetime.now(UTC) - timedelta(hours=3)
    html = ui.ago(moment)
    assert "ago" in html
    assert moment.strftime("%Y-%m-%d %H:%M:%S UTC") in html
    assert ui.ago(None) == "never"
    assert "just now" in ui.ago(datetime.now(UTC))


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.42, "0.4 s"), (12, "12 s"), (185, "3 min 5 s"), (7440, "2 h 4 min"), (None, "")]
)
def test_durations_are_said_as_people_say_them(seconds, text):
    assert ui.duration(seconds) == text


@pytest.mark.parametrize(("part", "whole", "percent"), [(1, 4, 25), (9, 3, 100), (-1, 3, 0), (1, 0, 0)])
def test_a_part_is_between_nothing_and_all(part, whole, percent):
    assert ui.percent_of(part, whole) == percent


def test_badges_bars_and_icons_escape_what_they_show():
    for html in (ui.badge("running", EVIL, EVIL), ui.bar(50, EVIL), ui.icon(EVIL)):
        assert "<script>" not in html


def test_an_unknown_state_still_has_a_badge():
    assert "status-secondary" in ui.badge("levitating")


@pytest.mark.parametrize("percent", [-5, 0, 50, 250])
def test_a_bar_never_leaves_its_frame(percent):
    width = int(ui.bar(percent, "CPU").split("width:")[1].split("%")[0])
    assert 0 <= width <= 100


def render(text: str, **values: object) -> str:
    return Template(text).render(Context(values))


def test_links_keep_the_filters():
    request = RequestFactory().get("/vms/?q=a%26b&page=3&state=running")
    html = render("{% url_with page=None sort='-name' %}", request=request)
    assert html == "?q=a%26b&amp;state=running&amp;sort=-name"


class Sample(forms.Form):
    name = forms.CharField(help_text="a word", max_length=3)
    on = forms.BooleanField(required=False)
    kind = forms.ChoiceField(choices=[("a", "A")])


def test_a_field_shows_its_error_beside_it_and_says_so_to_screen_readers():
    form = Sample({"name": EVIL, "kind": "a"})
    html = render("{% include 'ui/_field.html' with field=form.name %}", form=form)
    assert 'aria-describedby="id_name_help id_name_error"' in html
    assert 'id="id_name_error"' in html
    assert "at most 3 characters" in html
    assert "required" in html
    assert "<script>" not in html


def test_each_kind_of_widget_gets_its_class():
    form = Sample()
    assert 'class="form-control"' in ui.control(form["name"])
    assert 'class="form-check-input"' in ui.control(form["on"])
    assert 'class="form-select"' in ui.control(form["kind"])


def test_what_is_kept_is_shown_twice_but_made_once():
    made = []

    class Counter:
        def __str__(self) -> str:
            made.append(1)
            return EVIL

    html = render("{% keep title %}{{ thing }}{% endkeep %}{{ title }}|{{ title }}", thing=Counter())
    assert len(made) == 1
    assert html.count("&lt;script&gt;") == 2
    assert "<script>" not in html
