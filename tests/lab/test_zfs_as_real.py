"""The lab answers as real OpenZFS has answered (tests/openzfs/recorded). The rest of the scripts, and whether the
records are right, is for make test-long."""

from __future__ import annotations

import pytest

from tests.openzfs import compare

# What nothing else here tries.
QUICK = ("clone", "crypt")


@pytest.mark.parametrize("name", QUICK)
def test_it_answers_as_openzfs_has_answered(name):
    script = compare.lines(name)
    found = compare.differences(script, compare.recorded(name), compare.ask_lab(script))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", compare.scripts())
def test_all_that_is_recorded_is_of_the_script_as_it_is(name):
    assert len(compare.recorded(name)) == len(compare.lines(name))
