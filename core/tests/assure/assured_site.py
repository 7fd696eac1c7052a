"""The demo service on the fakes, with an assurance loop whose clock the test moves."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import secure_web
import yaml
from pydantic import BaseModel

from manor.api import (
    CallContext,
    DetectorType,
    Finding,
    HealPolicyType,
    Observed,
    OperationKind,
    Query,
    Score,
    Severity,
    TelemetrySourceType,
    Verdict,
    hookimpl,
)
from manor.assure.loop import Assurance
from manor.fakes import FakeClock
from manor.lcm import endpoints, ns, work
from manor.lcm.runtime import Runtime, open_runtime
from manor.model.alarm import AlarmRecord, Ruling
from manor.model.instance import (
    EndpointKind,
    NsLcmOpOcc,
    OperationState,
)
from manor.plugin import Plugins, unguarded
from manor.store import alarms, instances, operations

PATIENCE_S = 60.0
"""For what another thread does at once where it is let."""


class NoSettings(BaseModel):
    """Of a detector that has none."""


class Oracle:
    """A detector that calls abnormal what the test says is; a policy and a source of KPIs with the test's answers."""

    def __init__(self, says: dict[str, float], answers: dict[str, Any]) -> None:
        self.says = says
        self.answers = answers

    def decide(self, *_: Any) -> Any:
        """The test's answer."""
        return self._answer("decide")

    def collect(self, *_: Any) -> Any:
        """The test's answer."""
        return self._answer("collect")

    def close(self) -> None:
        """Nothing to let go of."""

    def _answer(self, verb: str) -> Any:
        if isinstance(self.answers[verb], Exception):
            raise self.answers[verb]
        return self.answers[verb]

    def fit(self, window: Any) -> None:
        """Nothing to learn."""

    def score(self, batch: Any) -> list[Score]:
        """Its word on each row: the KPIs whose machine the test has named; or the answer of the test."""
        if "score" in self.answers:
            return self._answer("score")  # type: ignore[no-any-return]
        found = []
        for time_s in batch.times_s:
            blame = tuple((name, self.says[key]) for name in batch.names for key in self.says if name.startswith(key))
            verdict = Verdict.ANOMALY if blame else Verdict.OK
            found.append(Score(time_s=time_s, verdict=verdict, value=9.0, threshold=3.0, blame=blame, since_s=time_s))
        return found

    def dump(self) -> bytes:
        """Nothing learned."""
        return b""

    def load(self, data: bytes) -> None:
        """Nothing to take, unless the test has an answer."""
        if "load" in self.answers:
            self._answer("load")


