"""What core refuses of a placement policy's answer: a machine forgotten, a host made up, a rule passed over."""

import dataclasses
from typing import Any

import pytest

from manor.api.placement import AffinityScope, Candidate, Demand, LinkNeed, Placement, PlacementRule, SiteLink
from manor.api.vim import Host
from manor.nfvo.answer import unsound
from manor.nfvo.placement import Balanced

GIB = 1 << 30
A, B = "s/vnf/web/main-0", "s/vnf/web/main-1"
WAY = SiteLink(latency_s=0.05, bandwidth_bps=1 << 40)
HOSTS = [
    Candidate(
        vim=vim,
        host=Host(name=name, vcpus=4, memory_free_bytes=4 * GIB, hugepages_free_bytes={GIB: GIB}, reachable=reachable),
        support={"node": "full", "cpu-pinning": "full"},
        site=site,
        site_links={"lyon" if site == "paris" else "paris": WAY},
    )
    for vim, name, site, reachable in (
        ("a", "h1", "paris", True),
        ("a", "h2", "paris", True),
        ("a", "h3", "paris", False),
        ("b", "h1", "lyon", True),
    )
]
H1, H2 = ("a", "h1"), ("a", "h2")
SLOWLY = "web/main-1 on a/h1: link x: 50 ms from paris to lyon, at most 10 wanted"
SLOW = (LinkNeed(name="x", latency_s=0.01),)
SAME = {A: H1, B: H1}
APART, TOGETHER = (PlacementRule(keys=(A, B), anti=anti, scope=AffinityScope.NFVI_NODE) for anti in (True, False))


def wrong(hosts: Any, rule: PlacementRule | None = None, *, refused: Any = None, fixed: Any = None, **want: Any) -> str:
    plain = Demand(key=A, vcpus=2, memory_bytes=GIB)
    demands = [dataclasses.replace(plain, **want), dataclasses.replace(plain, **want, key=B)]
    answer = Placement(hosts=hosts, refused=refused or {})
    said = unsound(answer, demands, [rule] if rule else [], HOSTS, fixed or {}, cpu_overcommit=2.0)
    return said.replace("is placed on", "on")


@pytest.mark.parametrize(
    ("hosts", "given", "said"),
    [
        (SAME, {}, ""),
        ({A: H1}, {"refused": {B: "no room"}}, ""),
        ({A: H1}, {}, "web/main-1 is neither placed nor refused"),
        ({A: H1, B: ("b", "h2")}, {}, "web/main-1 on b/h2, and there is no such host"),
        ({A: "a/h1", B: H1}, {}, "web/main-0 on 'a/h1', which is no VIM and host"),
        ({A: H1, B: ("a", ["h1"])}, {}, "web/main-1 on ('a', ['h1']), which is no VIM and host"),
        ({A: ("a", "h3"), B: H1}, {}, "web/main-0 on a/h3: not reachable"),
        ({A: H1, B: ("b", "h1")}, {"wanted_vim": "a"}, "web/main-1 on b/h1: not in VIM a"),
        (SAME, {"needs": ("uefi",)}, "web/main-0 on a/h1: VIM a cannot do uefi"),
        (SAME, {"rule": APART}, "web/main-1 on a/h1: anti-affinity nfvi_node with main-0"),
        ({A: H1, B: H2}, {"rule": TOGETHER}, "web/main-1 on a/h2: affinity nfvi_node with main-0"),
        (SAME, {"fixed": {A: H2}}, "web/main-0 on a/h1, and it is on a/h2 and stays"),
        ({B: H1}, {"fixed": {A: ("a", "gone")}}, "web/main-0 is neither placed nor refused"),
        ({A: ("a", "gone"), B: H1}, {"fixed": {A: ("a", "gone")}}, ""),
        (SAME, {"memory_bytes": 3 * GIB}, "web/main-1 on a/h1: memory: 3072 MiB wanted, 1024 MiB free"),
        (SAME, {"hugepage_bytes": GIB}, "web/main-1 on a/h1: memory in 1G pages: 1024 MiB wanted, 0 MiB free"),
        (SAME, {"vcpus": 5}, "web/main-1 on a/h1: CPU: 5 wanted, 3 left at overcommit 2"),
        (SAME, {"vcpus": 3, "needs": ("cpu-pinning",)}, "web/main-1 on a/h1: CPU: 3 dedicated wanted, 1 left"),
        ({B: H1, A: ("b", "h1")}, {"links": SLOW}, SLOWLY),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_the_machine(hosts: Any, given: dict[str, Any], said: str) -> None:
    assert wrong(hosts, **given) == said


@pytest.mark.parametrize(
    "answer",
    [None, {}, Placement(hosts=None), Placement(hosts={}, reasons="because"), Placement(hosts={}, refused=[A])],  # type: ignore[arg-type]
)
def test_what_is_no_placement_at_all_is_told_so(answer: Any) -> None:
    assert unsound(answer, [], [], HOSTS, {}) == "it answered with something else than a Placement"


def test_cpus_that_are_shared_are_not_weighed_where_nobody_says_how_many_share_one() -> None:
    many = Demand(key=A, vcpus=1000, memory_bytes=GIB)
    assert unsound(Placement(hosts={A: H1}), [many], [], HOSTS, {}) == ""


@pytest.mark.parametrize("first", [0, 1])
def test_cpus_at_an_odd_overcommit_are_weighed_the_same_whoever_comes_first(first: int) -> None:
    host = Candidate(vim="a", host=Host(name="h", vcpus=20, memory_free_bytes=4 * GIB), support={"cpu-pinning": "full"})
    shares = Demand(key=A, vcpus=21, memory_bytes=GIB)
    alone = Demand(key=B, vcpus=5, memory_bytes=GIB, needs=("cpu-pinning",))
    answer = Placement(hosts={A: ("a", "h"), B: ("a", "h")})
    demands = [alone, shares] if first else [shares, alone]
    assert unsound(answer, demands, [], [host], {}, cpu_overcommit=1.4) == ""


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_two_links_of_one_machine_share_the_way_between_sites(order: tuple[int, ...]) -> None:
    way = SiteLink(latency_s=0.0, bandwidth_bps=100_000_000)
    hosts = [
        Candidate(vim=vim, host=Host(name="h", vcpus=9, memory_free_bytes=9 * GIB), site=vim, site_links={other: way})
        for vim, other in (("x", "y"), ("y", "x"))
    ]
    one, two = (LinkNeed(name=name, bitrate_bps=60_000_000) for name in ("l1", "l2"))
    machines = [
        Demand(key=f"s/vnf/web/main-{n}", vcpus=1, memory_bytes=GIB, links=links)
        for n, links in enumerate(((one, two), (one, two), (one,)))
    ]
    demands = [machines[n] for n in order]
    there = dict(zip((demand.key for demand in machines), (("x", "h"), ("y", "h"), ("y", "h")), strict=True))
    assert "60 Mbit/s wanted" in unsound(Placement(hosts=there), demands, [], hosts, {})
    placed = Balanced(exact_up_to=0).place(demands, [], hosts, {})
    assert not placed.refused
    assert unsound(placed, demands, [], hosts, {}) == ""
