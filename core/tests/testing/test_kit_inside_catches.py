"""Planted defects in VNF managers, telemetry sources, placement policies and formats: each is caught, by the test
that is named here; and the sound ones pass everything."""

from __future__ import annotations

import dataclasses
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from meeting import Meeting

from manor.api import (
    BootData,
    CallContext,
    DescriptorFormat,
    Guest,
    Health,
    Placement,
    Sample,
    SampleKind,
    Target,
    VnfcView,
    VnfView,
)
from manor.errors import DriverError
from manor.nfvo.placement import Balanced
from manor.vnfm.generic import GenericVnfm

# VNF managers


class SoundVnfm(GenericVnfm):
    """Core's own."""


class NumbersItsBoots(SoundVnfm):
    count = 0

    def boot_data(self, vnf: VnfView, vnfc: VnfcView) -> BootData:
        self.count += 1
        return BootData(user_data=f"boot {self.count}")


class RunsTemplates(SoundVnfm):
    def boot_data(self, vnf: VnfView, vnfc: VnfcView) -> BootData:
        import jinja2

        template = vnf.boot_templates[vnfc.vdu_id]
        try:
            return BootData(user_data=jinja2.Environment(autoescape=False).from_string(template).render())
        except jinja2.TemplateError:
            return BootData()
        except ZeroDivisionError:
            return BootData()


class ConfiguresOnce(SoundVnfm):
    done = False

    def configure(self, vnf: VnfView, guests: Mapping[str, Guest], ctx: CallContext) -> None:
        if self.done:
            raise DriverError("configured already")
        super().configure(vnf, guests, ctx)
        self.done = True


class ForgetsTheSecond(SoundVnfm):
    def configure(self, vnf: VnfView, guests: Mapping[str, Guest], ctx: CallContext) -> None:
        super().configure(dataclasses.replace(vnf, vnfcs=vnf.vnfcs[:1]), guests, ctx)


class IgnoresExitCodes(SoundVnfm):
    def configure(self, vnf: VnfView, guests: Mapping[str, Guest], ctx: CallContext) -> None:
        for vnfc in vnf.vnfcs:
            for argv in vnf.day1.get(vnfc.vdu_id, ()):
                guests[vnfc.key].run(argv, ctx)


class QuotesTheCommand(SoundVnfm):
    def configure(self, vnf: VnfView, guests: Mapping[str, Guest], ctx: CallContext) -> None:
        for vnfc in vnf.vnfcs:
            for argv in vnf.day1.get(vnfc.vdu_id, ()):
                if guests[vnfc.key].run(argv, ctx).exit_code:
                    raise DriverError(f"{vnfc.key}: {' '.join(argv)} failed")


class TakesSilenceForConsent(SoundVnfm):
    def configure(self, vnf: VnfView, guests: Mapping[str, Guest], ctx: CallContext) -> None:
        try:
            super().configure(vnf, guests, ctx)
        except DriverError as error:
            if "agent" not in error.message:
                raise


class GoesByPlace(SoundVnfm):
    def configure(self, vnf: VnfView, guests: Mapping[str, Guest], ctx: CallContext) -> None:
        self.mine: Any = getattr(self, "mine", None) or list(guests.values())
        super().configure(vnf, dict(zip((v.key for v in vnf.vnfcs), self.mine, strict=True)), ctx)


class AlwaysWell(SoundVnfm):
    def health(self, vnf: VnfView, guests: Mapping[str, Guest], ctx: CallContext) -> Health:
        return Health(ready=True)


class HealthNeedsAll(SoundVnfm):
    def health(self, vnf: VnfView, guests: Mapping[str, Guest], ctx: CallContext) -> Health:
        checks = {vnfc.key: guests[vnfc.key].ping(ctx) for vnfc in vnf.vnfcs}
        return Health(ready=all(checks.values()), reason="not all answer", checks=checks)


class QuiesceNeedsAll(SoundVnfm):
    def quiesce(self, vnf: VnfView, guests: Mapping[str, Guest], ctx: CallContext) -> None:
        for vnfc in vnf.vnfcs:
            guests[vnfc.key].run(["drain"], ctx)


class SharesItsState(SoundVnfm):
    def __init__(self) -> None:
        self.meeting = Meeting(1)

    def configure(self, vnf: VnfView, guests: Mapping[str, Guest], ctx: CallContext) -> None:
        self.vnf = vnf
        self.meeting.come()
        for key, guest in zip((v.key for v in self.vnf.vnfcs), guests.values(), strict=False):
            for argv in self.vnf.day1["main"]:
                guest.run(argv, ctx)
            assert key


