"""Packaging: wrappings, metadata and hashes, and what is refused before it costs anything."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from manor.catalog.validate import Item, all_accepted, validate

SAMPLES = Path(__file__).parent / "samples"
HEAD = "tosca_definitions_version: tosca_simple_yaml_1_3\n"


def read(path: Path) -> Item:
    (item,) = validate([path])
    return item


def codes(item: Item) -> list[str]:
    return [f.code for f in item.findings if f.severity == "error"]


def members(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def make_zip(path: Path, content: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def make_tar(path: Path, content: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def router() -> dict[str, bytes]:
    return members(SAMPLES / "router")


def test_a_csar_reads_the_same_as_folder_and_archive(tmp_path: Path) -> None:
    folder = read(SAMPLES / "router")
    archive = read(make_zip(tmp_path / "router.csar", router()))
    assert folder.accepted
    assert archive.accepted
    assert folder.reading is not None
    assert archive.reading is not None
    assert folder.reading.descriptor == archive.reading.descriptor


def test_without_tosca_meta_the_template_at_the_root_is_the_entry(tmp_path: Path) -> None:
    content = {"service.yaml": (SAMPLES / "service.yaml").read_bytes()}
    digest = hashlib.sha256(content["service.yaml"]).hexdigest()
    content["service.mf"] = f"metadata:\n\nSource: service.yaml\nAlgorithm: SHA-256\nHash: {digest}\n".encode()
    item = read(make_zip(tmp_path / "service.csar", content))
    assert (str(item.kind), item.accepted) == ("nsd", True)
    content["service.yaml"] += b"\n# changed\n"
    assert codes(read(make_zip(tmp_path / "service.csar", content))) == ["hash-mismatch"]


def test_an_osm_package_is_a_tarball_with_its_folder(tmp_path: Path) -> None:
    text = (SAMPLES / "osm_vnfd.yaml").read_bytes()
    content = {
        "probe/probe_vnfd.yaml": text,
        "probe/cloud_init/cloud-config.txt": b"#cloud-config\n",
        "probe/checksums.txt": f"{hashlib.md5(text).hexdigest()} probe_vnfd.yaml\n".encode(),
    }
    item = read(make_tar(tmp_path / "probe.tar.gz", content))
    assert (item.format, str(item.kind), item.accepted) == ("sol006", "vnfd", True)
    assert not [f for f in item.findings if f.severity == "warning"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"Definitions/small.yaml": b"\n# changed\n"}, "hash-mismatch"),
        ({"Files/images/disk.raw": b"another disk"}, "hash-mismatch"),
        ({"router.mf": b"\nSource: Scripts/start.sh\nAlgorithm: SHA-256\nHash: 12\n"}, "hash-malformed"),
        ({"router.mf": b"\nSource: Scripts/start.sh\nHash: 12\n"}, "hash-incomplete"),
        ({"router.mf": b"\nSource: Scripts/start.sh\nAlgorithm: ROT-13\nHash: 12\n"}, "hash-algorithm"),
    ],
)
def test_integrity_is_checked(tmp_path: Path, change: dict[str, bytes], code: str) -> None:
    content = router()
    for name, more in change.items():
        content[name] += more
    item = read(make_zip(tmp_path / "router.csar", content))
    assert item.accepted is False
    assert set(codes(item)) == {code}
    assert all(f.line or f.file.endswith(".raw") for f in item.findings if f.severity == "error")


def test_a_missing_artifact_is_a_matter_of_packaging_a_missing_entry_is_not(tmp_path: Path) -> None:
    content = router()
    del content["Scripts/start.sh"]
    item = read(make_zip(tmp_path / "router.csar", content))
    assert item.accepted
    assert {f.code for f in item.findings if f.severity == "warning"} == {"artifact-missing"}
    content = router()
    content["TOSCA-Metadata/TOSCA.meta"] = b"entry-definitions: Definitions/ruoter.yaml\n"
    item = read(make_zip(tmp_path / "router.csar", content))
    assert codes(item) == ["entry-missing"]
    assert item.findings[0].hint == "did you mean Definitions/router.yaml?"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("../../etc/cron.d/x", "path-escapes"),
        ("a/../../x", "path-escapes"),
        ("/etc/passwd", "path-absolute"),
        ("C:\\windows\\x", "path-absolute"),
        ("a\\..\\..\\x", "path-escapes"),
    ],
)
def test_names_that_leave_the_package_are_refused(tmp_path: Path, name: str, code: str) -> None:
    content = {**router(), name: b"x"}
    assert codes(read(make_zip(tmp_path / "x.csar", content))) == [code]
    assert codes(read(make_tar(tmp_path / "x.tar.gz", content))) == [code]


def test_links_out_of_the_package_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "router"
    shutil.copytree(SAMPLES / "router", folder)
    (folder / "inside").symlink_to("Definitions/small.yaml")
    assert read(folder).accepted
    (folder / "outside").symlink_to("/etc/hostname")
    assert codes(read(folder)) == ["link-escapes"]
    with zipfile.ZipFile(tmp_path / "x.csar", "w") as archive:
        link = zipfile.ZipInfo("TOSCA-Metadata/TOSCA.meta")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    assert codes(read(tmp_path / "x.csar")) == ["link-escapes"]
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("vnfd.yaml")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    assert codes(read(tmp_path / "x.tar.gz")) == ["link-escapes"]


def test_bombs_are_refused_without_being_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.csar", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x", "w") as out:
        for _ in range(80):
            out.write(bytes(1 << 20))
    assert codes(read(tmp_path / "x.csar")) == ["archive-bomb"]
    member = tarfile.TarInfo("x")
    member.size = 80 << 20
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(member.tobuf() + bytes(80 << 20), 1))
    assert codes(read(tmp_path / "x.tar.gz")) == ["archive-bomb"]
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 80 << 20
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(member.tobuf() + bytes(80 << 20), 1))
    assert codes(read(tmp_path / "x.tar.gz")) == ["archive-damaged"]


def test_too_many_and_doubled_members(tmp_path: Path) -> None:
    assert codes(read(make_zip(tmp_path / "x.csar", {f"f{n}": b"" for n in range(10_001)}))) == ["archive-members"]
    with zipfile.ZipFile(tmp_path / "x.csar", "w") as archive:
        archive.writestr("TOSCA-Metadata/TOSCA.meta", "Entry-Definitions: a.yaml")
        archive.writestr("TOSCA-Metadata//TOSCA.meta", "Entry-Definitions: b.yaml")
    assert codes(read(tmp_path / "x.csar")) == ["archive-duplicate"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
            f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 10)}]\n" for n in range(8)
        ), "yaml-bomb"),
        ("a: " + "[" * 5000, "yaml-deep"),
        ("a: &a {b: *a}\n", "yaml-alias"),
        ("a: *nowhere\n", "yaml-alias"),
        ("a: 1\nb: {c: 1, c: 2}\n", "yaml-duplicate-key"),
        ("? [a]\n: 1\n", "yaml-key"),
        ("a: [1\n", "yaml-syntax"),
        ("<<: [1]\n", "yaml-merge"),
    ],
)  # fmt: skip
def test_hostile_yaml_is_refused_with_its_line(tmp_path: Path, text: str, code: str) -> None:
    (tmp_path / "x.yaml").write_text(HEAD + text)
    item = read(tmp_path / "x.yaml")
    assert codes(item) == [code]
    assert item.findings[0].line >= 2


def test_tags_construct_nothing(tmp_path: Path) -> None:
    flag = tmp_path / "made"
    (tmp_path / "x.yaml").write_text(f'{HEAD}topology_template: !!python/object/apply:os.mkdir ["{flag}"]\n')
    assert read(tmp_path / "x.yaml").accepted is False
    assert not flag.exists()


def test_merge_keys_and_aliases_are_ordinary_yaml(tmp_path: Path) -> None:
    text = """
