"""HEAL: what is broken comes back, and VNFs or single machines that the operator names are made anew."""

from __future__ import annotations

from collections.abc import Iterable

from manor.api import NodeSpec, OperationKind, VolumeSpec
from manor.errors import UsageError
from manor.lcm.ns import Proposal, propose
from manor.lcm.runtime import Runtime
from manor.lcm.wishes import Wishes, standing
from manor.model.desired import DesiredState

__all__ = ["heal", "recreated"]


def heal(rt: Runtime, ns: str, *, vnfs: Iterable[str] = (), vnfcs: Iterable[str] = (), cause: str = "") -> Proposal:
    """The proposal to heal a service (HealNsRequest; with names, HealVnfRequest). Raises UsageError, PlanRefused."""
    keys = recreated(standing(rt, ns).state, vnfs=vnfs, vnfcs=vnfcs)
    return propose(rt, ns, OperationKind.HEAL, Wishes(recreate=keys, cause=cause))


def recreated(state: DesiredState, *, vnfs: Iterable[str] = (), vnfcs: Iterable[str] = ()) -> tuple[str, ...]:
    """Pure: keys to recreate for these VNFs (by name) and VNFCs (by name, key or ``VNF/VDU-number``).

    A machine goes with its disks that are filled from an image; a blank one holds data and stays. Keys, MACs and
    addresses are the same afterwards. Raises UsageError for a name that the service does not have.
    """
    nodes = [r.spec for r in state.resources if isinstance(r.spec, NodeSpec)]
    volumes = {r.spec.key: r.spec for r in state.resources if isinstance(r.spec, VolumeSpec)}
    picked: dict[str, NodeSpec] = {}
    for name in vnfs:
        of_vnf = [node for node in nodes if _label(node, "vnf") == name]
        if not of_vnf:
            known = dict.fromkeys(_label(node, "vnf") for node in nodes)
            raise UsageError(f"{state.service_name} has no VNF {name}", hint=f"it has: {', '.join(known)}")
        picked.update((node.key, node) for node in of_vnf)
    for name in vnfcs:
        found = next((node for node in nodes if name in _names(node)), None)
        if found is None:
            known = dict.fromkeys(_names(node)[-1] for node in nodes)
            raise UsageError(f"{state.service_name} has no machine {name}", hint=f"it has: {', '.join(known)}")
        picked[found.key] = found
    keys = []
    for node in picked.values():
        disks = (volumes.get(disk.volume) for disk in node.disks)
        keys += [*(disk.key for disk in disks if disk is not None and disk.image), node.key]
    return tuple(keys)


def _label(node: NodeSpec, name: str) -> str:
    return dict(node.labels).get(name, "")


def _names(node: NodeSpec) -> tuple[str, ...]:
    return node.key, _label(node, "vnfc"), node.key.partition("/vnf/")[2]
