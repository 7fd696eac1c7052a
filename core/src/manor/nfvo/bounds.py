"""How many the descriptors allow: VNFs of a profile, machines of a VDU. Pure.

What stands is left in peace, whatever an older release let by: only what comes or changes is held to the bounds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from manor.errors import PlanRefused
from manor.model.instance import VnfInstance
from manor.nfvo.request import ServiceRequest
from manor.vnfm.levels import refuse_out_of_bounds
from manor.vnfm.members import Vnf

__all__ = ["refuse_beyond"]


def refuse_beyond(request: ServiceRequest, vnfs: Sequence[Vnf], before: Sequence[VnfInstance], *, anew: bool) -> None:
    """Raise PlanRefused where there would be more or fewer than NSD and VNFDs allow. ``before`` are the VNFs there are;
    ``anew`` says that they were of another NSD.
    """
    numbers = Counter(vnf.profile.id for vnf in vnfs)
    were = Counter(vnf.profile_id for vnf in before)
    for profile in request.flavour.vnf_profiles:
        number, was = numbers[profile.id], were[profile.id]
        least, most = profile.min_number_of_instances, profile.max_number_of_instances
        if not least <= number <= most and (anew or number != was):
            raise PlanRefused(
                f"there would be {number} of {profile.id}: the NSD allows {least} to {most}",
                hint=f"manor ns scale {request.ns.name} --vnf {profile.id}={min(max(number, least), most)} first"
                if number == was
                else "stay within, or change the VNF profile in the NSD",
            )
    stood = {vnf.name: (vnf.vnfd_id, vnf.flavour_id, dict(vnf.vdu_counts)) for vnf in before}
    for vnf in vnfs:
        sizes = dict(Counter(vnfc.vdu.id for vnfc in vnf.vnfcs))
        if stood.get(vnf.name) != (vnf.vnfd.id, vnf.df.id, sizes):
            refuse_out_of_bounds(vnf.df, sizes, vnf.name)
