import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# lcm_world.py is shared by the tests of this folder and by those of tests/crash.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def fast_path() -> Iterator[Path]:
    """A directory in memory: these tests commit thousands of times, and test no disk."""
    from in_memory import directory

    with directory() as path:
        yield path
