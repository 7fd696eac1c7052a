"""What an operator may ask of an operation beside its kind, and how it becomes a request to the NFVO."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from manor.api import SnapshotSpec, spec_from_json
from manor.errors import DescriptorError, UsageError
from manor.lcm.runtime import Runtime
from manor.lcm.world import addresses, registered, subnets
from manor.model.desired import DesiredState
from manor.model.instance import (
    EndpointKind,
    NsInstance,
    NsState,
    OperationalState,
    PackageInfo,
    PackageKind,
    VnfInstance,
)
from manor.model.nsd import Nsd
from manor.model.vnfd import Vnfd
from manor.nfvo.amend import Amendment, amended, amendment_from_json, nesting
from manor.nfvo.compose import composed, needed
from manor.nfvo.request import Artifact, ServiceRequest

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from sqlalchemy import Connection

_Said = TypeVar("_Said")
_UNAMENDED = Amendment()

__all__ = [
    "Standing",
    "Wishes",
    "are_same",
    "changed",
    "described",
    "lasting",
    "must_be_enabled",
    "request",
    "snapshot_specs",
    "standing",
    "wishes_from_json",
    "wishes_to_json",
    "vnfd_of",
]


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
    """Number of VNFs by profile id, where it differs from the level's."""
    ns_scale_levels: Mapping[str, int] = field(default_factory=dict)
    """Level by NS scaling aspect (nsScaleStatus); the numbers that it means are in ``vnf_counts``."""
    scale_levels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """VNF name → aspect → level, where it differs from the VNF's instantiation level."""
    vnf_levels: Mapping[str, str] = field(default_factory=dict)
    """VNF instantiation level by VNF name, where it differs from the profile's."""
    vnfds: Mapping[str, str] = field(default_factory=dict)
    """VNFD id by VNF name, where it differs from the profile's."""
    profile_vnfds: Mapping[str, str] = field(default_factory=dict)
    """VNFD id by VNF profile id, where it differs from the NSD's; VNFs to come have it too."""
    vnf_flavours: Mapping[str, str] = field(default_factory=dict)
    """VNF flavour by VNF name, where it differs from the profile's."""
    connections: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """VNF name → external CP → virtual link, empty for none, where it differs from the profile's."""
    information: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What is said of a VNF by its name: see ``VnfInstance.information``."""
    stopped: tuple[str, ...] = ()
    """Names of the VNFs that are turned off."""
    generations: Mapping[str, int] = field(default_factory=dict)
    """By VNF name, how often its machines were replaced by others beside them."""
    vnf_locations: Mapping[str, str] = field(default_factory=dict)
    """``<vim>/<host>`` by VNF name: it was moved there."""
    snapshots: Mapping[str, Any] = field(default_factory=dict)
    """VNF snapshots by name: see :mod:`manor.lcm.snapshots`."""
    reverted: Mapping[str, str] = field(default_factory=dict)
    """By volume key, the snapshot that this operation makes it from."""
    removed: tuple[str, ...] = ()
    """Names of VNFs that were removed one by one; they are not used again."""
    amendment: Mapping[str, Any] = field(default_factory=dict)
    """What is otherwise than in the NSD (:mod:`manor.nfvo.amend`)."""
    switched: tuple[str, ...] = ()
    """Names of the VNFs whose machines this operation replaces by others beside them."""
    rollout: Mapping[str, Any] = field(default_factory=dict)
    """How this operation replaces machines: see :mod:`manor.lcm.rollout`."""
    nsd_package: str = ""
    """The package of the NSD that the service is to be of from now on."""
    chains_off: tuple[str, ...] = ()
    """Ids of the forwarding paths that are switched off."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Parameters to change; the service has them from then on."""
    recreate: tuple[str, ...] = ()
    """Keys of resources to remove and make anew although they are as specified (for a heal)."""
    cause: str = ""
    """Why, in words (HealVnfData.cause)."""
    patience_s: float | None = None
    """How long a machine that is turned off is asked to shut down; 0 asks nothing, None leaves it to the VIM."""
    action: Mapping[str, Any] = field(default_factory=dict)
    """An action to have done in a VNF: ``vnf``, ``name``, ``parameters``."""
    vnf_operations: Mapping[str, str] = field(default_factory=dict)
    """By VNF name, what this operation is to the VNFs that it names: the operation of the VNF's interface
    (``scale_to_level``) whose lifecycle scripts run, empty for none."""
    update_type: str = ""
    """updateType of an UPDATE (SOL005 §6.5.4.3.6), for people and for the operation's parameters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """A running service and what was wanted of it so far: where every later wish starts from."""

    ns: NsInstance
    wishes: Wishes
    state: DesiredState
    vnfs: tuple[VnfInstance, ...]

    def vnf(self, name: str) -> VnfInstance:
        """The VNF of this name. Raises UsageError naming those that there are."""
        for vnf in self.vnfs:
            if name in (vnf.name, vnf.id):
                return vnf
        known = ", ".join(vnf.name for vnf in self.vnfs)
        raise UsageError(f"{self.ns.name} has no VNF {name}", hint=f"it has: {known}")


def standing(rt: Runtime, name_or_id: str) -> Standing:
    """The service as it stands. Raises UsageError where it does not run."""
    from manor.store import instances

    with rt.store.read() as tx:
        ns = instances.get(tx, name_or_id)
        state = instances.desired(tx, ns.id)
        vnfs = instances.vnfs(tx, ns.id)
    if ns.state is not NsState.INSTANTIATED or state is None:
        raise UsageError(f"service {ns.name} is {ns.state}", hint=f"manor ns instantiate {ns.name}")
    return Standing(ns=ns, wishes=wishes_from_json(state.wishes), state=state, vnfs=vnfs)


def lasting(wishes: Wishes, vnfs: Collection[str]) -> Wishes:
    """Without what was meant for one operation only, and what was said of VNFs that are no more."""

    def theirs(said: Mapping[str, _Said]) -> dict[str, _Said]:
        return {name: one for name, one in said.items() if name in vnfs}

    return dataclasses.replace(
        wishes,
        scale_levels=theirs(wishes.scale_levels),
        vnf_levels=theirs(wishes.vnf_levels),
        vnfds=theirs(wishes.vnfds),
        vnf_flavours=theirs(wishes.vnf_flavours),
        connections=theirs(wishes.connections),
        information=theirs(wishes.information),
        generations=theirs(wishes.generations),
        vnf_locations=theirs(wishes.vnf_locations),
        stopped=tuple(name for name in wishes.stopped if name in vnfs),
        parameters={},
        recreate=(),
        cause="",
        patience_s=None,
        action={},
        vnf_operations={},
        update_type="",
        nsd_package="",
        switched=(),
        reverted={},
        rollout={},
    )


def wishes_to_json(wishes: Wishes) -> dict[str, Any]:
    """As JSON values, to be kept with an operation or a saved plan."""
    return dataclasses.asdict(wishes)


def wishes_from_json(data: Mapping[str, Any]) -> Wishes:
    """Read what :func:`wishes_to_json` wrote. Raises UsageError on an unknown field."""
    try:
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        return Wishes(**fields)
    except TypeError as error:
        raise UsageError(f"the saved plan's wishes cannot be read: {error}", hint="make the plan anew") from error


def are_same(target: DesiredState | None, stored: DesiredState | None) -> bool:
    """Whether both are wished alike."""
    if target is None or stored is None:
        return target is stored
    return wishes_from_json(target.wishes) == wishes_from_json(stored.wishes)


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
        amendment = amendment_from_json(wishes.amendment)
        nsd = changed(amended(_flat(tx, ns, amendment), amendment), wishes.profile_vnfds)
        wanted = {profile.vnfd_id for df in nsd.flavours for profile in df.vnf_profiles} | set(wishes.vnfds.values())
        vnfds: dict[str, Vnfd] = {}
        artifacts: dict[tuple[str, str], Artifact] = {}
        reader = _reader(Vnfd)
        for vnfd_id in sorted(wanted):
            info = packages.by_descriptor(tx, PackageKind.VNF, vnfd_id)
            if info is None:
                continue
            vnfds[vnfd_id] = reader.validate_python(packages.descriptor(tx, info.id))
            for path, sha256 in info.artifacts.items():
                artifacts[vnfd_id, path] = _artifact(info, path, artifact_path(rt.home, sha256), sha256)
    return ServiceRequest(
        ns=dataclasses.replace(ns, parameters={**ns.parameters, **wishes.parameters}),
        owner=rt.owner,
        nsd=nsd,
        vnfds=vnfds,
        artifacts=artifacts,
        sdn=_controller(rt, wishes, previous),
        level=wishes.level,
        vnf_counts=wishes.vnf_counts,
        scale_levels=wishes.scale_levels,
        vnf_levels=wishes.vnf_levels,
        vnf_vnfds=wishes.vnfds,
        vnf_flavours=wishes.vnf_flavours,
        connections=wishes.connections,
        properties={name: said.get("vnfConfigurableProperties", {}) for name, said in wishes.information.items()},
        stopped=frozenset(wishes.stopped),
        chains_off=frozenset(wishes.chains_off),
        vnfs_removed=frozenset(wishes.removed),
        snapshots=tuple(snapshot_specs(wishes.snapshots)),
        reverted=wishes.reverted,
        generations=wishes.generations,
        switched=frozenset(wishes.switched),
        vnf_locations=wishes.vnf_locations,
        locations=wishes.locations,
        held_addresses=addresses(previous),
        held_subnets=subnets(previous),
    )


def snapshot_specs(snapshots: Mapping[str, Any]) -> Iterator[tuple[str, SnapshotSpec]]:
    """VIM and spec of each machine's part of these snapshots."""
    for snapshot in snapshots.values():
        for part in snapshot["parts"]:
            spec = spec_from_json(part["spec"])
            assert isinstance(spec, SnapshotSpec)
            yield part["vim"], spec


