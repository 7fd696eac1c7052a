"""How long the loop waits between its rounds: as long as the operator says, and longer where looking is slow."""

import pytest

from manor.assure.loop import rest_s


@pytest.mark.parametrize(
    ("took_s", "observe_s", "rest"),
    [
        (0.0, 1.0, 1.0),
        (0.0, 60.0, 60.0),
        (2.0, 60.0, 56.0),
        (0.25, 1.0, 2.0),  # a tenth of the time is for looking
        (30.0, 1.0, 5.0),  # but no machine is left alone for minutes
    ],
)
def test_the_period_that_was_asked_for_is_kept_where_looking_takes_less(
    took_s: float, observe_s: float, rest: float
) -> None:
    assert rest_s(took_s, observe_s) == rest
