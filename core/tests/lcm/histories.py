"""Random histories: operations on two services, drivers that fail, processes that die, people who meddle.

Whatever happens, in whatever order: nothing is there twice; nothing is there that nobody answers for; an operation that
says COMPLETED is true; and every service can be deleted, with nothing left. Time is simulated and a seed decides who
overtakes whom, so a failure is the same again: hypothesis prints the shortest history it finds and a blob to replay
it. ``many_histories.py`` lives through thousands.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from deeds import DEEDS, NSD, NSDS, VNFDS
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from sim_site import Doom, SimSite, Snapshot, opened
from told import Told

from manor.api import OperationKind, Verb
from manor.errors import ManorError, UsageError
from manor.fakes import Action, Crash, Fault, When
from manor.lcm import endpoints, ns
from manor.lcm.away import LEAVE
from manor.lcm.states import ACTIVE, ENDED, Trigger
from manor.model.instance import CancelMode, NsLcmOpOcc, NsState, OnFailure, OperationState
from manor.store import instances, operations

__all__ = ["Lived", "live", "staged"]

_LATE_S = 100_000.0
NAMES = ("one", "two")
KINDS = ("image", "network", "volume", "node", "segment", "chain", "*")
VERBS = ("ensure", "remove", "apply", "observe", "topology", "guest_ping", "*")

faults = st.builds(
    Fault,
    action=st.sampled_from([Action.FAIL, Action.FAIL, Action.FAIL, Action.HANG, Action.DELAY]),
    verb=st.sampled_from(VERBS),
    kind=st.sampled_from(KINDS),
    when=st.sampled_from(When),
    times=st.sampled_from([1, 1, 2, 0]),
    skip=st.integers(0, 4),
    error=st.sampled_from(["", "Transient", "Permanent", "Indeterminate", "unknown", "NotFound", "Conflict"]),
    seconds=st.just(_LATE_S),
)
dooms = st.one_of(st.none(), st.integers(0, 120))
goings_on = st.sampled_from([True, True, False])
"""Whether somebody goes on with what a process that died was at, or leaves it to whoever works next."""


class Lived:
    """What was lived through: histories that came to their end, events, and what was done to the platform in them."""

    def __init__(self) -> None:
        self.histories = 0
        self.events = 0
        self._digest = hashlib.sha256()

    def add(self, site: SimSite) -> None:
        """One history has ended."""
        self.histories += 1
        for call in site.world.calls:
            self._digest.update(f"{call.when} {call.verb} {call.key}\n".encode())

    @property
    def digest(self) -> str:
        """The same for the same histories."""
        return self._digest.hexdigest()[:12]


@dataclasses.dataclass
class _Stage:
    site: SimSite
    created: Snapshot
    running: Snapshot
    lived: Lived


_STAGE: list[_Stage] = []


class Histories(RuleBasedStateMachine):
    """One history; all share one site, rewound."""

    @initialize(seed=st.integers(0, 1 << 32), run=st.booleans(), end=dooms, ends_well=st.booleans())
    def begin(self, seed: int, run: bool, end: int | None, ends_well: bool) -> None:
        self.site = _STAGE[0].site
        self.end = end
        """Where the process dies that is to delete all of it."""
        self.ends_well = ends_well
        self.site.rewind(_STAGE[0].running if run else _STAGE[0].created, seed)
        self.away = False
        self.partial: set[str] = set()
        """Ids of services whose last operation was planned while a host was away: it did what could be done."""
        self.meddled: set[str] = set()
        """Ids of services that somebody meddled with since their last operation was planned."""
        self.lost: set[str] = set()
        """Snapshots that somebody destroyed: nothing can take one of that moment again."""
        self.told = Told(self.site.told_after(0))

    # what happens

    @rule(name=st.sampled_from(NAMES), deed=st.sampled_from(sorted(DEEDS)), doom=dooms, goes_on=goings_on)
    def operate_calmly(self, name: str, deed: str, doom: int | None, goes_on: bool) -> None:
        """An operation that only its own process can spoil."""
        self._operate(name, deed, doom=doom, goes_on=goes_on)

    @rule(
        name=st.sampled_from(NAMES),
        deed=st.sampled_from(sorted(DEEDS)),
        misfortunes=st.one_of(st.just([]), st.lists(faults, max_size=2)),
        doom=dooms,
        cancel=st.one_of(st.none(), st.none(), st.tuples(st.integers(0, 60), st.sampled_from(CancelMode))),
        on_failure=st.sampled_from(OnFailure),
        parallelism=st.sampled_from([1, 2, 8]),
    )
    def operate(
        self,
        name: str,
        deed: str,
        misfortunes: list[Fault],
        doom: int | None,
        cancel: tuple[int, CancelMode] | None,
        on_failure: OnFailure,
        parallelism: int,
    ) -> None:
        """An operation, with whatever comes between."""
        self._operate(
            name,
            deed,
            misfortunes=misfortunes,
            doom=doom,
            cancel=cancel,
            on_failure=on_failure,
            parallelism=parallelism,
        )

    def _operate(
        self,
        name: str,
        deed: str,
        *,
        misfortunes: Sequence[Fault] = (),
        doom: int | None = None,
        goes_on: bool = True,
        cancel: tuple[int, CancelMode] | None = None,
        on_failure: OnFailure = OnFailure.ROLLBACK,
        parallelism: int = 8,
    ) -> None:
        site = self.site
        self._answer(name, "rollback" if on_failure is OnFailure.ROLLBACK else "fail")
        if site.ns(name).state is NsState.NOT_INSTANTIATED:
            deed = "instantiate"
        site.parallelism = parallelism
        site.world.inject(*misfortunes)
        try:
            operation_id = ns.start(site.rt, DEEDS[deed].ask(site, name), on_failure=on_failure)
        except ManorError:
            return  # refused, as it should be: nothing has begun
        self.meddled.discard(site.ns(name).id)
        (self.partial.add if self.away else self.partial.discard)(site.ns(name).id)
        if cancel is not None:
            site.interrupt(cancel[0], lambda: site.rt.operations.cancel(operation_id, cancel[1]))
        site.survive(Doom(doom), goes_on=goes_on)
        self._must_be_true(name)

    @precondition(lambda self: any(self._stopped(name) for name in NAMES))
    @rule(
        name=st.sampled_from(NAMES),
        trigger=st.sampled_from(["retry", "rollback", "continue", "fail", "fail"]),
        doom=dooms,
        goes_on=goings_on,
    )
    def handle(self, name: str, trigger: str, doom: int | None, goes_on: bool) -> None:
        """The operator's answer to an operation that stopped."""
        self._answer(name, trigger, doom, goes_on=goes_on)

    def _answer(self, name: str, trigger: str, doom: int | None = None, *, goes_on: bool = True) -> None:
        last = self._stopped(name)
        if last is None:
            return
        try:
            self.site.rt.operations.act(last.id, Trigger(trigger))
        except UsageError:
            return  # some cannot be rolled back, some are being cleaned up
        self.site.survive(Doom(doom), goes_on=goes_on)
        self._must_be_true(name)

    def _stopped(self, name: str) -> NsLcmOpOcc | None:
        last = self.site.last(name)
        return last if last is not None and last.state is OperationState.FAILED_TEMP else None

    @precondition(lambda self: self.site.there())
    @rule(which=st.integers(0, 60), gone=st.booleans())
    def meddle(self, which: int, gone: bool) -> None:
        """Somebody destroys something of ours, or a machine crashes."""
        keys = sorted(self.site.there())
        key = keys[which % len(keys)]
        self.meddled.add(key.partition("/")[0])
        if gone:
            self.site.world.destroy(key)
            self.lost |= {key} if "/snapshot/" in key else set()
        else:
            self.site.world.stop(key)

    @rule(what=st.sampled_from(["all works again", "the other host comes or goes", "the process is started anew"]))
    def turn_of_events(self, what: str) -> None:
        """What lies outside of the operator's hands."""
        match what:
            case "all works again":
                self.site.world.heal()
                self.site.scheduler.sleep(2 * _LATE_S)  # and calls that hung come back
            case "the other host comes or goes":
                self.away = not self.away
                first, second = self.site.hosts()
                self.site.world.set_hosts(first, dataclasses.replace(second, reachable=not self.away))
            case _:
                self.site.restart()
                self.site.work()

    # what must hold

    def check_invariants(self, settings: Any, output: Any, runtimes: Any) -> None:
        super().check_invariants(settings, output, runtimes)
        if not hasattr(self, "site"):
            return
        _STAGE[0].lived.events += 1
        there = self.site.there()
        lasts = [last for name in NAMES if (last := self.site.last(name)) is not None]
        left = {key for last in lasts for key in last.orphans}
        for last in lasts:
            goes = LEAVE if last.state not in ACTIVE else None  # what is at work may be about to remove the second one
            steps = [one.step for one in self.site.steps(last.id) if one.step.verb is Verb.REMOVE]
            left |= {step.key for step in steps if goes in (None, step.change)}
        assert not {key for key, count in there.items() if count > 1} - left, "something is there twice"
        for name in NAMES:
            self._nothing_leaks(name, there)
            self._nothing_is_disowned(name)
        self.told.listen(self.site.told_after(self.told.seq))

    def _nothing_is_disowned(self, name: str) -> None:
        """What a service has is never what an operation left, or goes for, at that place."""
        last, state = self.site.last(name), self.site.desired(name)
        if last is None or state is None or last.state in ACTIVE:
            return
        has = {(resource.spec.key, getattr(resource.spec, "host", "")) for resource in state.resources}
        steps = [one.step for one in self.site.steps(last.id)] if last.state is OperationState.COMPLETED else []
        assert not {(s.key, s.host) for s in steps if s.change == LEAVE} & has, last

    def _nothing_leaks(self, name: str, there: Mapping[str, int]) -> None:
        """What is there of a service should be, or is in the hands of an operation, or was reported as left behind."""
        last = None
        with self.site.rt.store.read() as tx:
            service = instances.get(tx, name)
            state = instances.desired(tx, service.id)
            known = {resource.spec.key for resource in state.resources} if state else set()
            if service.last_operation:
                last = operations.get(tx, service.last_operation)
                known |= set(last.orphans)
                if last.state in ACTIVE:
                    known |= {record.step.key for record in operations.steps(tx, last.id)}
        leaked = {key for key in there if key.startswith(f"{service.id}/")} - known
        assert not leaked, f"{leaked} is there, and nobody knows it; {last}"

    def _must_be_true(self, name: str) -> None:
        """An operation that completed has made all as it should be, and one that rolled back has left nothing more."""
        last = self.site.last(name)
        if last is None or self.away or last.ns_id in self.meddled:
            return  # what was true when it was looked at may have been broken since: that is drift
        if last.state is OperationState.COMPLETED:
            missing = self.site.wanted(name) - self.site.there(name)
            left = set(last.orphans) if last.ns_id in self.partial else set()
            assert not set(self.site.there(name) - self.site.wanted(name)) - left, last
            assert not set(missing) - self.lost, last
            if self.site.desired(name) is not None and last.ns_id not in self.partial:
                self.site.world.heal()
                assert ns.propose(self.site.rt, name, OperationKind.REPAIR).plan.steps == (), last

    def teardown(self) -> None:
        if hasattr(self, "site"):
            self._take_down(self.site)
            self.told.listen(self.site.told_after(self.told.seq))
            assert not self.told.there, "VNFs of services that are no more"
            assert all(state in ENDED for state in self.told.states.values()), self.told.states
            _STAGE[0].lived.add(self.site)

    def _take_down(self, site: SimSite) -> None:
        """In the end everything can be deleted, also while the platform fails: then the rest is found as orphans."""
        if self.ends_well:
            self._be_well(site)
        left = {key for name in NAMES for key in self._deleted(site, name)}
        if self.ends_well and not self.away:
            assert not left
            assert not site.there()
            return
        self._be_well(site)
        site.world.set_hosts(*(dataclasses.replace(host, reachable=True) for host in site.hosts()))
        found, silent = endpoints.orphans(site.rt)
        assert not silent
        assert {orphan.observed.ref.key for orphan in found} <= left
        assert endpoints.remove_orphans(site.rt, found) == ()
        assert not site.there()

    def _be_well(self, site: SimSite) -> None:
        site.world.heal()
        site.scheduler.sleep(2 * _LATE_S)

    def _deleted(self, site: SimSite, name: str) -> tuple[str, ...]:
        """What deleting it by force left; tried again where the process died over it."""
        site.doom = Doom(self.end)
        try:
            return ns.delete(site.rt, name, force=True)
        except Crash:
            site.restart()
            return ns.delete(site.rt, name, force=True)
        finally:
            site.doom = Doom()


@contextmanager
def staged() -> Iterator[Lived]:
    """Two services on two hosts, for :func:`live`."""
    with opened(*NSDS, *VNFDS.values(), hosts=2) as site:
        for number, name in enumerate(NAMES, 1):
            site.create(NSD, name, f"{number:08x}")
        created = site.snapshot()
        for name in NAMES:
            ns.start(site.rt, DEEDS["instantiate"].ask(site, name))
        site.work()
        lived = Lived()
        _STAGE.append(_Stage(site=site, created=created, running=site.snapshot(), lived=lived))
        yield lived
        _STAGE.clear()


def live(histories: int, *, of: int, steps: int) -> None:
    """So many histories of up to so many events, those of the seed ``of``.

    Raises what the shortest failing one raises, after hypothesis has printed it.
    """
    machine = seed(of)(type("Histories", (Histories,), {}))
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=histories,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            print_blob=True,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
