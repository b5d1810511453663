from __future__ import annotations

import os
import threading
import time

import pytest

from bhype.host.locks import hold


@pytest.fixture
def twice(tmp_path):
    """Two open descriptions of one file."""
    both = [os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT) for _ in range(2)]
    yield both
    for descriptor in both:
        os.close(descriptor)


def test_one_of_two_holds_it_until_all_who_have_it_open_are_gone(twice):
    one, other = twice
    copy = os.dup(one)
    assert hold(one) and hold(one)
    assert not hold(other) and not hold(other, 0.1)
    os.close(one)
    assert not hold(other)
    os.close(copy)
    assert hold(other)
    twice[0] = os.dup(other)


def test_it_is_waited_for(twice):
    one, other = twice
    assert hold(one)

    def let_go() -> None:
        time.sleep(0.2)
        os.close(os.dup(one))  # a copy that is closed lets nothing go
        twice[0] = os.dup(other)
        os.close(one)

    thread = threading.Thread(target=let_go)
    thread.start()
    assert hold(other, 60)
    thread.join()
