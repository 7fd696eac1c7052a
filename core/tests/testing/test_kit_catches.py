"""A kit that passes everything proves nothing: each planted defect has to be caught, and by a test that is about it."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from meeting import Meeting

from manor.api import (
    CallContext,
    Capabilities,
    ChainSpec,
    FlowProgram,
    Observed,
    Phase,
    Query,
    ResourceRef,
    ResourceSpec,
    SegmentSpec,
    Support,
    Topology,
    VimCapability,
    VolumeSpec,
)
from manor.errors import DriverError, NotFound, Unsupported
from manor.fakes import FakeSdn, FakeVim
from manor.fakes.world import Native
from manor.testing import VimConformance

pytest_plugins = ["pytester"]

FOREVER = CallContext.within(86_400)


# VIMs with one thing wrong each


class ForgetsWhatItMade(FakeVim):
    """Creates anew at each ensure: the orphan maker."""

    def ensure(self, spec: ResourceSpec, ctx: CallContext) -> Observed:
        super().ensure(spec, ctx)
        with self.world.change() as state:
            native = state.natives[self._owner, str(spec.kind), spec.key, getattr(spec, "host", "")]
            state.serial += 1
            native.native_id = f"again-{state.serial}"
        return super().ensure(spec, ctx)


class TellsOfAnother(FakeVim):
    """ensure makes what it was given, and answers with another resource."""

    def ensure(self, spec: ResourceSpec, ctx: CallContext) -> Observed:
        made = super().ensure(spec, ctx)
        return dataclasses.replace(made, ref=dataclasses.replace(made.ref, key="else/where"))


class RefusesTheAbsent(FakeVim):
    """remove of something absent is an error."""

    def remove(self, ref: ResourceRef, ctx: CallContext) -> None:
        if not self.observe(Query(owner=self._owner, keys=frozenset({ref.key})), ctx):
            raise NotFound(f"{ref.key} is not there")
        super().remove(ref, ctx)


class ShowsStrangers(FakeVim):
    """observe forgets to filter by owner."""

    def observe(self, query: Query, ctx: CallContext) -> Sequence[Observed]:
        return [
            observed
            for native in self.world.natives()
            for observed in super(ShowsStrangers, self).observe(
                dataclasses.replace(query, owner=native.spec.owner), ctx
            )
            if observed.ref.key == native.spec.key
        ]


class RemovesByKeyAlone(FakeVim):
    """remove does not look at the owner tag."""

    def remove(self, ref: ResourceRef, ctx: CallContext) -> None:
        super().remove(ref, ctx)
        self.world.destroy(ref.key)


class MatchesPrefixes(FakeVim):
    """remove takes what merely starts so."""

    def remove(self, ref: ResourceRef, ctx: CallContext) -> None:
        super().remove(ref, ctx)
        for native in self.world.natives(self._owner):
            if native.spec.kind is ref.kind and native.spec.key.startswith(ref.key):
                self.world.destroy(native.spec.key)


class IgnoresChanges(FakeVim):
    """Says yes to a changed spec, and does nothing."""

    def ensure(self, spec: ResourceSpec, ctx: CallContext) -> Observed:
        found = self.observe(Query(owner=spec.owner, keys=frozenset({spec.key})), ctx)
        if found and found[0].phase is Phase.ACTIVE:
            return found[0]
        return super().ensure(spec, ctx)


class IgnoresTheClock(FakeVim):
    """Works on after its deadline."""

    def ensure(self, spec: ResourceSpec, ctx: CallContext) -> Observed:
        return super().ensure(spec, FOREVER)


class RepairsWhileLooking(FakeVim):
    """observe restarts what stopped."""

    def observe(self, query: Query, ctx: CallContext) -> Sequence[Observed]:
        with self.world.change() as state:
            for native in state.natives.values():
                native.phase = Phase.ACTIVE
        return super().observe(query, ctx)


class RenamesWhileLooking(FakeVim):
    """capabilities has an effect."""

    def capabilities(self, ctx: CallContext) -> Capabilities:
        with self.world.change() as state:
            for native in state.natives.values():
                state.serial += 1
                native.native_id += "x"
        return super().capabilities(ctx)


class ClaimsTooMuch(FakeVim):
    """Claims UEFI, and has none."""

    def capabilities(self, ctx: CallContext) -> Capabilities:
        told = super().capabilities(ctx)
        return dataclasses.replace(told, support={**told.support, "uefi": Support.FULL})


class SkipsQuietly(FakeVim):
    """Claims no watchdog, and leaves it out without a word."""

    def capabilities(self, ctx: CallContext) -> Capabilities:
        told = super().capabilities(ctx)
        return dataclasses.replace(
            told,
            support={**told.support, "watchdog": Support.UNSUPPORTED},
            detail={**told.detail, "watchdog": "none here"},
        )


class RefusesTooLate(FakeVim):
    """Finds out that it cannot when half of it is made."""

    def ensure(self, spec: ResourceSpec, ctx: CallContext) -> Observed:
        if getattr(spec, "watchdog", False):
            super().ensure(dataclasses.replace(spec, watchdog=False), ctx)  # type: ignore[call-arg]
            raise Unsupported("no watchdog", capability=VimCapability.WATCHDOG)
        return super().ensure(spec, ctx)

    capabilities = SkipsQuietly.capabilities


class LeaksTheDisk(FakeVim):
    """remove of a node leaves something of it behind, out of observe's sight."""

    def remove(self, ref: ResourceRef, ctx: CallContext) -> None:
        there = self.observe(Query(owner=self._owner, keys=frozenset({ref.key})), ctx)
        super().remove(ref, ctx)
        if there and there[0].ref.kind == "node":
            spec = VolumeSpec(key=f"{ref.key}/leak", owner="nobody", host="host-1", name="leak", size_bytes=1)
            with self.world.change() as state:
                state.natives["nobody", "volume", spec.key, "host-1"] = Native(
                    spec=spec, spec_hash="", native_id=f"leak-{ref.key}", phase=Phase.ACTIVE, born_s=0.0
                )


