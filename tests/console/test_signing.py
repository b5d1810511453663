from __future__ import annotations

import os
import stat
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.console.signing import BadNote, ensure_key, read_key, sign, verify

KEY = b"k" * 40


def test_a_note_says_what_was_signed():
    note = verify(KEY, sign(KEY, "web1", "vnc"))
    assert (note.name, note.kind) == ("web1", "vnc")


def test_no_two_notes_are_alike():
    assert sign(KEY, "web1", "vnc") != sign(KEY, "web1", "vnc")


@pytest.mark.parametrize("lifetime", [0, -5, 31, 1e9])
def test_it_refuses_notes_that_are_old_or_would_live_too_long(lifetime):
    with pytest.raises(BadNote, match="expired"):
        verify(KEY, sign(KEY, "web1", "vnc", lifetime=lifetime))


def test_it_refuses_another_key_and_another_kind():
    with pytest.raises(BadNote, match="not signed"):
        verify(b"x" * 40, sign(KEY, "web1", "vnc"))
    with pytest.raises(BadNote, match="not a note"):
        verify(KEY, sign(KEY, "web1", "shell"))


@given(st.text(max_size=200))
def test_it_refuses_any_text_that_it_did_not_sign(text):
    with pytest.raises(BadNote):
        verify(KEY, text)


@given(st.integers(min_value=0), st.characters(codec="ascii"))
def test_a_note_with_one_character_changed_is_refused(place, character):
    note = sign(KEY, "web1", "vnc")
    place %= len(note)
    if note[place] == character:
        return
    with pytest.raises(BadNote):
        verify(KEY, note[:place] + character + note[place + 1 :])


def test_the_key_is_made_once_even_in_a_race_and_only_for_the_group(tmp_path):
    path = tmp_path / "state" / "gateway.key"
    keys = []
    threads = [threading.Thread(target=lambda: keys.append(read_key(path))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(keys)) == 1 and len(keys) == 16
    assert stat.S_IMODE(path.stat().st_mode) & 0o027 == 0
    assert os.listdir(path.parent) == ["gateway.key"]
    ensure_key(path)
    assert read_key(path) == keys[0]


def test_a_damaged_key_file_is_refused(tmp_path):
    (tmp_path / "key").write_text("short")
    with pytest.raises(BadNote, match="remove it"):
        read_key(tmp_path / "key")


@pytest.mark.parametrize(
    "record", ["../x.cast", "x.cast", "0" * 32, "0" * 32 + ".sh", "0" * 32 + ".cast\n", "A" * 32 + ".rfb"]
)
def test_a_recording_has_a_name_that_is_no_path(record):
    with pytest.raises(BadNote):
        verify(KEY, sign(KEY, "web1", "serial", record=record))


def test_a_note_says_whether_it_is_for_watching_and_what_is_recorded():
    note = verify(KEY, sign(KEY, "web1", "serial2", watch=True, record="a" * 32 + ".cast", size=(132, 43)))
    assert (note.watch, note.record, note.size) == (True, "a" * 32 + ".cast", (132, 43))
