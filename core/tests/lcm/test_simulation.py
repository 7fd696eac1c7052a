"""Random histories end well: a few each time, some in the whole suite, thousands in the long runs."""

from __future__ import annotations

from collections.abc import Iterator

import many_histories
import pytest
from histories import Lived, live, staged


@pytest.fixture
def lived() -> Iterator[Lived]:
    with staged() as lived:
        yield lived


def test_a_few_histories(lived: Lived) -> None:
    live(4)
    assert lived.histories >= 4


@pytest.mark.slow
def test_some_histories(lived: Lived) -> None:
    live(40)
    assert lived.histories >= 40


@pytest.mark.slow
def test_a_seed_gives_the_same_histories_again() -> None:
    first, second = (many_histories.share(7, histories=3) for _ in range(2))
    assert first.lived >= 3
    assert (first.lived, first.events, first.digest) == (second.lived, second.events, second.digest)


@pytest.mark.long
def test_ten_thousand_histories() -> None:
    assert many_histories.main(["--histories", "10000", "--seed", "1"]) == 0