def described(rt: Runtime, ns: NsInstance, amendment: Amendment = _UNAMENDED) -> Nsd:
    """The service's NSD as its package has it, with those that it nests laid out in it, and those nested since."""
    with rt.store.read() as tx:
        return _flat(tx, ns, amendment)


def _flat(tx: Connection, ns: NsInstance, amendment: Amendment) -> Nsd:
    from manor.store import packages

    reader = _reader(Nsd)
    plain = nesting(reader.validate_python(packages.descriptor(tx, ns.nsd_package)), amendment)
    nested: dict[str, Nsd] = {}
    wanted = list(needed(plain))
    while wanted:
        nsd_id = wanted.pop()
        info = packages.by_descriptor(tx, PackageKind.NS, nsd_id)
        if nsd_id not in nested and info is not None:
            if ns.state is not NsState.INSTANTIATED:
                must_be_enabled(info)
            nested[nsd_id] = reader.validate_python(packages.descriptor(tx, info.id))
            wanted += needed(nested[nsd_id])
    return composed(plain, nested)


def vnfd_of(rt: Runtime, vnfd_id: str) -> tuple[Vnfd | None, Mapping[str, str]]:
    """An on-boarded VNFD, and where each file of its package is kept; None where there is none."""
    from manor.catalog.contents import artifact_path
    from manor.store import packages

    with rt.store.read() as tx:
        info = packages.by_descriptor(tx, PackageKind.VNF, vnfd_id)
        if info is None:
            return None, {}
        vnfd: Vnfd = _reader(Vnfd).validate_python(packages.descriptor(tx, info.id))
    return vnfd, {path: str(artifact_path(rt.home, sha256)) for path, sha256 in info.artifacts.items()}


