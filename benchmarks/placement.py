"""Placing machines: 10,000 on 1,000 hosts, alone and as a whole plan, and how near the quick way comes to the solver.

Cost is the memory that the fullest host in use gives away. The instances are made from seeds: 3 to 20 hosts of 64, 128
or 256 GiB partly used, one to five machines of 1 to 32 GiB a host, every three of them apart.
"""

import random
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from figure import report
from sample import onboard

GIB = 1 << 30
SEEDS = range(40)


def main() -> None:
    """Seconds for the large one; the worst ratio of costs and the mean for the others."""
    from manor.api.placement import AffinityScope, Candidate, Demand, PlacementRule
    from manor.api.vim import Host
    from manor.nfvo import exact
    from manor.nfvo.hosts import Room
    from manor.nfvo.placement import Balanced, fullest

    def made(seed: int, hosts: int, machines: int) -> tuple[list[Demand], list[PlacementRule], list[Candidate]]:
        chance = random.Random(seed)
        candidates = []
        for n in range(hosts):
            free = (chance.choice([64, 128, 256]) - chance.randrange(40)) * GIB
            candidates.append(Candidate(vim="lab", host=Host(name=f"h{n}", vcpus=64, memory_free_bytes=free)))
        demands = [
            Demand(key=f"d{n}", vcpus=chance.choice([1, 2, 4]), memory_bytes=chance.choice([1, 2, 4, 8, 16, 32]) * GIB)
            for n in range(machines)
        ]
        rules = [
            PlacementRule(
                keys=tuple(f"d{k}" for k in range(n, min(n + 3, machines))), anti=True, scope=AffinityScope.NFVI_NODE
            )
            for n in range(0, machines, 3)
        ]
        return demands, rules, candidates

    decided, ratios, quick_s, exact_s = [], [], 0.0, 0.0
    policy = Balanced()
    for seed in SEEDS:
        hosts = random.Random(seed).choice([3, 5, 8, 12, 20])
        demands, rules, candidates = made(seed, hosts, int(hosts * random.Random(seed + 1).uniform(1, 5)))
        rooms = [Room(candidate=candidate, overcommit=policy.cpu_overcommit) for candidate in candidates]
        began = time.perf_counter()
        quick = policy.quick(demands, rules, candidates, {})
        quick_s += time.perf_counter() - began
        began = time.perf_counter()
        best = exact.solve(demands, rules, rooms, {}, demands)
        exact_s += time.perf_counter() - began
        if best is None or quick.refused:
            continue
        most = max(room.memory_bytes for room in rooms)
        least = most - fullest(best, demands, rooms)
        ratios.append((most - fullest(quick.hosts, demands, rooms)) / least)
        placed = policy.place(demands, rules, candidates, {})
        decided.append((most - fullest(placed.hosts, demands, rooms)) / least)
    report(
        "placement-quality",
        max(decided),
        "cost over the solver's, worst",
        1.05,
        mean=round(sum(decided) / len(decided), 4),
        instances=len(decided),
        exact_s=round(exact_s, 1),
    )
    report(
        "placement-quality-of-the-quick-way-alone",
        max(ratios),
        "cost over the solver's, worst",
        1.05,
        mean=round(sum(ratios) / len(ratios), 4),
        instances=len(ratios),
        quick_s=round(quick_s, 2),
    )
    demands, rules, candidates = made(0, 1_000, 10_000)
    began = time.process_time()
    placed = Balanced(cpu_overcommit=64).place(demands, rules, candidates, {})
    report("placement-10k", time.process_time() - began, "CPU s", 10.0, refused=len(placed.refused))
    fives = [tuple(f"d{k}" for k in range(n, n + 5)) for n in range(0, 10_000, 5)]
    together = [PlacementRule(keys=keys, anti=False, scope=AffinityScope.NFVI_NODE) for keys in fives]
    small = [replace(demand, memory_bytes=demand.memory_bytes // 4) for demand in demands]  # five fit on any host
    began = time.process_time()
    placed = Balanced(cpu_overcommit=64).place(small, together, candidates, {})
    took = time.process_time() - began
    report("placement-10k-in-fives-together", took, "CPU s", 10.0, refused=len(placed.refused))
    planned(10_000, 1_000)


def planned(machines: int, hosts: int) -> None:
    """CPU seconds of the whole proposal: descriptors, placement, addresses, desired state, diff and plan."""
    from manor.api import OperationKind
    from manor.lcm import endpoints, ns
    from manor.lcm.runtime import open_runtime
    from manor.model.instance import EndpointKind

    with tempfile.TemporaryDirectory() as home, open_runtime(Path(home)) as rt:
        file = Path(home) / "image"
        file.write_bytes(b"x")
        config = {"state_file": "", "hosts": [{"name": f"h{n}"} for n in range(hosts)]}
        endpoints.add(rt, EndpointKind.VIM, "lab", driver="fake", config=config)
        onboard(rt, machines, {"kernel": file, "initramfs": file})
        ns.create(rt, "bench", name="large")
        began = time.process_time()
        proposal = ns.propose(rt, "large", OperationKind.INSTANTIATE)
        took = time.process_time() - began
    report("plan-10k", took, "CPU s", 10.0, steps=len(proposal.plan.steps))
