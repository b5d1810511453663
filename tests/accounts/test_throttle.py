from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bhype.accounts.throttle import FIRST_WAIT, LONGEST_WAIT, MEMORY, USER_LIMIT, Throttle, wait_after


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_first_failures_cost_nothing_then_waits_double():
    clock = Clock()
    throttle = Throttle(clock=clock)
    waits = []
    for _ in range(9):
        waits.append(throttle.wait("user:a"))
        clock.now += waits[-1]
        throttle.fail("user:a")
    assert waits == [0, 0, 0, 0, 0, 30, 60, 120, 240]


def test_a_wait_never_exceeds_a_quarter_of_an_hour():
    clock = Clock()
    throttle = Throttle(clock=clock)
    for _ in range(100):
        throttle.fail("user:a")
    assert throttle.wait("user:a") == LONGEST_WAIT


def test_names_and_addresses_are_counted_apart():
    throttle = Throttle(clock=Clock())
    for number in range(20):
        throttle.fail(f"user:{number}", "address:192.0.2.1")
    assert throttle.wait("user:7") == 0
    assert throttle.wait("user:new", "address:192.0.2.1") == FIRST_WAIT
    assert throttle.wait("user:new", "address:192.0.2.2") == 0


def test_quiet_for_a_quarter_of_an_hour_is_forgotten():
    clock = Clock()
    throttle = Throttle(clock=clock)
    for _ in range(8):
        throttle.fail("user:a")
    clock.now += MEMORY
    assert throttle.wait("user:a") == 0
    throttle.fail("user:a")
    assert throttle.wait("user:a") == 0


def test_an_attempt_taken_back_does_not_bring_its_wait_back():
    clock = Clock()
    throttle = Throttle(clock=clock)
    for _ in range(22):
        throttle.fail("address:a")
    clock.now += throttle.wait("address:a")
    throttle.fail("address:a")
    throttle.take_back("address:a")
    assert throttle.wait("address:a") == 0


def test_success_forgets_the_name():
    throttle = Throttle(clock=Clock())
    for _ in range(8):
        throttle.fail("user:a")
    throttle.forget("user:a")
    assert throttle.wait("user:a") == 0 and len(throttle) == 0


def test_memory_is_bounded():
    throttle = Throttle(capacity=10, clock=Clock())
    for number in range(1000):
        throttle.fail(f"user:{number}")
    assert len(throttle) == 10


@given(st.integers(0, 10**6), st.floats(0, 10**6), st.just(USER_LIMIT))
def test_waits_are_within_bounds(failures, ago, limit):
    wait = wait_after(failures, ago, limit)
    assert 0 <= wait <= LONGEST_WAIT
    assert wait_after(failures + 1, ago, limit) >= wait
