"""A rate is told only where one is known: gaps and resets give none, and none is never zero."""

import math

from hypothesis import given
from hypothesis import strategies as st

from manor.telemetry.rates import Rates, Reading, per_second


def test_a_rate_needs_two_readings_of_a_counter_that_went_on() -> None:
    rates = Rates()
    counter = ("vm", "bytes")
    assert rates.rate(counter, 1000, 0.0) is None
    assert rates.rate(counter, 1500, 5.0) == 100.0
    assert rates.rate(counter, 1500, 10.0) == 0.0
    assert rates.rate(counter, 20, 15.0) is None, "it was reset: what it counted in between is not known"
    assert rates.rate(counter, 70, 20.0) == 10.0
    assert rates.rate(counter, 9000, 200.0) is None, "a long gap"
    assert rates.rate(counter, 9000, 199.0) is None, "an older reading changes nothing"
    assert rates.rate(counter, 9100, 201.0) == 100.0
    rates.forget(before_s=202.0)
    assert rates.rate(counter, 9200, 203.0) is None


def test_counters_that_are_read_seldom_have_rates_too() -> None:
    rates, counter = Rates(), ("vm", "bytes")
    rates.expect(120.0)
    assert rates.rate(counter, 0, 0.0) is None
    assert rates.rate(counter, 1200, 120.0) == 10.0
    assert rates.rate(counter, 1200, 480.0) == 0.0, "two of them were missed"
    assert rates.rate(counter, 9000, 900.0) is None, "a long gap"
    rates.expect(5.0)
    assert rates.rate(counter, 9000, 990.0) is None, "a long gap where they are read often"


@given(st.floats(), st.floats(), st.floats(0, 1e9), st.floats(0, 1e9))
def test_no_reading_makes_a_rate_that_is_negative_or_no_number(a: float, b: float, s: float, t: float) -> None:
    rate = per_second(Reading(value=a, time_s=s), Reading(value=b, time_s=t))
    assert rate is None or (rate >= 0 and math.isfinite(rate))