class RaisesAnything(FakeVim):
    """Lets its own exceptions out."""

    def ensure(self, spec: ResourceSpec, ctx: CallContext) -> Observed:
        try:
            return super().ensure(spec, ctx)
        except DriverError as error:
            raise RuntimeError("internal error") from error


class RacesItself(FakeVim):
    """Looks first and creates later, with the door open in between: the first waits until another looks too."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._meeting = Meeting(1)

    def ensure(self, spec: ResourceSpec, ctx: CallContext) -> Observed:
        absent = not self.observe(Query(owner=self._owner, keys=frozenset({spec.key})), ctx)
        if spec.kind == "node":
            self._meeting.come()
        observed = super().ensure(spec, ctx)
        if absent and spec.kind == "node":
            with self.world.change() as state:
                state.serial += 1
                return dataclasses.replace(observed, native_id=f"{observed.native_id}-{state.serial}")
        return observed


VIMS: Mapping[type[FakeVim], str] = {
    ForgetsWhatItMade: "test_ensure_twice_is_once",
    TellsOfAnother: "test_ensure_twice_is_once",
    RefusesTheAbsent: "test_removed_is_gone_and_twice_succeeds",
    ShowsStrangers: "test_foreign_is_neither_seen_nor_touched",
    RemovesByKeyAlone: "test_foreign_is_neither_seen_nor_touched",
    MatchesPrefixes: "test_remove_spares_the_neighbour",
    IgnoresChanges: "test_changed_spec_is_applied_or_refused",
    IgnoresTheClock: "test_no_time_left_means_no_effect",
    RepairsWhileLooking: "test_stopped_behind_our_back",
    RenamesWhileLooking: "test_looking_changes_nothing",
    ClaimsTooMuch: "test_claim_about_nodes_is_true",
    SkipsQuietly: "test_claim_about_nodes_is_true",
    RefusesTooLate: "test_claim_about_nodes_is_true",
    LeaksTheDisk: "test_removal_leaves_nothing_on_the_platform",
    RaisesAnything: "test_missing_foundation_is_one_of_our_errors",
    RacesItself: "test_one_key_from_many_threads_is_one",
}


# controllers with one thing wrong each

Compile = Callable[[SegmentSpec | ChainSpec, Topology], FlowProgram]


class DrawsLots(FakeSdn):
    """compile gives another program each time."""

    calls = 0

    def compile(self, spec: SegmentSpec | ChainSpec, topology: Topology) -> FlowProgram:
        program = super().compile(spec, topology)
        DrawsLots.calls += 1
        return dataclasses.replace(program, rules=tuple(reversed(program.rules)) if self.calls % 2 else program.rules)


class SkipsAFunction(FakeSdn):
    """Leaves out the second position."""

    def compile(self, spec: SegmentSpec | ChainSpec, topology: Topology) -> FlowProgram:
        if isinstance(spec, ChainSpec) and len(spec.positions) > 1:
            short = dataclasses.replace(spec, positions=spec.positions[:1])
            return dataclasses.replace(super().compile(short, topology), spec=super().compile(spec, topology).spec)
        return super().compile(spec, topology)


class TurnsRound(FakeSdn):
    """Takes the functions in the wrong order."""

    def compile(self, spec: SegmentSpec | ChainSpec, topology: Topology) -> FlowProgram:
        if isinstance(spec, ChainSpec):
            wrong = dataclasses.replace(spec, positions=spec.positions[::-1])
            return dataclasses.replace(super().compile(wrong, topology), spec=super().compile(spec, topology).spec)
        return super().compile(spec, topology)


class StealsTraffic(FakeSdn):
    """Takes everything, whatever the classifier says."""

    def compile(self, spec: SegmentSpec | ChainSpec, topology: Topology) -> FlowProgram:
        if isinstance(spec, ChainSpec):
            from manor.api import Classifier

            greedy = dataclasses.replace(spec, classifiers=(Classifier(),))
            return dataclasses.replace(super().compile(greedy, topology), spec=super().compile(spec, topology).spec)
        return super().compile(spec, topology)


class FloodsFunctions(FakeSdn):
    """Sends the segment's broadcasts into bumps in the wire."""

    def compile(self, spec: SegmentSpec | ChainSpec, topology: Topology) -> FlowProgram:
        if isinstance(spec, SegmentSpec):
            open_ports = tuple(dataclasses.replace(port, transparent=False) for port in spec.ports)
            wrong = super().compile(dataclasses.replace(spec, ports=open_ports), topology)
            return dataclasses.replace(wrong, spec=super().compile(spec, topology).spec)
        return super().compile(spec, topology)


