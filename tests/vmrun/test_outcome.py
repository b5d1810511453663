"""What the end of a bhyve means."""

from __future__ import annotations

import pytest

from bhype.vmrun.outcome import CRASHED, FAILED, STOPPED, Patience, Restarts, judge


@pytest.mark.parametrize(
    ("code", "state", "reason"),
    [
        (0, STOPPED, "The guest rebooted."),
        (1, STOPPED, "The guest powered off."),
        (2, STOPPED, "The guest halted."),
        (3, FAILED, "The guest ended in a triple fault."),
        (4, FAILED, "bhyve could not run the guest. It said: bind: Address already in use"),
        (64, FAILED, "bhyve refused its command line. It said: bind: Address already in use"),
        (134, CRASHED, "bhyve ended with exit status 134. It said: bind: Address already in use"),
        (-9, CRASHED, "bhyve was killed by signal 9. It said: bind: Address already in use"),
        (None, CRASHED, "bhyve ended while nobody watched how."),
    ],
)
def test_each_status_has_its_state_and_reason(code, state, reason):
    said = "rdmsr to register 0x140\nbind: Address already in use\nwrmsr to register 0x1(0x0) on vcpu 0"
    outcome = judge(code, said)
    assert (outcome.state, outcome.reason) == (state, reason)


def test_bad_usage_also_ends_with_one_and_is_a_failure():
    assert judge(1, "bhyve: bad\nUsage: bhyve [-aCDeHhPSuWwxY]\n").state == FAILED


def test_what_was_asked_for_is_no_crash():
    assert judge(-15, "", asked=True).reason.startswith("It was ended at once")
    assert judge(-9, "", asked=True, forced=True).state == STOPPED
    assert judge(None, "", asked=True).state == STOPPED
    assert judge(1, "", asked=True).reason == "The guest powered off."


def test_a_guest_that_reboots_now_and_then_is_started_at_once():
    restarts = Restarts(Patience())
    assert max(restarts.pause(now=100.0 * n, ran=100.0) for n in range(50)) < 0.1


def test_a_guest_that_cannot_come_up_is_given_up():
    restarts = Restarts(Patience())
    pauses = [restarts.pause(now=float(n), ran=1.0) for n in range(Patience().limit + 1)]
    assert pauses[-1] is None
    assert pauses[0] > 0
    assert pauses[:-1] == sorted(pauses[:-1])
    assert max(pauses[:-1]) <= 1.0


def test_the_wait_doubles_to_its_longest_and_is_short_again_after_a_long_run():
    restarts = Restarts(Patience(limit=None, delay=1, longest=60))
    pauses = [restarts.pause(now=0.0, ran=0.5) for _ in range(8)]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    assert restarts.pause(now=0.0, ran=3600.0) == 1
    assert [restarts.pause(now=0.0, ran=0.5) for _ in range(2000)][-1] == 60


def test_a_limit_of_none_at_all_starts_nothing_again():
    assert Restarts(Patience(limit=0)).pause(now=0.0, ran=100.0) is None


def test_a_bhyve_that_lost_its_tpm_did_not_power_off():
    said = "bhyve: tpm_swtpm_execute_cmd: cmd send failed, is swtpm running?: Broken pipe"
    assert judge(1, said).state == CRASHED
