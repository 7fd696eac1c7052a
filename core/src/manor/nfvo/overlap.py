"""Two forwarding paths that want the same packets, found before anything is planned from them. Pure.

A switch would have to choose, and which of two equal rules it takes is undefined. So they differ in precedence, or in
their ends, or in what their rules match.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from manor.api.records import Finding, Severity
from manor.api.resources import ChainSpec, Classifier, SdnPort
from manor.errors import PlanRefused
from manor.model.classify import described, meet, reversed_classifier
from manor.model.nsd import Nfpd

__all__ = ["refuse_overlaps"]

_Way = tuple[tuple[SdnPort, ...], tuple[SdnPort, ...], tuple[Classifier, ...]]


def refuse_overlaps(paths: Sequence[tuple[Nfpd, ChainSpec]]) -> None:
    """Raise PlanRefused where two paths of equal precedence want one packet; it names both rules and their places."""
    for (one, one_spec), (other, other_spec) in itertools.combinations(paths, 2):
        if one_spec.precedence != other_spec.precedence:
            continue
        for a, b in _meeting(one_spec, other_spec):
            raise _refusal(one, other, a, b)


def _refusal(one: Nfpd, other: Nfpd, a: int, b: int) -> PlanRefused:
    hint = f"narrow one rule, or give one path a higher precedence than {one.precedence} (metadata of the NFP)"
    names = [f"{nfp.id}'s rule {nfp.rule_name(n)}" for nfp, n in ((one, a), (other, b))]
    places = [nfp.rule_place(n) for nfp, n in ((one, a), (other, b))]
    wants = [described(nfp.rules[n]) if nfp.rules else "everything" for nfp, n in ((one, a), (other, b))]
    told = [f"{name} ({place})" if place.file else name for name, place in zip(names, places, strict=True)]
    return PlanRefused(
        f"two forwarding paths of equal precedence want the same packets: {told[0]} and {told[1]}",
        findings=[
            Finding(
                severity=Severity.ERROR,
                code="paths-overlap",
                message=f"{names[i]} wants {wants[i]}, as {names[1 - i]} does ({wants[1 - i]})",
                file=places[i].file,
                line=places[i].line,
            )
            for i in (0, 1)
        ],
        hint=hint,
    )


def _meeting(one: ChainSpec, other: ChainSpec) -> Iterator[tuple[int, int]]:
    """Numbers of the rules of each that one packet between the same ends can match."""
    # The ways back of both, which would be the fourth pair, meet just where the ways there do.
    pairs = itertools.islice(itertools.product(_ways(one), _ways(other)), 3)
    for (froms, tos, rules), (their_froms, their_tos, their_rules) in pairs:
        if _share(froms, tos, their_froms, their_tos):
            for (a, rule), (b, their_rule) in itertools.product(enumerate(rules), enumerate(their_rules)):
                if meet(rule, their_rule):
                    yield a, b


def _ways(spec: ChainSpec) -> Iterator[_Way]:
    yield spec.sources, spec.destinations, spec.classifiers
    if spec.symmetric:
        yield spec.destinations, spec.sources, tuple(map(reversed_classifier, spec.classifiers))


def _share(
    froms: Sequence[SdnPort], tos: Sequence[SdnPort], their_froms: Sequence[SdnPort], their_tos: Sequence[SdnPort]
) -> bool:
    """Whether some packet can go between ends that both have."""
    starts = {port.key for port in froms} & {port.key for port in their_froms}
    ends = set(map(_met, tos)) & set(map(_met, their_tos))
    return any(start != end for start, end in itertools.product(starts, ends))


def _met(port: SdnPort) -> str:
    """What a frame is addressed to: of several ports to the outside it cannot be told to which."""
    return port.key if port.mac or port.transparent else "outside"
