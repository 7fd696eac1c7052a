"""A plan in the making: what is wanted and what was, the steps so far, and what has to wait for what.

:mod:`manor.lcm.diff` begins it; each rule of order adds dependencies to it, and steps of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from manor.api.plan import Step, Verb
from manor.api.resources import Observed
from manor.model.desired import DesiredCheck, DesiredResource, DesiredState

__all__ = ["Draft", "Machine", "machines"]

Machine = tuple[DesiredCheck, Mapping[str, Any]]
"""A machine of a VNF, as the check that proves the VNF names it."""


@dataclass(kw_only=True, slots=True)
class Draft:
    """All by key but ``steps``, which are by id."""

    wanted: dict[str, DesiredResource]
    before: dict[str, DesiredResource]
    checks: dict[str, DesiredCheck]
    checks_before: dict[str, DesiredCheck]
    observed: Mapping[str, Observed]
    steps: dict[str, Step] = field(default_factory=dict)
    ensured: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Ids of the steps that make a key true; what depends on the key waits for the last of them."""
    removed: dict[str, str] = field(default_factory=dict)
    """Id of the removing step."""
    soft: dict[str, list[str]] = field(default_factory=dict)
    """By step id, further dependencies, for make before break: given up where they would close a circle."""

    @classmethod
    def of(cls, desired: DesiredState, previous: DesiredState | None, observed: Mapping[str, Observed]) -> Draft:
        """One without steps."""
        return cls(
            wanted={resource.spec.key: resource for resource in desired.resources},
            before={resource.spec.key: resource for resource in (previous.resources if previous else ())},
            checks={check.key: check for check in desired.checks},
            checks_before={check.key: check for check in (previous.checks if previous else ())},
            observed=observed,
        )

    def add(self, step: Step) -> str:
        """Take the step in, or in place of the one of its id; its id."""
        self.steps[step.id] = step
        return step.id

    def wait(self, step_id: str, names: Iterable[str]) -> None:
        """Have the step wait for these too."""
        step = self.steps[step_id]
        self.add(dataclasses.replace(step, depends_on=tuple(dict.fromkeys((*step.depends_on, *names)))))

    def wait_softly(self, step_id: str, names: Iterable[str]) -> None:
        """Have the step wait for these too, where that can be."""
        self.soft.setdefault(step_id, []).extend(names)


def machines(checks: Iterable[DesiredCheck]) -> Iterator[Machine]:
    """Every machine of the VNFs that are proven."""
    for check in checks:
        if check.verb is Verb.VERIFY and check.kind == "vnf":
            for vnfc in check.view.get("vnfcs", ()):
                yield check, vnfc
