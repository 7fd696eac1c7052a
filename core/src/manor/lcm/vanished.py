"""Disks whose file is gone, under a machine that may still run on it. Pure.

Such a machine goes on writing to a file that nobody can open any more, and would never see a new one. So it is made
anew with the disk; what was on the old one can be read in the machine for as long as it runs, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from manor.api.resources import Observed, Phase, ResourceKind, ResourceRef
from manor.api.specs import spec_hash
from manor.lcm.draft import Draft
from manor.model.desired import DesiredState

__all__ = ["disks", "disks_first", "notes", "overlooked"]


def disks(draft: Draft) -> frozenset[str]:
    """Keys of the disks that were there, should be there, and are not."""
    return frozenset(
        key
        for key, resource in draft.before.items()
        if resource.spec.kind is ResourceKind.VOLUME
        and key in draft.wanted
        and (key not in draft.observed or draft.observed[key].phase is Phase.ERROR)
    )


def disks_first(draft: Draft, gone: frozenset[str]) -> None:
    """Let no machine go before its new disks are there: a rollback could not bring it back without one."""
    for key in draft.wanted.keys() & draft.removed.keys():
        for name in gone.intersection(draft.wanted[key].depends_on):
            draft.wait_softly(draft.removed[key], draft.ensured.get(name, ())[:1])


def notes(draft: Draft, gone: frozenset[str]) -> Iterator[str]:
    """What a person should know before the machine goes."""
    for key, resource in draft.wanted.items():
        names = sorted(gone.intersection(resource.depends_on))
        if names and key in draft.removed:
            short = key.partition("/")[2].removeprefix("vnf/")
            disk = names[0].removeprefix(f"{key}/")
            yield f"{short}: the file of its {disk} is gone; what was on it is lost when the machine goes"


def overlooked(
    state: DesiredState | None, observed: Mapping[str, Observed], keys: frozenset[str]
) -> dict[str, Observed]:
    """The world as if these disks were there: a plan leaves them, and the machines on them, as they are."""
    return {
        **observed,
        **{
            (spec := resource.spec).key: Observed(
                ref=ResourceRef(kind=spec.kind, key=spec.key, host=getattr(spec, "host", "")),
                owner=spec.owner,
                native_id="",
                phase=Phase.ACTIVE,
                spec_hash=spec_hash(spec),
            )
            for resource in (state.resources if state else ())
            if resource.spec.key in keys
        },
    }
