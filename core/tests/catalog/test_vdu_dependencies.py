"""Which VDU starts after which, as both languages write it."""

from pathlib import Path

import pytest

from manor.catalog.validate import Item, validate
from manor.model.vnfd import Vnfd

SOL001 = """
tosca_definitions_version: tosca_simple_yaml_1_3
node_types:
  acme.Shop: {{derived_from: tosca.nodes.nfv.VNF}}
topology_template:
  substitution_mappings: {{node_type: acme.Shop}}
  node_templates:
    vnf: {{type: acme.Shop, properties: {{descriptor_id: shop, flavour_id: default}}}}
    disk: {{type: tosca.nodes.nfv.Vdu.VirtualBlockStorage, properties: {{virtual_block_storage_data: {{size_of_storage: 1 GB}}}}}}
    app: {{type: tosca.nodes.nfv.Vdu.Compute, requirements: [{{dependency: {first}}}, {{dependency: disk}}]}}
    db: {{type: tosca.nodes.nfv.Vdu.Compute}}
"""  # noqa: E501 - a node template a line
SOL006 = """
vnfd:
  id: shop
  version: "1"
  vdu: [{{id: app}}, {{id: db}}]
  df:
  - id: default
    vdu-profile: [{{id: app}}, {{id: db}}]
    dependencies: [{{primary-id: [{first}], secondary-id: [app]}}]
"""


def read(path: Path, text: str) -> Item:
    path.write_text(text)
    (item,) = validate([path])
    return item


@pytest.mark.parametrize("text", [SOL001, SOL006], ids=["sol001", "sol006"])
def test_both_languages_say_it(tmp_path: Path, text: str) -> None:
    item = read(tmp_path / "vnfd.yaml", text.format(first="db"))
    assert item.accepted, [finding.message for finding in item.findings]
    assert item.reading is not None
    assert isinstance(item.reading.descriptor, Vnfd)
    (df,) = item.reading.descriptor.flavours
    assert {vdu.id: vdu.dependencies for vdu in df.vdus} == {"app": ("db",), "db": ()}
    assert not item.reading.descriptor.unhandled


@pytest.mark.parametrize("text", [SOL001, SOL006], ids=["sol001", "sol006"])
def test_one_that_there_is_not_is_named(tmp_path: Path, text: str) -> None:
    item = read(tmp_path / "vnfd.yaml", text.format(first="dbb"))
    assert not item.accepted
    assert any("dbb" in finding.message and "db" in finding.hint for finding in item.findings)
