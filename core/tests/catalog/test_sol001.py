"""SOL001 packages and templates, as their authors mean them."""

from __future__ import annotations

from pathlib import Path

import pytest

from manor.api.placement import AffinityScope
from manor.api.resources import Distribution, FailMode, PortRange, SecurityRule, Subnet
from manor.catalog.validate import Item, validate
from manor.model.nsd import CpRef, Nsd
from manor.model.vnfd import Comparison, Vnfd
from manor.vnfm.levels import instances

SAMPLES = Path(__file__).parent / "samples"


def read(path: Path) -> Item:
    (item,) = validate([path])
    return item


def vnfd_of(path: Path) -> Vnfd:
    item = read(path)
    assert item.accepted, [f"{f.file}:{f.line} {f.message}" for f in item.findings]
    assert item.reading is not None
    assert isinstance(item.reading.descriptor, Vnfd)
    return item.reading.descriptor


def nsd_of(path: Path) -> Nsd:
    item = read(path)
    assert item.accepted, [f"{f.file}:{f.line} {f.message}" for f in item.findings]
    assert item.reading is not None
    assert isinstance(item.reading.descriptor, Nsd)
    return item.reading.descriptor


@pytest.fixture(scope="module")
def router() -> Vnfd:
    return vnfd_of(SAMPLES / "router")


def write(path: Path, topology: str, head: str = "") -> Path:
    path.write_text(f"tosca_definitions_version: tosca_simple_yaml_1_2\n{head}\ntopology_template:\n{topology}")
    return path


def test_identity_comes_from_type_defaults_and_the_only_valid_value(router: Vnfd) -> None:
    assert router.id == "5d0bf3ac-0001-4000-8000-000000000001"
    assert (router.provider, router.product_name) == ("Example", "Router")
    assert router.version == "1.10", "a version is text, not a number"
    assert router.vnfm_info == ("generic",)
    assert router.configurable_properties == {"is_autoheal_enabled": True}


def test_flavours_are_in_templates_of_their_own_imported_or_beside(router: Vnfd) -> None:
    small, large = router.flavours
    assert (small.id, small.description, small.operations) == ("small", "One router and its workers", ("scale",))
    assert [vdu.id for vdu in small.vdus] == ["core", "worker"]
    assert [(vdu.id, vdu.compute.virtual_mem_size_bytes) for vdu in large.vdus] == [("core", 4 << 30)]


def test_flavours_may_have_other_storages_under_one_name(router: Vnfd) -> None:
    sizes = {storage.id: storage.size_of_storage_bytes for storage in router.storages}
    assert sizes == {"data": 2 << 30, "data@large": 20 << 30}
    assert router.flavours[1].vdus[0].storages == ("data@large",)


def test_a_vdu_is_read_whole(router: Vnfd) -> None:
    core, worker = router.flavours[0].vdus
    assert core.name == "Router-core", "concat and get_input of what the VNF is given"
    assert core.compute.virtual_mem_size_bytes == 512 << 20
    assert core.compute.num_virtual_cpu == 2
    assert core.compute.pinning_policy == "static"
    assert core.compute.numa_enabled
    assert core.compute.local_storage_bytes == 10**9
    assert core.storages == ("data",)
    assert core.boot_data_file == "Files/user-data"
    assert core.kernel_cmdline == "console=ttyS0"
    assert core.watchdog
    assert core.day1 == (("sysctl", "-w", "net.ipv4.ip_forward=1"), ("logger", "up and running"))
    assert [(each.id, each.collection_period_s) for each in core.monitoring_parameters] == [("load", 10.0)]
    assert worker.compute.virtual_mem_size_bytes == 256 * 10**6, "MB is not MiB"


def test_images_are_the_artifact_or_the_older_property_or_both(router: Vnfd) -> None:
    disk, old = router.images
    assert (disk.id, disk.file, disk.disk_format, disk.size_bytes) == ("core.disk", "Files/images/disk.raw", "raw", 7)
    assert (old.id, old.file, old.name, old.min_disk_bytes) == (
        "worker.sw_image",
        "Files/images/disk.raw",
        "worker-image",
        2 * 10**9,
    )


def test_connection_points_are_in_interface_order_with_defaults_of_their_type(router: Vnfd) -> None:
    core, worker = router.flavours[0].vdus
    assert [cpd.id for cpd in core.int_cpds] == ["inside", "outside"]
    inside, outside = core.int_cpds
    assert inside.int_virtual_link_desc == "backbone"
    assert inside.layer_protocols == ("ethernet", "ipv4")
    assert outside.addresses == ("10.9.0.1",)
    assert outside.security == (SecurityRule(direction="ingress", protocol="tcp", ports=PortRange(lower=80, upper=80)),)
    assert worker.int_cpds[0].layer_protocols == ("ethernet",), "ethernet alone is a transparent function"


