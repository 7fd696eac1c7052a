"""What the quick way put down is moved on until the fullest host cannot be relieved, and no rule is broken by that."""

import itertools
from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from manor.api.placement import AffinityScope, Candidate, Demand, Placement, PlacementRule
from manor.api.vim import Host
from manor.nfvo.answer import unsound
from manor.nfvo.hosts import Room
from manor.nfvo.levelling import levelled
from manor.nfvo.placement import Balanced, fullest

MIB = 1 << 20
NODE = AffinityScope.NFVI_NODE


def host(name: str, memory: int, cpus: int = 64) -> Candidate:
    return Candidate(vim="lab", host=Host(name=name, vcpus=cpus, memory_free_bytes=memory * MIB))


def demand(key: str, memory: int) -> Demand:
    return Demand(key=key, vcpus=1, memory_bytes=memory * MIB)


def on(placed: Placement, candidates: list[Candidate], demands: list[Demand]) -> list[int]:
    """What each host keeps free, in MiB."""
    free = {one.host.name: one.host.memory_free_bytes // MIB for one in candidates}
    for one in demands:
        free[placed.hosts[one.key][1]] -= one.memory_bytes // MIB
    return sorted(free.values())


def test_a_large_one_goes_where_two_small_ones_make_room_for_it() -> None:
    demands = [demand(f"d{n}", size) for n, size in enumerate((3, 3, 2, 2, 2))]
    candidates = [host("h1", 10), host("h2", 10)]
    placed = Balanced(exact_up_to=0).place(demands, [], candidates, {})
    assert on(placed, candidates, demands) == [4, 4], "largest first alone leaves three on one and five on the other"
    assert any("so that the fullest host stays emptier; 0.0 GiB stay free" in why for why in placed.reasons.values())


def test_nobody_is_moved_against_a_rule_or_onto_cpus_that_are_not_there() -> None:
    demands = [demand(f"d{n}", size) for n, size in enumerate((3, 3, 2, 2, 2))]
    apart = PlacementRule(keys=("d0", "d1"), anti=True, scope=NODE)
    wide = [host("h1", 10), host("h2", 10)]
    assert on(Balanced(exact_up_to=0).place(demands, [apart], wide, {}), wide, demands) == [3, 5]
    few = [host("h1", 10, cpus=2), host("h2", 10, cpus=4)]  # three machines may not stand on the first
    placed = Balanced(exact_up_to=0, cpu_overcommit=1.0).place(demands, [], few, {})
    assert list(placed.hosts.values()).count(("lab", "h1")) <= 2
    assert not unsound(placed, demands, [], few, {}, cpu_overcommit=1.0)


@settings(deadline=None, max_examples=40)
@given(
    sizes=st.lists(st.integers(1, 8), min_size=2, max_size=7),
    rooms=st.lists(st.integers(8, 30), min_size=2, max_size=4),
    pairs=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.booleans()), max_size=4),
    stands=st.integers(0, 2),
    chance=st.randoms(use_true_random=False),
)
def test_whatever_it_begins_with_it_ends_sound_and_no_fuller(
    sizes: list[int], rooms: list[int], pairs: list[tuple[int, int, bool]], stands: int, chance: object
) -> None:
    demands = [demand(f"d{n}", size) for n, size in enumerate(sizes)]
    candidates = [host(f"h{n}", room) for n, room in enumerate(rooms)]
    rules = [
        PlacementRule(keys=(f"d{a}", f"d{b}"), anti=anti, scope=NODE)
        for a, b, anti in pairs
        if a != b and max(a, b) < len(sizes)
    ]
    fixed = {f"d{n}": ("lab", f"h{n % len(rooms)}") for n in range(min(stands, len(sizes) - 1))}
    pending = [one for one in demands if one.key not in fixed]
    before = [Room(candidate=one, overcommit=8.0) for one in candidates]

    def is_sound(hosts: Mapping[str, tuple[str, str]]) -> bool:
        return not unsound(Placement(hosts=hosts), demands, rules, candidates, fixed, cpu_overcommit=8.0)

    places = [room.place for room in before]
    every = [
        {**fixed, **dict(zip((one.key for one in pending), chosen, strict=True))}
        for chosen in itertools.islice(itertools.product(places, repeat=len(pending)), 500)
    ]
    chance.shuffle(every)  # type: ignore[attr-defined]
    start = next(filter(is_sound, every), None)
    if start is None:
        return
    found = levelled(start, pending, rules, before, is_sound)
    assert is_sound(found)
    assert found.keys() == start.keys()
    assert fullest(found, pending, before) >= fullest(start, pending, before)
    assert found == levelled(start, pending, rules, before, is_sound), "equal input gives an equal placement"
