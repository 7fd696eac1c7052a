"""What links, SAPs and paths are in the NSD is known whatever their keys, also of a service nested in another."""

import dataclasses

from secure_web import NSD, request

from manor.model.nsd import Nsd, NsDf, NsProfile, Sapd
from manor.nfvo.compose import composed
from manor.nfvo.elements import elements

(LAN, *_), (GRAPH,) = NSD.virtual_links, NSD.vnffgds
(PATH,) = GRAPH.nfpds
PATHS = tuple(dataclasses.replace(PATH, id=name) for name in ("udp", "tcp", "off"))
WHOLE = dataclasses.replace(
    NSD,
    virtual_links=(dataclasses.replace(LAN, profile_id="lan-profile"),),
    sapds=(Sapd(id="Office 1", virtual_link=LAN.id),),
    vnffgds=(dataclasses.replace(GRAPH, id="All names", nfpds=PATHS),),
)


def test_each_path_that_is_on_is_of_its_graph_and_ids_are_the_descriptors() -> None:
    found = elements(dataclasses.replace(request(nsd=WHOLE), chains_off=frozenset({"off"})))
    by_part = {key.split("/")[1]: names for key, names in found.items()}
    assert (by_part["vl"], by_part["sap"]) == (
        {"nsVirtualLinkDescId": LAN.id, "vlProfileId": "lan-profile"},
        {"sapdId": "Office 1"},
    )
    on = {key.rpartition("/")[2]: names for key, names in found.items() if "/chain/" in key}
    assert on.keys() == {"udp", "tcp"}
    assert on["udp"] == on["tcp"]
    assert on["udp"]["vnffgdId"] == "All names"
    assert " " not in on["udp"]["vnffgInstanceId"]


def test_of_a_nested_service_they_are_those_of_the_flat_nsd() -> None:
    flavour = NsDf(id="default", ns_profiles=(NsProfile(id="north", nsd_id=WHOLE.id),))
    outer = Nsd(id="outer", flavours=(flavour,))
    named = [*elements(request(nsd=composed(outer, {WHOLE.id: WHOLE}))).values()]
    assert {"nsVirtualLinkDescId": f"north.{LAN.id}", "vlProfileId": "north.lan-profile"} in named
    assert {"sapdId": "north.Office 1"} in named
    assert {names["vnffgdId"] for names in named if "vnffgdId" in names} == {"north.All names"}
