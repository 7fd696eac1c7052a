"""The heal policy contract, as tests: pure, slow to act on a guess, and not to be drawn into flapping."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from manor.api import Alarm, HealAction, HealDecision, HealPolicy, HealRecord, PerceivedSeverity, ServiceView
from manor.testing.conformance import Conformance

__all__ = ["HealPolicyConformance", "HealPolicySpecs"]

IDLE = (HealAction.NONE, HealAction.ESCALATE)
"""What a policy may always answer; the rest changes the world."""


@dataclass(kw_only=True)
class HealPolicySpecs:
    """What the kit shows a policy."""

    dead_cause: str = "node-down"
    """A probable cause that this policy heals without further signs; empty for one that never acts by itself."""
    causes: tuple[str, ...] = ("node-down", "probe-failed", "anomaly", "never-heard-of")
    flaps: int = 10
    """With so many heals of one resource in the last quarter of an hour the policy has to stop."""
    now_s: float = 1_700_000_000.0
    key: str = "1a2b3c4d/vnf/fw/vm-0"

    def service(self) -> ServiceView:
        """A service with two machines."""
        return ServiceView(
            id="1a2b3c4d",
            name="shop",
            nsd_id="nsd",
            state="INSTANTIATED",
            resources=(self.key, "1a2b3c4d/vnf/web/vm-0"),
        )

    def alarm(self, **changes: Any) -> Alarm:
        """Our machine is plainly dead."""
        alarm = Alarm(
            id="alarm-1",
            managed_object_id="vnf-fw",
            resource_key=self.key,
            perceived_severity=PerceivedSeverity.CRITICAL,
            probable_cause=self.dead_cause or self.causes[0],
            alarm_raised_time_s=self.now_s,
            learned=False,
        )
        return dataclasses.replace(alarm, **changes)

    def heal(self, ago_s: float, **changes: Any) -> HealRecord:
        """A heal of our machine so many seconds before now."""
        record = HealRecord(time_s=self.now_s - ago_s, resource_key=self.key, action=HealAction.RESTART, succeeded=True)
        return dataclasses.replace(record, **changes)

    def histories(self) -> dict[str, tuple[HealRecord, ...]]:
        """Pasts, by name."""
        return {
            "none": (),
            "just now": (self.heal(1.0),),
            "an hour ago": (self.heal(3600.0),),
            "failed": (
                self.heal(600.0, succeeded=False),
                self.heal(300.0, action=HealAction.RECREATE, succeeded=False),
            ),
            "flapping": tuple(self.heal(60.0 + 840.0 * n / self.flaps) for n in range(self.flaps)),
            "of another": (self.heal(10.0, resource_key="1a2b3c4d/vnf/web/vm-0"),),
        }

    def situations(self) -> Iterator[tuple[Alarm, tuple[HealRecord, ...]]]:
        """Every alarm with every past."""
        grid = itertools.product(PerceivedSeverity, self.causes, (False, True), ((), ("probe-failed on chain web",)))
        for severity, cause, learned, confirmations in grid:
            alarm = self.alarm(
                perceived_severity=severity, probable_cause=cause, learned=learned, confirmations=confirmations
            )
            for history in self.histories().values():
                yield alarm, history


class HealPolicyConformance(Conformance):
    """Subclass it, and give the fixture ``policy``; and ``specs`` where the policy goes by other causes."""

    @pytest.fixture
    def policy(self) -> HealPolicy:
        """The policy, with settings as an operator would have them."""
        raise NotImplementedError("give a fixture 'policy' that returns a HealPolicy")

    @pytest.fixture
    def specs(self) -> HealPolicySpecs:
        """What to show it."""
        return HealPolicySpecs()

    def test_answers_are_of_the_closed_set_and_say_why(self, policy: HealPolicy, specs: HealPolicySpecs) -> None:
        service = specs.service()
        for alarm, history in specs.situations():
            decision = policy.decide(alarm, service, history)
            assert isinstance(decision, HealDecision)
            assert isinstance(decision.action, HealAction)
            assert decision.reason.strip(), (alarm, history)
            if acts(decision):
                assert decision.targets, "an action names its targets"
                assert set(decision.targets) <= set(service.resources)

    def test_pure(self, policy: HealPolicy, specs: HealPolicySpecs) -> None:
        service, situations = specs.service(), list(specs.situations())
        first = [policy.decide(alarm, service, history) for alarm, history in situations]
        again = [policy.decide(alarm, service, history) for alarm, history in reversed(situations)]
        assert first == again[::-1], "the answer depends on what was asked before"

    def test_a_guess_alone_never_acts(self, policy: HealPolicy, specs: HealPolicySpecs) -> None:
        for alarm, history in specs.situations():
            if alarm.learned and not alarm.confirmations:
                assert not acts(policy.decide(alarm, specs.service(), history)), (alarm, history)

    def test_what_is_cleared_is_left_alone(self, policy: HealPolicy, specs: HealPolicySpecs) -> None:
        for alarm, history in specs.situations():
            if alarm.perceived_severity is PerceivedSeverity.CLEARED:
                assert not acts(policy.decide(alarm, specs.service(), history)), (alarm, history)

    def test_strangers_are_left_alone(self, policy: HealPolicy, specs: HealPolicySpecs) -> None:
        for alarm, history in specs.situations():
            strange = dataclasses.replace(alarm, resource_key="ffffffff/vnf/theirs/vm-0")
            decision = policy.decide(strange, specs.service(), history)
            assert not acts(decision), (strange, history)

    def test_what_is_dead_is_healed(self, policy: HealPolicy, specs: HealPolicySpecs) -> None:
        if not specs.dead_cause:
            pytest.skip("specs.dead_cause is empty: this policy never acts by itself")
        decision = policy.decide(specs.alarm(), specs.service(), ())
        assert acts(decision), decision.reason
        assert specs.key in decision.targets

    def test_a_repeated_alarm_is_one_heal(self, policy: HealPolicy, specs: HealPolicySpecs) -> None:
        for cause, learned in itertools.product(specs.causes, (False, True)):
            alarm = specs.alarm(probable_cause=cause, learned=learned, confirmations=("a peer says so",))
            decision = policy.decide(alarm, specs.service(), ())
            if acts(decision):
                done = specs.heal(0.0, action=decision.action)
                for later_s in (0.0, 1.0, 10.0):
                    repeated = dataclasses.replace(alarm, alarm_raised_time_s=alarm.alarm_raised_time_s + later_s)
                    again = policy.decide(repeated, specs.service(), (done,))
                    assert not acts(again), f"acts again {later_s:g} s after a heal that has had no time to help"

    def test_does_not_flap(self, policy: HealPolicy, specs: HealPolicySpecs) -> None:
        flapping = specs.histories()["flapping"]
        for cause, confirmed in itertools.product(specs.causes, ((), ("a peer says so",))):
            alarm = specs.alarm(probable_cause=cause, confirmations=confirmed)
            decision = policy.decide(alarm, specs.service(), flapping)
            assert not acts(decision), f"heals once more after {len(flapping)} times in 15 minutes"

    def test_history_is_a_set_of_our_own_facts(self, policy: HealPolicy, specs: HealPolicySpecs) -> None:
        others = specs.histories()["of another"]
        for name, history in specs.histories().items():
            wanted = policy.decide(specs.alarm(), specs.service(), history)
            assert policy.decide(specs.alarm(), specs.service(), history[::-1]) == wanted, f"{name}: order matters"
            if name != "of another":
                mixed: Sequence[HealRecord] = (*others, *history)
                assert policy.decide(specs.alarm(), specs.service(), mixed) == wanted, f"{name}: another's heal counts"


def acts(decision: HealDecision) -> bool:
    """Whether the decision changes the world."""
    return decision.action not in IDLE
