"""Services inside services, as both languages write them."""

from pathlib import Path

from manor.catalog.validate import validate
from manor.model.nsd import Dependency, Nsd, NsProfile, VirtualLinkConnectivity

SOL006 = """
nsd:
  nsd:
  - id: shop
    version: "1"
    nested-nsd-id: [secured-web]
    virtual-link-desc: [{id: city}]
    df:
    - id: default
      ns-profile:
      - id: east
        nsd-id: secured-web
        ns-df-id: large
        virtual-link-connectivity:
        - virtual-link-profile-id: city
          constituent-cpd-id: [{constituent-base-element-id: east, constituent-cpd-id: front}]
      - {id: west, nsd-id: secured-web}
      dependencies: [{primary-id: [{vnf-profile-id: east}], secondary-id: [{vnf-profile-id: west}]}]
"""

SOL001 = """
tosca_definitions_version: tosca_simple_yaml_1_3
node_types:
  acme.Shop: {derived_from: tosca.nodes.nfv.NS}
  acme.Secured: {derived_from: tosca.nodes.nfv.NS}
topology_template:
  substitution_mappings: {node_type: acme.Shop}
  node_templates:
    shop:
      type: acme.Shop
      properties: {descriptor_id: shop, designer: Acme, version: "1", name: shop, flavour_id: default}
    city: {type: tosca.nodes.nfv.NsVirtualLink}
    east:
      type: acme.Secured
      properties: {descriptor_id: secured-web, flavour_id: large}
      requirements: [{front: city}]
    west:
      type: acme.Secured
      properties: {descriptor_id: secured-web}
      requirements: [{dependency: east}]
"""


def read(path: Path, text: str) -> Nsd:
    path.write_text(text)
    (item,) = validate([path])
    assert item.accepted, [finding.message for finding in item.findings]
    assert item.reading is not None
    assert isinstance(item.reading.descriptor, Nsd)
    return item.reading.descriptor


def test_both_languages_say_the_same(tmp_path: Path) -> None:
    east = NsProfile(
        id="east",
        nsd_id="secured-web",
        flavour_id="large",
        connectivity=(VirtualLinkConnectivity(virtual_link="city", cpds=("front",)),),
    )
    for nsd in (read(tmp_path / "sol006.yaml", SOL006), read(tmp_path / "sol001.yaml", SOL001)):
        (df,) = nsd.flavours
        assert df.ns_profiles == (east, NsProfile(id="west", nsd_id="secured-web"))
        assert df.dependencies == (Dependency(primary="east", secondary="west"),)
