"""SOL006 descriptors, ETSI's own way and OSM's."""

from __future__ import annotations

from pathlib import Path

import pytest

from manor.api.resources import PortRange, SecurityRule, Subnet
from manor.catalog.validate import Item, validate
from manor.model.nsd import CpRef, Nsd
from manor.model.vnfd import Vnfd

SAMPLES = Path(__file__).parent / "samples"


def read(path: Path) -> Item:
    (item,) = validate([path])
    return item


def descriptor(name: str) -> Vnfd | Nsd:
    item = read(SAMPLES / name)
    assert item.accepted, [f.message for f in item.findings]
    assert item.reading is not None
    assert item.reading.descriptor is not None
    return item.reading.descriptor


def test_a_vnfd_as_osm_writes_it() -> None:
    vnfd = descriptor("osm_vnfd.yaml")
    assert isinstance(vnfd, Vnfd)
    (df,) = vnfd.flavours
    (vdu,) = df.vdus
    assert (vnfd.id, vnfd.version, vnfd.product_name) == ("probe", "1.0", "Probe")
    assert (vdu.compute.num_virtual_cpu, vdu.compute.virtual_mem_size_bytes) == (1, 1 << 30)
    assert vnfd.storages[0].size_of_storage_bytes == 10 << 30
    assert [cpd.id for cpd in vdu.int_cpds] == ["eth0", "eth1", "eth2"], "OSM's position gives the order"
    assert vdu.int_cpds[0].interface_type == "VIRTIO"
    assert vdu.int_cpds[2].int_virtual_link_desc == "inner"
    assert [(cpd.id, cpd.int_cpd, cpd.management) for cpd in vnfd.ext_cpds] == [
        ("mgmt", "eth0", True),
        ("data", "eth1", False),
    ]
    assert (vdu.images, vnfd.images[0].file) == (("ubuntu",), "ubuntu22.04")
    assert df.vdu_profiles[0].max_number_of_instances == 4
    assert df.instantiation_levels[0].vdu_levels == {"probe": 1}
    assert df.scaling_aspects[0].deltas == {"one": {"probe": 1}}


@pytest.mark.parametrize(
    ("was", "becomes", "vnic_type"),
    [
        ("{type: PARAVIRT}", "{type: SR-IOV}", "direct"),
        ("{type: PARAVIRT}", "{type: PCI-PASSTHROUGH}", "direct-physical"),
        ("{type: PARAVIRT}", "{type: E1000}", ""),
        ("position: 2,", "position: 2, support-mandatory: true, network-interface-requirements: [SR-IOV],", "direct"),
    ],
)
def test_an_interface_of_the_network_card_is_asked_for(tmp_path: Path, was: str, becomes: str, vnic_type: str) -> None:
    text = (SAMPLES / "osm_vnfd.yaml").read_text()
    (tmp_path / "osm_vnfd.yaml").write_text(text.replace(was, becomes))
    item = read(tmp_path / "osm_vnfd.yaml")
    assert item.reading is not None
    assert isinstance(item.reading.descriptor, Vnfd)
    eth1 = item.reading.descriptor.flavours[0].vdus[0].int_cpds[1]
    assert (eth1.id, eth1.vnic_type) == ("eth1", vnic_type)
    assert any("E1000" in f.message for f in item.findings if f.code == "unhandled") == (not vnic_type)


def test_what_osm_has_beyond_machines_is_kept_and_named() -> None:
    item = read(SAMPLES / "osm_vnfd.yaml")
    vnfd = descriptor("osm_vnfd.yaml")
    assert vnfd.unhandled["kdu"] == [{"name": "chart", "helm-chart": "example/chart"}]
    assert "df[0]/lcm-operations-configuration/operate-vnf-op-config" in vnfd.unhandled
    named = [f.message for f in item.findings if f.code == "unhandled"]
    assert any(message.startswith("kdu") for message in named)


def test_an_nsd_as_osm_writes_it_names_links_where_profiles_belong() -> None:
    nsd = descriptor("osm_nsd.yaml")
    assert isinstance(nsd, Nsd)
    assert [(link.id, link.management, link.vim_network_name) for link in nsd.virtual_links] == [
        ("mgmtnet", True, "management"),
        ("datanet", False, ""),
    ]
    (profile,) = nsd.flavours[0].vnf_profiles
    assert [(c.virtual_link, c.cpds) for c in profile.connectivity] == [("mgmtnet", ("mgmt",)), ("datanet", ("data",))]


