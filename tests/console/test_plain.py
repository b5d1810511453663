from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.console import plain


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"a\x1b[31;1mred\x1b[0m b", "ared b"),
        (b"\x1b]0;a title\x07x\x1b]2;other\x1b\\y", "xy"),
        (b"\x1bPsixel\x1b\\z", "z"),
        (b"\x1b(B\x1b=\x1b7ok\x1b8", "ok"),
        (b"10%\r50%\r100%\r\ndone", "100%\ndone"),
        (b"longer\rab\r\n", "abnger\n"),
        (b"passwrd\b\bord\n", "password\n"),
        (b"bell\x07 nul\0 del\x7f", "bell nul del"),
        ("r\u202egnp\u2066.exe".encode(), "rgnp.exe"),
        (b"\xff\xfe bad", "\ufffd\ufffd bad"),
        (b"\x1b[", ""),
        (b"a\x1b]0;never ended\nb", "a\nb"),
        ("grüße ✓".encode(), "grüße ✓"),
    ],
)
def test_only_what_people_read_is_left(data, text):
    assert plain.text(data) == text


@given(st.binary(max_size=300))
def test_whatever_a_guest_sends_no_control_character_is_left(data):
    left = {unicodedata.category(character) for character in plain.text(data) if character not in "\n\t"}
    assert "Cc" not in left


@given(st.text("ab\r\b\n", max_size=200))
def test_no_line_is_longer_than_what_was_written(text):
    assert len(plain.text(text.encode())) <= len(text)


def test_words_are_found_with_what_stands_around_them():
    log = "\n".join(f"line {number}" for number in range(10)) + "\nAn ERROR, an error\nend"
    (hit,), count = plain.find(log, "error")
    assert (count, hit.number, hit.before, hit.after) == (1, 11, ["line 8", "line 9"], ["end"])
    assert hit.parts == [("An ", False), ("ERROR", True), (", an ", False), ("error", True), ("", False)]


def test_words_are_no_pattern_and_the_newest_lines_come_first():
    log = "\n".join(f"{number} a.b" for number in range(1000)) + "\naxb"
    hits, count = plain.find(log, "a.b")
    assert (count, len(hits), hits[0].number) == (1000, plain.HITS_MAX, 1000)
