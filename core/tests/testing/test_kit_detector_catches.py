"""The kits of detectors and heal policies pass what is sound, and catch each planted defect by a test about it."""

from __future__ import annotations

import json
import math
import pickle
import random
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from manor.api import (
    Alarm,
    HealAction,
    HealDecision,
    HealRecord,
    PerceivedSeverity,
    SampleBatch,
    Score,
    ServiceView,
    Verdict,
)
from manor.errors import PluginError

WARM = 100
LIMIT = 8.0


class Sound:
    """Mean and deviation by KPI name, learned from rows that it calls normal."""

    def __init__(self) -> None:
        self.sums: dict[str, list[float]] = {}
        self.rows = 0

    def fit(self, window: SampleBatch) -> None:
        self.score(window)

    def score(self, batch: SampleBatch) -> Sequence[Score]:
        return [
            self.one(t, dict(zip(batch.names, row, strict=True)))
            for t, row in zip(batch.times_s, batch.values, strict=True)
        ]

    def one(self, time_s: float, row: Mapping[str, float]) -> Score:
        seen = {name: value for name, value in row.items() if math.isfinite(value)}
        far = {name: self.far(name, value) for name, value in sorted(seen.items())}
        worst = max(far.values(), default=0.0)
        if self.rows >= WARM and worst > LIMIT:
            whole = sum(far.values())
            blame = tuple(sorted(((n, f / whole) for n, f in far.items()), key=lambda pair: -pair[1]))
            return Score(time_s=time_s, verdict=Verdict.ANOMALY, value=worst, threshold=LIMIT, blame=blame)
        for name, value in seen.items():
            count, mean, square = self.sums.get(name, [0.0, 0.0, 0.0])
            count, step = count + 1, value - mean
            mean += step / count
            self.sums[name] = [count, mean, square + step * (value - mean)]
        self.rows += 1
        verdict = Verdict.OK if self.rows > WARM else Verdict.UNKNOWN
        return Score(time_s=time_s, verdict=verdict, value=worst, threshold=LIMIT)

    def far(self, name: str, value: float) -> float:
        count, mean, square = self.sums.get(name, [0.0, 0.0, 0.0])
        deviation = math.sqrt(square / count) if count else 0.0
        return abs(value - mean) / deviation if deviation else 0.0

    def dump(self) -> bytes:
        state = json.dumps({"rows": self.rows, "sums": self.sums})
        return json.dumps({"kind": "sound", "state": state, "sum": hash_of(state)}).encode()

    def load(self, data: bytes) -> None:
        try:
            outer = json.loads(data)
            if outer["kind"] != "sound" or outer["sum"] != hash_of(outer["state"]):
                raise ValueError("another's")
            state = json.loads(outer["state"])
            self.rows, self.sums = state["rows"], state["sums"]
        except (ValueError, KeyError, TypeError) as error:
            raise PluginError("this is no state of this detector") from error


def hash_of(text: str) -> int:
    return sum(place * ord(letter) for place, letter in enumerate(text, start=1))


class AlarmsWhenIgnorant(Sound):
    def one(self, time_s: float, row: Mapping[str, float]) -> Score:
        score = super().one(time_s, row)
        return Score(time_s=time_s, verdict=Verdict.ANOMALY) if score.verdict is Verdict.UNKNOWN else score


class NeverDecides(Sound):
    def one(self, time_s: float, row: Mapping[str, float]) -> Score:
        return Score(time_s=time_s, verdict=Verdict.UNKNOWN)


class NeverAlarms(Sound):
    def one(self, time_s: float, row: Mapping[str, float]) -> Score:
        score = super().one(time_s, row)
        return Score(time_s=time_s, verdict=Verdict.OK) if score.verdict is Verdict.ANOMALY else score


class Jumpy(Sound):
    def far(self, name: str, value: float) -> float:
        return 4 * super().far(name, value)


class DrawsLots(Sound):
    def far(self, name: str, value: float) -> float:
        return super().far(name, value) + random.random()


class FearsNan(Sound):
    def far(self, name: str, value: float) -> float:
        return super().far(name, value)

    def one(self, time_s: float, row: Mapping[str, float]) -> Score:
        if any(math.isnan(value) for value in row.values()):
            raise ValueError("NaN")
        return super().one(time_s, row)


class TakesNothingForTrouble(Sound):
    def one(self, time_s: float, row: Mapping[str, float]) -> Score:
        if all(math.isnan(value) for value in row.values()):
            return Score(time_s=time_s, verdict=Verdict.ANOMALY)
        return super().one(time_s, row)


