"""On-boarding on a real database and a real disk."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from manor.api.records import DescriptorFormat, Finding, Severity
from manor.catalog.contents import artifact_path
from manor.catalog.crosscheck import crosscheck
from manor.catalog.onboard import delete, onboard
from manor.catalog.validate import validate
from manor.errors import DescriptorError, UsageError
from manor.model.instance import NsInstance, OnboardingState, OperationalState, PackageKind
from manor.model.nsd import Nsd
from manor.model.vnfd import Vnfd
from manor.store import instances, packages
from manor.store.database import Database

SAMPLES = Path(__file__).parent / "samples"


@dataclass
class Reviews:
    refuse: bool = False
    seen: list[str] = field(default_factory=list)

    def descriptor_formats(self) -> Mapping[str, Any]:
        return {}

    def review_descriptor(self, descriptor: Mapping[str, Any]) -> Sequence[Finding]:
        self.seen.append(f"{descriptor['kind']} {descriptor['id']}")
        severity = Severity.ERROR if self.refuse else Severity.INFO
        return [Finding(severity=severity, code="house-rule", message="looked at")]


@dataclass
class Installation:
    home: Path
    store: Database
    plugins: Reviews

    def kept(self) -> set[str]:
        root = self.home / "packages"
        return {path.name for path in root.rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Installation]:
    store = Database.open(tmp_path / "home" / "manor.db")
    try:
        yield Installation(home=tmp_path / "home", store=store, plugins=Reviews())
    finally:
        store.close()


def test_a_package_is_kept_by_content_and_reads_back(house: Installation) -> None:
    (info,) = onboard(house, [SAMPLES / "router"])
    assert info.onboarding_state is OnboardingState.ONBOARDED
    assert info.operational_state is OperationalState.ENABLED
    assert (info.kind, info.name, info.version, info.provider) == (PackageKind.VNF, "Router", "1.10", "Example")
    disk = artifact_path(house.home, info.artifacts["Files/images/disk.raw"])
    assert disk.read_bytes() == b"a disk\n"
    assert stat.S_IMODE(disk.stat().st_mode) == 0o600
    assert stat.S_IMODE(disk.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE((house.home / "packages").stat().st_mode) == 0o700
    with house.store.read() as tx:
        vnfd = TypeAdapter(Vnfd).validate_python(packages.descriptor(tx, info.id))
        assert any(f.code == "house-rule" for f in packages.findings(tx, info.id))
    assert vnfd.flavours[0].vdus[0].boot_data.startswith("#cloud-config"), "day-0 files are read at on-boarding"
    assert house.plugins.seen[0] == f"vnfd {info.descriptor_id}"
    assert house.kept() == set(info.artifacts.values())


def test_the_same_content_again_changes_nothing(house: Installation, tmp_path: Path) -> None:
    (first,) = onboard(house, [SAMPLES / "router"])
    shutil.make_archive(str(tmp_path / "router"), "zip", SAMPLES / "router")
    (again,) = onboard(house, [tmp_path / "router.zip"])
    assert again == first
    with house.store.read() as tx:
        assert len(packages.all_of(tx)) == 1


def test_a_refused_package_leaves_nothing(house: Installation, tmp_path: Path) -> None:
    shutil.copytree(SAMPLES / "router", tmp_path / "router")
    with (tmp_path / "router" / "Scripts" / "start.sh").open("a") as script:
        script.write("# changed\n")
    with pytest.raises(DescriptorError, match=r"start\.sh") as caught:
        onboard(house, [tmp_path / "router"])
    assert [f.code for f in caught.value.findings if f.severity == "error"] == ["hash-mismatch"]
    house.plugins.refuse = True
    with pytest.raises(DescriptorError, match="looked at"):
        onboard(house, [SAMPLES / "router"])
    assert house.kept() == set()
    with house.store.read() as tx:
        assert packages.all_of(tx) == ()


def test_a_clash_in_the_database_takes_the_new_files_away_and_no_others(house: Installation, tmp_path: Path) -> None:
    (info,) = onboard(house, [SAMPLES / "router"])
    shutil.copytree(SAMPLES / "router", tmp_path / "router")
    (tmp_path / "router" / "more").write_text("other content, same descriptor id")
    with pytest.raises(UsageError, match="on-boarded already"):
        onboard(house, [tmp_path / "router"])
    assert house.kept() == set(info.artifacts.values())


def test_all_are_read_before_any_is_kept_and_vnfs_go_first(house: Installation, tmp_path: Path) -> None:
    shutil.copy(SAMPLES / "osm_nsd.yaml", tmp_path / "a_nsd.yaml")
    (tmp_path / "cloud_init").mkdir()
    (tmp_path / "cloud_init" / "cloud-config.txt").write_text("#cloud-config\n")
    shutil.copy(SAMPLES / "osm_vnfd.yaml", tmp_path / "b_vnfd.yaml")
    (tmp_path / "c_vnfd.yaml").write_text("vnfd: {id: broken}\n")
    with pytest.raises(DescriptorError, match="c_vnfd"):
        onboard(house, [tmp_path])
    assert house.kept() == set()
    (tmp_path / "c_vnfd.yaml").unlink()
    kept = onboard(house, [tmp_path])
    assert [info.kind for info in kept] == [PackageKind.VNF, PackageKind.NS]
    assert set(kept[0].artifacts) == {"b_vnfd.yaml", "cloud_init/cloud-config.txt"}, "only what a loose one names"


def test_deleting_keeps_what_others_share_and_what_is_in_use(house: Installation, tmp_path: Path) -> None:
    (router,) = onboard(house, [SAMPLES / "router"])
    (nsd,) = onboard(house, [SAMPLES / "osm_nsd.yaml"])
    with house.store.begin() as tx:
        instances.add(
            tx, NsInstance(id="0a0b0c0d", name="s", nsd_id=nsd.descriptor_id, nsd_package=nsd.id, flavour_id="")
        )
    with pytest.raises(UsageError, match="in use by s"):
        delete(house, nsd.id)
    delete(house, router.id)
    assert house.kept() == set(nsd.artifacts.values())
    with pytest.raises(UsageError):
        delete(house, router.id)


def test_boot_data_that_is_not_there_refuses(house: Installation, tmp_path: Path) -> None:
    shutil.copy(SAMPLES / "osm_vnfd.yaml", tmp_path / "vnfd.yaml")
    with pytest.raises(DescriptorError, match=r"cloud-config\.txt"):
        onboard(house, [tmp_path])


def test_a_forwarding_graph_alone_or_nothing_is_not_kept(house: Installation, tmp_path: Path) -> None:
    with pytest.raises(DescriptorError, match="forwarding graph"):
        onboard(house, [SAMPLES / "chain.yaml"])
    with pytest.raises(UsageError, match="no package"):
        onboard(house, [tmp_path])


def test_crosscheck_tells_what_neither_descriptor_can(house: Installation) -> None:
    def read(name: str) -> Mapping[str, Any]:
        (info,) = onboard(house, [SAMPLES / name])
        with house.store.read() as tx:
            return packages.descriptor(tx, info.id)

    nsd = TypeAdapter(Nsd).validate_python(read("yang_nsd.yaml"))
    vnfd = TypeAdapter(Vnfd).validate_python(read("yang.json"))
    assert crosscheck(nsd, "", {"yang": vnfd}) == ()
    assert crosscheck(nsd, "", {})[0].message == "VNF a needs VNFD yang, which is not on-boarded"
    assert crosscheck(nsd, "dff", {"yang": vnfd})[0].hint == "did you mean df?"


def test_a_plugins_language_is_translated_and_read_like_any_other(house: Installation, tmp_path: Path) -> None:
    def translated(document: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
        machine = {"type": "tosca.nodes.nfv.Vdu.Compute", "properties": {"name": document["machine"]}}
        vnf = {"type": "tosca.nodes.nfv.VNF", "properties": {"descriptor_id": document["machine"]}}
        nodes = {"vnf": vnf, "machine": machine}
        return {"tosca_definitions_version": "tosca_simple_yaml_1_3", "topology_template": {"node_templates": nodes}}

    def recognised(document: Mapping[str, Any], path: Path) -> bool:
        return "machine" in document

    language = DescriptorFormat(name="plain", summary="One machine", recognise=recognised, translate=translated)
    (tmp_path / "box.yaml").write_text("machine: box\n")
    assert validate([tmp_path])[0].accepted is None
    (item,) = validate([tmp_path], formats=[language])
    assert (item.format, str(item.kind), item.accepted) == ("plain", "vnfd", True)
    (tmp_path / "box.yaml").write_text("machine:\n  - a list\n")
    assert validate([tmp_path], formats=[language])[0].accepted is False
    broken = replace(language, translate=lambda document, path: 1 / 0)
    (item,) = validate([tmp_path], formats=[broken])
    assert (item.accepted, item.findings[0].code) == (False, "format-failed")


def test_what_a_process_that_died_left_is_swept(house: Installation) -> None:
    (info,) = onboard(house, [SAMPLES / "router"])
    stray = artifact_path(house.home, "ab" * 32)
    stray.parent.mkdir(exist_ok=True)
    stray.write_text("kept, but its row never came")
    staging = house.home / "packages" / ".staging" / "dead"
    staging.mkdir()
    (staging / "part").write_text("half a file")
    os.utime(staging, (0, 0))
    (nsd,) = onboard(house, [SAMPLES / "osm_nsd.yaml"])
    assert not staging.exists()
    delete(house, nsd.id)
    assert house.kept() == set(info.artifacts.values())
