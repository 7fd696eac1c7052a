"""A VNF without an agent, whose exporter is asked over its management link, which has an end on the host."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import MANOR, ROOT

pytestmark = [pytest.mark.real, pytest.mark.slow]

PATIENCE_S = 120.0
PORT, MAC, OWN, LINK = "oam0", "02:4d:00:00:00:fe", "10.30.0.254", "10.30.0.0/24"
EXPORTER = """httpd -p 9100 -h /www
mkdir -p /www/cgi-bin
cat >/www/cgi-bin/metrics <<'END'
#!/bin/sh
echo "Content-Type: text/plain"
echo
echo "# TYPE fw_sessions gauge"
echo 'fw_sessions{zone="lan"} 7'
echo "# TYPE fw_up_seconds_total counter"
echo "fw_up_seconds_total $(cut -d ' ' -f 1 /proc/uptime)"
END
chmod +x /www/cgi-bin/metrics
"""
VNFD = (
    ('        guest_agent: "true"', "        role: exporter"),
    (
        "      virtual_link: [cp, virtual_link]",
        "      virtual_link: [cp, virtual_link]\n      oam: [oam, virtual_link]",
    ),
    (
        "    cp:\n",
        """    oam:
      type: tosca.nodes.nfv.VduCp
      metadata: {management: "true"}
      properties: {layer_protocols: [ethernet, ipv4], order: 1, vnic_type: normal}
      requirements: [{virtual_binding: hello}]

    cp:
""",
    ),
    (
        "topology_template:\n",
        """topology_template:
  policies:
    - exporter:
        type: tosca.policies.nfv.VnfIndicator
        properties: {source: VNF}
        metadata: {command: ["http://:9100/cgi-bin/metrics"]}

""",
    ),
)
REQUIREMENT = "    requirements:\n      - virtual_link:\n"
OAM = """    requirements:
      - oam:
          capability: tosca.capabilities.nfv.VirtualLinkable
          relationship: tosca.relationships.nfv.VirtualLinksTo
      - virtual_link:
"""
NSD = (
    ("        - virtual_link: lan", "        - virtual_link: lan\n        - oam: oam"),
    (
        "    lan:\n",
        f"""    outside:
      type: tosca.nodes.nfv.Sap
      requirements: [{{internal_virtual_link: oam}}]

    oam:
      type: tosca.nodes.nfv.NsVirtualLink
      properties:
        connectivity_type: {{layer_protocols: [ethernet, ipv4], flow_pattern: mesh}}
        vl_profile:
          max_bitrate_requirements: {{root: 1000000000}}
          min_bitrate_requirements: {{root: 0}}
          virtual_link_protocol_data:
            - associated_layer_protocol: ipv4
              l3_protocol_data: {{ip_version: ipv4, cidr: {LINK}, dhcp_enabled: false}}

    lan:
""",
    ),
)


@pytest.fixture(scope="module")
def exporting(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """hello-vm without an agent, with a second link for management and an exporter on it."""
    sys.path.insert(0, str(ROOT / "descriptors"))
    try:
        from csar import pack
        from images.vnf import build_image
    finally:
        sys.path.pop(0)
    folder = tmp_path_factory.mktemp("exporting")
    shutil.copytree(ROOT / "descriptors" / "hello-vm", folder, dirs_exist_ok=True)
    for path, changes in (("hello/Definitions/hello.yaml", VNFD), ("nsd/Definitions/hello_vm.yaml", NSD)):
        text = (folder / path).read_text()
        for old, new in ((REQUIREMENT, OAM), *changes):
            assert text.count(old) == 1, (path, old)
            text = text.replace(old, new)
        (folder / path).write_text(text)
    with (folder / "hello/Files/boot.sh").open("a") as script:
        script.write(EXPORTER)
    image = build_image(packages / "images")
    for name in ("hello", "nsd"):
        pack(folder / name, image, folder / f"{name}.csar")
    return [str(folder / "hello.csar"), str(folder / "nsd.csar")]


def until(what: str, so: Callable[[], Any]) -> Any:
    """Wait until it is so."""
    end_s = time.monotonic() + PATIENCE_S
    while not (found := so()):
        assert time.monotonic() < end_s, what
        time.sleep(0.5)
    return found


@contextlib.contextmanager
def serving(site: Any) -> Iterator[None]:
    """`manor serve` as if it ran on the host itself: in the host's network."""
    with (site.home / "serve.log").open("wb") as log:
        server = subprocess.Popen(
            ["nsenter", f"--target={site.lab.pid}", "--net", "--", MANOR, "serve"], env=site.env, stdout=log, stderr=log
        )
    try:
        yield
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(180) == 0, (site.home / "serve.log").read_text()[-3000:]


def test_the_exporter_of_a_vnf_is_read_by_way_of_its_management_link(site: Any, exporting: list[str]) -> None:
    site.manor("package", "onboard", *exporting)
    end = ("host=kvm1", f"device={PORT}", f"mac={MAC}", f"addresses={OWN}")
    params = [word for text in end for word in ("--param", f"sap.outside.{text}")]
    site.manor("ns", "create", "hello-vm", "--name", "shop", *params)
    # As docs/telemetry.md has it: the host's own end of the link.
    site.lab.run("ovs-vsctl", "--may-exist", "add-br", "manor-int", "--", "set", "Bridge", "manor-int",
                 "datapath_type=netdev")  # fmt: skip
    site.lab.run("ovs-vsctl", "add-port", "manor-int", PORT, "--", "set", "Interface", PORT, "type=internal",
                 f'mac="{MAC}"')  # fmt: skip
    site.lab.run("ip", "address", "add", f"{OWN}/24", "dev", PORT)
    site.lab.run("ip", "link", "set", PORT, "up")
    site.manor("ns", "instantiate", "shop", "--yes")

    (site.home / "assurance.yaml").write_text(
        "{collect_s: 1, guest_s: 2, probe_s: 0, detector: '', scrape: true, heartbeat_lost_s: 10, degraded_s: 5}\n"
    )
    gauge, counter = "vnf_indicator:exporter/fw_sessions,zone=lan", "vnf_indicator:exporter/fw_up_seconds_total"

    def kpis(since: str = "10m") -> dict[str, Any]:
        (machine,) = [one["name"] for one in site.ask("kpi", "list") if one["kind"] == "vnfc"] or [""]
        return dict(site.ask("kpi", "show", machine, "--since", since)["kpis"]) if machine else {}

    with serving(site):
        found = until("the exporter is read", lambda: kpis() if counter in kpis() else None)
        assert found[gauge]["last"] == 7.0
        # A busy machine may be asked late, and answer late.
        until("a second more each second", lambda: kpis()[counter]["last"] == pytest.approx(1.0, abs=0.5))

        def silent() -> list[Any]:
            return [one for one in site.ask("alarm", "list") if one["probable_cause"] == "indicator-silent"]

        site.lab.run("ip", "address", "flush", "dev", PORT)
        (alarm,) = until("it is told that nobody reaches the exporter", silent)
        assert alarm["resource_key"].endswith("/vnf/hello/hello-0")
        site.lab.run("ip", "address", "add", f"{OWN}/24", "dev", PORT)
        until("it clears", lambda: not silent())
        assert not [one for one in site.ask("op", "list") if one["operation"] != "INSTANTIATE"], "nothing is healed"
    (_, own) = json.loads(site.manor("metrics", "sd", "--exporter", "9100"))
    assert own["targets"][0].startswith("10.30.0."), "a Prometheus is sent there too"
