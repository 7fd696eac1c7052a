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

_Wanted = tuple[Nfpd, bool, tuple[Classifier, ...]]
"""Path, whether it is its way back, and what it wants on that way."""


def refuse_overlaps(paths: Sequence[tuple[Nfpd, ChainSpec]]) -> None:
    """Raise PlanRefused where two paths of equal precedence want one packet; it names both rules and their places."""
    wanted: dict[tuple[int, str, str], list[_Wanted]] = {}
    for nfp, spec in paths:
        for is_back, (froms, tos, rules) in enumerate(_ways(spec)):
            starts, ends = (dict.fromkeys(port.key for port in froms), dict.fromkeys(map(_met, tos)))
            for start, end in itertools.product(starts, ends):
                if start == end:
                    continue
                here = wanted.setdefault((spec.precedence, start, end), [])
                for other, other_is_back, other_rules in here:
                    # The ways back of both meet just where the ways there do.
                    if other is not nfp and not (is_back and other_is_back):
                        _compare(other, other_rules, nfp, rules)
                here.append((nfp, bool(is_back), rules))


def _compare(one: Nfpd, rules: Sequence[Classifier], other: Nfpd, other_rules: Sequence[Classifier]) -> None:
    for (a, rule), (b, other_rule) in itertools.product(enumerate(rules), enumerate(other_rules)):
        if meet(rule, other_rule):
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


def _ways(
    spec: ChainSpec,
) -> Iterator[tuple[tuple[SdnPort, ...], tuple[SdnPort, ...], tuple[Classifier, ...]]]:
    yield spec.sources, spec.destinations, spec.classifiers
    if spec.symmetric:
        yield spec.destinations, spec.sources, tuple(map(reversed_classifier, spec.classifiers))


def _met(port: SdnPort) -> str:
    """What a frame is addressed to: of several ports to the outside it cannot be told to which."""
    return port.key if port.mac or port.transparent else "outside"