def test_json_with_module_prefixes_tabs_and_surrogate_pairs() -> None:
    vnfd = descriptor("yang.json")
    assert isinstance(vnfd, Vnfd)
    (df,) = vnfd.flavours
    (vdu,) = df.vdus
    assert vnfd.provider == "Example \N{GRINNING FACE}"
    assert vnfd.version == "1.10"
    assert (vdu.compute.virtual_mem_size_bytes, vdu.compute.pinning_policy) == (512 << 20, "static")
    assert (vnfd.storages[0].size_of_storage_bytes, vnfd.storages[0].image) == (3 << 30, "i")
    assert vdu.int_cpds[0].layer_protocols == ("ipv4",)
    assert vdu.int_cpds[0].security == (
        SecurityRule(direction="ingress", protocol="tcp", ports=PortRange(lower=80, upper=81)),
    )
    assert vnfd.images[0].checksum_algorithm == "sha-256"
    assert (df.affinity[0].anti, df.affinity[0].members) == (True, ("one",))
    assert df.scaling_aspects[0].step_deltas == ("d",)
    assert df.operations == ("scale-vnf-to-level",)
    assert vnfd.scripts[0].event == "instantiate_end"


def test_an_nsd_of_etsi_with_profiles_and_a_path() -> None:
    nsd = descriptor("yang_nsd.yaml")
    assert isinstance(nsd, Nsd)
    (df,) = nsd.flavours
    assert df.vnf_profiles[0].connectivity[0].virtual_link == "lan", "a link profile is resolved to its link"
    assert nsd.virtual_links[0].subnets == (Subnet(cidr="10.0.0.0/24"),)
    assert nsd.virtual_links[0].max_bitrate_bps == 1000
    assert nsd.virtual_links[0].profile_id == "lan-profile"
    assert df.affinity[0].members == ("a", "b")
    assert [(d.primary, d.secondary) for d in df.dependencies] == [("a", "b")]
    assert nsd.sapds[0].virtual_link == "lan"
    (path,) = nsd.vnffgds[0].nfpds
    assert [p.elements[0].cps for p in path.positions] == [
        (CpRef(constituent="a", cpd="x"),),
        (CpRef(constituent="b", cpd="x"),),
    ]
    assert path.rules[0].destination_port_range == PortRange(lower=80, upper=81)


@pytest.mark.parametrize(
    ("was", "becomes", "code", "hint"),
    [
        ("virtual-compute-desc: small", "virtual-compute-desc: smal", "reference-dangling", "small"),
        ("mgmt-cp: mgmt", "mgmt-cp: mgnt", "reference-dangling", "mgmt"),
        ("- {vdu-id: probe, number", "- {vdu-id: prob, number", None, ""),
        ("  id: probe\n  product", "  product", "id-missing", ""),
        ("  - {id: inner}", "  - {id: inner}\n  - {id: inner}", "id-duplicate", ""),
        ("  df:", "  fd:", "flavour-missing", ""),
        ('{size: "1.0"}', "{size: [1]}", "type-wrong", ""),
        ('size-of-storage: "10"', "size-of-storage: ten", "unit-unknown", ""),
    ],
)
def test_errors_have_a_place_and_a_hint(tmp_path: Path, was: str, becomes: str, code: str | None, hint: str) -> None:
    text = (SAMPLES / "osm_vnfd.yaml").read_text()
    if code is None:
        was, becomes, code, hint = (
            "vdu-level: [{vdu-id: probe",
            "vdu-level: [{vdu-id: prob",
            "reference-dangling",
            "probe",
        )
    assert was in text
    path = tmp_path / "vnfd.yaml"
    path.write_text(text.replace(was, becomes, 1))
    item = read(path)
    assert item.accepted is False
    finding = next(f for f in item.findings if f.severity == "error")
    assert finding.code == code
    assert finding.line > 0
    assert hint in finding.hint


def test_memory_that_can_only_be_megabytes_is_taken_so_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "vnfd.yaml"
    path.write_text((SAMPLES / "osm_vnfd.yaml").read_text().replace('{size: "1.0"}', "{size: 2048}"))
    item = read(path)
    assert item.accepted
    assert item.reading is not None
    assert isinstance(item.reading.descriptor, Vnfd)
    assert item.reading.descriptor.flavours[0].vdus[0].compute.virtual_mem_size_bytes == 2 << 30
    assert any(f.code == "unit-implausible" and f.line for f in item.findings)


def test_an_older_osm_model_is_told_from_sol006(tmp_path: Path) -> None:
    path = tmp_path / "vnfd.yaml"
    path.write_text("vnfd:vnfd-catalog:\n  vnfd:\n  - id: x\n")
    item = read(path)
    assert item.accepted is False
    assert item.findings[0].code == "model-old"