class MixesSegments(FakeSdn):
    """All segments are one."""

    def compile(self, spec: SegmentSpec | ChainSpec, topology: Topology) -> FlowProgram:
        program = super().compile(spec, topology)
        if not isinstance(spec, SegmentSpec):
            return program
        from manor.fakes.compiler import number

        mine = number(spec.key)

        def one(value: Any) -> Any:
            return 7 if value == mine else str(value).replace(f"={mine}", "=7") if isinstance(value, str) else value

        return dataclasses.replace(
            program,
            rules=tuple(
                dataclasses.replace(
                    rule,
                    match=tuple((name, one(value)) for name, value in rule.match),
                    actions=tuple((name, one(value)) for name, value in rule.actions),
                )
                for rule in program.rules
            ),
        )


class LeavesRules(FakeSdn):
    """remove forgets chains."""

    def remove(self, ref: ResourceRef, ctx: CallContext) -> None:
        if ref.kind != "chain":
            super().remove(ref, ctx)


class AddsUp(FakeSdn):
    """apply adds to what was there."""

    def apply(self, program: FlowProgram, ctx: CallContext) -> Observed:
        for native in self.world.natives(self._owner):
            if native.program and native.program.key == program.key:
                program = dataclasses.replace(program, rules=native.program.rules + program.rules)
        return super().apply(program, ctx)


