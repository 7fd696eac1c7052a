"""What links, SAPs and paths are in the NSD, as ETSI names it (SOL005 §6.5.3.3 ff): notifications name them with that.

A key need not say: an id that cannot be part of one is another there, and a path does not tell which graph it is of.
It is kept with the desired state, so that it is still known of what a later operation takes away. Pure.
"""

from __future__ import annotations

from manor.nfvo.request import ServiceRequest
from manor.vnfm.members import slug

__all__ = ["elements"]


def elements(request: ServiceRequest) -> dict[str, dict[str, str]]:
    """Attributes of affectedVl, affectedSap and affectedVnffg, by resource key; of paths those that are not off."""
    nsd, of_service = request.nsd, request.ns.id
    found = {
        f"{of_service}/vl/{slug(link.id)}": {
            "nsVirtualLinkDescId": link.id,
            "vlProfileId": link.profile_id or link.id,
        }
        for link in nsd.virtual_links
    }
    found |= {f"{of_service}/sap/{slug(sapd.id)}": {"sapdId": sapd.id} for sapd in nsd.sapds}
    for graph in nsd.vnffgds:
        names = {"vnffgInstanceId": f"{of_service}/vnffg/{slug(graph.id)}", "vnffgdId": graph.id}
        for path in graph.nfpds:
            if path.id not in request.chains_off:
                found.setdefault(f"{of_service}/chain/{slug(path.id)}", names)
    return found
