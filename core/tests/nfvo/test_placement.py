"""The balanced policy: nothing promised twice, rules kept, refusals that say why."""

import dataclasses
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manor.api.placement import AffinityScope, Candidate, Demand, LinkNeed, PlacementRule, SiteLink
from manor.api.vim import Host
from manor.nfvo.answer import unsound
from manor.nfvo.placement import Balanced

MIB = 1 << 20


def host(name: str, memory: int, zone: str = "", *, reachable: bool = True) -> Candidate:
    return Candidate(
        vim="lab",
        host=Host(name=name, vcpus=64, memory_free_bytes=memory * MIB, zone=zone, reachable=reachable),
        support={"node": "full"},
    )


def demand(key: str, memory: int = 100, **more: object) -> Demand:
    return Demand(key=key, vcpus=1, memory_bytes=memory * MIB, **more)  # type: ignore[arg-type]


@settings(deadline=None)  # the solver takes a second to load
@given(
    st.lists(st.integers(1, 400), max_size=20),
    st.lists(st.integers(0, 1000), max_size=6),
)
def test_no_host_is_promised_more_memory_than_it_has(wanted: list[int], sizes: list[int]) -> None:
    demands = [demand(f"d{n}", memory) for n, memory in enumerate(wanted)]
    placed = Balanced().place(demands, [], [host(f"h{n}", size) for n, size in enumerate(sizes)], {})
    assert placed.hosts.keys() | placed.refused.keys() == {d.key for d in demands}
    for n, size in enumerate(sizes):
        used = sum(d.memory_bytes for d in demands if placed.hosts.get(d.key) == ("lab", f"h{n}"))
        assert used <= size * MIB


def test_anti_affinity_spreads_and_says_no_when_hosts_run_out() -> None:
    rule = PlacementRule(keys=("a", "b", "c"), anti=True, scope=AffinityScope.NFVI_NODE, name="apart")
    placed = Balanced().place([demand(k) for k in "abc"], [rule], [host("h1", 900), host("h2", 900)], {})
    assert len(set(placed.hosts.values())) == 2
    (why,) = placed.refused.values()
    assert "anti-affinity apart" in why
    assert "h1" in why
    assert "h2" in why


def test_affinity_keeps_together_also_with_what_stands_already() -> None:
    rule = PlacementRule(keys=("a", "b"), anti=False, scope=AffinityScope.NFVI_NODE)
    placed = Balanced().place([demand("b")], [rule], [host("h1", 200), host("h2", 900)], {"a": ("lab", "h1")})
    assert placed.hosts["b"] == ("lab", "h1")


def test_zones_count_as_apart_only_when_they_differ() -> None:
    rule = PlacementRule(keys=("a", "b"), anti=True, scope=AffinityScope.ZONE)
    two = [host("h1", 900, "z1"), host("h2", 900, "z1"), host("h3", 100, "z2")]
    placed = Balanced().place([demand("a"), demand("b")], [rule], two, {})
    zones = {("lab", "h1"): "z1", ("lab", "h2"): "z1", ("lab", "h3"): "z2"}
    assert {zones[place] for place in placed.hosts.values()} == {"z1", "z2"}


def test_a_refusal_names_each_host_and_its_reason() -> None:
    placed = Balanced().place(
        [demand("a", 500), demand("b", 1, needs=("uefi",))],
        [],
        [host("small", 100), host("dark", 900, reachable=False)],
        {},
    )
    assert "lab/small: memory: 500 MiB wanted, 100 MiB free" in placed.refused["a"]
    assert "lab/dark: not reachable" in placed.refused["a"]
    assert "cannot do uefi" in placed.refused["b"]


def test_what_is_promised_twice_keeps_out_only_who_wants_some_of_it() -> None:
    full = dataclasses.replace(
        host("h1", 900), host=dataclasses.replace(host("h1", 900).host, storage_bytes=1, storage_free_bytes=-MIB)
    )
    placed = Balanced().place([demand("a"), demand("b", storage_bytes=MIB)], [], [full], {})
    assert placed.hosts == {"a": ("lab", "h1")}
    assert "storage: 1 MiB wanted, 0 MiB free" in placed.refused["b"]


