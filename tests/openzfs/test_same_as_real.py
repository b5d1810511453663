"""The lab's zfs(8) and zpool(8) give the answers of OpenZFS 2.3 in a guest; see compare.py.

Collected by ``make test-long``. ``BHYPE_RECORD=1`` keeps the guest's answers for tests/lab/test_zfs_as_real.py.
"""

from __future__ import annotations

import os

import pytest

from tests.openzfs import compare
from tests.openzfs.guest import Guest

LEAST = 1000


@pytest.fixture(scope="module")
def guest():
    made = Guest()
    yield made
    made.close()


@pytest.mark.parametrize("name", compare.scripts())
def test_the_lab_answers_as_openzfs_does(guest, name):
    script = compare.lines(name)
    real = compare.ask_guest(guest, script)
    if os.environ.get("BHYPE_RECORD"):
        compare.record(name, script, real)
    found = compare.differences(script, real, compare.ask_lab(script))
    stale = compare.differences(script, real, compare.recorded(name))
    assert not found, "\n".join(found)
    assert not stale, "what is recorded is not what it answers:\n" + "\n".join(stale)


def test_enough_commands_are_compared():
    assert sum(line.mode != "-" for name in compare.scripts() for line in compare.lines(name)) >= LEAST


def test_the_guest_runs_the_series_that_the_differences_are_listed_for(guest):
    assert guest.run("zfs version").out.startswith(f"zfs-{guest.version}")
    assert guest.version.startswith("2.3.")
