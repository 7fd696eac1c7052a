"""What an operator may ask of an operation beside its kind, and how it becomes a request to the NFVO."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from manor.errors import DescriptorError, UsageError
from manor.lcm.runtime import Runtime
from manor.lcm.world import addresses, registered
from manor.model.desired import DesiredState
from manor.model.instance import EndpointKind, NsInstance, OperationalState, PackageInfo, PackageKind
from manor.model.nsd import Nsd
from manor.model.vnfd import Vnfd
from manor.nfvo.request import Artifact, ServiceRequest

if TYPE_CHECKING:
    from pydantic import TypeAdapter

__all__ = ["Wishes", "request", "wishes_from_json", "wishes_to_json"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """Everything that is not in the descriptors."""

    sdn: str = ""
    """Controller; the only registered one where nothing is said."""
    placement: str = "balanced"
    """Placement policy."""
    level: str = ""
    """NS instantiation level."""
    locations: Mapping[str, str] = field(default_factory=dict)
    """``<vim>`` or ``<vim>/<host>`` by VNF profile id; ``*`` for all."""
    vnf_counts: Mapping[str, int] = field(default_factory=dict)
    scale_levels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def wishes_to_json(wishes: Wishes) -> dict[str, Any]:
    """As JSON values, to be kept with an operation or a saved plan."""
    return dataclasses.asdict(wishes)


def wishes_from_json(data: Mapping[str, Any]) -> Wishes:
    """Read what :func:`wishes_to_json` wrote. Raises UsageError on an unknown field."""
    try:
        return Wishes(**data)
    except TypeError as error:
        raise UsageError(f"the saved plan's wishes cannot be read: {error}", hint="make the plan anew") from error


@functools.cache
def _reader(kind: type[Any]) -> TypeAdapter[Any]:
    """Reads a descriptor's JSON values; made once, since making one costs more than all else here."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def request(rt: Runtime, ns: NsInstance, wishes: Wishes, previous: DesiredState | None) -> ServiceRequest:
    """The request for a service as its packages and the operator want it."""

    from manor.catalog.contents import artifact_path
    from manor.store import packages

    with rt.store.read() as tx:
        nsd = _reader(Nsd).validate_python(packages.descriptor(tx, ns.nsd_package))
        wanted = {profile.vnfd_id for df in nsd.flavours for profile in df.vnf_profiles}
        vnfds: dict[str, Vnfd] = {}
        artifacts: dict[tuple[str, str], Artifact] = {}
        reader = _reader(Vnfd)
        for vnfd_id in sorted(wanted):
            info = packages.by_descriptor(tx, PackageKind.VNF, vnfd_id)
            if info is None:
                continue
            _must_be_enabled(info)
            vnfds[vnfd_id] = reader.validate_python(packages.descriptor(tx, info.id))
            for path, sha256 in info.artifacts.items():
                kept = artifact_path(rt.home, sha256)
                artifacts[vnfd_id, path] = Artifact(path=str(kept), sha256=sha256, size_bytes=kept.stat().st_size)
    return ServiceRequest(
        ns=ns,
        owner=rt.owner,
        nsd=nsd,
        vnfds=vnfds,
        artifacts=artifacts,
        sdn=_controller(rt, wishes),
        vnfms={vnfd.id: _manager(rt, vnfd) for vnfd in vnfds.values()},
        level=wishes.level,
        vnf_counts=wishes.vnf_counts,
        scale_levels=wishes.scale_levels,
        locations=wishes.locations,
        held_addresses=addresses(previous),
    )


def _must_be_enabled(info: PackageInfo) -> None:
    if info.operational_state is not OperationalState.ENABLED:
        raise DescriptorError(f"package {info.name} is disabled", hint=f"manor package enable {info.id}")


def _controller(rt: Runtime, wishes: Wishes) -> str:
    if wishes.sdn:
        return rt.endpoint(EndpointKind.SDN, wishes.sdn).name
    known = registered(rt, EndpointKind.SDN)
    if len(known) > 1:
        raise UsageError(f"several controllers are registered: {', '.join(known)}", hint="name one with --sdn")
    return known[0] if known else ""


def _manager(rt: Runtime, vnfd: Vnfd) -> str:
    """The VNF manager that ``vnfm_info`` asks for, where we have it; the generic one where it asks for none of ours."""
    known = {*registered(rt, EndpointKind.VNFM), *rt.plugins.vnfm_drivers()}
    return next((wanted for wanted in vnfd.vnfm_info if wanted in known), "generic")
