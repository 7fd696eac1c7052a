"""Who starts after whom: VNFs after VNFs, and the VDUs of one VNF after each other. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from manor.api.plan import Verb
from manor.api.vnfm import VnfView
from manor.model.desired import DesiredCheck
from manor.nfvo.request import ServiceRequest
from manor.vnfm.members import Vnf, Vnfc, slug

__all__ = ["proofs_between", "starts_after", "vnfs_first"]


def vnfs_first(request: ServiceRequest, vnfs: Sequence[Vnf]) -> dict[str, tuple[str, ...]]:
    """By VNF key, keys of the VNFs whose proof of health its machines wait for."""
    result: dict[str, tuple[str, ...]] = {}
    for dependency in request.flavour.dependencies:
        primaries = tuple(vnf.key for vnf in vnfs if vnf.profile.id == dependency.primary and not vnf.is_stopped)
        for vnf in vnfs:
            if vnf.profile.id == dependency.secondary:
                result[vnf.key] = (*result.get(vnf.key, ()), *primaries)
    return result


def starts_after(vnf: Vnf, vnfc: Vnfc) -> tuple[str, ...]:
    """Keys of the proofs of its own VNF that a machine waits for."""
    return tuple(_key(vnf, vdu_id) for vdu_id in vnfc.vdu.dependencies)


def proofs_between(vnf: Vnf, view: VnfView, endpoint: str, guests: Mapping[str, str]) -> Iterator[DesiredCheck]:
    """A proof of each VDU that others of the VNF start after: all of its machines are healthy."""
    for vdu_id in dict.fromkeys(first for vdu in vnf.df.vdus for first in vdu.dependencies):
        own = tuple(vnfc for vnfc in view.vnfcs if vnfc.vdu_id == vdu_id)
        keys = [vnfc.key for vnfc in own]
        if own:
            yield DesiredCheck(
                key=_key(vnf, vdu_id),
                verb=Verb.VERIFY,
                kind="vdu",
                endpoint=endpoint,
                view=dataclasses.asdict(dataclasses.replace(view, vnfcs=own)),
                nodes={key: guests[key] for key in keys if key in guests},
                depends_on=tuple(keys),
                why=f"{vdu_id} of {vnf.name} is healthy, which others start after",
            )


def _key(vnf: Vnf, vdu_id: str) -> str:
    return f"{vnf.key}/vdu/{slug(vdu_id)}"
