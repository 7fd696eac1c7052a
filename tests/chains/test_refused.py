"""Chains that cannot be: refused when the package is read or the service planned, at their line; nothing is done."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

NSD = Path(__file__).parents[2] / "descriptors" / "secure-web" / "nsd" / "Definitions" / "secure_web.yaml"
DESCRIPTOR, PLAN = 3, 4
SECOND_PATH = """
    path:
      type: tosca.nodes.nfv.NFP
      requirements:
        - nfp_position: at_client
        - nfp_position: at_firewall
        - nfp_position: at_monitor
        - nfp_position: at_web
    second:
      type: tosca.nodes.nfv.NFP
{metadata}      requirements:
        - nfp_position: at_client
        - nfp_position: at_firewall
        - nfp_position: at_web
"""
SECOND_RULE = """
          ether_type: ipv4
    - second_rule:
        type: tosca.policies.nfv.NfpRule
        targets: [second]
        properties:
          protocol: tcp
"""


WEB_CP = "    web_cp:\n      type: tosca.nodes.nfv.Forwarding\n      requirements:\n        - virtual_link: lan"


def written(folder: Path, *changes: tuple[str, str]) -> Path:
    """The demo's NSD under another id, changed."""
    text = NSD.read_text().replace("708b25be-3153-5325-b5fa-91bab132541b", "changed-nsd")
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path = folder / "changed.yaml"
    path.write_text(text)
    return path


def line_of(path: Path, text: str) -> int:
    """The first line with this text."""
    return next(n for n, line in enumerate(path.read_text().splitlines(), start=1) if text in line)


def second_path(metadata: str = "") -> tuple[str, str]:
    found = re.search(r"\n    path:\n.*?(?=\n    at_client:)", NSD.read_text(), re.DOTALL)
    assert found is not None
    return found[0], SECOND_PATH.format(metadata=metadata).rstrip()


RULE = ("\n          ether_type: ipv4\n", SECOND_RULE)


@pytest.mark.slow
def test_two_paths_that_want_the_same_packets_are_refused_with_both_rules_and_ordered_by_precedence(
    site: Any, tmp_path: Path
) -> None:
    nsd = written(tmp_path, second_path(), RULE)
    site.good("package", "onboard", str(nsd))
    site.good("ns", "create", "changed-nsd", "--name", "two")
    refused = site("ns", "instantiate", "two", "--yes")
    assert refused.code == PLAN
    assert f"path's rule all_ipv4 (changed.yaml:{line_of(nsd, 'type: tosca.policies.nfv.NfpRule')})" in refused.err
    assert re.search(r"second's rule second_rule \(changed.yaml:\d+\)", refused.err), refused.err
    assert "precedence" in refused.err
    assert site.good("--json", "op", "list").json == []
    ordered = tmp_path / "ordered"
    ordered.mkdir()
    nsd = written(ordered, second_path('      metadata: {precedence: "1"}\n'), RULE, ("changed-nsd", "ordered-nsd"))
    site.good("package", "onboard", str(nsd))
    site.good("ns", "create", "ordered-nsd", "--name", "ordered")
    site.good("ns", "instantiate", "ordered", "--yes")