@pytest.mark.parametrize("exact_up_to", [0, 5000])
def test_a_driver_that_tells_of_no_storage_is_not_held_to_it(exact_up_to: int) -> None:
    untold, demands = host("h1", 900), [demand(key, storage_bytes=MIB) for key in "ab"]
    placed = Balanced(exact_up_to=exact_up_to).place(demands, [], [untold], {})
    assert placed.hosts.keys() == {"a", "b"}
    assert not unsound(placed, demands, [], [untold], {}, cpu_overcommit=8.0)


def test_a_way_that_is_overbooked_is_open_to_a_link_without_a_rate() -> None:
    way = SiteLink(latency_s=0.001, bandwidth_bps=-1)
    paris, lyon = (
        dataclasses.replace(host(name, 100), site=site, site_links={other: way})
        for name, site, other in (("h1", "paris", "lyon"), ("h2", "lyon", "paris"))
    )
    links = (LinkNeed(name="lan"),)
    placed = Balanced().place([demand("a", links=links), demand("b", links=links)], [], [paris, lyon], {})
    assert len(set(placed.hosts.values())) == 2


def test_a_refusal_names_the_least_that_would_help() -> None:
    hosts = [host("h1", 450), host("h2", 90), host("dark", 9000, reachable=False)]
    assert (
        Balanced()
        .place([demand("a", 500)], [], hosts, {})
        .refused["a"]
        .endswith("nearest: lab/h1, with 50 MiB more memory free")
    )
    rule = PlacementRule(keys=("a", "b"), anti=True, scope=AffinityScope.NFVI_NODE, name="apart")
    placed = Balanced().place([demand("b")], [rule], [host("h1", 900), host("h2", 10)], {"a": ("lab", "h1")})
    assert placed.refused["b"].endswith("nearest: lab/h2, with 90 MiB more memory free")
    placed = Balanced().place([demand("b", needs=("uefi",), wanted_host="h2")], [], [host("h1", 900)], {})
    assert placed.refused["b"].endswith("nearest: lab/h1, with allowed on host h1 and asking for no uefi")
    assert "nearest" not in Balanced().place([demand("a")], [], [host("dark", 900, reachable=False)], {}).refused["a"]


@given(st.integers(1, 900), st.lists(st.integers(0, 800), min_size=1, max_size=4))
def test_what_is_said_to_help_helps(wanted: int, sizes: list[int]) -> None:
    hosts = [host(f"h{n}", size) for n, size in enumerate(sizes)]
    placed = Balanced().place([demand("a", wanted)], [], hosts, {})
    for why in placed.refused.values():
        place, _, rest = why.rpartition("nearest: lab/")[2].partition(", with ")
        more = int(rest.split()[0])
        number = int(place.removeprefix("h"))
        bigger = [host(f"h{n}", size + (more if n == number else 0)) for n, size in enumerate(sizes)]
        assert not Balanced().place([demand("a", wanted)], [], bigger, {}).refused


def test_ten_thousand_machines_on_a_thousand_hosts_are_no_matter() -> None:
    rules = [
        PlacementRule(keys=(f"d{n}", f"d{n + 1}"), anti=True, scope=AffinityScope.NFVI_NODE)
        for n in range(0, 10_000, 2)
    ]
    demands = [demand(f"d{n}", 100 + n % 900) for n in range(10_000)]
    began_s = time.process_time()
    placed = Balanced(cpu_overcommit=64).place(demands, rules, [host(f"h{n}", 10_000) for n in range(1_000)], {})
    assert time.process_time() - began_s < 10
    assert not placed.refused
    assert all(placed.hosts[rule.keys[0]] != placed.hosts[rule.keys[1]] for rule in rules)


