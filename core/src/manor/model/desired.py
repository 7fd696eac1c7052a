"""What should exist for one network service: the left-hand side of the one mechanism (desired, observed → plan)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from manor.api.plan import Verb
from manor.api.resources import ResourceSpec
from manor.api.specs import spec_from_json, spec_to_json

__all__ = ["DesiredCheck", "DesiredResource", "DesiredState", "desired_from_json", "desired_to_json"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DesiredResource:
    """One resource that should exist, who keeps it, and what must exist before it."""

    spec: ResourceSpec
    endpoint: str
    """``vim:<name>`` or ``sdn:<name>``."""
    depends_on: tuple[str, ...] = ()
    """Keys of resources and checks that come first; removal goes the other way."""
    why: str = ""
    """One clause for the plan, as ``firewall's VDU main``."""
    shared: bool = False
    """Used by other services too (an image): never removed with this one."""
    verify: bool = False
    """Observed ACTIVE again before what depends on it and before the operation is COMPLETED."""
    may_degrade: bool = False
    """All that is left of a part of it belongs to stopped VNFs: DEGRADED is as wanted too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DesiredCheck:
    """Work on or proof of what already exists: a VNF by its manager, a segment by its controller."""

    key: str
    """The check's own key: that of the VNF, or the resource's with a suffix, so that both can be waited for."""
    verb: Verb
    """``configure`` (day 1) or ``verify``."""
    kind: str = "vnf"
    """``vnf``, ``vdu`` for some of a VNF's machines, or the ResourceKind of what is observed."""
    endpoint: str
    """``vnfm:<name>`` for a VNF, else the resource's own."""
    view: Mapping[str, Any] = field(default_factory=dict)
    """The VnfView as JSON, for a VNF; else ``{"resource": key}`` of what is to be observed ACTIVE."""
    nodes: Mapping[str, str] = field(default_factory=dict)
    """The way into each of the VNF's nodes by its key: ``vim:<name>`` for the agent, or ``ssh://<user>@<address>``."""
    depends_on: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class DesiredState:
    """All of one service, in an order in which dependencies come first."""

    service_id: str
    service_name: str
    resources: tuple[DesiredResource, ...] = ()
    checks: tuple[DesiredCheck, ...] = ()
    placement: Mapping[str, str] = field(default_factory=dict)
    """``<vim>/<host>`` by node key."""
    notes: tuple[str, ...] = ()
    wishes: Mapping[str, Any] = field(default_factory=dict)
    """What the operator wanted of it (sizes, places, what is stopped), as JSON: a later operation starts from that."""
    site_spans: Mapping[str, int] = field(default_factory=dict)
    """bit/s that its links hold of the ways between sites, by ``<site> <site>`` in order."""
    elements: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """What its links, SAPs and paths are in the NSD, by key: ETSI's attributes that notifications name them with."""


def desired_to_json(desired: DesiredState) -> dict[str, Any]:
    """The state as JSON values, to be read back by :func:`desired_from_json`."""
    return {
        "service_id": desired.service_id,
        "service_name": desired.service_name,
        "resources": [
            {
                "spec": spec_to_json(resource.spec),
                "endpoint": resource.endpoint,
                "depends_on": list(resource.depends_on),
                "why": resource.why,
                "shared": resource.shared,
                "verify": resource.verify,
                "may_degrade": resource.may_degrade,
            }
            for resource in desired.resources
        ],
        "checks": [
            {
                "key": check.key,
                "verb": str(check.verb),
                "kind": str(check.kind),
                "endpoint": check.endpoint,
                "view": dict(check.view),
                "nodes": dict(check.nodes),
                "depends_on": list(check.depends_on),
                "why": check.why,
            }
            for check in desired.checks
        ],
        "placement": dict(desired.placement),
        "notes": list(desired.notes),
        "wishes": dict(desired.wishes),
        "site_spans": dict(desired.site_spans),
        "elements": {key: dict(names) for key, names in desired.elements.items()},
    }


def desired_from_json(data: Mapping[str, Any]) -> DesiredState:
    """Read what :func:`desired_to_json` wrote. Raises KeyError or ValueError on a wrong shape."""
    return DesiredState(
        service_id=data["service_id"],
        service_name=data["service_name"],
        resources=tuple(
            DesiredResource(
                spec=spec_from_json(item["spec"]),
                endpoint=item["endpoint"],
                depends_on=tuple(item["depends_on"]),
                why=item["why"],
                shared=item["shared"],
                verify=item["verify"],
                may_degrade=item.get("may_degrade", False),
            )
            for item in data["resources"]
        ),
        checks=tuple(
            DesiredCheck(
                key=item["key"],
                verb=Verb(item["verb"]),
                kind=item["kind"],
                endpoint=item["endpoint"],
                view=item["view"],
                nodes=item["nodes"],
                depends_on=tuple(item["depends_on"]),
                why=item["why"],
            )
            for item in data["checks"]
        ),
        placement=data["placement"],
        notes=tuple(data["notes"]),
        wishes=data.get("wishes", {}),
        site_spans=data.get("site_spans", {}),
        elements=data.get("elements", {}),
    )