@pytest.mark.parametrize(
    ("changes", "at", "words"),
    [
        (
            [("        - element: monitor_element", "        - element: firewall_element")],
            "type: tosca.nodes.nfv.NFP", "passes firewall's virtual_link_in at at_firewall and again at at_monitor",
        ),
        (
            [("      requirements:\n        - element: monitor_element\n", "")],
            "    at_monitor:", "position at_monitor has no element",
        ),
        (
            [(RULE[0], "\n          ether_type: ipv6\n          source_ip_address_prefix: 10.0.0.0/8\n")],
            "ether_type: ipv6", "matches nothing: its addresses are not ipv6",
        ),
        (
            [(RULE[0], "\n          protocol: icmp\n          destination_port_range: [80, 90]\n")],
            "protocol: icmp", "matches nothing: protocol icmp has no ports",
        ),
        (
            [(RULE[0], "\n          precedence: 1000\n")], "precedence: 1000", "1000 is not within 0 to 999",
        ),
        (
            [(RULE[0], "\n          extended_criteria: [{starting_point: 0, length: 8, value: wxyz}]\n")],
            "extended_criteria", "wxyz",
        ),
    ],
    ids=["cycle", "no-function", "two-families", "no-ports", "precedence", "bits"],
)  # fmt: skip
def test_what_is_wrong_in_itself_is_refused_when_the_package_is_read(
    manor: Any, tmp_path: Path, changes: list[tuple[str, str]], at: str, words: str
) -> None:
    nsd = written(tmp_path, *changes)
    refused = manor("package", "onboard", str(nsd))
    assert refused.code == DESCRIPTOR
    said = next(line for line in (refused.out + refused.err).splitlines() if words in line)
    found = re.match(r"changed\.yaml:(\d+):\d+: error: ", said)
    assert found, said
    # A block's place is its first key, one line below its name.
    assert 0 <= int(found[1]) - line_of(nsd, at) <= 1, said
    assert "changed-nsd" not in manor.good("package", "list").out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "at", "words"),
    [
        (
            [
                (WEB_CP, WEB_CP.replace("lan", "dmz")),
                ("    client:\n      type: manor.demo.Client", "    dmz:\n      type: tosca.nodes.nfv.NsVirtualLink\n"
                 "      properties: {connectivity_type: {layer_protocols: [ipv4]}, vl_profile:"
                 " {max_bitrate_requirements: {root: 0}, min_bitrate_requirements: {root: 0}}}\n"
                 "    client:\n      type: manor.demo.Client"),
            ],
            "type: tosca.nodes.nfv.NFP", "starts and ends on different links: dmz, lan",
        ),
        (
            [("\n          ether_type: ipv4\n", "\n          source_ip_address_prefix: 192.0.2.0/24\n")],
            "type: tosca.policies.nfv.NfpRule", "all_ipv4 matches nothing: no source has an address in 192.0.2.0/24",
        ),
        (
            [("\n          ether_type: ipv4\n",
              "\n          extended_criteria: [{starting_point: 400, length: 8, value: '07'}]\n")],
            "type: tosca.nodes.nfv.NFP", "cannot match extended criteria",
        ),
        (
            [("    at_monitor:\n      type: tosca.nodes.nfv.NfpPosition\n",
              "    at_monitor:\n      type: tosca.nodes.nfv.NfpPosition\n      metadata: {encapsulation: nsh}\n")],
            "type: tosca.nodes.nfv.NFP", "needs nsh, which the controller net has not",
        ),
    ],
    ids=["links", "no-source", "bits", "nsh"],
)  # fmt: skip
def test_what_cannot_be_had_here_is_refused_with_the_plan(
    site: Any, tmp_path: Path, changes: list[tuple[str, str]], at: str, words: str
) -> None:
    nsd = written(tmp_path, *changes)
    site.good("package", "onboard", str(nsd))
    site.good("ns", "create", "changed-nsd", "--name", "bad")
    for command in (("ns", "plan", "bad"), ("ns", "instantiate", "bad", "--yes")):
        refused = site(*command)
        assert refused.code == PLAN, refused.err
        assert words in refused.err
        found = re.search(r"changed\.yaml:(\d+)", refused.err)
        assert found, refused.err
        assert 0 <= int(found[1]) - line_of(nsd, at) <= 1, refused.err
    assert site.good("--json", "op", "list").json == []


@pytest.mark.slow
def test_a_sap_is_attached_by_parameters_that_are_checked(site: Any, tmp_path: Path) -> None:
    door = "    client:\n      type: manor.demo.Client"
    sap = "    door:\n      type: tosca.nodes.nfv.Sap\n      requirements: [{internal_virtual_link: lan}]\n"
    ends = ("        - nfp_position: at_client", "        - nfp_position: at_door")
    position = (
        "    at_door:\n      type: tosca.nodes.nfv.NfpPosition\n      requirements: [{element: door_element}]\n"
        "    door_element:\n      type: tosca.nodes.nfv.NfpPositionElement\n"
        "      requirements: [{profile_element: door}]\n"
    )
    nsd = written(tmp_path, (door, sap + position + door), ends)
    site.good("package", "onboard", str(nsd))
    site.good("ns", "create", "changed-nsd", "--name", "loose")
    refused = site("ns", "plan", "loose")
    assert refused.code == PLAN
    assert "starts or ends at the SAP door, which is attached to nothing" in refused.err
    assert "--param sap.door.host=HOST" in refused.err
    site.good("ns", "create", "changed-nsd", "--name", "tied", "--param", "sap.door.host=host-1",
              "--param", "sap.door.device=eth1")  # fmt: skip
    refused = site("ns", "plan", "tied")
    assert refused.code == PLAN
    assert "SAP door: the switch of host-1 has no port eth1" in refused.err
