"""The way of a passphrase from a form to the worker."""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bhype.freebsd.names import BadName
from bhype.tasks import OperationFailed
from storage.datasets import passphrases


@pytest.fixture(autouse=True)
def folder(settings, tmp_path):
    settings.RUN_DIR = tmp_path / "run"
    return tmp_path / "run" / "sealed"


def test_it_is_taken_once(folder):
    secret = passphrases.seal("correct horse ☃")
    (file,) = folder.iterdir()
    assert (folder.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)
    assert passphrases.take(secret) == "correct horse ☃"
    assert not list(folder.iterdir())
    with pytest.raises(OperationFailed, match="Give it again"):
        passphrases.take(secret)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=8, max_size=120))
def test_neither_half_tells_anything_of_it(tmp_path_factory, text):
    from django.test import override_settings

    run = tmp_path_factory.mktemp("run")
    with override_settings(RUN_DIR=run):
        secret, other = passphrases.seal(text), passphrases.seal(text)
        halves = [file.read_bytes() for file in (run / "sealed").iterdir()]
        assert len(secret) == len(other) == 711 and secret[23:] != other[23:]
        assert {len(half) for half in halves} == {514} and halves[0] != halves[1]
        assert all(text.encode() not in half for half in halves)
        assert passphrases.take(other) == passphrases.take(secret) == text


@pytest.mark.parametrize("text", ["", "short", "x" * 513, "two\nlines!", "nul\0nul\0", "ä" * 257])
def test_what_zfs_would_refuse_is_not_sealed(text):
    with pytest.raises(BadName):
        passphrases.seal(text)


def test_an_old_one_is_gone_and_removed(folder):
    old, new = passphrases.seal("of yesterday"), passphrases.seal("of today")
    path = folder / old.partition(".")[0]
    os.utime(path, (time.time() - passphrases.LIFE - 1,) * 2)
    passphrases.tidy()
    assert not path.exists()
    with pytest.raises(OperationFailed):
        passphrases.take(old)
    assert passphrases.take(new) == "of today"


def test_root_follows_no_link(folder, tmp_path):
    """The service user may make whatever it likes in that folder."""
    secret = passphrases.seal("a good passphrase")
    name, mine = secret.partition(".")[0], tmp_path / "of-root"
    half = (folder / name).read_bytes()
    mine.write_bytes(half)
    (folder / name).unlink()
    (folder / name).symlink_to(mine)
    with pytest.raises(OperationFailed):
        passphrases.take(secret)
    (folder / name).unlink()
    os.link(mine, folder / name)
    with pytest.raises(OperationFailed):
        passphrases.take(secret)
    os.mkfifo(folder / name)
    with pytest.raises(OperationFailed):
        passphrases.take(secret)
    assert mine.read_bytes() == half
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OperationFailed):
        passphrases.take(secret)
    with pytest.raises(OSError):
        passphrases.seal("a good passphrase")


@pytest.mark.parametrize(
    "secret", ["", ".", "x" * 711, "../etc.AAAA", "a.!", "../../../../../etc/pas." + "A" * 688]
)
def test_what_is_no_secret_is_gone(secret):
    with pytest.raises(OperationFailed):
        passphrases.take(secret)


def test_tidying_needs_no_folder():
    passphrases.tidy()
