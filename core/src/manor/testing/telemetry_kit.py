"""The telemetry contract, as tests: missing is missing and never zero, and one that is away spoils nothing."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest

from manor.api import CallContext, Sample, SampleKind, Target, TelemetrySource
from manor.errors import DeadlineExceeded, DriverError
from manor.testing.conformance import Conformance

__all__ = ["TelemetryConformance", "TelemetrySpecs"]

_HOSTILE = ("../../../../etc/passwd", "/etc/passwd", "a" * 200, "$(id)", "x; rm -rf /", "%2e%2e%2f", "\n", "-o")


@dataclass(kw_only=True)
class TelemetrySpecs:
    """What the kit asks a source for."""

    targets: tuple[Target, ...] = ()
    """What can be measured now; at least one."""
    metrics: frozenset[str] = frozenset()
    """Metrics that every target has; empty where that is not known."""
    max_age_s: float = 3600.0
    """How old the newest sample may be."""
    deadline_s: float = 30.0
    parallel: int = 8
    """Stress: so many threads at once; 0 leaves that test out."""

    @property
    def unknown(self) -> Target:
        """Nothing of this name is there."""
        return Target(key="ffffffff/vnf/nobody/vm-9", kind=self.targets[0].kind if self.targets else "node")

    def context(self) -> CallContext:
        """A context for one call."""
        return CallContext.within(self.deadline_s)


class TelemetryConformance(Conformance):
    """Subclass it, and give the fixtures ``source`` and ``specs``, and best ``lose``."""

    @pytest.fixture
    def source(self) -> TelemetrySource:
        """A connected source."""
        raise NotImplementedError("give a fixture 'source' that returns a TelemetrySource")

    @pytest.fixture
    def specs(self) -> TelemetrySpecs:
        """What to ask it for."""
        raise NotImplementedError("give a fixture 'specs' that returns TelemetrySpecs with targets")

    @pytest.fixture
    def lose(self) -> Callable[[Target], None] | None:
        """Makes a target unreadable behind the source's back; None where the author cannot."""
        return None

    @pytest.fixture
    def sampled(self, source: TelemetrySource, specs: TelemetrySpecs) -> Iterator[list[Sample]]:
        """One collection of all targets."""
        assert specs.targets, "specs.targets names nothing to measure"
        yield list(source.collect(specs.targets, specs.context()))
        source.close()
        source.close()

    def test_every_target_has_samples(self, sampled: list[Sample], specs: TelemetrySpecs) -> None:
        for target in specs.targets:
            metrics = {sample.metric for sample in sampled if sample.key == target.key}
            assert metrics, f"nothing of {target.key}"
            assert metrics >= specs.metrics, f"{target.key} lacks {sorted(specs.metrics - metrics)}"

    def test_samples_are_sound(self, sampled: list[Sample], specs: TelemetrySpecs) -> None:
        keys, now_s = {target.key for target in specs.targets}, time.time()
        for sample in sampled:
            assert isinstance(sample, Sample)
            assert sample.key in keys, f"{sample.key} was not asked for"
            assert sample.metric.strip(), "a metric without a name"
            assert sample.unit.strip(), f"{sample.metric} has no unit"
            assert math.isfinite(sample.value), f"{sample.metric} is {sample.value}: leave it out"
            assert isinstance(sample.kind, SampleKind)
            assert now_s - specs.max_age_s <= sample.time_s <= now_s + 60, (
                f"{sample.metric}: time is of the measurement"
            )
            assert all(isinstance(text, str) for pair in sample.labels.items() for text in pair)

    def test_each_series_comes_once(self, sampled: list[Sample]) -> None:
        series = [(s.key, s.metric, tuple(sorted(s.labels.items()))) for s in sampled]
        assert len(set(series)) == len(series), "one series twice in one collection"

    def test_collecting_again_gives_the_same_series(
        self, sampled: list[Sample], source: TelemetrySource, specs: TelemetrySpecs
    ) -> None:
        before = {(s.key, s.metric, tuple(sorted(s.labels.items()))): s for s in sampled}
        for sample in source.collect(specs.targets, specs.context()):
            old = before.get((sample.key, sample.metric, tuple(sorted(sample.labels.items()))))
            if old is None:
                continue
            assert (sample.unit, sample.kind) == (old.unit, old.kind), f"{sample.metric} changed its nature"
            assert sample.time_s >= old.time_s, f"{sample.metric} went back in time"
            if sample.kind is SampleKind.COUNTER:
                assert sample.value >= old.value, f"the counter {sample.metric} fell"

    def test_nothing_asked_nothing_given(self, source: TelemetrySource, specs: TelemetrySpecs) -> None:
        assert not list(source.collect([], specs.context()))

    def test_unknown_is_left_out(self, source: TelemetrySource, specs: TelemetrySpecs) -> None:
        assert not list(source.collect([specs.unknown], specs.context())), "missing is missing, never zero"

    def test_one_that_is_away_spoils_nothing(
        self, sampled: list[Sample], source: TelemetrySource, specs: TelemetrySpecs
    ) -> None:
        targets = [specs.unknown, *specs.targets, specs.unknown]
        assert _keys(source.collect(targets, specs.context())) == _keys(sampled)

    def test_what_is_lost_is_left_out(
        self,
        sampled: list[Sample],
        source: TelemetrySource,
        specs: TelemetrySpecs,
        lose: Callable[[Target], None] | None,
    ) -> None:
        if lose is None:
            pytest.skip("no fixture 'lose': nothing can be made unreadable")
        lost, *others = specs.targets
        lose(lost)
        found = _keys(source.collect(specs.targets, specs.context()))
        assert found == _keys(sampled) - {lost.key} == {target.key for target in others}

    @pytest.mark.parametrize("key", _HOSTILE)
    def test_keys_are_only_names(self, source: TelemetrySource, specs: TelemetrySpecs, key: str) -> None:
        try:
            found = list(source.collect([Target(key=key, kind="node")], specs.context()))
        except DriverError:
            return
        assert not found, f"{key!r} reached something"

    def test_no_time_left_is_said(self, source: TelemetrySource, specs: TelemetrySpecs) -> None:
        with pytest.raises(DeadlineExceeded):
            list(source.collect(specs.targets, CallContext.within(-1)))

    def test_several_at_once(self, sampled: list[Sample], source: TelemetrySource, specs: TelemetrySpecs) -> None:
        if not specs.parallel:
            pytest.skip("specs.parallel is 0: the stress tier was not asked for")
        there = _keys(sampled)
        wrong: list[set[str]] = []
        errors: list[BaseException] = []

        def collect(targets: Sequence[Target]) -> None:
            try:
                wrong.append(_keys(source.collect(targets, specs.context())) ^ ({t.key for t in targets} & there))
            except BaseException as error:
                errors.append(error)

        halves = (specs.targets, specs.targets[:1], [specs.unknown])
        threads = [threading.Thread(target=collect, args=(halves[at % 3],)) for at in range(specs.parallel)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors, errors
        assert not set().union(*wrong), "one call was given another's samples"


def _keys(samples: object) -> set[str]:
    return {sample.key for sample in samples}  # type: ignore[attr-defined]