def test_what_the_substitution_maps_is_external(router: Vnfd) -> None:
    (uplink,) = router.ext_cpds
    assert (uplink.id, uplink.vdu_id, uplink.int_cpd) == ("uplink", "core", "outside")
    assert len(uplink.security) == 1


def test_links_have_their_subnet_mtu_and_rate(router: Vnfd) -> None:
    (backbone,) = router.virtual_links
    assert backbone.subnets == (Subnet(cidr="10.8.0.0/24", gateway="10.8.0.1", dhcp=False),)
    assert (backbone.mtu, backbone.max_bitrate_bps) == (1400, 10_000_000)


def test_levels_and_deltas_add_up(router: Vnfd) -> None:
    small = router.flavours[0]
    assert small.default_instantiation_level == "least"
    assert instances(small) == {"core": 1, "worker": 1}
    assert instances(small, "most") == {"core": 1, "worker": 6}
    assert instances(small, scale_levels={"workers": 3}) == {"core": 1, "worker": 1 + 1 + 2 + 2}


def test_affinity_by_group_and_by_target_policies_as_list_or_map(router: Vnfd) -> None:
    small, large = router.flavours
    assert [(rule.name, rule.anti, rule.scope, rule.members) for rule in (*small.affinity, *large.affinity)] == [
        ("separate", True, AffinityScope.NFVI_NODE, ("core", "worker")),
        ("alone", True, AffinityScope.ZONE, ("core",)),
    ]


def test_scripts_and_indicators(router: Vnfd) -> None:
    (script,) = router.scripts
    assert (script.event, script.script, script.inputs) == (
        "instantiate_end",
        "Scripts/start.sh",
        {"greeting": "hello"},
    )
    (indicator,) = router.indicators
    assert (indicator.id, indicator.command) == ("sessions", ("conntrack", "-C"))
    many, none = router.triggers
    assert (many.name, many.indicator, many.operation, many.aspect) == ("too_many", "sessions", "scale", "workers")
    assert many.conditions == ((Comparison.GREATER_OR_EQUAL, 800.0), (Comparison.LESS_THAN, 100000.0))
    assert (none.operation, none.conditions) == ("heal", ((Comparison.EQUAL, 0.0),))


def test_a_trigger_that_cannot_be_followed_is_said(tmp_path: Path) -> None:
    path = write(
        tmp_path / "vnfd.yaml",
        """
  node_templates:
    one: {type: tosca.nodes.nfv.Vdu.Compute}
  policies:
    - sessions:
        type: tosca.policies.nfv.VnfIndicator
        triggers:
          both: {condition: [{and: [{sessions: [equal: 0]}]}], action: [call_operation: Vnflcm.heal]}
          less:
            condition: [sessions: [less_than: 5]]
            action: [call_operation: {operation: Vnflcm.scale, inputs: {type: scale_in}}]
          call: {condition: [sessions: [less_than: 5]], action: [call_operation: Vnflcm.terminate]}
          list: [1, 2]
""",
    )
    item = read(path)
    assert item.accepted
    assert [f.code for f in item.findings].count("trigger-unknown") == 4
    assert item.reading is not None
    assert isinstance(item.reading.descriptor, Vnfd)
    assert item.reading.descriptor.triggers == ()


def test_nothing_is_dropped_in_silence(tmp_path: Path) -> None:
    path = write(
        tmp_path / "vnfd.yaml",
        """
  node_templates:
    one:
      type: tosca.nodes.nfv.Vdu.Compute
      properties: {name: one, descrption: One, colour: blue}
      capabilities: {virtual_compute: {properties: {virtual_memory: {virtual_mem_size: 1 GiB}}}}
    chart: {type: tosca.nodes.nfv.Mciop, properties: {size: 1}}
""",
    )
    item = read(path)
    assert item.accepted
    said = {(str(f.severity), f.code, f.line) for f in item.findings}
    assert ("warning", "key-unknown", 8) in said
    assert ("info", "unhandled", 8) in said
    assert next(f.hint for f in item.findings if f.code == "key-unknown") == "did you mean description?"
    assert item.reading is not None
    assert isinstance(item.reading.descriptor, Vnfd)
    assert item.reading.descriptor.unhandled["topology_template/node_templates/one/properties/colour"] == "blue"
    assert any("chart" in place for place in item.reading.descriptor.unhandled)