class SkipsRowsOfThePast(Sound):
    last_s = 0.0

    def score(self, batch: SampleBatch) -> Sequence[Score]:
        scores = [score for score in super().score(batch) if score.time_s > self.last_s]
        self.last_s = max([self.last_s, *batch.times_s])
        return scores


class GoesByPlace(Sound):
    def score(self, batch: SampleBatch) -> Sequence[Score]:
        places = tuple(map(str, range(len(batch.names))))
        return super().score(SampleBatch(names=places, times_s=batch.times_s, values=batch.values))


class BlamesAtRandom(Sound):
    def one(self, time_s: float, row: Mapping[str, float]) -> Score:
        score = super().one(time_s, row)
        if score.verdict is Verdict.ANOMALY:
            return Score(time_s=time_s, verdict=score.verdict, blame=(("somebody", 0.2), ("else", 3.0)))
        return score


class ForgetsHalf(Sound):
    def load(self, data: bytes) -> None:
        super().load(data)
        self.rows = 0


class Unpickles(Sound):
    def dump(self) -> bytes:
        return pickle.dumps(self.__dict__)

    def load(self, data: bytes) -> None:
        try:
            self.__dict__.update(pickle.loads(data))
        except Exception as error:
            raise PluginError("no state") from error


class TakesAnything(Sound):
    def load(self, data: bytes) -> None:
        try:
            super().load(data)
        except PluginError:
            self.sums, self.rows = {}, 0


class BreaksBeforeItRefuses(Sound):
    def load(self, data: bytes) -> None:
        self.sums, self.rows = {}, 0
        super().load(data)


class KeepsEverything(Sound):
    def one(self, time_s: float, row: Mapping[str, float]) -> Score:
        self.sums.setdefault(f"seen at {time_s}", [1.0, 2.0, 3.0])
        return super().one(time_s, row)


class ScalesTheBatch(Sound):
    def score(self, batch: SampleBatch) -> Sequence[Score]:
        for row in batch.values:
            row[:] = [value / 2 for value in row]  # type: ignore[index]
        return super().score(batch)


DETECTORS: Mapping[type[Sound], str] = {
    AlarmsWhenIgnorant: "test_silent_before_it_knows",
    NeverDecides: "test_speaks_after_warm_up",
    NeverAlarms: "test_fires_on_a_step",
    Jumpy: "test_silent_on_a_quiet_vnf",
    DrawsLots: "test_deterministic",
    FearsNan: "test_survives",
    TakesNothingForTrouble: "test_survives",
    SkipsRowsOfThePast: "test_survives",
    GoesByPlace: "test_columns_go_by_name",
    BlamesAtRandom: "test_says_why",
    ForgetsHalf: "test_load_of_dump_scores_the_same",
    Unpickles: "test_bad_dump_is_refused",
    TakesAnything: "test_bad_dump_is_refused",
    BreaksBeforeItRefuses: "test_bad_dump_is_refused",
    KeepsEverything: "test_memory_is_bounded",
    ScalesTheBatch: "test_batches_are_only_read",
}


class SoundPolicy:
    """Restarts what is dead or confirmed, once an hour at most, and else calls a person."""

    pause_s = 3600.0

    def decide(self, alarm: Alarm, service: ServiceView, history: Sequence[HealRecord]) -> HealDecision:
        key = alarm.resource_key
        if alarm.perceived_severity is PerceivedSeverity.CLEARED:
            return HealDecision(action=HealAction.NONE, reason="cleared")
        if not self.believes(alarm) or not self.knows(key, service):
            return HealDecision(action=HealAction.ESCALATE, reason="only a guess")
        since_s = [alarm.alarm_raised_time_s - heal.time_s for heal in self.ours(history, key)]
        if any(0 <= ago_s < self.pause_s for ago_s in since_s):
            return HealDecision(action=HealAction.NONE, reason="healed a moment ago")
        return HealDecision(action=HealAction.RESTART, targets=(key,), reason=alarm.probable_cause)

    def believes(self, alarm: Alarm) -> bool:
        return bool(alarm.confirmations) or not alarm.learned

    def knows(self, key: str, service: ServiceView) -> bool:
        return key in service.resources

    def ours(self, history: Sequence[HealRecord], key: str) -> Sequence[HealRecord]:
        return [heal for heal in history if heal.resource_key == key]


class BelievesGuesses(SoundPolicy):
    def believes(self, alarm: Alarm) -> bool:
        return True


class HealsStrangers(SoundPolicy):
    def knows(self, key: str, service: ServiceView) -> bool:
        return True