VNFMS: Mapping[type[Any], str] = {
    NumbersItsBoots: "test_boot_data_is_pure",
    RunsTemplates: "test_boot_data_of_a_hostile_template_is_data_or_refused",
    ConfiguresOnce: "test_configure_twice_succeeds",
    ForgetsTheSecond: "test_day1_runs_everywhere_in_order",
    IgnoresExitCodes: "test_a_failed_command_is_told_without_secrets",
    QuotesTheCommand: "test_a_failed_command_is_told_without_secrets",
    TakesSilenceForConsent: "test_a_silent_machine_is_not_configured",
    GoesByPlace: "test_machines_go_by_key",
    AlwaysWell: "test_silence_is_not_ready_and_no_error",
    HealthNeedsAll: "test_health_of_machines_that_are_not_there_is_no_error",
    QuiesceNeedsAll: "test_quiesce_of_absent_machines_succeeds",
    SharesItsState: "test_several_at_once",
}

# telemetry sources


class SoundSource:
    """Two machines with a gauge and a counter."""

    def __init__(self) -> None:
        self.there = {"k/vnf/a/vm-0", "k/vnf/a/vm-1"}
        self.count = 0.0

    def collect(self, targets: Sequence[Target], ctx: CallContext) -> Iterable[Sample]:
        found: dict[str, list[Sample]] = {}
        for target in targets:
            ctx.check(target.key)
            found[target.key] = list(self.read(target))
        return [sample for samples in found.values() for sample in samples]

    def read(self, target: Target) -> Iterable[Sample]:
        if target.key in self.there:
            self.count += 1
            yield self.sample(target, "cpu", 20.0)
            yield self.sample(target, "packets", self.count, kind=SampleKind.COUNTER)

    def sample(self, target: Target, metric: str, value: float, **more: Any) -> Sample:
        return Sample(metric=metric, value=value, unit="1", key=target.key, time_s=time.time(), **more)

    def close(self) -> None:
        pass


class ZeroForMissing(SoundSource):
    def read(self, target: Target) -> Iterable[Sample]:
        return super().read(target) if target.key in self.there else [self.sample(target, "cpu", 0.0)]


class FailsForMissing(SoundSource):
    def read(self, target: Target) -> Iterable[Sample]:
        if target.key not in self.there:
            raise DriverError(f"{target.key} is away")
        return super().read(target)


class RemembersTheLost(SoundSource):
    def __init__(self) -> None:
        super().__init__()
        self.ever = set(self.there)

    def read(self, target: Target) -> Iterable[Sample]:
        return [self.sample(target, "cpu", 20.0), self.sample(target, "packets", 1)] if target.key in self.ever else ()


class NoUnits(SoundSource):
    def sample(self, target: Target, metric: str, value: float, **more: Any) -> Sample:
        return dataclasses.replace(super().sample(target, metric, value, **more), unit="")


class Milliseconds(SoundSource):
    def sample(self, target: Target, metric: str, value: float, **more: Any) -> Sample:
        return dataclasses.replace(super().sample(target, metric, value, **more), time_s=time.time() * 1000)


class NanForMissing(SoundSource):
    def read(self, target: Target) -> Iterable[Sample]:
        yield from super().read(target)
        if target.key in self.there:
            yield self.sample(target, "memory", float("nan"))


class CountsBackwards(SoundSource):
    def read(self, target: Target) -> Iterable[Sample]:
        self.count -= 2
        return super().read(target)


class SaysTwice(SoundSource):
    def read(self, target: Target) -> Iterable[Sample]:
        return [*super().read(target), *super().read(target)]


class GivesEverything(SoundSource):
    def collect(self, targets: Sequence[Target], ctx: CallContext) -> Iterable[Sample]:
        return super().collect([Target(key=key, kind="node") for key in self.there], ctx)


class KnowsNoTime(SoundSource):
    def collect(self, targets: Sequence[Target], ctx: CallContext) -> Iterable[Sample]:
        return super().collect(targets, CallContext.within(60))


class OpensWhatItIsTold(SoundSource):
    def read(self, target: Target) -> Iterable[Sample]:
        path = Path("/srv/metrics") / target.key
        if path.exists():
            yield self.sample(target, "size", float(path.stat().st_size))
        yield from super().read(target)


