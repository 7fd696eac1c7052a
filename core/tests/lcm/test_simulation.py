"""Random histories end well: some in the whole suite, thousands in the long runs.

Always the same ones, each run in a process of its own: hypothesis draws also from the constants of whatever modules
are loaded, which beside other tests are others each time.
"""

from __future__ import annotations

import subprocess
import sys

import many_histories
import pytest


def live(histories: int) -> None:
    argv = [sys.executable, many_histories.__file__, "--histories", str(histories), "--seed", "1", "--processes", "1"]
    lived = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert lived.returncode == 0, lived.stdout + lived.stderr
    assert "ended well" in lived.stdout


@pytest.mark.slow
def test_some_histories() -> None:
    live(40)


@pytest.mark.slow
def test_a_seed_gives_the_same_histories_again() -> None:
    first, second = (many_histories.share(7, histories=3) for _ in range(2))
    assert first.lived >= 3
    assert (first.lived, first.events, first.digest) == (second.lived, second.events, second.digest)


@pytest.mark.long
def test_ten_thousand_histories() -> None:
    assert many_histories.main(["--histories", "10000", "--seed", "1"]) == 0