def test_ten_thousand_machines_in_fives_that_belong_together_are_no_matter_either() -> None:
    node = AffinityScope.NFVI_NODE
    fives = [tuple(f"d{k}" for k in range(n, n + 5)) for n in range(0, 10_000, 5)]
    rules = [PlacementRule(keys=keys, anti=False, scope=node) for keys in fives]
    demands = [demand(f"d{n}", 100 + n % 900) for n in range(10_000)]
    began_s = time.process_time()
    placed = Balanced(cpu_overcommit=64).place(demands, rules, [host(f"h{n}", 10_000) for n in range(1_000)], {})
    assert time.process_time() - began_s < 10
    assert not placed.refused
    assert all(len({placed.hosts[key] for key in rule.keys}) == 1 for rule in rules)


def test_ten_thousand_machines_of_which_most_find_no_host_are_refused_each_with_the_reason() -> None:
    began_s = time.process_time()
    demands = [demand(f"d{n}", 1000) for n in range(10_000)]
    placed = Balanced(cpu_overcommit=64).place(demands, [], [host(f"h{n}", 2_500) for n in range(1_000)], {})
    assert time.process_time() - began_s < 10
    assert (len(placed.hosts), len(placed.refused)) == (2_000, 8_000)
    assert all("lab/h999: memory: 1000 MiB wanted, 500 MiB free" in why for why in set(placed.refused.values()))


@pytest.mark.parametrize("exact_up_to", [0, 5000])
@pytest.mark.parametrize(
    ("scope", "together"),
    [
        (AffinityScope.NFVI_NODE, "h1"),
        (AffinityScope.NETWORK_LINK_AND_NODE, "h1"),
        (AffinityScope.ZONE, "h1 h2"),
        (AffinityScope.ZONE_GROUP, "h1 h2 h3"),
        (AffinityScope.NFVI_POP, "h1 h2 h3 h4"),
    ],
)
def test_affinity_and_anti_affinity_at_every_scope(scope: AffinityScope, together: str, exact_up_to: int) -> None:
    """Five hosts: two in a zone, three in a group of zones, four at a site."""
    where = {"h1": "z1 g1 s1", "h2": "z1 g1 s1", "h3": "z2 g1 s1", "h4": "z3 g2 s1", "h5": "z1 g1 s2"}
    hosts = []
    for number, (name, places) in enumerate(where.items()):
        zone, group, site = places.split()
        made = host(name, 900 + number, zone)
        hosts.append(
            dataclasses.replace(made, site=site, host=dataclasses.replace(made.host, labels={"zone-group": group}))
        )
    policy = Balanced(exact_up_to=exact_up_to)
    for anti in (False, True):
        rule = PlacementRule(keys=("a", "b"), anti=anti, scope=scope)
        free = [one for one in hosts if (one.host.name in together.split()) != anti]
        placed = policy.place([demand("b")], [rule], hosts, {"a": ("lab", "h1")})
        assert placed.hosts["b"][1] in {one.host.name for one in free}
        for one in hosts:
            alone = policy.place([demand("b")], [rule], [one, hosts[0]], {"a": ("lab", "h1")})
            allowed = {other.host.name for other in free} & {one.host.name, "h1"}
            chosen = alone.hosts.get("b", ("", ""))[1]
            assert chosen in allowed if allowed else "affinity" in alone.refused["b"], (anti, one.host.name)


def with_cpus(name: str, memory: int, **more: object) -> Candidate:
    """A host of eight CPUs that dedicates them."""
    made = host(name, memory)
    small = dataclasses.replace(made.host, vcpus=8, **more)  # type: ignore[arg-type]
    return dataclasses.replace(made, host=small, support={"node": "full", "cpu-pinning": "full", "hugepages": "full"})


def pinned(key: str, vcpus: int = 4) -> Demand:
    return dataclasses.replace(demand(key, needs=("node", "cpu-pinning")), vcpus=vcpus)


