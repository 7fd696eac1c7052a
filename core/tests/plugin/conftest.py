import sys
from pathlib import Path

import pytest

# onboarded.py is shared by these tests; importlib mode keeps their folder off the path.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What every package's images are."""
    path = tmp_path / "image"
    path.write_bytes(b"kernel")
    monkeypatch.setattr("manor.catalog.contents.artifact_path", lambda _home, _sha256: path)
    return path