def test_kubernetes_and_draft_units(tmp_path: Path) -> None:
    path = write(
        tmp_path / "vnfd.yaml",
        """
  node_templates:
    a:
      type: tosca.nodes.nfv.VDU.Compute
      capabilities:
        virtual_compute:
          properties: {virtual_memory: {virtual_mem_size: 512Mi}, virtual_cpu: {num_virtual_cpu: 250m}}
      requirements: [virtual_storage: {capability: virtual_storage, node: disk}]
    disk: {type: tosca.nodes.nfv.VDU.VirtualStorage, properties: {size_of_storage: 200G}}
    cp:
      type: tosca.nodes.nfv.Cpd
      properties: {layer_protocol: ipv4}
      requirements: {virtual_binding: a, virtual_link: net}
    net: {type: tosca.nodes.nfv.VnfVirtualLink, properties: {vl_profile: {max_bit_rate_requirements: {root: 5}}}}
""",
    )
    vnfd = vnfd_of(path)
    (vdu,) = vnfd.flavours[0].vdus
    assert (vdu.compute.virtual_mem_size_bytes, vdu.compute.num_virtual_cpu) == (512 << 20, 1)
    assert vnfd.storages[0].size_of_storage_bytes == 200 * 10**9
    assert vdu.int_cpds[0].int_virtual_link_desc == "net"
    assert vnfd.virtual_links[0].max_bitrate_bps == 5


def test_what_has_to_be_there_is_read_and_what_is_not_acted_on_is_named(tmp_path: Path) -> None:
    path = write(
        tmp_path / "vnfd.yaml",
        """
  node_templates:
    a:
      type: tosca.nodes.nfv.Vdu.Compute
      capabilities:
        virtual_compute:
          properties:
            virtual_memory: {virtual_mem_size: 512 MiB, vdu_mem_requirements: {memoryType: DDR5}}
            virtual_cpu: {num_virtual_cpu: 1}
            requested_additional_capabilities:
              one: {requested_additional_capability_name: Nested Virtualisation, support_mandatory: true}
              two: {requested_additional_capability_name: crypto_offload, support_mandatory: true}
              three: {requested_additional_capability_name: huge fan, support_mandatory: false}
              four: {requested_additional_capability_name: CPU Pinning, support_mandatory: true}
    fast: {type: tosca.nodes.nfv.VduCp, properties: {vnic_type: direct}, requirements: [virtual_binding: a]}
    told:
      type: tosca.nodes.nfv.VduCp
      properties:
        virtual_network_interface_requirements:
          - {name: nic, support_mandatory: true, network_interface_requirements: {interfaceType: SR-IOV}}
          - {name: led, support_mandatory: true, network_interface_requirements: {colour: red}}
          - {name: no, support_mandatory: false, network_interface_requirements: {interfaceType: PCI-PASSTHROUGH}}
      requirements: [virtual_binding: a]
""",
    )
    (vdu,) = vnfd_of(path).flavours[0].vdus
    assert vdu.compute.capabilities == ("nested-virtualization", "crypto-offload")
    assert {cpd.id: cpd.vnic_type for cpd in vdu.int_cpds} == {"fast": "direct", "told": "direct"}
    said = " ".join(f.message for f in read(path).findings if f.code == "unhandled")
    assert all(word in said for word in ("vdu_mem_requirements", "huge-fan", "cpu-pinning", "red")), said


def test_types_left_out_of_the_package_are_taken_by_name_and_nothing_is_fetched(tmp_path: Path) -> None:
    path = write(
        tmp_path / "vnfd.yaml",
        """
  node_templates:
    vnf: {type: acme.vendor.VNF, properties: {descriptor_id: v, product_name: V}}
    one: {type: tosca.nodes.nfv.Vdu.Compute, properties: {name: one}}
""",
        head="imports: ['https://example.invalid/acme_types.yaml', nowhere.yaml]",
    )
    item = read(path)
    assert item.accepted
    assert [f.code for f in item.findings if f.code in ("import-missing", "type-by-name")] == [
        "import-missing",
        "import-missing",
        "type-by-name",
    ]
    assert vnfd_of(path).id == "v"


@pytest.mark.parametrize(
    ("node", "code", "hint"),
    [
        ("cp: {type: tosca.nodes.nfv.VduCp, requirements: [virtual_binding: sever]}", "reference-dangling", "server"),
        ("x: {type: tosca.nodes.nfv.NfpPositon}", "type-unknown", "tosca.nodes.nfv.NfpPosition"),
        ("x: {type: tosca.nodes.nfv.Vdu.Compute, requirements: [virtual_storage: disk]}", "reference-dangling", "disc"),
        ("x: {type: tosca.nodes.nfv.Vdu.Compute, requirements: [virtual_storage: server]}", "reference-kind", ""),
        ("x: [a list]", "type-wrong", ""),
        (
            "x: {type: tosca.nodes.nfv.Vdu.VirtualBlockStorage, properties: {size_of_storage: 3 apples}}",
            "unit-unknown",
            "512 MiB",
        ),
    ],
)
def test_what_cannot_be_deployed_as_meant_is_refused_with_its_place(
    tmp_path: Path, node: str, code: str, hint: str
) -> None:
    path = write(
        tmp_path / "vnfd.yaml",
        f"""
  node_templates:
    server: {{type: tosca.nodes.nfv.Vdu.Compute, properties: {{name: server}}}}
    disc: {{type: tosca.nodes.nfv.Vdu.VirtualBlockStorage}}
    {node}
""",
    )
    item = read(path)
    assert item.accepted is False
    (finding,) = [f for f in item.findings if f.severity == "error"]
    assert (finding.code, finding.line, finding.file) == (code, 8, "vnfd.yaml")
    assert finding.column > 0
    assert hint in finding.hint


