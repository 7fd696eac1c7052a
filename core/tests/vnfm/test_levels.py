"""Scaling arithmetic against hand-worked examples."""

import pytest

from manor.errors import UsageError
from manor.model.vnfd import ScalingAspect, Vdu, VduProfile, VnfDf, VnfInstantiationLevel
from manor.vnfm.levels import instances
from manor.vnfm.members import slug

ASPECT = ScalingAspect(
    id="workers",
    max_scale_level=3,
    step_deltas=("first", "more"),
    deltas={"first": {"worker": 1}, "more": {"worker": 2, "store": 1}},
)
DF = VnfDf(
    id="df",
    vdus=(Vdu(id="worker"), Vdu(id="store"), Vdu(id="front")),
    vdu_profiles=(VduProfile(vdu_id="front", min_number_of_instances=2),),
    initial_deltas={"worker": 1},
    scaling_aspects=(ASPECT,),
    instantiation_levels=(
        VnfInstantiationLevel(id="small", scale_levels={"workers": 0}),
        VnfInstantiationLevel(id="big", scale_levels={"workers": 2}),
        VnfInstantiationLevel(id="odd", scale_levels={"workers": 1}, vdu_levels={"front": 5}),
    ),
    default_instantiation_level="small",
)


@pytest.mark.parametrize(
    ("level", "scale", "expected"),
    [
        ("", None, {"worker": 1, "store": 1, "front": 2}),
        ("big", None, {"worker": 4, "store": 2, "front": 2}),
        ("odd", None, {"worker": 2, "store": 1, "front": 5}),
        # The last step delta repeats: 1 + 1 + 2 + 2.
        ("", {"workers": 3}, {"worker": 6, "store": 3, "front": 2}),
        # Scaling the workers leaves the front, which the level gives outright, as it is.
        ("odd", {"workers": 0}, {"worker": 1, "store": 1, "front": 5}),
        ("big", {"workers": 3}, {"worker": 6, "store": 3, "front": 2}),
    ],
)
def test_instances(level: str, scale: dict[str, int] | None, expected: dict[str, int]) -> None:
    assert instances(DF, level, scale) == expected


@pytest.mark.parametrize(("level", "scale"), [("huge", None), ("", {"workers": 4}), ("", {"nobody": 1})])
def test_what_the_flavour_does_not_have_is_refused(level: str, scale: dict[str, int] | None) -> None:
    with pytest.raises(UsageError):
        instances(DF, level, scale)


def test_names_with_anything_in_them_become_distinct_key_parts() -> None:
    odd = ["a b", "a/b", "a\nb", "", "é", "../..", "x" * 99]
    slugs = [slug(name) for name in odd]
    assert len(set(slugs)) == len(odd)
    assert all(set(part) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") for part in slugs)
    assert slug("plain-name_1.2") == "plain-name_1.2"
