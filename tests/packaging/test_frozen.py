"""A plugin built against the oldest supported API is installed beside today's core, and all of it is used."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

FROZEN = Path(__file__).parent / "frozen"

pytestmark = pytest.mark.slow

VNFD = """
tosca_definitions_version: tosca_simple_yaml_1_3
imports: [etsi_nfv_sol001_common_types.yaml, etsi_nfv_sol001_vnfd_types.yaml]
node_types:
  past.Web: {{derived_from: tosca.nodes.nfv.VNF}}
topology_template:
  substitution_mappings: {{node_type: past.Web, properties: {{flavour_id: default}}}}
  node_templates:
    vnf:
      type: past.Web
      properties: &vnf
        descriptor_id: 2f4ea1c4-91b5-5a4c-8d3e-4b1c3b6f2a10
        descriptor_version: "1.0"
        provider: the past
        product_name: web
        software_version: "1.0"
        flavour_id: default
        flavour_description: One machine
        vnfm_info: [frozen]
    machine:
      type: tosca.nodes.nfv.Vdu.Compute
      properties:
        name: machine
        description: The machine
        vdu_profile: {{min_number_of_instances: 1, max_number_of_instances: 1}}
      capabilities:
        virtual_compute:
          properties:
            virtual_memory: {{virtual_mem_size: 64 MiB}}
            virtual_cpu: {{num_virtual_cpu: 1}}
      artifacts:
        disk:
          type: tosca.artifacts.nfv.SwImage
          file: disk.raw
          properties:
            name: disk
            version: "1.0"
            checksum: {{algorithm: sha-256, hash: {sha256}}}
            container_format: bare
            disk_format: raw
            min_disk: 1 MiB
            size: {size} B
"""

NSD = """
tosca_definitions_version: tosca_simple_yaml_1_3
imports: [etsi_nfv_sol001_common_types.yaml, etsi_nfv_sol001_nsd_types.yaml]
node_types:
  past.Shop: {derived_from: tosca.nodes.nfv.NS}
  past.Web: {derived_from: tosca.nodes.nfv.VNF}
topology_template:
  substitution_mappings: {node_type: past.Shop, properties: {flavour_id: default}}
  node_templates:
    ns:
      type: past.Shop
      properties:
        descriptor_id: 46c6be63-844a-5400-8631-d4205ec5f500
        designer: the past
        version: "1.0"
        name: shop
        invariant_id: 8f70b5ac-eec6-5d6a-90a9-f8e7046c3900
        flavour_id: default
    web:
      type: past.Web
      properties:
        descriptor_id: 2f4ea1c4-91b5-5a4c-8d3e-4b1c3b6f2a10
        descriptor_version: "1.0"
        provider: the past
        product_name: web
        software_version: "1.0"
        flavour_id: default
        flavour_description: One machine
        vnfm_info: [frozen]
        vnf_profile: {min_number_of_instances: 1, max_number_of_instances: 1}
"""

COMMANDS = """
import json, sys
from manor.cli import main
for code, line in json.loads(sys.argv[1]):
    found = main(line.split())
    assert found == code, (line, found)
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with today's distributions and the wheel of the past."""
    place = tmp_path_factory.mktemp("frozen")
    venv.create(place, with_pip=True)
    (site,) = (place / "lib").glob("python*/site-packages")
    ours = Path(pytest.__file__).parents[1]
    (site / "workspace.pth").write_text(f"import site; site.addsitedir({str(ours)!r})\n")
    (wheel,) = FROZEN.glob("*.whl")
    pip = [place / "bin/python", "-m", "pip", "install", "-q", "--no-deps", "--disable-pip-version-check", wheel]
    subprocess.run(pip, check=True)
    return place / "bin"


@pytest.fixture
def run(tools: Path, tmp_path: Path) -> Run:
    def run(*argv: str | Path) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "MANOR_HOME": str(tmp_path / "home")}
        whole = [tools / "python", "-P", *argv]
        return subprocess.run(whole, capture_output=True, text=True, env=env, check=False, cwd=tmp_path)

    return run


def test_every_protocol_answers(run: Run, tmp_path: Path) -> None:
    done = run(FROZEN / "use.py", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == ["states", "vim", "sdn", "vnfm", "detector", "policy", "telemetry", "events"]


def test_a_service_lives_on_nothing_but_plugins_of_the_past(run: Run, tmp_path: Path) -> None:
    """VIM, controller, VNF manager, placement policy, reviews and a command, in whole operations."""
    data = b"a disk" * 1000
    vnfd = VNFD.format(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    with zipfile.ZipFile(tmp_path / "web.csar", "w") as package:
        package.writestr("web.yaml", vnfd)
        package.writestr("disk.raw", data)
    (tmp_path / "shop.yaml").write_text(NSD)
    (tmp_path / "small.yaml").write_text("frozen: 1\nid: 2f4ea1c4-91b5-5a4c-8d3e-4b1c3b6f2a11\nname: small\n")
    commands = [
        (0, "package validate small.yaml"),
        (0, "vim add here --driver frozen"),
        (0, "sdn add steer --driver frozen"),
        (0, "package onboard web.csar shop.yaml"),
        (0, "ns create shop --name forbidden"),
        (4, "ns instantiate forbidden --policy frozen --yes"),
        (0, "op list forbidden"),
        (0, "ns create shop --name past"),
        (0, "ns instantiate past --policy frozen --yes"),
        (0, "op list"),
        (0, "ns terminate past --yes"),
        (0, "ns delete past"),
        (0, "frozen greet"),
    ]
    done = run("-c", COMMANDS, json.dumps(commands))
    assert done.returncode == 0, done.stdout + done.stderr
    for said in ("1 accepted", "INSTANTIATE past COMPLETED", "TERMINATE past COMPLETED", "hello from the past"):
        assert said in done.stdout
    assert "INSTANTIATE is refused" in done.stderr
    assert "rename" in done.stderr, "the hint that came with the refusal"
    assert "no operation yet" in done.stdout + done.stderr, "nothing was begun"
    assert "INSTANTIATE forbidden" not in done.stdout