.machine: &machine
  type: tosca.nodes.nfv.Vdu.Compute
  capabilities: {virtual_compute: {properties: {virtual_memory: {virtual_mem_size: 1 GiB}}}}
topology_template:
  node_templates:
    a: *machine
    b: {<<: *machine, properties: {name: bee}}
"""
    (tmp_path / "x.yaml").write_text(HEAD + text)
    item = read(tmp_path / "x.yaml")
    assert item.accepted
    assert item.reading is not None
    vdus = item.reading.descriptor.flavours[0].vdus
    assert [(vdu.id, vdu.name, vdu.compute.virtual_mem_size_bytes) for vdu in vdus] == [
        ("a", "a", 1 << 30),
        ("b", "bee", 1 << 30),
    ]


def test_a_walk_makes_one_item_a_package_or_descriptor(tmp_path: Path) -> None:
    shutil.copytree(SAMPLES / "router", tmp_path / "router")
    make_zip(tmp_path / "router.csar", router())
    shutil.copy(SAMPLES / "osm_nsd.yaml", tmp_path)
    (tmp_path / "types.yaml").write_text(HEAD + "node_types: {a.B: {derived_from: tosca.nodes.nfv.VNF}}\n")
    (tmp_path / "heat.yaml").write_text("heat_template_version: 2013-05-23\nresources: {}\n")
    (tmp_path / "pods.yaml").write_text("apiVersion: v1\nkind: Pod\n---\napiVersion: v1\nkind: Pod\n")
    (tmp_path / "chart.yaml").write_text("{{- if .Values.x }}\na: b\n{{ end }}\n")
    (tmp_path / "broken.yaml").write_text("vnfd:\n  id: [\n")
    items = validate([tmp_path])
    assert [(Path(i.path).name, str(i.kind), i.accepted) for i in items] == [
        ("broken.yaml", "unknown", False),
        ("chart.yaml", "other", None),
        ("heat.yaml", "other", None),
        ("osm_nsd.yaml", "nsd", True),
        ("pods.yaml", "other", None),
        ("router.csar", "vnfd", True),
        ("types.yaml", "other", None),
        ("router", "vnfd", True),
    ]
    assert not all_accepted(items)
    assert all_accepted(items[1:])
    assert items[0].to_json()["findings"][0]["severity"] == "error"


def test_a_flavour_template_alone_is_not_refused_for_being_a_part() -> None:
    for name in ("router.yaml", "small.yaml", "large.yaml"):
        assert read(SAMPLES / "router" / "Definitions" / name).accepted, name


def test_what_is_not_there_is_an_item_too(tmp_path: Path) -> None:
    item = read(tmp_path / "nowhere.csar")
    assert codes(item) == ["path-missing"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csar"
    path.write_bytes(b"PK")
    path.chmod(0)
    assert codes(read(path)) == ["file-unreadable"]
