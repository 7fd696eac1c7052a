"""The short form of kill_real.py: processes killed over a mixed sequence of operations on real machines."""

import pytest
from kill_real import run

pytestmark = [pytest.mark.real, pytest.mark.slow]


def test_killed_again_and_again_the_host_is_empty_in_the_end() -> None:
    assert run(kills=6, seed=20261121)["left"] == {}


@pytest.mark.long
def test_killed_a_hundred_times() -> None:
    assert run(kills=100, seed=1)["left"] == {}