class Site:
    """One installation on the fakes with the demo service instantiated."""

    def __init__(self, rt: Runtime, says: dict[str, float]) -> None:
        self.rt = rt
        self.says = says
        self.events: list[Any] = []
        """Alarms as observers heard of them."""
        self.planned: list[OperationKind] = []
        """What reviewers were shown."""
        self.refused: dict[OperationKind, str] = {}
        """What they refuse, and why."""
        self.answers: dict[str, Any] = {}
        """What the oracle answers to ``score``, ``load``, ``decide`` and ``collect``, or raises."""
        self.clock = FakeClock(1_700_000_000.0)
        self.begin_anew()

    def begin_anew(self) -> None:
        """As the next `manor serve` does, when the one before died; the lease is the home's, and theirs."""
        self.assurance = Assurance(self.rt, clock=self.clock, watches_as=lambda: "home")

    @property
    def world(self) -> Any:
        """The fake platform's machines."""
        return unguarded(self.rt.vim("lab")).world  # type: ignore[attr-defined]

    def settings(self, **values: Any) -> None:
        """Write the operator's settings."""
        (self.rt.home / "assurance.yaml").write_text(yaml.safe_dump(values))

    def node(self, vnf: str) -> str:
        """Key of the machine of a VNF."""
        return next(one.ref.key for one in self.seen() if f"/{vnf}/" in one.ref.key and one.ref.kind == "node")

    def seen(self) -> list[Observed]:
        """All that is there."""
        query = Query(owner=self.rt.owner)
        return list(self.rt.vim("lab").observe(query, CallContext.within(PATIENCE_S)))

    def rounds(self, number: int, *, step_s: float = 1.0, measure: bool = False) -> None:
        """Let the loop go round, and every operation that it starts come to its end."""
        for _ in range(number):
            self.clock.advance(step_s)
            if measure:
                self.assurance.measure()
                if (hearing := self.assurance._measuring._hearing) is not None:
                    hearing.join(PATIENCE_S)  # who answers does so in this round, however busy the machine
            self.assurance.round()
            for operation in self.operations(OperationKind.HEAL, OperationKind.REPAIR):
                if operation.state is OperationState.PROCESSING:
                    work.follow(self.rt, operation.id)

    def compares(self, number: int = 2, *, step_s: float = 20.0) -> None:
        """Compare as often, with time between, and go round after each."""
        for _ in range(number):
            self.clock.advance(step_s)
            self.assurance.compare()
            self.rounds(1)

    def until(self, done: Callable[[], bool], *, most: int = 400, step_s: float = 1.0) -> None:
        """Go round until it is so."""
        for _ in range(most):
            if done():
                return
            self.rounds(1, step_s=step_s)
        raise AssertionError(
            f"not so after {most} rounds: {self.alarms()} {[r for a in self.all() for r in self.rulings(a)]}"
        )

    def alarms(self) -> list[AlarmRecord]:
        """The active ones."""
        with self.rt.store.read() as tx:
            return list(alarms.active(tx))

    def all(self) -> list[AlarmRecord]:
        """With the cleared ones, the newest first."""
        with self.rt.store.read() as tx:
            return list(alarms.listing(tx, cleared=True))

    def rulings(self, alarm: AlarmRecord) -> list[Ruling]:
        """What was decided about one."""
        with self.rt.store.read() as tx:
            return list(alarms.rulings(tx, alarm.id))

    def operations(self, *kinds: OperationKind) -> list[NsLcmOpOcc]:
        """The service's operations of these kinds, in order; its heals where none is given."""
        from manor.store import reading

        page = reading.operations(self.rt.url, ns_id=self.service.id)
        return [op for op in reversed(page.items) if op.operation in (kinds or (OperationKind.HEAL,))]

    @property
    def service(self) -> Any:
        """The service as the store has it."""
        with self.rt.store.read() as tx:
            return instances.get(tx, "demo")

    def is_whole(self) -> bool:
        """Whether nothing drifts."""
        return self.propose(OperationKind.REPAIR).plan.steps == ()

    def propose(self, kind: OperationKind) -> ns.Proposal:
        """An operation on it."""
        return ns.propose(self.rt, "demo", kind)

    def run(self, proposal: ns.Proposal) -> NsLcmOpOcc:
        """Do it, as an operator."""
        return work.follow(self.rt, ns.start(self.rt, proposal))

    def steps(self, operation: NsLcmOpOcc) -> list[str]:
        """What it did."""
        with self.rt.store.read() as tx:
            return [record.step.id for record in operations.steps(tx, operation.id)]


@contextmanager
def site(tmp_path: Path, image: Path, **settings: Any) -> Iterator[Site]:
    """The installation, with the demo service running."""
    says: dict[str, float] = {}
    events: list[Any] = []
    planned: list[OperationKind] = []
    refused: dict[OperationKind, str] = {}
    answers: dict[str, Any] = {}

    class Extra:
        """The test's detector, policy, observer and reviewer, by the door that any plugin takes."""

        @hookimpl
        def manor_detectors(self) -> Any:
            yield DetectorType(
                name="oracle", summary="Told by the test", config=NoSettings, create=lambda _: Oracle(says, answers)
            )

        @hookimpl
        def manor_heal_policies(self) -> Any:
            yield HealPolicyType(
                name="oracle", summary="Told by the test", config=NoSettings, create=lambda _: Oracle(says, answers)
            )

        @hookimpl
        def manor_telemetry_sources(self) -> Any:
            yield TelemetrySourceType(
                name="oracle", summary="Told by the test", config=NoSettings, connect=lambda *_: Oracle(says, answers)
            )

        @hookimpl
        def manor_alarm_event(self, event: Any) -> None:
            events.append(event)

        @hookimpl
        def manor_review_plan(self, plan: Any) -> Any:
            planned.append(plan.operation)
            if plan.operation in refused:
                yield Finding(severity=Severity.ERROR, code="refused", message=refused[plan.operation])

    with open_runtime(tmp_path / "home", plugins=Plugins(extra={"oracle": Extra()})) as rt:
        endpoints.add(rt, EndpointKind.VIM, "lab", driver="fake", config={"state_file": str(tmp_path / "world.json")})
        endpoints.add(
            rt,
            EndpointKind.SDN,
            "net",
            driver="fake",
            config={"state_file": str(tmp_path / "world.json"), "follow_nodes": True},
        )
        secure_web.onboard(rt)
        ns.create(rt, "secure-web", name="demo")
        with work.working(rt):
            done = work.follow(rt, ns.start(rt, ns.propose(rt, "demo", OperationKind.INSTANTIATE)))
            assert done.state is OperationState.COMPLETED
            made = Site(rt, says)
            made.events, made.planned, made.refused, made.answers = events, planned, refused, answers
            made.settings(**{"detector": "", **settings})
            yield made
