import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

# assured_site.py is shared by the tests of this folder.
sys.path.insert(0, str(Path(__file__).parent))

from assured_site import Site, site

from manor.cli import main


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


@pytest.fixture
def manor(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run a command on a site's home beside its loop; stdout, or its JSON with ``--json`` as the first word."""

    def run(site: Site, *args: str, expect: int = 0) -> Any:
        capsys.readouterr()
        monkeypatch.setenv("MANOR_HOME", str(site.rt.home))
        code = main(args)
        said = capsys.readouterr()
        assert code == expect, said.err
        return json.loads(said.out) if args[0] == "--json" else said.out + said.err

    return run
