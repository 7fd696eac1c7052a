"""One chain as a picture: who stands where, which rules lead there, and what is wrong with them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Any

import pytest
from samples import at, port, secure_web, vnf

from manor.cli.render.chain_ascii import chain_ascii
from manor.cli.render.chain_mermaid import chain_mermaid
from manor.cli.render.chain_picture import ChainPicture, chain_picture, leg_words
from manor.cli.render.chain_svg import chain_svg
from manor.model.topology import TopologyElement

SERVICE = secure_web()
(CHAIN,) = SERVICE.chains
DEVICES = {key: found[2].device for key, found in SERVICE.ports().items()}


def rule(device: str, note: str, packets: int = 9, state: str = "active") -> dict[str, Any]:
    return {
        "host": "kvm1", "table": 0, "priority": 45000, "match": f"in_port={device},eth_type=0x0800", "actions": "",
        "note": f"path: {note}", "state": state, "packets": packets, "bytes": 60 * packets,
    }  # fmt: skip


def seen(**more: Any) -> ChainPicture:
    firewall, monitor = (hop.elements[0] for hop in CHAIN.hops)
    rules = [
        rule(DEVICES[CHAIN.sources[0]], "there, client to firewall", 7),
        rule(DEVICES[firewall.egress], "there, firewall to monitor", 6),
        rule("mvx-1", "there, to monitor, from host kvm1", 6),
        rule(DEVICES[monitor.egress], "there, monitor to web", 0, "missing"),
        rule(DEVICES[CHAIN.destinations[0]], "back, web to monitor"),
        rule(DEVICES[monitor.ingress], "back, monitor to firewall"),
        rule(DEVICES[firewall.ingress], "back, firewall to client"),
    ]
    return chain_picture(SERVICE, replace(CHAIN, **more), {"rules": rules, "extra": [{}]})


def test_each_rule_is_on_the_leg_that_it_serves() -> None:
    picture = seen()
    assert [(leg.way, leg.hop, leg.rules, leg.wrong, leg.packets) for leg in picture.legs] == [
        ("there", 0, 1, 0, 7), ("back", 0, 1, 0, 9), ("there", 1, 2, 0, 6), ("back", 1, 1, 0, 9),
        ("there", 2, 1, 1, 0), ("back", 2, 1, 0, 9),
    ]  # fmt: skip
    assert leg_words(picture.legs[2]) == "2 rules live, 6 packets, tunnel from kvm1"
    assert leg_words(picture.legs[4]) == "1 of 1 rules WRONG, 0 packets"
    assert chain_picture(SERVICE, CHAIN).legs == (), "nobody was asked"


def test_the_picture_in_80_columns() -> None:
    text = chain_ascii(seen(), 80)
    assert max(map(len, text.splitlines())) <= 80
    order = [text.index(word) for word in ("| client |", "1.   filter", "| firewall |", "2.   watch", "|  web   |")]
    assert order == sorted(order)
    assert "there: 1 of 1 rules WRONG" in text
    assert "1 foreign rules" in text
    assert "back:" not in chain_ascii(seen(symmetric=False))


def test_elements_that_share_a_position_stand_side_by_side() -> None:
    others = [vnf(n, "kvm3", port(n, "in", "lan", n=20 + i), state="error") for i, n in enumerate(["fw2", "fw3"])]
    elements = [TopologyElement(ingress=at(n, "in"), egress=at(n, "in")) for n in ("fw2", "fw3")]
    first = replace(CHAIN.hops[0], elements=(*CHAIN.hops[0].elements, *elements))
    service = replace(SERVICE, vnfs=(*SERVICE.vnfs, *others))
    picture = chain_picture(service, replace(CHAIN, hops=(first, *CHAIN.hops[1:])))
    text = chain_ascii(picture)
    assert "filter (shared by 3)" in text
    assert any("firewall" in line and "fw3" in line for line in text.splitlines())
    assert chain_mermaid(picture).count("<==>") == 3 + 3 + 1


@pytest.mark.parametrize("name", ["web", '<script>"&', "x\x1b[31m\n"])
def test_the_svg_is_well_formed_whatever_names_say(name: str) -> None:
    picture = replace(seen(), name=name)
    root = ET.fromstring(chain_svg(picture))
    texts = [element.text or "" for element in root.iter() if element.tag.endswith("text")]
    assert any("1 of 1 rules WRONG" in text for text in texts)
    assert {"client", "firewall", "monitor", "web", "kvm1", "kvm2"} <= set(texts)
    assert "\x1b" not in chain_svg(picture)


def test_mermaid_marks_the_leg_that_is_wrong() -> None:
    text = chain_mermaid(seen())
    assert 'subgraph h0["kvm1"]' in text
    assert text.count("<==>") == 3
    assert "linkStyle 2 stroke:#dc2626" in text