BOTH_WAYS = pytest.mark.parametrize("exact_up_to", [0, 5000])


@BOTH_WAYS
def test_who_needs_huge_pages_goes_to_the_host_that_has_them_though_it_is_the_fuller_one(exact_up_to: int) -> None:
    hosts = [with_cpus("empty", 900, lacks={"hugepages": "none set aside"}), with_cpus("full", 100)]
    policy = Balanced(exact_up_to=exact_up_to)
    wanted = [demand("a", needs=("node", "hugepages"))]
    assert policy.place(wanted, [], hosts, {}).hosts == {"a": ("lab", "full")}
    why = policy.place(wanted, [], hosts[:1], {}).refused["a"]
    assert why.startswith("lab/empty: host empty lacks hugepages (none set aside)")
    assert why.endswith("nearest: lab/empty, with asking for no hugepages")


@BOTH_WAYS
def test_huge_pages_are_weighed_by_their_size_and_not_against_ordinary_memory(exact_up_to: int) -> None:
    page, gib = 2 * MIB, 1 << 30
    hosts = [
        with_cpus("plain", 9000, hugepages_free_bytes={gib: 8 * gib}),
        with_cpus("kvm1", 100, hugepages_free_bytes={page: 2 * gib}),
    ]
    policy = Balanced(exact_up_to=exact_up_to)

    def huge(key: str, memory: int) -> Demand:
        return demand(key, memory, needs=("node", "hugepages"), hugepage_bytes=page)

    placed = policy.place([huge("a", 1024), huge("b", 1023), demand("c", 100)], [], hosts, {})
    assert placed.hosts == {"a": ("lab", "kvm1"), "b": ("lab", "kvm1"), "c": ("lab", "plain")}
    refused = policy.place([huge("a", 4096)], [], hosts, {}).refused["a"]
    assert "lab/kvm1: memory in 2M pages: 4096 MiB wanted, 2048 MiB free" in refused
    assert "lab/plain: no pages of 2M are set aside there, or its driver tells of none" in refused
    assert refused.endswith("nearest: lab/kvm1, with 2048 MiB more memory in 2M pages free")
    unsaid = policy.place([huge("unsaid", 0)], [], hosts, {})
    assert unsaid.hosts == {"unsaid": ("lab", "kvm1")}, "a host without such pages has none to give"
    halves = [huge(f"h{n}", 1023) for n in range(2)] + [dataclasses.replace(huge("odd", 1), memory_bytes=MIB)]
    assert set(policy.place(halves, [], hosts, {}).refused) == {"odd"}, "a page is given whole"


@BOTH_WAYS
def test_dedicated_cpus_are_promised_once(exact_up_to: int) -> None:
    policy = Balanced(exact_up_to=exact_up_to)
    placed = policy.place([pinned(f"d{n}") for n in range(8)], [], [with_cpus("h1", 9000)], {})
    assert (len(placed.hosts), len(placed.refused)) == (2, 6)
    assert "CPU: 4 dedicated wanted, 0 left" in placed.refused["d7"]
    assert placed.refused["d7"].endswith("nearest: lab/h1, with 4 more CPUs free")


def test_those_who_share_cpus_leave_what_they_take_of_them() -> None:
    three_shared = with_cpus("h1", 900, vcpus_used=24)  # a CPU for every eight of them
    assert not Balanced().place([pinned("a", 5)], [], [three_shared], {}).refused
    assert "5 left" in Balanced().place([pinned("a", 6)], [], [three_shared], {}).refused["a"]
    stand = with_cpus("h1", 900, vcpus_used=6, vcpus_dedicated=6)
    assert "CPU: 4 dedicated wanted, 2 left" in Balanced().place([pinned("a")], [], [stand], {}).refused["a"]
    many = dataclasses.replace(demand("a"), vcpus=17)
    why = Balanced().place([many], [], [stand], {}).refused["a"]
    assert "CPU: 17 wanted, 16 left at overcommit 8" in why