class HidesCounters(FakeSdn):
    """observe says nothing about the rules."""

    def observe(self, query: Query, ctx: CallContext) -> Sequence[Observed]:
        return [dataclasses.replace(observed, detail={}) for observed in super().observe(query, ctx)]


class TakesNothingTwice(FakeSdn):
    """The newest program counts as done, also after a late repeat of an older one."""

    def apply(self, program: FlowProgram, ctx: CallContext) -> Observed:
        order: list[str] = self.__dict__.setdefault("order", [])
        seen = self.observe(Query(owner=self._owner, keys=frozenset({program.key})), ctx)
        if seen and order and order[-1] == program.spec_hash:
            return seen[0]
        if program.spec_hash not in order:
            order.append(program.spec_hash)
        return super().apply(program, ctx)


SDNS: Mapping[type[FakeSdn], str] = {
    DrawsLots: "test_compile_is_pure",
    SkipsAFunction: "test_chain_goes_through_each_function_once_in_order",
    TurnsRound: "test_chain_goes_through_each_function_once_in_order",
    StealsTraffic: "test_traffic_outside_the_classifier_is_untouched",
    FloodsFunctions: "test_a_bump_in_the_wire_gets_nothing_but_a_chains",
    MixesSegments: "test_segments_are_apart",
    LeavesRules: "test_removed_is_gone_and_twice_succeeds",
    AddsUp: "test_apply_twice_is_once",
    HidesCounters: "test_observe_sees_what_was_applied",
    TakesNothingTwice: "test_late_and_repeated_messages_converge",
}


# running the kit on them

Suite = Callable[[str, str], Mapping[str, int]]

SUITE = """
import planted, pytest
from manor.testing import FakeVimWorld, SdnConformance, SdnSpecs, VimConformance, VimSpecs
from manor.fakes import FakeHost, World
"""

VIM_SUITE = """
class TestPlanted(VimConformance):
    @pytest.fixture
    def platform(self):
        return World()

    @pytest.fixture
    def driver(self, platform):
        return planted.{name}(platform, unsupported={unsupported!r})

    @pytest.fixture
    def specs(self, tmp_path):
        return VimSpecs(owner="manor/test", host="host-1", workdir=tmp_path, boots=True, settle_s=0.2, parallel=4)

    @pytest.fixture
    def world(self, platform):
        return FakeVimWorld(platform)
"""

SDN_SUITE = """
class TestPlanted(SdnConformance):
    @pytest.fixture
    def driver(self):
        return planted.{name}(World(hosts=[FakeHost(name="host-1"), FakeHost(name="host-2")]))

    @pytest.fixture
    def specs(self):
        return SdnSpecs(owner="manor/test", settle_s=0.2, parallel=4)
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """Runs a suite's tests whose names contain ``only``; how many came out how."""
    monkeypatch.setitem(sys.modules, "planted", sys.modules[__name__])

    def run(body: str, only: str) -> Mapping[str, int]:
        pytester.makepyfile(test_planted=SUITE + body)
        result = pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider", "-k", only)
        outcomes: Mapping[str, int] = result.parseoutcomes()
        return outcomes

    return run


@pytest.mark.parametrize("defective", VIMS, ids=lambda cls: cls.__name__)
def test_defective_vim_is_caught(suite: Suite, defective: type[FakeVim]) -> None:
    unsupported = {"uefi"} if defective is ClaimsTooMuch else set()
    body = VIM_SUITE.format(name=defective.__name__, unsupported=unsupported)
    assert suite(body, VIMS[defective]).get("failed", 0) > 0


@pytest.mark.parametrize("defective", SDNS, ids=lambda cls: cls.__name__)
def test_defective_controller_is_caught(suite: Suite, defective: type[FakeSdn]) -> None:
    assert suite(SDN_SUITE.format(name=defective.__name__), SDNS[defective]).get("failed", 0) > 0