def changed(nsd: Nsd, profile_vnfds: Mapping[str, str]) -> Nsd:
    """The NSD with other VNFDs in its VNF profiles."""
    if not profile_vnfds:
        return nsd
    flavours = tuple(
        dataclasses.replace(
            df,
            vnf_profiles=tuple(
                dataclasses.replace(profile, vnfd_id=profile_vnfds.get(profile.id, profile.vnfd_id))
                for profile in df.vnf_profiles
            ),
        )
        for df in nsd.flavours
    )
    return dataclasses.replace(nsd, flavours=flavours)


def _artifact(info: PackageInfo, path: str, kept: Path, sha256: str) -> Artifact:
    try:
        size_bytes = kept.stat().st_size
    except OSError as error:
        raise DescriptorError(
            f"package {info.name}: its file {path} is not here: {error.strerror} ({kept})",
            hint="manor package onboard PATH, of the same package, brings its files back",
        ) from error
    return Artifact(path=str(kept), sha256=sha256, size_bytes=size_bytes)


def must_be_enabled(info: PackageInfo) -> None:
    """Raises DescriptorError where nothing new may be made of the package; what was made of it goes on."""
    if info.operational_state is not OperationalState.ENABLED:
        raise DescriptorError(f"package {info.name} is disabled", hint=f"manor package enable {info.id}")


def _controller(rt: Runtime, wishes: Wishes, previous: DesiredState | None) -> str:
    """What runs keeps its controller, or has none, however many have been registered since."""
    if wishes.sdn:
        return rt.endpoint(EndpointKind.SDN, wishes.sdn).name
    known = registered(rt, EndpointKind.SDN)
    kind, resources = f"{EndpointKind.SDN}:", previous.resources if previous else ()
    has = [one.endpoint.removeprefix(kind) for one in resources if one.endpoint.startswith(kind)]
    if has and has[0] in known:
        return has[0]
    if len(known) > 1 and previous is None:
        raise UsageError(f"several controllers are registered: {', '.join(known)}", hint="name one with --sdn")
    return known[0] if len(known) == 1 else ""