def test_a_service_and_its_path() -> None:
    nsd = nsd_of(SAMPLES / "service.yaml")
    assert (nsd.id, nsd.name, nsd.vnfd_ids) == ("service-1", "service", ("host", "router"))
    (df,) = nsd.flavours
    left, right, middle = df.vnf_profiles
    assert [(c.virtual_link, c.cpds) for c in middle.connectivity] == [("lan", ("in", "out"))]
    assert [(c.virtual_link, c.cpds) for c in left.connectivity] == [("lan", ("port",))]
    assert (left.flavour_id, left.instantiation_level, left.max_number_of_instances) == ("small", "least", 3)
    assert [(d.primary, d.secondary) for d in df.dependencies] == [("left", "right")]
    assert df.affinity[0].members == ("left", "right")
    assert right.connectivity[0].virtual_link == "lan"
    assert [(level.id, level.vnf_levels) for level in df.instantiation_levels] == [
        ("one", {"left": 1}),
        ("many", {"left": 3}),
    ]
    assert df.scaling_aspects[0].levels == ({"left": 1}, {"left": 3})
    (graph,) = nsd.vnffgds
    (path,) = graph.nfpds
    assert [[e.cps for e in p.elements] for p in path.positions] == [
        [(CpRef(constituent="left", cpd="port"),)],
        [(CpRef(constituent="middle", cpd="in"), CpRef(constituent="middle", cpd="out"))],
        [(CpRef(constituent="door"),)],
    ]
    hop = path.positions[1]
    assert (hop.distribution, hop.weights, hop.fail_mode) == (Distribution.ROUND_ROBIN, (2,), FailMode.OPEN)
    assert (path.symmetric, path.precedence, path.rule_names) == (False, 7, ("http",))
    (rule,) = path.rules
    assert (rule.protocol, rule.destination_port_range) == ("tcp", PortRange(lower=80, upper=81))
    assert rule.source_ip_address_prefix == "10.20.0.0/24"


def test_an_older_forwarding_graph_is_read_as_a_path() -> None:
    item = read(SAMPLES / "chain.yaml")
    assert (str(item.kind), item.accepted) == ("vnffgd", True)
    nsd = nsd_of(SAMPLES / "chain.yaml")
    (path,) = nsd.vnffgds[0].nfpds
    assert path.symmetric
    assert [[cp.constituent for cp in p.elements[0].cps] for p in path.positions] == [
        ["entrance"],
        ["firewall", "firewall"],
        ["cache"],
        ["destination"],
    ]
    assert path.rules[0].protocol == "tcp"
    assert path.rules[0].destination_ip_address_prefix == "10.0.0.0/24"
    assert {sap.id for sap in nsd.sapds} == {"entrance", "destination"}


def test_a_criterion_that_is_not_understood_would_let_too_much_through(tmp_path: Path) -> None:
    text = (SAMPLES / "chain.yaml").read_text().replace("ip_proto", "ip_porto")
    (tmp_path / "chain.yaml").write_text(text)
    item = read(tmp_path / "chain.yaml")
    assert item.accepted is False
    assert next(f for f in item.findings if f.severity == "error").hint == "did you mean ip_proto?"


def test_tackers_older_vnfds(tmp_path: Path) -> None:
    path = write(
        tmp_path / "vnfd.yaml",
        """
  node_templates:
    VDU1:
      type: tosca.nodes.nfv.VDU.Tacker
      capabilities: {nfv_compute: {properties: {num_cpus: 2, mem_size: 512 MB, disk_size: 1 GB}}}
      properties: {image: cirros, user_data: "#!/bin/sh"}
    CP1:
      type: tosca.nodes.nfv.CP.Tacker
      properties: {management: true, order: 0}
      requirements: [virtualLink: {node: VL1}, virtualBinding: {node: VDU1}]
    VL1: {type: tosca.nodes.nfv.VL, properties: {network_name: net_mgmt}}
""",
    )
    vnfd = vnfd_of(path)
    (vdu,) = vnfd.flavours[0].vdus
    assert (vdu.compute.num_virtual_cpu, vdu.compute.virtual_mem_size_bytes) == (2, 512 * 10**6)
    assert (vdu.images, vdu.boot_data, vdu.int_cpds[0].int_virtual_link_desc) == (("VDU1.image",), "#!/bin/sh", "VL1")
