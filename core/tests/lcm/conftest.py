import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# lcm_world.py is shared by the tests of this folder and by those of tests/crash.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def fast_path() -> Iterator[Path]:
    """A directory in memory where there is one: these tests commit thousands of times, and test no disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None, prefix="manor-test-") as path:
        yield Path(path)
