"""The builder's own promises: same input, same bits; an order of modules that can be inserted; whole packages."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from csar import pack
from images.cpio import write_archive
from images.debs import BuildError
from images.modules import insertion_order, needs
from images.vnf import BuiltFile, VnfImage

DESCRIPTORS = Path(__file__).resolve().parents[2] / "descriptors"


def archive(root: Path) -> bytes:
    out = io.BytesIO()
    write_archive(root, out)
    return out.getvalue()


def tree(root: Path, names: list[str]) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


def test_an_archive_depends_on_content_alone(tmp_path: Path) -> None:
    one = tree(tmp_path / "one", ["b", "a", "d/c"])
    other = tree(tmp_path / "other", ["d/c", "a", "b"])
    os.utime(other / "a", (1, 1))
    other.joinpath("b").chmod(0o600)
    assert archive(one) == archive(other)
    other.joinpath("b").chmod(0o700)
    assert archive(one) != archive(other)


@pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is the judge")
def test_cpio_reads_the_archive(tmp_path: Path) -> None:
    root = tree(tmp_path / "root", ["sbin/init", "etc/motd"])
    root.joinpath("init").symlink_to("/sbin/init")
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["cpio", "-i", "--quiet"], input=archive(root), cwd=out, check=True)
    assert (out / "etc/motd").read_text() == "etc/motd"
    assert (out / "init").readlink() == Path("/sbin/init")


def test_modules_come_after_what_they_need() -> None:
    depends = {"net": ["failover", "ring"], "failover": [], "ring": ["core"], "core": []}
    order = insertion_order(["net", "ring"], depends)
    assert sorted(order) == sorted(depends)
    assert all(order.index(need) < order.index(name) for name in order for need in depends[name])


def test_a_module_says_what_it_needs() -> None:
    assert needs(b"\x7fELF\0license=GPL\0depends=virtio,net-failover\0retpoline=Y\0") == ["virtio", "net_failover"]
    assert needs(b"\0depends=\0") == []


@pytest.mark.parametrize(
    ("depends", "says"), [({"a": ["b"]}, "b < a"), ({"a": ["b"], "b": ["a"]}, "depends on itself")]
)
def test_modules_that_cannot_be_had_are_named(depends: dict[str, list[str]], says: str) -> None:
    with pytest.raises(BuildError, match=says):
        insertion_order(["a"], depends)


def fake_image(folder: Path) -> VnfImage:
    files = []
    for name in ("vmlinuz", "initramfs"):
        path = folder / name
        path.write_bytes(name.encode() * 100)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        files.append(BuiltFile(path=str(path), sha256=digest, size_bytes=path.stat().st_size))
    return VnfImage(recipe="", packages=(), kernel=files[0], initramfs=files[1])


PACKAGES = sorted(meta.parents[1] for meta in DESCRIPTORS.glob("*/*/TOSCA-Metadata/TOSCA.meta"))


@pytest.mark.parametrize("folder", PACKAGES, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_every_file_of_a_package_is_in_the_manifest_with_its_hash(folder: Path, tmp_path: Path) -> None:
    image = fake_image(tmp_path)
    pack(folder, image, tmp_path / "one.csar")
    pack(folder, image, tmp_path / "two.csar")
    assert (tmp_path / "one.csar").read_bytes() == (tmp_path / "two.csar").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.csar") as archive:
        names = set(archive.namelist())
        [manifest] = [name for name in names if name.endswith(".mf")]
        blocks = archive.read(manifest).decode().split("\n\n")[1:]
        listed = {}
        for block in blocks:
            fields = dict(line.split(": ", 1) for line in block.strip().splitlines())
            listed[fields["Source"]] = fields["Hash"]
        assert set(listed) == names - {manifest}
        for name, digest in listed.items():
            assert hashlib.sha256(archive.read(name)).hexdigest() == digest
        text = b"".join(archive.read(name) for name in names if name.endswith(".yaml")).decode()
    assert "@KERNEL" not in text
    assert "@INITRAMFS" not in text
    assert (image.kernel.sha256 in text) == ("Files/images/vmlinuz" in names)


def test_the_demo_has_packages() -> None:
    assert {f"{folder.parent.name}/{folder.name}" for folder in PACKAGES} >= {
        "secure-web/client",
        "secure-web/firewall",
        "secure-web/monitor",
        "secure-web/web",
        "secure-web/nsd",
        "hello-vm/hello",
        "hello-vm/nsd",
    }
