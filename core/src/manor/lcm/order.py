"""The order of steps and of what is desired: topological, and stable, so that equal input gives an equal plan. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from manor.api.plan import Step
from manor.errors import PlanRefused
from manor.model.desired import DesiredCheck, DesiredResource, DesiredState

__all__ = ["in_order", "in_turn"]


def in_turn(steps: Mapping[str, Step], soft: Mapping[str, Sequence[str]]) -> tuple[Step, ...]:
    """The steps, each after those it depends on, and among equals in the order given.

    ``soft`` are further dependencies by step id; one that would close a circle is given up, and the others stay. Raises
    PlanRefused where the steps wait for each other without them.
    """
    left = {
        step_id: dict.fromkeys(name for name in soft.get(step_id, ()) if name not in step.depends_on)
        for step_id, step in steps.items()
    }
    while True:
        softened = {
            step_id: dataclasses.replace(step, depends_on=tuple(dict.fromkeys((*step.depends_on, *left[step_id]))))
            if left[step_id]
            else step
            for step_id, step in steps.items()
        }
        try:
            return tuple(_topological(softened))
        except CycleError as error:
            circle: list[str] = error.args[1]
        # Each one in the circle is what the next one waits for.
        given_up = next(((one, after) for one, after in pairwise(circle) if one in left[after]), None)
        if given_up is None:
            raise PlanRefused(f"the steps wait for each other: {' → '.join(circle)}", hint="correct the dependencies")
        del left[given_up[1]][given_up[0]]


def _topological(steps: Mapping[str, Step]) -> Iterator[Step]:
    place = {step_id: index for index, step_id in enumerate(steps)}
    sorter = TopologicalSorter({step_id: step.depends_on for step_id, step in steps.items()})
    sorter.prepare()
    while sorter.is_active():
        for step_id in sorted(sorter.get_ready(), key=place.__getitem__):
            yield steps[step_id]
            sorter.done(step_id)


def in_order(desired: DesiredState) -> Iterator[DesiredResource | DesiredCheck]:
    """Resources and checks with dependencies first, which each may have on the other."""
    items: dict[str, DesiredResource | DesiredCheck] = {resource.spec.key: resource for resource in desired.resources}
    items.update({check.key: check for check in desired.checks})
    place = {key: index for index, key in enumerate(items)}
    sorter = TopologicalSorter(
        {key: [name for name in item.depends_on if name in items] for key, item in items.items()}
    )
    try:
        sorter.prepare()
    except CycleError as error:
        circle = " → ".join(error.args[1])
        raise PlanRefused(f"what is desired depends on itself: {circle}", hint="correct the dependencies") from None
    while sorter.is_active():
        for key in sorted(sorter.get_ready(), key=place.__getitem__):
            yield items[key]
            sorter.done(key)
