"""No plan with a chain that leads its traffic astray: what a plan changes is proven before it is applied.

The chains are compiled as their controller would, sample frames walk the result, and a chain that does not lead each
through its functions in order, once, and out again, or that touches what it does not name, refuses the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from manor.api import CallContext, ChainSpec, Classifier, Finding, SegmentSpec, Severity, Topology
from manor.errors import DriverError, PlanRefused
from manor.lcm.chainproof import prove
from manor.model.desired import DesiredState

__all__ = ["refuse_astray"]

_LOOK_S = 30.0


def refuse_astray(driver: Callable[[str], Any], before: DesiredState | None, after: DesiredState) -> None:
    """Raise PlanRefused where a chain that is new or changed is not what it says.

    A controller that cannot be asked now is left to its own refusal, when the plan is applied.
    """
    known = {r.spec.key: r.spec for r in before.resources} if before else {}
    findings: list[Finding] = []
    seen: dict[str, tuple[Any, Topology]] = {}
    for resource in after.resources:
        chain = resource.spec
        if not isinstance(chain, ChainSpec) or known.get(chain.key) == chain or not _walkable(chain):
            continue
        if resource.may_degrade:
            continue  # a part of it is stopped, as is wanted: nothing passes there, and that is told elsewhere
        segments = [
            r.spec for r in after.resources if r.endpoint == resource.endpoint and isinstance(r.spec, SegmentSpec)
        ]
        try:
            if resource.endpoint not in seen:
                net = driver(resource.endpoint)
                seen[resource.endpoint] = net, net.topology(CallContext.within(_LOOK_S))
        except DriverError:
            continue
        net, topology = seen[resource.endpoint]
        findings += _findings(chain, segments, net, topology)
    if findings:
        first = findings[0]
        raise PlanRefused(first.message, findings=findings, hint=first.hint)


def _findings(chain: ChainSpec, segments: list[SegmentSpec], net: Any, topology: Topology) -> Iterator[Finding]:
    for check in prove(chain, segments, net.compile, topology):
        if not check.ok:
            message = f"chain {chain.name} would not do what it says: {check.what}: {check.why}"
            yield Finding(severity=Severity.ERROR, code="chain-astray", message=message)


def _walkable(chain: ChainSpec) -> bool:
    """Whether sample frames can tell: not where bits or tags matter that they have not."""
    ends = (*chain.sources, *chain.destinations)
    return all(_plain(rule) for rule in chain.classifiers) and all(port.mac and not port.vlan for port in ends)


def _plain(rule: Classifier) -> bool:
    return not rule.vlan_tag and not rule.extended_criteria
