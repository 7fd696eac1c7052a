"""Steps in their turn: a wish that would close a circle is given up, alone."""

import pytest

from manor.api import Step, Verb
from manor.errors import PlanRefused
from manor.lcm.order import in_turn


def steps(**waits: tuple[str, ...]) -> dict[str, Step]:
    return {
        name: Step(id=name, verb=Verb.ENSURE, kind="node", key=name, endpoint="vim:lab", change="create", depends_on=on)
        for name, on in waits.items()
    }


def test_a_wish_that_would_close_a_circle_is_given_up_alone() -> None:
    plain = steps(a=(), b=("a",), gate=(), old=())
    found = {step.id: step.depends_on for step in in_turn(plain, {"a": ["b"], "old": ["gate"], "gate": ["b"]})}
    assert found == {"a": (), "b": ("a",), "gate": ("b",), "old": ("gate",)}


def test_of_wishes_that_are_a_circle_all_but_one_stay() -> None:
    plain = steps(a=(), b=(), c=())
    turned = in_turn(plain, {"a": ["c"], "b": ["a"], "c": ["b"]})
    assert sum(len(step.depends_on) for step in turned) == 2
    assert turned == in_turn(plain, {"a": ["c"], "b": ["a"], "c": ["b"]})


def test_what_has_to_wait_for_itself_is_refused() -> None:
    with pytest.raises(PlanRefused, match="wait for each other"):
        in_turn(steps(a=("b",), b=("a",), c=()), {"c": ["a"], "a": ["c"]})