class HealsTheHealthy(SoundPolicy):
    def decide(self, alarm: Alarm, service: ServiceView, history: Sequence[HealRecord]) -> HealDecision:
        key = alarm.resource_key
        return HealDecision(action=HealAction.RECREATE, targets=(key,), reason="to be safe")


class Impatient(SoundPolicy):
    pause_s = 0.0


class ShortOfBreath(SoundPolicy):
    pause_s = 20.0


class CountsOthersHeals(SoundPolicy):
    def ours(self, history: Sequence[HealRecord], key: str) -> Sequence[HealRecord]:
        return history


class Remembers(SoundPolicy):
    asked = 0

    def decide(self, alarm: Alarm, service: ServiceView, history: Sequence[HealRecord]) -> HealDecision:
        Remembers.asked += 1
        if self.asked % 7 == 0:
            return HealDecision(action=HealAction.ESCALATE, reason="enough")
        return super().decide(alarm, service, history)


class Silent(SoundPolicy):
    def decide(self, alarm: Alarm, service: ServiceView, history: Sequence[HealRecord]) -> HealDecision:
        decision = super().decide(alarm, service, history)
        return HealDecision(action=decision.action, targets=decision.targets)


class Helpless(SoundPolicy):
    def believes(self, alarm: Alarm) -> bool:
        return False


POLICIES: Mapping[type[SoundPolicy], str] = {
    BelievesGuesses: "test_a_guess_alone_never_acts",
    HealsStrangers: "test_strangers_are_left_alone",
    HealsTheHealthy: "test_what_is_cleared_is_left_alone",
    Impatient: "test_a_repeated_alarm_is_one_heal",
    ShortOfBreath: "test_does_not_flap",
    CountsOthersHeals: "test_history_is_a_set_of_our_own_facts",
    Remembers: "test_pure",
    Silent: "test_answers_are_of_the_closed_set_and_say_why",
    Helpless: "test_what_is_dead_is_healed",
}

SUITE = """
import planted_assurance, pytest
from manor.testing import DetectorConformance, DetectorSpecs, HealPolicyConformance
"""

DETECTOR_SUITE = """
class Test{name}(DetectorConformance):
    @pytest.fixture
    def create(self):
        return planted_assurance.{name}

    @pytest.fixture
    def specs(self):
        return DetectorSpecs(warmup_rows=120, quiet_rows=200, memory_rows=500)
"""

POLICY_SUITE = """
class Test{name}(HealPolicyConformance):
    @pytest.fixture
    def policy(self):
        return planted_assurance.{name}()
"""


class Recorder:
    """Remembers which tests failed, by class."""

    def __init__(self) -> None:
        self.passed: dict[str, set[str]] = {}
        self.failed: dict[str, set[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        _, cls, test = report.nodeid.split("::")
        if report.failed:
            self.failed.setdefault(cls, set()).add(test.partition("[")[0])
        elif report.when == "call" and report.passed:
            self.passed.setdefault(cls, set()).add(test.partition("[")[0])


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    """One run of the kits over all of them, each by its own tests and the sound ones by every test."""
    body = SUITE
    body += "".join(DETECTOR_SUITE.format(name=cls.__name__) for cls in (Sound, *DETECTORS))
    body += "".join(POLICY_SUITE.format(name=cls.__name__) for cls in (SoundPolicy, *POLICIES))
    place = tmp_path_factory.mktemp("planted")
    (place / "pytest.ini").write_text("[pytest]\n")
    (place / "test_planted.py").write_text(body)
    wanted = " or ".join(
        ["TestSound", *(f"(Test{cls.__name__} and {test})" for cls, test in {**DETECTORS, **POLICIES}.items())]
    )
    recorder = Recorder()
    sys.modules["planted_assurance"] = sys.modules[__name__]
    try:
        pytest.main(["-q", "--tb=native", "-p", "no:cacheprovider", "-k", wanted, str(place)], plugins=[recorder])
    finally:
        del sys.modules["planted_assurance"]
        sys.modules.pop("test_planted", None)  # others write a module of that name too
    return recorder


@pytest.mark.parametrize("defective", [*DETECTORS, *POLICIES], ids=lambda cls: cls.__name__)
def test_defect_is_caught(record: Recorder, defective: type[Any]) -> None:
    test = {**DETECTORS, **POLICIES}[defective]
    assert test in record.failed.get(f"Test{defective.__name__}", ())


def test_sound_ones_pass(record: Recorder) -> None:
    assert not {name for name in record.failed if name.startswith("TestSound")}
    assert len(record.passed["TestSound"]) >= 15
    assert len(record.passed["TestSoundPolicy"]) >= 10
