"""The solver behind the balanced policy: finds what the quick way misses, breaks no rule, is as good as trying all."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manor.api.placement import AffinityScope, Candidate, Demand, LinkNeed, Placement, PlacementRule, SiteLink
from manor.api.vim import Host
from manor.nfvo import exact
from manor.nfvo.answer import unsound
from manor.nfvo.hosts import Room
from manor.nfvo.placement import Balanced, fullest

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

MIB = 1 << 20
Hosts = Mapping[str, tuple[str, str]]


def host(name: str, memory: int, *, vim: str = "lab", **more: object) -> Candidate:
    return Candidate(
        vim=vim,
        host=Host(name=name, vcpus=64, memory_free_bytes=memory * MIB, storage_free_bytes=1 << 50),
        **more,  # type: ignore[arg-type]
    )


def demand(key: str, memory: int, **more: object) -> Demand:
    return Demand(key=key, vcpus=1, memory_bytes=memory * MIB, **more)  # type: ignore[arg-type]


def apart(*keys: str) -> PlacementRule:
    return PlacementRule(keys=keys, anti=True, scope=AffinityScope.NFVI_NODE)


def is_allowed(
    demands: Sequence[Demand],
    rules: Sequence[PlacementRule],
    candidates: Sequence[Candidate],
    hosts: Hosts,
    overcommit: float = 8.0,
) -> bool:
    """Whether core would take it from a policy."""
    return not unsound(Placement(hosts=hosts), demands, rules, candidates, {}, cpu_overcommit=overcommit)


def test_what_the_quick_way_has_no_place_for_is_fitted() -> None:
    demands = [demand(f"d{n}", size) for n, size in enumerate((300, 300, 200, 200, 200))]
    hosts = [host("h1", 600), host("h2", 600)]
    assert Balanced().quick(demands, [], hosts, {}).refused
    placed = Balanced().place(demands, [], hosts, {})
    assert not placed.refused
    assert is_allowed(demands, [], hosts, placed.hosts)
    assert placed == Balanced().place(demands, [], hosts, {}), "equal input gives an equal placement"


def test_what_stands_stays_and_binds_the_others() -> None:
    fixed = {"a": ("lab", "h1")}
    demands = [demand("a", 100), demand("b", 300), demand("c", 300), demand("d", 200), demand("e", 200)]
    rules = [apart("a", "d"), apart("a", "e")]
    placed = Balanced().place(demands, rules, [host("h1", 600), host("h2", 400)], fixed)
    assert placed.hosts == {
        "a": fixed["a"],
        "b": ("lab", "h1"),
        "c": ("lab", "h1"),
        "d": ("lab", "h2"),
        "e": ("lab", "h2"),
    }


def test_where_there_is_no_placement_the_refusal_says_why() -> None:
    demands = [demand(f"d{n}", 300) for n in range(5)]
    placed = Balanced().place(demands, [], [host("h1", 700), host("h2", 700)], {})
    assert "300 MiB wanted, 100 MiB free" in "".join(placed.refused.values())


@settings(deadline=None, max_examples=40)
@given(
    sizes=st.lists(st.integers(1, 8), min_size=1, max_size=5),
    rooms=st.lists(st.integers(4, 16), min_size=1, max_size=3),
    pairs=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.booleans()), max_size=3),
)
def test_it_is_as_good_as_trying_everything(
    sizes: list[int], rooms: list[int], pairs: list[tuple[int, int, bool]]
) -> None:
    demands = [demand(f"d{n}", size) for n, size in enumerate(sizes)]
    candidates = [host(f"h{n}", room) for n, room in enumerate(rooms)]
    rules = [
        PlacementRule(keys=(f"d{a}", f"d{b}"), anti=anti, scope=AffinityScope.NFVI_NODE)
        for a, b, anti in pairs
        if a != b and max(a, b) < len(sizes)
    ]
    before = [Room(candidate=candidate, overcommit=8.0) for candidate in candidates]
    places = [candidate.host.name for candidate in candidates]
    every = (
        {one.key: ("lab", place) for one, place in zip(demands, chosen, strict=True)}
        for chosen in itertools.product(places, repeat=len(demands))
    )
    best = max(
        (fullest(hosts, demands, before) for hosts in every if is_allowed(demands, rules, candidates, hosts)),
        default=None,
    )
    found = exact.solve(demands, rules, before, {}, demands)
    assert (found is None) == (best is None)
    if found is not None:
        assert is_allowed(demands, rules, candidates, found)
        assert fullest(found, demands, before) == best
        assert exact.emptiest_possible(demands, before) >= best, "the bound is one"


def sites(latency_s: float, bandwidth_bps: int) -> list[Candidate]:
    way = SiteLink(latency_s=latency_s, bandwidth_bps=bandwidth_bps)
    return [
        host("p1", 500, vim="a", site="paris", site_links={"lyon": way}),
        host("l1", 500, vim="b", site="lyon", site_links={"paris": way}),
    ]


LINK = LinkNeed(name="data", latency_s=0.01, bitrate_bps=100_000_000)


def test_a_link_reaches_another_site_only_over_a_way_that_is_good_enough() -> None:
    demands = [demand("a", 450, links=(LINK,)), demand("b", 450, links=(LINK,))]
    assert not Balanced().place(demands, [], sites(0.005, 200_000_000), {}).refused
    (slow,) = Balanced().place(demands, [], sites(0.02, 200_000_000), {}).refused.values()
    assert "link data: 20 ms from lyon to paris, at most 10 wanted" in slow
    (narrow,) = Balanced().place(demands, [], sites(0.005, 60_000_000), {}).refused.values()
    assert "nearest: b/l1, with 40 Mbit/s more from lyon to paris" in narrow
    unknown = [host("p1", 500, vim="a", site="paris"), host("l1", 500, vim="b", site="lyon")]
    assert "nothing is known of the way" in "".join(Balanced().place(demands, [], unknown, {}).refused.values())


def test_the_solver_minds_the_ways_between_sites() -> None:
    slow = sites(0.02, 1 << 40)
    slow.append(host("p2", 400, vim="a", site="paris", site_links=slow[0].site_links))
    demands = [demand("x", 350), demand("a", 300, links=(LINK,)), demand("b", 300, links=(LINK,))]
    placed = Balanced().place(demands, [], slow, {})
    assert not placed.refused
    assert is_allowed(demands, [], slow, placed.hosts)
    assert placed.hosts["x"] == ("b", "l1"), "x makes room, so that a and b are at one site"


def test_a_location_by_site_is_kept() -> None:
    placed = Balanced().place([demand("a", 1, wanted_site="lyon")], [], sites(0.0, 0), {})
    assert placed.hosts["a"] == ("b", "l1")
    (why,) = Balanced().place([demand("a", 1, wanted_site="nice")], [], sites(0.0, 0), {}).refused.values()
    assert "not at site nice" in why


def test_the_solver_dedicates_cpus_and_heeds_what_a_host_lacks() -> None:
    """Three of three CPUs and two of two fit on two hosts of five and eight only if put right, with one that shares."""
    hosts = [
        dataclasses.replace(
            host(name, memory, support={"node": "full", "cpu-pinning": "full", "uefi": "full"}),
            host=Host(name=name, vcpus=vcpus, memory_free_bytes=memory * MIB, lacks=lacks),
        )
        for name, memory, vcpus, lacks in (("h1", 900, 5, {}), ("h2", 800, 8, {"uefi": "no firmware"}))
    ]
    sizes = (3, 3, 3, 2, 2)
    demands = [
        dataclasses.replace(demand(f"d{n}", 10 + n, needs=("cpu-pinning",)), vcpus=size) for n, size in enumerate(sizes)
    ]
    demands[0] = dataclasses.replace(demands[0], needs=("cpu-pinning", "uefi"))
    rooms = [Room(candidate=candidate, overcommit=8.0) for candidate in hosts]
    found = exact.solve(demands, [], rooms, {}, demands)
    assert found is not None
    assert is_allowed(demands, [], hosts, found)
    assert found["d0"] == ("lab", "h1")
    shares = dataclasses.replace(demand("s", 1), needs=())
    assert exact.solve([*demands, shares], [], rooms, {}, demands) is None, "every CPU is somebody's own"
    assert Balanced().place([*demands, shares], [], hosts, {}).refused


@settings(deadline=None, max_examples=40)
@given(
    wanted=st.lists(st.tuples(st.integers(1, 4), st.booleans()), min_size=1, max_size=5),
    cpus=st.lists(st.tuples(st.integers(1, 8), st.integers(0, 8)), min_size=1, max_size=2),
    overcommit=st.sampled_from([1.0, 1.4, 1.66666, 2.0, 2.3]),
)
def test_solver_and_quick_way_count_cpus_alike(
    wanted: list[tuple[int, bool]], cpus: list[tuple[int, int]], overcommit: float
) -> None:
    demands = [
        dataclasses.replace(demand(f"d{n}", 1, needs=("cpu-pinning",) if is_pinned else ()), vcpus=vcpus)
        for n, (vcpus, is_pinned) in enumerate(wanted)
    ]
    candidates = [
        dataclasses.replace(
            host(f"h{n}", 100, support={"cpu-pinning": "full"}),
            host=Host(name=f"h{n}", vcpus=total, vcpus_used=used, memory_free_bytes=100 * MIB),
        )
        for n, (total, used) in enumerate(cpus)
    ]
    names = [candidate.host.name for candidate in candidates]
    every = (
        {one.key: ("lab", name) for one, name in zip(demands, chosen, strict=True)}
        for chosen in itertools.product(names, repeat=len(demands))
    )
    possible = any(is_allowed(demands, [], candidates, hosts, overcommit) for hosts in every)
    found = exact.solve(demands, [], [Room(candidate=one, overcommit=overcommit) for one in candidates], {}, demands)
    assert (found is not None) == possible
    assert found is None or is_allowed(demands, [], candidates, found, overcommit)
