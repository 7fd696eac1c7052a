import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

# assured_site.py is shared by the tests of this folder.
sys.path.insert(0, str(Path(__file__).parent))

from assured_site import Site, site


@pytest.fixture
def make_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Site]]:
    """A site with these settings; several would share a home."""
    image = tmp_path / "image"
    image.write_bytes(b"kernel")
    monkeypatch.setattr("manor.catalog.contents.artifact_path", lambda _home, _sha256: image)
    with ExitStack() as stack:

        def make(**settings: Any) -> Site:
            return stack.enter_context(site(tmp_path, image, **settings))

        yield make
