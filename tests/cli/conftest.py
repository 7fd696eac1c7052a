"""A home with the fakes as VIM and controller, and the demo's own packages around images of a few bytes."""

import hashlib
import sys
from pathlib import Path

import pytest

# shell.py is shared by these tests; importlib mode keeps their folder off the path.
sys.path.insert(0, str(Path(__file__).parent))

from shell import Cli

DESCRIPTORS = Path(__file__).parents[2] / "descriptors"


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sys.path.insert(0, str(DESCRIPTORS))
    try:
        from csar import pack
        from images.vnf import BuiltFile, VnfImage
    finally:
        sys.path.remove(str(DESCRIPTORS))
    made = tmp_path_factory.mktemp("packages")

    def built(name: str) -> BuiltFile:
        path = made / name
        path.write_bytes(name.encode())
        return BuiltFile(path=str(path), sha256=hashlib.sha256(name.encode()).hexdigest(), size_bytes=len(name))

    image = VnfImage(recipe="", packages=(), kernel=built("vmlinuz"), initramfs=built("initramfs"))
    out = tmp_path_factory.mktemp("archives")
    for meta in DESCRIPTORS.glob("secure-web/*/TOSCA-Metadata/TOSCA.meta"):
        pack(meta.parents[1], image, out / f"{meta.parents[1].name}.csar")
    return out


@pytest.fixture
def manor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    monkeypatch.setenv("MANOR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MANOR_DB", raising=False)
    if (elsewhere := sys.modules.get("on_postgresql")) is not None:  # for processes of their own too
        monkeypatch.setenv("MANOR_DB", elsewhere.another())
    return Cli(tmp_path / "home", capsys.readouterr)


@pytest.fixture
def site(manor: Cli, packages: Path) -> Cli:
    """With a VIM, a controller and the packages on board."""
    manor.good("vim", "add", "lab", "--driver", "fake")
    manor.good("sdn", "add", "net", "--driver", "fake")
    manor.good("package", "onboard", str(packages))
    return manor