class MixesCallers(SoundSource):
    """The second caller (the first samples alone) is given what one who comes meanwhile asks for, and that is other."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.lock = threading.Lock()
        self.met = threading.Event()

    def collect(self, targets: Sequence[Target], ctx: CallContext) -> Iterable[Sample]:
        with self.lock:
            self.calls += 1
            is_second = self.calls == 2
            if is_second:
                self.targets = targets
            elif self.calls > 2 and self.targets != targets and not self.met.is_set():
                self.targets = targets
                self.met.set()
        if not is_second:
            return super().collect(targets, ctx)
        self.met.wait(60.0)
        return super().collect(self.targets, ctx)


SOURCES: Mapping[type[Any], str] = {
    ZeroForMissing: "test_unknown_is_left_out",
    FailsForMissing: "test_one_that_is_away_spoils_nothing",
    RemembersTheLost: "test_what_is_lost_is_left_out",
    NoUnits: "test_samples_are_sound",
    Milliseconds: "test_samples_are_sound",
    NanForMissing: "test_samples_are_sound",
    CountsBackwards: "test_collecting_again_gives_the_same_series",
    SaysTwice: "test_each_series_comes_once",
    GivesEverything: "test_nothing_asked_nothing_given",
    KnowsNoTime: "test_no_time_left_is_said",
    OpensWhatItIsTold: "test_keys_are_only_names",
    MixesCallers: "test_several_at_once",
}

# placement policies


class SoundPlacement:
    """Core's own, without the solver; what each defect changes is what it is shown or what it answers."""

    def place(self, demands: Any, rules: Any, candidates: Any, fixed: Any) -> Placement:
        return Balanced(exact_up_to=0).place(demands, rules, candidates, fixed)


class ForgetsRules(SoundPlacement):
    def place(self, demands: Any, rules: Any, candidates: Any, fixed: Any) -> Placement:
        return super().place(demands, (), candidates, fixed)


class KnowsNodesOnly(SoundPlacement):
    def place(self, demands: Any, rules: Any, candidates: Any, fixed: Any) -> Placement:
        return super().place(demands, [r for r in rules if r.scope == "nfvi_node"], candidates, fixed)


class MovesTheFixed(SoundPlacement):
    def place(self, demands: Any, rules: Any, candidates: Any, fixed: Any) -> Placement:
        return super().place(demands, rules, candidates, {})


class PromisesTwice(SoundPlacement):
    def place(self, demands: Any, rules: Any, candidates: Any, fixed: Any) -> Placement:
        parts = [super(PromisesTwice, self).place([demand], rules, candidates, fixed) for demand in demands]
        hosts = {key: place for part in parts for key, place in part.hosts.items()}
        return Placement(hosts=hosts, refused={k: w for part in parts for k, w in part.refused.items()})


class ForgetsStorage(SoundPlacement):
    def place(self, demands: Any, rules: Any, candidates: Any, fixed: Any) -> Placement:
        return super().place([dataclasses.replace(d, storage_bytes=0) for d in demands], rules, candidates, fixed)


class ForgetsNeeds(SoundPlacement):
    def place(self, demands: Any, rules: Any, candidates: Any, fixed: Any) -> Placement:
        return super().place([dataclasses.replace(d, needs=()) for d in demands], rules, candidates, fixed)


class KnowsBetter(SoundPlacement):
    def place(self, demands: Any, rules: Any, candidates: Any, fixed: Any) -> Placement:
        free = [dataclasses.replace(d, wanted_vim="", wanted_host="", wanted_site="") for d in demands]
        return super().place(free, rules, candidates, fixed)


class SaysNo(SoundPlacement):
    def place(self, demands: Any, rules: Any, candidates: Any, fixed: Any) -> Placement:
        placement = super().place(demands, rules, candidates, fixed)
        return Placement(hosts=placement.hosts, refused=dict.fromkeys(placement.refused, "no room"))


class DropsWhatFindsNoPlace(SoundPlacement):
    def place(self, demands: Any, rules: Any, candidates: Any, fixed: Any) -> Placement:
        return Placement(hosts=super().place(demands, rules, candidates, fixed).hosts)


