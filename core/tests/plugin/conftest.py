from pathlib import Path

import pytest


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What every package's images are."""
    path = tmp_path / "image"
    path.write_bytes(b"kernel")
    monkeypatch.setattr("manor.catalog.contents.artifact_path", lambda _home, _sha256: path)
    return path
