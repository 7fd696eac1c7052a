"""Disks whose file is gone, under a machine that may still run on it. Pure.

Such a machine goes on writing to a file that nobody can open any more, and would never see a new one. So it is made
anew with the disk; what was on the old one can be read in the machine for as long as it runs, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from manor.api.resources import Observed, Phase, ResourceKind, ResourceRef, spec_hash
from manor.model.desired import DesiredResource, DesiredState

__all__ = ["disks", "disks_first", "notes", "overlooked"]


def disks(
    wanted: Mapping[str, DesiredResource], before: Mapping[str, DesiredResource], observed: Mapping[str, Observed]
) -> frozenset[str]:
    """Keys of the disks that were there, should be there, and are not."""
    return frozenset(
        key
        for key, resource in before.items()
        if resource.spec.kind is ResourceKind.VOLUME
        and key in wanted
        and (key not in observed or observed[key].phase is Phase.ERROR)
    )


def disks_first(
    gone: frozenset[str],
    wanted: Mapping[str, DesiredResource],
    ensured: Mapping[str, tuple[str, ...]],
    removed: Mapping[str, str],
    soft: dict[str, list[str]],
) -> None:
    """Let no machine go before its new disks are there: a rollback could not bring it back without one."""
    for key in wanted.keys() & removed.keys():
        for name in gone.intersection(wanted[key].depends_on):
            soft.setdefault(removed[key], []).extend(ensured.get(name, ())[:1])


def notes(gone: frozenset[str], wanted: Mapping[str, DesiredResource], replaced: Mapping[str, str]) -> Iterator[str]:
    """What a person should know before the machine goes."""
    for key, resource in wanted.items():
        names = sorted(gone.intersection(resource.depends_on))
        if names and key in replaced:
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
