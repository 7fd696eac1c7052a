"""The placement contract, as tests: pure, never more promised than there is, and no rule quietly forgotten."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manor.api import AffinityScope, Candidate, Demand, Host, Placement, PlacementPolicy, PlacementRule
from manor.testing.conformance import Conformance

__all__ = ["PlacementConformance", "PlacementSpecs", "broken"]

_GIB, _MIB = 1 << 30, 1 << 20
_Place = tuple[str, str]
_Task = tuple[list[Demand], list[PlacementRule], list[Candidate], dict[str, _Place]]


@dataclass(kw_only=True)
class PlacementSpecs:
    """What the kit shows a policy."""

    examples: int = 100
    """Random tasks to try."""
    parallel_machines: int = 0
    """Stress: so many machines on a tenth as many hosts, within ``deadline_s``. 0 leaves that test out."""
    deadline_s: float = 10.0

    def host(self, name: str, free_gib: float = 16, **changes: object) -> Candidate:
        """A host of the VIM ``lab`` with room."""
        host = Host(
            name=name,
            vcpus=32,
            memory_bytes=64 * _GIB,
            memory_free_bytes=int(free_gib * _GIB),
            storage_bytes=1024 * _GIB,
            storage_free_bytes=512 * _GIB,
            zone="zone-1",
        )
        return Candidate(vim="lab", host=replace(host, **changes), support={"node": "full"})  # type: ignore[arg-type]

    def demand(self, key: str, gib: float = 1, **changes: object) -> Demand:
        """A machine that wants little."""
        return replace(Demand(key=key, vcpus=1, memory_bytes=int(gib * _GIB)), **changes)  # type: ignore[arg-type]


def broken(
    placement: Placement,
    demands: Sequence[Demand],
    rules: Sequence[PlacementRule],
    candidates: Sequence[Candidate],
    fixed: Mapping[str, _Place],
) -> list[str]:
    """What a placement breaks, in words; empty where it is sound."""
    there = {(c.vim, c.host.name): c for c in candidates}
    keys = {demand.key for demand in demands}
    wrong = [f"{key} is neither placed nor refused" for key in keys - set(placement.hosts) - set(placement.refused)]
    wrong += [f"{key} is placed and refused" for key in set(placement.hosts) & set(placement.refused)]
    wrong += [f"{key} was not asked for" for key in (set(placement.hosts) | set(placement.refused)) - keys - set(fixed)]
    wrong += [f"{key} was moved" for key, place in fixed.items() if placement.hosts.get(key) != place]
    wrong += [f"{key} is refused without a reason" for key, why in placement.refused.items() if not why.strip()]
    new = [demand for demand in demands if demand.key in placement.hosts and demand.key not in fixed]
    for demand in new:
        chosen = there.get(placement.hosts[demand.key])
        if chosen is None:
            wrong.append(f"{demand.key} is on {placement.hosts[demand.key]}, which is no candidate")
        else:
            wrong += [f"{demand.key}: {why}" for why in _unfit(demand, chosen)]
    for place, candidate in there.items():
        on = [demand for demand in new if placement.hosts[demand.key] == place]
        if sum(demand.memory_bytes for demand in on if not demand.hugepage_bytes) > candidate.host.memory_free_bytes:
            wrong.append(f"{place} is promised more memory than is free")
        for size in {demand.hugepage_bytes for demand in on} - {0}:
            pages = sum(-(-demand.memory_bytes // size) for demand in on if demand.hugepage_bytes == size)
            if pages * size > candidate.host.hugepages_free_bytes.get(size, 0):
                wrong.append(f"{place} is promised more pages of {size} bytes than are free")
        if sum(demand.storage_bytes for demand in on) > candidate.host.storage_free_bytes:
            wrong.append(f"{place} is promised more storage than is free")
    return wrong + [why for rule in rules for why in _against(rule, placement.hosts, set(fixed), there)]


def _unfit(demand: Demand, candidate: Candidate) -> list[str]:
    wrong = [] if candidate.host.reachable else ["its host is not reachable"]
    wanted = (demand.wanted_vim, demand.wanted_host, demand.wanted_site)
    there = (candidate.vim, candidate.host.name, candidate.pop)
    if any(want not in ("", at) for want, at in zip(wanted, there, strict=True)):
        wrong.append("it was wanted elsewhere")
    return wrong + [f"its VIM does not claim {need}" for need in demand.needs if candidate.support.get(need) != "full"]


def _against(
    rule: PlacementRule, hosts: Mapping[str, _Place], fixed: set[str], there: Mapping[_Place, Candidate]
) -> list[str]:
    """A rule that two new machines, or a new and a fixed one, break."""

    def where(key: str) -> object:
        if rule.scope is AffinityScope.NFVI_NODE:
            return hosts[key]
        candidate = there.get(hosts[key])
        return None if candidate is None else (candidate.pop, rule.scope is AffinityScope.ZONE and candidate.host.zone)

    placed = [key for key in rule.keys if key in hosts]
    pairs = [(a, b) for at, a in enumerate(placed) for b in placed[at + 1 :] if not {a, b} <= fixed]
    wrong = [(a, b) for a, b in pairs if (where(a) == where(b)) is rule.anti]
    word = "together" if rule.anti else "apart"
    return [f"{a} and {b} are {word} against {rule.name or rule.scope}" for a, b in wrong]


_KEYS = ("a", "b", "c", "d", "e")
_SCOPES = (AffinityScope.NFVI_NODE, AffinityScope.ZONE, AffinityScope.NFVI_POP)


@st.composite
def _tasks(draw: st.DrawFn) -> _Task:
    specs = PlacementSpecs()
    gib = st.sampled_from([0.5, 1, 2, 4])
    candidates = [
        replace(
            specs.host(
                f"h{at}",
                draw(gib) * 2,
                zone=draw(st.sampled_from(["z1", "z2"])),
                reachable=draw(st.sampled_from([True, True, True, False])),
                storage_free_bytes=draw(st.sampled_from([0, 8, 64])) * _GIB,
                hugepages_free_bytes={_MIB * 2: draw(st.sampled_from([0, 1, 3])) * _GIB},
            ),
            vim=draw(st.sampled_from(["lab", "edge"])),
            support={"node": "full", "uefi": draw(st.sampled_from(["full", "unsupported", "unknown"]))},
        )
        for at in range(draw(st.integers(0, 4)))
    ]
    demands = [
        specs.demand(
            key,
            draw(gib),
            storage_bytes=draw(st.sampled_from([0, 4, 16])) * _GIB,
            hugepage_bytes=draw(st.sampled_from([0, 0, 0, _MIB * 2])),
            needs=draw(st.sampled_from([(), (), ("uefi",)])),
            wanted_vim=draw(st.sampled_from(["", "", "lab"])),
            wanted_host=draw(st.sampled_from(["", "", "", "h1"])),
        )
        for key in _KEYS[: draw(st.integers(0, 5))]
    ]
    rules = [
        PlacementRule(
            keys=tuple(draw(st.sets(st.sampled_from(_KEYS), min_size=2, max_size=3))),
            anti=draw(st.booleans()),
            scope=draw(st.sampled_from(_SCOPES)),
        )
        for _ in range(draw(st.integers(0, 2)))
    ]
    places = [(c.vim, c.host.name) for c in candidates]
    fixed = {key: draw(st.sampled_from(places)) for key in _KEYS[:1] if places and draw(st.booleans())}
    return demands, rules, candidates, fixed


class PlacementConformance(Conformance):
    """Subclass it, and give the fixture ``policy``; ``specs`` where needed."""

    @pytest.fixture
    def policy(self) -> PlacementPolicy:
        """The policy."""
        raise NotImplementedError("give a fixture 'policy' that returns a PlacementPolicy")

    @pytest.fixture
    def specs(self) -> PlacementSpecs:
        """What to show it."""
        return PlacementSpecs()

    def test_what_fits_is_placed(self, policy: PlacementPolicy, specs: PlacementSpecs) -> None:
        demands, hosts = [specs.demand(key) for key in "abc"], [specs.host("x"), specs.host("y")]
        placement = policy.place(demands, [], hosts, {})
        assert set(placement.hosts) == {"a", "b", "c"}
        assert not broken(placement, demands, [], hosts, {})

    def test_pure(self, policy: PlacementPolicy, specs: PlacementSpecs) -> None:
        demands = [specs.demand(key, gib) for key, gib in zip("abcdef", (1, 2, 1, 4, 2, 1), strict=True)]
        rules = [PlacementRule(keys=("a", "b"), anti=True, scope=AffinityScope.NFVI_NODE)]
        given: _Task = demands, rules, [specs.host(name) for name in "xyz"], {"c": ("lab", "y")}
        before = copy.deepcopy(given)
        first = policy.place(*given)
        assert given == before, "what it was given has changed"
        policy.place([specs.demand("other", 8)], [], [specs.host("x")], {})
        assert policy.place(*given) == first, "equal input gave another placement"

    def test_nothing_to_place_is_no_error(self, policy: PlacementPolicy, specs: PlacementSpecs) -> None:
        assert not policy.place([], [], [specs.host("x")], {}).hosts

    def test_without_hosts_all_is_refused_with_a_reason(self, policy: PlacementPolicy, specs: PlacementSpecs) -> None:
        placement = policy.place([specs.demand("a")], [], [], {})
        assert set(placement.refused) == {"a"}
        assert placement.refused["a"].strip()

    def test_refusal_names_every_host(self, policy: PlacementPolicy, specs: PlacementSpecs) -> None:
        hosts = [specs.host("small", 0.5), specs.host("away", reachable=False)]
        placement = policy.place([specs.demand("a")], [], hosts, {})
        assert all(name in placement.refused["a"] for name in ("small", "away")), placement.refused

    def test_memory_is_promised_once(self, policy: PlacementPolicy, specs: PlacementSpecs) -> None:
        demands, hosts = [specs.demand(key, 2) for key in "abcd"], [specs.host("x", 5), specs.host("y", 3)]
        placement = policy.place(demands, [], hosts, {})
        assert not broken(placement, demands, [], hosts, {})
        assert len(placement.refused) == 1, "three of the four have room"

    def test_huge_pages_are_no_ordinary_memory(self, policy: PlacementPolicy, specs: PlacementSpecs) -> None:
        demands = [specs.demand(key, 2, hugepage_bytes=2 * _MIB) for key in "abc"] + [specs.demand("d", 2)]
        hosts = [
            specs.host("plain", 60),
            specs.host("huge", 1, hugepages_free_bytes={2 * _MIB: 5 * _GIB}),
            specs.host("other", 1, hugepages_free_bytes={_GIB: 5 * _GIB}),
        ]
        placement = policy.place(demands, [], hosts, {})
        assert not broken(placement, demands, [], hosts, {})
        assert placement.hosts["d"] == ("lab", "plain")
        assert len(placement.refused) == 1, "two of the three have room"

    def test_storage_is_promised_once(self, policy: PlacementPolicy, specs: PlacementSpecs) -> None:
        demands = [specs.demand(key, storage_bytes=300 * _GIB) for key in "ab"]
        hosts = [specs.host("x")]
        assert not broken(policy.place(demands, [], hosts, {}), demands, [], hosts, {})

    def test_what_cannot_be_done_there_goes_elsewhere(self, policy: PlacementPolicy, specs: PlacementSpecs) -> None:
        demands = [specs.demand("a", needs=("uefi",))]
        able = replace(specs.host("able", 2), support={"node": "full", "uefi": "full"})
        unable = [replace(specs.host(s), support={"node": "full", "uefi": s}) for s in ("unsupported", "unknown")]
        placement = policy.place(demands, [], [*unable, specs.host("silent"), able], {})
        assert placement.hosts == {"a": ("lab", "able")}

    @pytest.mark.parametrize("wanted", ["wanted_vim", "wanted_host", "wanted_site"])
    def test_goes_where_it_is_wanted(self, policy: PlacementPolicy, specs: PlacementSpecs, wanted: str) -> None:
        hosts = [specs.host("big", 60), replace(specs.host("small", 2), vim="edge")]
        demand = specs.demand("a", **{wanted: "small" if wanted == "wanted_host" else "edge"})
        assert policy.place([demand], [], hosts, {}).hosts == {"a": ("edge", "small")}

    def test_what_is_fixed_stays_and_rules_hold_with_it(self, policy: PlacementPolicy, specs: PlacementSpecs) -> None:
        rule = PlacementRule(keys=("a", "b"), anti=True, scope=AffinityScope.NFVI_NODE)
        demands, hosts, fixed = [specs.demand("a"), specs.demand("b")], [specs.host("x"), specs.host("y")], {}
        for place in (("lab", "x"), ("lab", "y")):
            fixed = {"a": place}
            placement = policy.place(demands, [rule], hosts, fixed)
            assert placement.hosts["a"] == place
            assert not broken(placement, demands, [rule], hosts, fixed)

    @pytest.mark.parametrize("anti", [True, False])
    @pytest.mark.parametrize("scope", _SCOPES)
    def test_a_rule_holds_or_refuses(
        self, policy: PlacementPolicy, specs: PlacementSpecs, scope: AffinityScope, anti: bool
    ) -> None:
        rule = PlacementRule(keys=("a", "b", "c"), anti=anti, scope=scope, name="rule")
        demands = [specs.demand(key, 3) for key in "abc"]
        hosts = [replace(specs.host(n, 4 if anti else 7, zone=f"z-{n}"), vim=f"vim-{n}") for n in "wxyz"]
        placement = policy.place(demands, [rule], hosts, {})
        assert not broken(placement, demands, [rule], hosts, {})

    def test_random_tasks(self, policy: PlacementPolicy, specs: PlacementSpecs) -> None:
        @settings(
            max_examples=specs.examples,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(task=_tasks())
        def sound(task: _Task) -> None:
            assert not broken(policy.place(*task), *task)

        sound()

    def test_many_in_time(self, policy: PlacementPolicy, specs: PlacementSpecs) -> None:
        if not specs.parallel_machines:
            pytest.skip("specs.parallel_machines is 0: the stress tier was not asked for")
        import time

        demands = [specs.demand(f"m{at}", 1) for at in range(specs.parallel_machines)]
        hosts = [specs.host(f"h{at}", 16) for at in range(max(1, specs.parallel_machines // 10))]
        started_s = time.monotonic()
        placement = policy.place(demands, [], hosts, {})
        assert time.monotonic() - started_s < specs.deadline_s
        assert not broken(placement, demands, [], hosts, {})
        assert not placement.refused
