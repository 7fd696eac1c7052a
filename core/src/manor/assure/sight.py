"""What was seen of the world at one time, as plain values for the functions that judge it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from manor.api.resources import ChainSpec, NodeSpec, Observed, SegmentSpec
from manor.model.desired import DesiredState
from manor.model.vnfd import IndicatorTrigger

__all__ = ["Declared", "Service", "Sight", "vnf_of"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Declared:
    """What is said of a VNF about being healed, scaled and asked by itself; None where nothing is said."""

    autoheal: bool | None = None
    autoscale: bool | None = None
    triggers: tuple[IndicatorTrigger, ...] = ()
    management: frozenset[str] = frozenset()
    """Connection points that are for management."""


_NOTHING = Declared()


def vnf_of(key: str) -> str:
    """Key of the VNF instance that a machine belongs to."""
    return key.rpartition("/")[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """A service that should be there, and whether an operation is changing it."""

    id: str
    name: str
    nsd_id: str
    desired: DesiredState
    labels: Mapping[str, str] = field(default_factory=dict)
    last_operation: str = ""
    is_changing: bool = False
    """An operation runs: what is not there may be on its way."""
    held_by: str = ""
    """An operation that stopped and waits for a person."""
    declared: Mapping[str, Declared] = field(default_factory=dict)
    """By VNF key."""

    def declared_of(self, machine: str) -> Declared:
        """What is said of the VNF of a machine, by the machine's key."""
        return self.declared.get(vnf_of(machine), _NOTHING)

    def address_of(self, node: NodeSpec) -> str:
        """Where a machine is asked: at its first address for management, else at the first of any; empty for none."""
        management = self.declared_of(node.key).management
        ports = sorted(node.ports, key=lambda port: port.name not in management)
        return next((address.partition("/")[0] for port in ports for address in port.addresses), "")

    def place(self, endpoint: str, host: str) -> str:
        """Key of what this service has on a host, taken together."""
        return f"{self.id}@{endpoint.partition(':')[2]}/{host}"

    def places(self) -> frozenset[str]:
        """Keys of what it has on each host."""
        return frozenset(self.place(endpoint, node.host) for endpoint, node in self.nodes())

    def machines(self, key: str) -> tuple[str, ...]:
        """The machines that a place stands for; any other key stands for itself."""
        there = tuple(node.key for endpoint, node in self.nodes() if self.place(endpoint, node.host) == key)
        return there or (key,)

    def nodes(self) -> Iterator[tuple[str, NodeSpec]]:
        """Machines with their endpoint."""
        for resource in self.desired.resources:
            if isinstance(resource.spec, NodeSpec):
                yield resource.endpoint, resource.spec

    def groups(self) -> dict[tuple[str, str], list[str]]:
        """Keys of its machines by VNF and VDU."""
        groups: dict[tuple[str, str], list[str]] = {}
        for _, node in self.nodes():
            groups.setdefault((vnf_of(node.key), dict(node.labels).get("vdu", "")), []).append(node.key)
        return groups

    def segments(self) -> Iterator[tuple[str, SegmentSpec]]:
        """Virtual links with their controller."""
        for resource in self.desired.resources:
            if isinstance(resource.spec, SegmentSpec):
                yield resource.endpoint, resource.spec

    def chains(self) -> Iterator[tuple[str, ChainSpec]]:
        """Chains with their controller."""
        for resource in self.desired.resources:
            if isinstance(resource.spec, ChainSpec):
                yield resource.endpoint, resource.spec

    def keys(self) -> tuple[str, ...]:
        """Keys of all that should be there."""
        return tuple(resource.spec.key for resource in self.desired.resources)

    def guests(self) -> frozenset[str]:
        """Machines that have an agent inside, which answered when the service was made."""
        checks = (check for check in self.desired.checks if check.kind == "vnf")
        return frozenset(key for check in checks for key, way in check.nodes.items() if way.startswith("vim:"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Sight:
    """One look at every endpoint."""

    time_s: float
    observed: Mapping[str, Mapping[str, Observed]] = field(default_factory=dict)
    """What an endpoint showed, by key, by endpoint. An endpoint that did not answer is not in it."""
    silent: Mapping[str, str] = field(default_factory=dict)
    """Why an endpoint did not answer."""
    outdated: frozenset[str] = frozenset()
    """Ids of services that an operation has changed since their links and chains were looked at."""
    lost_hosts: Mapping[str, str] = field(default_factory=dict)
    """Why a host is lost, by ``<endpoint>/<host>``."""
    mute: Mapping[str, str] = field(default_factory=dict)
    """Why a source of KPIs gives none, though what it measures is there."""
    unheard_s: Mapping[str, float] = field(default_factory=dict)
    """For how long a machine's agent has not answered, where it was asked and had answered before."""

    at_work: Mapping[str, float] = field(default_factory=dict)
    """Packets per second that a machine sends, where that is about as much as it usually does."""

    def seen(self, endpoint: str, key: str) -> Observed | None:
        """A resource as its endpoint showed it."""
        return self.observed.get(endpoint, {}).get(key)

    def is_hidden(self, endpoint: str, host: str) -> bool:
        """Whether nobody can tell what is on a host: its endpoint did not answer, or the host does not answer it."""
        return endpoint not in self.observed or f"{endpoint}/{host}" in self.lost_hosts