class TakesTurns(SoundPlacement):
    turn = 0

    def place(self, demands: Any, rules: Any, candidates: Any, fixed: Any) -> Placement:
        self.turn += 1
        at = self.turn % max(1, len(candidates))
        return super().place(demands, rules, [*candidates[at:], *candidates[:at]], fixed)


class SortsWhatItIsGiven(SoundPlacement):
    def place(self, demands: Any, rules: Any, candidates: Any, fixed: Any) -> Placement:
        demands.sort(key=lambda demand: -demand.memory_bytes)
        return super().place(demands, rules, candidates, fixed)


PLACEMENTS: Mapping[type[Any], str] = {
    ForgetsRules: "test_a_rule_holds_or_refuses",
    KnowsNodesOnly: "test_a_rule_holds_or_refuses",
    MovesTheFixed: "test_what_is_fixed_stays_and_rules_hold_with_it",
    PromisesTwice: "test_memory_is_promised_once",
    ForgetsStorage: "test_storage_is_promised_once",
    ForgetsNeeds: "test_what_cannot_be_done_there_goes_elsewhere",
    KnowsBetter: "test_goes_where_it_is_wanted",
    SaysNo: "test_refusal_names_every_host",
    DropsWhatFindsNoPlace: "test_without_hosts_all_is_refused_with_a_reason",
    TakesTurns: "test_pure",
    SortsWhatItIsGiven: "test_pure",
}

# formats