STEPS = """
class StepSpecs(SdnSpecs):
    def steps(self, before, after):
        old, new = (list(program.rules) if program else [] for program in (before, after))
        {steps}
"""
CAREFUL = "return [new]"
CARELESS = {
    "breaks before it makes": "return [old, [], new]",
    "mixes ways": "return [old, *([r for r in old if r not in new][n:] + new[:n] for n in range(len(new))), new]",
    "forgets the end": "return [old, new, old]",
}


@pytest.mark.parametrize("steps", [CAREFUL, *CARELESS.values()], ids=["careful", *CARELESS])
def test_careless_order_of_messages_is_caught(suite: Suite, steps: str) -> None:
    text = STEPS.format(steps=steps) + SDN_SUITE.format(name="FakeSdn").replace("SdnSpecs(", "StepSpecs(")
    found = suite(text, "every_step_of_a_change")
    assert bool(found.get("failed")) is (steps != CAREFUL), found


def test_the_same_suites_pass_on_sound_drivers(suite: Suite) -> None:
    vim = suite(VIM_SUITE.format(name="FakeVim", unsupported=set()), " or ".join(set(VIMS.values())))
    sdn = suite(SDN_SUITE.format(name="FakeSdn"), " or ".join(set(SDNS.values())))
    assert "failed" not in {**vim, **sdn}
    assert vim["passed"] > 20
    assert sdn["passed"] > 8


CHEATS = {
    "overrides": "    def test_ensure_twice_is_once(self):\n        pass\n",
    "takes away": "    test_ensure_twice_is_once = None\n",
    "no reason": '    deviations = {"test_looking_changes_nothing": " "}\n',
    "no such test": '    deviations = {"test_no_such_thing": "because"}\n',
    "the guard itself": '    deviations = {"test_kit_is_whole": "because"}\n',
}


@pytest.mark.parametrize("cheat", CHEATS.values(), ids=CHEATS.keys())
def test_cheating_fails(suite: Suite, cheat: str) -> None:
    body = VIM_SUITE.format(name="FakeVim", unsupported=set()) + cheat
    assert suite(body, "test_kit_is_whole").get("failed", 0) == 1


@pytest.mark.parametrize("mark", ["skip", "xfail"])
def test_marking_the_kit_away_is_no_class_at_all(mark: str) -> None:
    with pytest.raises(TypeError, match="deviations"):
        type("TestTired", (VimConformance,), {"pytestmark": [getattr(pytest.mark, mark)(reason="tired")]})


SILENT = {
    "a mark on the module": ("pytestmark = pytest.mark.skip\n", ""),
    "an expected failure on the module": ("pytestmark = pytest.mark.xfail\n", ""),
    "a fixture": ("", "    @pytest.fixture(autouse=True)\n    def tired(self):\n        pytest.skip()\n"),
}


@pytest.mark.parametrize("is_silent", [True, False], ids=["silent", "with a reason"])
@pytest.mark.parametrize("how", SILENT)
def test_leaving_out_without_a_reason_fails(suite: Suite, pytester: pytest.Pytester, how: str, is_silent: bool) -> None:
    pytester.makeconftest('pytest_plugins = ["manor.testing.pytest_plugin"]')
    module, cls = SILENT[how]
    if not is_silent:
        module = module.replace("skip\n", "skip(reason='no lab')\n").replace("xfail\n", "xfail(reason='no lab')\n")
        cls = cls.replace("skip()", "skip('no lab')")
    body = module + VIM_SUITE.format(name="RenamesWhileLooking", unsupported=set()) + cls
    found = suite(body, "test_looking_changes_nothing")
    assert (found.get("failed", 0) + found.get("errors", 0) == 1) is is_silent, found


def test_a_declared_deviation_must_fail(suite: Suite) -> None:
    holds = VIM_SUITE.format(name="FakeVim", unsupported=set())
    breaks = VIM_SUITE.format(name="RenamesWhileLooking", unsupported=set())
    declared = '    deviations = {"test_looking_changes_nothing": "it counts its looks"}\n'
    assert suite(breaks + declared, "test_looking_changes_nothing").get("xfailed", 0) == 1
    assert suite(holds + declared, "test_looking_changes_nothing").get("failed", 0) == 1
