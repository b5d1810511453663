from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from bhype.freebsd.netstat import Counters
from network.traffic.spans import SPANS, Meter

START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def counters(octets: int, *, name: str = "tap1001") -> Counters:
    return Counters(name, True, octets, 2 * octets, octets // 100, octets // 50, 0)


def test_a_span_that_is_over_is_told_once_with_its_mean_rates():
    meter = Meter()
    assert meter.look(at(0), {"nic:1": counters(1000)}) == []
    (one,) = meter.look(at(10), {"nic:1": counters(3000)})
    assert (one.port, one.at, one.seconds) == ("nic:1", START, 10)
    assert (one.octets_in, one.octets_out, one.packets_in) == (200.0, 400.0, 2.0)
    assert not meter.is_due(at(19)) and meter.is_due(at(20))


def test_after_a_minute_the_minute_is_told_too():
    meter = Meter()
    told = [
        rates for step in range(7) for rates in meter.look(at(10 * step), {"nic:1": counters(600 * step)})
    ]
    assert [rates.seconds for rates in told] == [10] * 6 + [60]
    assert {rates.octets_in for rates in told} == {60.0}


def test_a_counter_that_went_back_is_an_interface_made_anew():
    meter = Meter()
    meter.look(at(0), {"nic:1": counters(9000)})
    (one,) = meter.look(at(10), {"nic:1": counters(500)})
    assert one.octets_in == 50.0


def test_another_interface_of_the_same_port_is_measured_from_now_on():
    meter = Meter()
    meter.look(at(0), {"uplink:em0": counters(100)})
    assert meter.look(at(10), {"uplink:em0": counters(10**12, name="em1")}) == []


def test_a_port_that_comes_later_is_measured_while_it_is_there():
    meter = Meter()
    meter.look(at(0), {})
    assert meter.look(at(30), {"nic:1": counters(7000)}) == []
    told = meter.look(at(60), {"nic:1": counters(7300)})
    assert {(rates.seconds, rates.octets_in) for rates in told} == {(10, 10.0), (60, 10.0)}
    # It went off: the minute in which it was there has been told, and no more is.
    assert meter.look(at(120), {}) == []


def test_a_clock_that_was_set_back_tells_nothing():
    meter = Meter()
    meter.look(at(100), {"nic:1": counters(1000)})
    assert meter.look(at(10), {"nic:1": counters(2000)}) == []


@given(
    st.lists(
        st.tuples(st.integers(1, 40), st.one_of(st.none(), st.integers(0, 10**9))), min_size=2, max_size=60
    )
)
def test_no_rate_is_negative_and_no_span_is_told_twice(steps):
    meter, told, moment = Meter(), [], 0
    for seconds, octets in steps:
        moment += seconds
        told += meter.look(at(moment), {} if octets is None else {"nic:1": counters(octets)})
    assert all(min(r.octets_in, r.octets_out, r.packets_in, r.packets_out, r.drops) >= 0 for r in told)
    spans = [(rates.port, rates.seconds, rates.at) for rates in told]
    assert len(spans) == len(set(spans))
    assert {rates.seconds for rates in told} <= {span.seconds for span in SPANS}