class SoundFormat:
    """Machines in three lines."""

    def recognise(self, document: Mapping[str, Any], path: Path) -> bool:
        return document.get("tiny") == 1

    def translate(self, document: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
        return {
            "tosca_definitions_version": "tosca_simple_yaml_1_3",
            "imports": ["etsi_nfv_sol001_common_types.yaml", "etsi_nfv_sol001_vnfd_types.yaml"],
            "node_types": {"tiny.vnf": {"derived_from": "tosca.nodes.nfv.VNF"}},
            "topology_template": {
                "substitution_mappings": {"node_type": "tiny.vnf", "properties": {"flavour_id": "default"}},
                "node_templates": {
                    "vnf": {
                        "type": "tiny.vnf",
                        "properties": {
                            "descriptor_id": str(document["id"]),
                            "descriptor_version": "1.0",
                            "provider": "tiny",
                            "product_name": "tiny",
                            "software_version": "1.0",
                            "flavour_id": "default",
                            "flavour_description": "One machine",
                            "vnfm_info": ["generic"],
                        },
                    },
                    "machine": {
                        "type": "tosca.nodes.nfv.Vdu.Compute",
                        "properties": {
                            "name": "machine",
                            "description": "The machine",
                            "vdu_profile": {"min_number_of_instances": 1, "max_number_of_instances": 1},
                        },
                        "capabilities": {
                            "virtual_compute": {
                                "properties": {
                                    "virtual_memory": {"virtual_mem_size": f"{int(document['mib'])} MiB"},
                                    "virtual_cpu": {"num_virtual_cpu": 1},
                                }
                            }
                        },
                    },
                },
            },
        }


class TakesEverything(SoundFormat):
    def recognise(self, document: Mapping[str, Any], path: Path) -> bool:
        return "id" in document or "vnfd" in document


class MissesItsOwn(SoundFormat):
    def recognise(self, document: Mapping[str, Any], path: Path) -> bool:
        return path.suffix == ".tiny"


class CannotSayNo(SoundFormat):
    def recognise(self, document: Mapping[str, Any], path: Path) -> bool:
        return bool(document["tiny"] == 1)


class EatsItsDocument(SoundFormat):
    def translate(self, document: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
        template = super().translate(document, path)
        document.pop("mib")  # type: ignore[attr-defined]
        return template


class StampsTheTime(SoundFormat):
    def translate(self, document: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
        return {**super().translate(document, path), "description": f"made at {time.time_ns()}"}


class LeavesObjects(SoundFormat):
    def translate(self, document: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
        return {**super().translate(document, path), "imports": ("etsi_nfv_sol001_vnfd_types.yaml",)}


class WritesNonsense(SoundFormat):
    def translate(self, document: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
        return {"tosca_definitions_version": "tosca_simple_yaml_1_3", "topology_template": {"node_templates": []}}


class GivesUpWhole(SoundFormat):
    def translate(self, document: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
        try:
            return super().translate(document, path)
        except (KeyError, ValueError, TypeError, OverflowError):
            sys.exit("bad document")


FORMATS: Mapping[type[Any], str] = {
    TakesEverything: "test_strangers_are_not_recognised",
    MissesItsOwn: "test_its_own_is_recognised",
    CannotSayNo: "test_strangers_are_not_recognised",
    EatsItsDocument: "test_translation_is_pure",
    StampsTheTime: "test_translation_is_pure",
    LeavesObjects: "test_translation_is_plain_data",
    WritesNonsense: "test_core_accepts_it",
    GivesUpWhole: "test_broken_documents_are_findings",
}


def language(cls: type[SoundFormat]) -> DescriptorFormat:
    made = cls()
    return DescriptorFormat(name="tiny", summary="Tiny", recognise=made.recognise, translate=made.translate)


SUITES = {
    "Vnfm": (
        SoundVnfm,
        VNFMS,
        """
    @pytest.fixture
    def manager(self):
        return planted_inside.{name}()
""",
    ),
    "Telemetry": (
        SoundSource,
        SOURCES,
        """
    @pytest.fixture
    def source(self):
        return planted_inside.{name}()

    @pytest.fixture
    def specs(self, source):
        targets = tuple(Target(key=key, kind="node") for key in sorted(source.there))
        return TelemetrySpecs(targets=targets, metrics=frozenset({{"cpu"}}), parallel=24)

    @pytest.fixture
    def lose(self, source):
        return lambda target: source.there.discard(target.key)
""",
    ),
    "Placement": (
        SoundPlacement,
        PLACEMENTS,
        """
    @pytest.fixture
    def policy(self):
        return planted_inside.{name}()
""",
    ),
    "Format": (
        SoundFormat,
        FORMATS,
        """
    @pytest.fixture
    def language(self):
        return planted_inside.language(planted_inside.{name})

    @pytest.fixture
    def specs(self):
        document = {{"tiny": 1, "id": "2f4ea1c4-91b5-5a4c-8d3e-4b1c3b6f2a10", "mib": 64}}
        return FormatSpecs(documents={{"machine.yaml": document}})
""",
    ),
}
ALL = {cls: test for _, defects, _ in SUITES.values() for cls, test in defects.items()}


class Recorder:
    """Remembers which tests failed, by class."""

    def __init__(self) -> None:
        self.passed: dict[str, set[str]] = {}
        self.failed: dict[str, set[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        _, cls, test = report.nodeid.split("::")[:3]
        if report.failed:
            self.failed.setdefault(cls, set()).add(test.partition("[")[0])
        elif report.when == "call" and report.passed:
            self.passed.setdefault(cls, set()).add(test.partition("[")[0])


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    """One run over all of them: each by the test that should catch it, the sound ones by every test."""
    body = "import planted_inside, pytest\nfrom manor.api import Target\nfrom manor.testing import *\n"
    for kit, (sound, defects, fixtures) in SUITES.items():
        for cls in (sound, *defects):
            body += f"\n\nclass Test{cls.__name__}({kit}Conformance):{fixtures.format(name=cls.__name__)}"
    place = tmp_path_factory.mktemp("planted")
    (place / "pytest.ini").write_text("[pytest]\n")
    (place / "test_planted.py").write_text(body)
    sounds = [f"Test{sound.__name__}" for sound, _, _ in SUITES.values()]
    wanted = " or ".join([*sounds, *(f"(Test{cls.__name__} and {test})" for cls, test in ALL.items())])
    recorder = Recorder()
    sys.modules["planted_inside"] = sys.modules[__name__]
    try:
        pytest.main(["-q", "--tb=native", "-p", "no:cacheprovider", "-k", wanted, str(place)], plugins=[recorder])
    finally:
        del sys.modules["planted_inside"]
        sys.modules.pop("test_planted", None)  # others write a module of that name too
    return recorder


@pytest.mark.parametrize("defective", ALL, ids=lambda cls: cls.__name__)
def test_defect_is_caught(record: Recorder, defective: type[Any]) -> None:
    assert ALL[defective] in record.failed.get(f"Test{defective.__name__}", ())


@pytest.mark.parametrize(("kit", "least"), [("Vnfm", 14), ("Telemetry", 11), ("Placement", 12), ("Format", 7)])
def test_sound_ones_pass(record: Recorder, kit: str, least: int) -> None:
    name = f"Test{SUITES[kit][0].__name__}"
    assert not record.failed.get(name)
    assert len(record.passed[name]) >= least
