"""The detector contract, as tests: no alarm out of ignorance, the same answer again, no fear of broken numbers."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from manor.api import Detector, SampleBatch, Score, Verdict
from manor.errors import PluginError
from manor.testing.conformance import Conformance
from manor.testing.detector_specs import DetectorSpecs

__all__ = ["DetectorConformance"]

FIRED: list[str] = []


def _fire() -> None:
    FIRED.append("a dump was executed")


class _Bomb:
    """Pickled code: a ``load`` that unpickles runs it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _fire, ()


class DetectorConformance(Conformance):
    """Subclass it, and give the fixture ``create``, a function that makes a new detector; ``specs`` where needed."""

    @pytest.fixture
    def create(self) -> Callable[[], Detector]:
        """Makes detectors, each with the same settings and without a past."""
        raise NotImplementedError("give a fixture 'create' that returns a function which makes a Detector")

    @pytest.fixture
    def specs(self) -> DetectorSpecs:
        """What to show it."""
        return DetectorSpecs()

    @pytest.fixture
    def learned(self, create: Callable[[], Detector], specs: DetectorSpecs) -> Callable[[], Detector]:
        """Makes detectors that have seen a quiet VNF until a verdict is due."""

        def make() -> Detector:
            detector = create()
            detector.fit(specs.normal(specs.warmup_rows))
            return detector

        return make

    # ignorance

    def test_silent_before_it_knows(self, create: Callable[[], Detector], specs: DetectorSpecs) -> None:
        if not specs.warmup_rows:
            pytest.skip("specs.warmup_rows is 0: fixed rules know from the start")
        detector = create()
        rows = [specs.row(0), specs.trouble(1), specs.row(2), specs.trouble(3)]
        assert verdicts(detector.score(specs.batch(rows, start=0))) == {Verdict.UNKNOWN}

    def test_speaks_after_warm_up(self, learned: Callable[[], Detector], specs: DetectorSpecs) -> None:
        scores = learned().score(specs.normal(20, start=specs.warmup_rows))
        assert scores[-1].verdict is not Verdict.UNKNOWN, "a verdict is due after specs.warmup_rows"

    # quiet and trouble

    def test_silent_on_a_quiet_vnf(self, learned: Callable[[], Detector], specs: DetectorSpecs) -> None:
        scores = learned().score(specs.normal(specs.quiet_rows, start=specs.warmup_rows))
        assert count(scores, Verdict.ANOMALY) <= specs.false_rows

    def test_silent_on_a_flat_line(self, create: Callable[[], Detector], specs: DetectorSpecs) -> None:
        detector = create()
        detector.fit(specs.flat(specs.warmup_rows))
        assert not count(detector.score(specs.flat(specs.quiet_rows, start=specs.warmup_rows)), Verdict.ANOMALY)

    def test_fires_on_a_step(self, learned: Callable[[], Detector], specs: DetectorSpecs) -> None:
        detector, start = learned(), specs.warmup_rows
        detector.score(specs.normal(10, start=start))
        scores = detector.score(specs.troubled(specs.detect_rows, start=start + 10))
        assert count(scores, Verdict.ANOMALY), f"silent over {specs.detect_rows} rows of trouble"

    def test_says_why(self, learned: Callable[[], Detector], specs: DetectorSpecs) -> None:
        start = specs.warmup_rows
        raised = [
            score
            for score in learned().score(specs.troubled(specs.detect_rows, start=start))
            if score.verdict is Verdict.ANOMALY
        ]
        assert raised
        for score in raised:
            shares = [share for _, share in score.blame]
            assert {name for name, _ in score.blame} <= set(specs.names)
            assert shares == sorted(shares, reverse=True), "largest first"
            assert all(0 <= share <= 1 for share in shares)
            assert sum(shares) <= 1.001
            assert tuple(item.metric for item in score.evidence) in ((), tuple(name for name, _ in score.blame))

    def test_one_score_a_row_in_order(self, learned: Callable[[], Detector], specs: DetectorSpecs) -> None:
        batch = specs.normal(17, start=specs.warmup_rows)
        scores = learned().score(batch)
        assert tuple(score.time_s for score in scores) == batch.times_s
        assert verdicts(scores) <= set(Verdict)

    # the same again

    def test_deterministic(self, learned: Callable[[], Detector], specs: DetectorSpecs) -> None:
        later = _later(specs)
        one, other = learned(), learned()
        assert [told(one.score(batch)) for batch in later] == [told(other.score(batch)) for batch in later]

    def test_columns_go_by_name(self, learned: Callable[[], Detector], specs: DetectorSpecs) -> None:
        one, other = learned(), learned()
        for batch in _later(specs):
            turned = SampleBatch(
                names=batch.names[::-1], times_s=batch.times_s, values=[list(row)[::-1] for row in batch.values]
            )
            assert [s.verdict for s in one.score(batch)] == [s.verdict for s in other.score(turned)]

    def test_batches_are_only_read(self, learned: Callable[[], Detector], specs: DetectorSpecs) -> None:
        batch = specs.normal(10, start=specs.warmup_rows)
        before = [list(row) for row in batch.values]
        learned().score(batch)
        assert [list(row) for row in batch.values] == before

    # broken numbers

    @pytest.mark.parametrize("what", sorted(DetectorSpecs().misfortunes(10)))
    def test_survives(self, learned: Callable[[], Detector], specs: DetectorSpecs, what: str) -> None:
        detector, start = learned(), specs.warmup_rows
        batch = specs.misfortunes(start)[what]
        scores = detector.score(batch)
        assert len(scores) == len(batch.times_s)
        if what == "nothing measured":
            assert not count(scores, Verdict.ANOMALY), "nothing measured is nothing abnormal"
        again = detector.score(specs.normal(5, start=start + 2 * int(86_400 / specs.period_s)))
        assert len(again) == 5
        detector.fit(specs.normal(5, start=start + 3 * int(86_400 / specs.period_s)))

    # state

    def test_load_of_dump_scores_the_same(
        self, create: Callable[[], Detector], learned: Callable[[], Detector], specs: DetectorSpecs
    ) -> None:
        one, other = learned(), create()
        data = one.dump()
        assert isinstance(data, bytes)
        other.load(data)
        for batch in _later(specs):
            assert told(one.score(batch)) == told(other.score(batch))

    def test_dump_of_a_new_detector_can_be_loaded(self, create: Callable[[], Detector]) -> None:
        create().load(create().dump())

    @pytest.mark.parametrize("how", ["foreign", "truncated", "changed", "code"])
    def test_bad_dump_is_refused(self, learned: Callable[[], Detector], specs: DetectorSpecs, how: str) -> None:
        detector, same = learned(), learned()
        data = detector.dump()
        if not data and how in ("truncated", "changed"):
            pytest.skip("the dump is empty: there is no state")
        bad = {
            "foreign": b'{"this": "is another plugin\'s"}',
            "truncated": data[: len(data) // 2],
            "changed": data[: len(data) // 2] + b"\0\xff\0\xff" + data[len(data) // 2 + 4 :],
            "code": pickle.dumps(_Bomb()),
        }[how]
        FIRED.clear()
        try:
            with pytest.raises(PluginError):
                detector.load(bad)
        finally:
            assert not FIRED, "load executes what it is given"
        for batch in _later(specs):
            assert told(detector.score(batch)) == told(same.score(batch)), "a refused dump changed the detector"

    def test_memory_is_bounded(self, create: Callable[[], Detector], specs: DetectorSpecs) -> None:
        if not specs.memory_rows:
            pytest.skip("specs.memory_rows is 0: the stress tier was not asked for")
        detector, sizes, at = create(), [], 0
        for _ in range(2):
            for _ in range(10):
                detector.score(specs.normal(specs.memory_rows // 10, start=at))
                at += specs.memory_rows // 10
            sizes.append(len(detector.dump()))
        assert sizes[1] <= sizes[0] * 1.1 + 4096, f"the state grew from {sizes[0]} to {sizes[1]} bytes"


def _later(specs: DetectorSpecs) -> Sequence[SampleBatch]:
    """Quiet, trouble, quiet, after the warm-up."""
    start = specs.warmup_rows
    return (
        specs.normal(20, start=start),
        specs.troubled(specs.detect_rows, start=start + 20),
        specs.normal(20, start=start + 20 + specs.detect_rows),
    )


def verdicts(scores: Sequence[Score]) -> set[Verdict]:
    """The different ones."""
    return {score.verdict for score in scores}


def count(scores: Sequence[Score], verdict: Verdict) -> int:
    """How many rows got this verdict."""
    return sum(score.verdict is verdict for score in scores)


def told(scores: Sequence[Score]) -> list[str]:
    """Scores as text, for NaN is not equal to itself."""
    return [repr(score) for score in scores]
