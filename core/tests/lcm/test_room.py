"""Two services and one last place; sites and what lies between them, as the operator wrote them down."""

import dataclasses
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from manor.api import (
    Candidate,
    CpuPolicy,
    Demand,
    Host,
    NodeSpec,
    OperationKind,
    Placement,
    Plan,
    Step,
    Verb,
    spec_to_json,
)
from manor.errors import PlanRefused, PluginError, UsageError
from manor.lcm import claims, endpoints, ns, work
from manor.lcm.runtime import Runtime, open_runtime
from manor.lcm.sites import read_sites
from manor.lcm.wishes import Wishes
from manor.model.instance import EndpointKind, NsState, OperationalState, OperationState, PackageInfo, PackageKind
from manor.store import instances, packages

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

GIB = 1 << 30


@pytest.fixture
def rt(fast_path: Path) -> Iterator[Runtime]:
    """A VIM with room for one machine and a half."""
    from sample import onboard

    file = fast_path / "image"
    file.write_bytes(b"x")
    with open_runtime(fast_path / "home") as runtime:
        onboard(runtime, 1, {"kernel": file, "initramfs": file})
        yield runtime


def vim(rt: Runtime, name: str, memory_bytes: int, *more: dict[str, object]) -> None:
    host = {"name": f"{name}-h1", "vcpus": 8, "memory_bytes": memory_bytes, "storage_bytes": 1 << 40}
    endpoints.add(rt, EndpointKind.VIM, name, driver="fake", config={"hosts": [host, *more]})


def machine_bytes(rt: Runtime) -> int:
    ns.create(rt, "bench", name="probe")
    (node,) = (
        s.spec
        for s in ns.propose(rt, "probe", OperationKind.INSTANTIATE).plan.steps
        if s.kind == "node" and s.verb == "ensure"
    )
    assert node is not None
    return int(node["memory_bytes"])


@pytest.mark.slow
def test_of_two_that_race_for_the_last_place_one_wins_and_one_is_told(rt: Runtime) -> None:
    vim(rt, "big", 1 << 40)
    size = machine_bytes(rt)
    endpoints.remove(rt, EndpointKind.VIM, "big")
    vim(rt, "lab", size * 3 // 2)
    proposals = []
    for name in ("one", "two"):
        ns.create(rt, "bench", name=name)
        proposals.append(ns.propose(rt, name, OperationKind.INSTANTIATE))
    told: list[PlanRefused] = []
    begun: list[str] = []
    ready = threading.Barrier(2)

    def start(proposal: ns.Proposal) -> None:
        ready.wait()
        try:
            begun.append(ns.start(rt, proposal))
        except PlanRefused as error:
            told.append(error)

    with work.working(rt):
        racers = [threading.Thread(target=start, args=(proposal,)) for proposal in proposals]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        (winner,) = begun
        assert rt.operations.wait(winner).state is OperationState.COMPLETED
        (error,) = told
        assert f"INSTANTIATE {winner}" in error.message
        loser = next(p.ns.name for p in proposals if p.ns.id != rt.operations.get(winner)[0].ns_id)
        with pytest.raises(PlanRefused, match="find no host"):
            ns.propose(rt, loser, OperationKind.INSTANTIATE)


def test_what_an_operation_under_way_will_take_is_set_aside(rt: Runtime) -> None:
    vim(rt, "big", 1 << 40)
    size = machine_bytes(rt)
    endpoints.remove(rt, EndpointKind.VIM, "big")
    vim(rt, "lab", size * 3 // 2)
    for name in ("one", "two"):
        ns.create(rt, "bench", name=name)
    ns.start(rt, ns.propose(rt, "one", OperationKind.INSTANTIATE))  # nobody works: it has made nothing yet
    with pytest.raises(PlanRefused) as refused:
        ns.propose(rt, "two", OperationKind.INSTANTIATE)
    assert "memory" in refused.value.findings[0].message


def test_one_that_was_accepted_late_counts_though_it_started_before(rt: Runtime) -> None:
    vim(rt, "big", 1 << 40)
    size = machine_bytes(rt)
    endpoints.remove(rt, EndpointKind.VIM, "big")
    vim(rt, "lab", size * 3 // 2)
    one, two = (
        ns.propose(rt, ns.create(rt, "bench", name=name).id, OperationKind.INSTANTIATE) for name in ("one", "two")
    )
    begun = ns.start(rt, one)
    assert two.seen is not None
    # Its start was read, and then it waited for its turn while the other looked around.
    late = dataclasses.replace(two, seen=dataclasses.replace(two.seen, time_s=time.time() + 5))
    with pytest.raises(PlanRefused, match=begun):
        ns.start(rt, late)


def test_the_last_cpu_is_had_once_too(rt: Runtime) -> None:
    vim(rt, "lab", 1 << 40, {"name": "small", "vcpus": 1, "memory_bytes": 1 << 40})
    (rt.home / "placement.yaml").write_text("balanced: {cpu_overcommit: 1}")
    there = Wishes(locations={"*": "lab/small"})
    one, two = (
        ns.propose(rt, ns.create(rt, "bench", name=name).id, OperationKind.INSTANTIATE, there)
        for name in ("one", "two")
    )
    begun = ns.start(rt, one)
    with pytest.raises(PlanRefused, match="CPU: 1 wanted, 0 left at overcommit 1") as told:
        ns.start(rt, two)
    assert f"INSTANTIATE {begun} of one was accepted since the plan was made" in told.value.message
    assert (told.value.hint, rt.operations.get(begun)[0].state) == ("plan again: manor ns plan two", "PROCESSING")


def test_the_last_place_is_had_once_whatever_the_policy_and_without_asking_it(
    rt: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    vim(rt, "big", 1 << 40)
    size = machine_bytes(rt)
    endpoints.remove(rt, EndpointKind.VIM, "big")
    vim(rt, "lab", size * 3 // 2)
    asked: list[str] = []

    class Easy:
        """Puts all on one host and never refuses."""

        def place(self, demands: Sequence[Demand], *_: Any) -> Placement:
            asked.extend(one.key for one in demands)
            return Placement(hosts={one.key: ("lab", "lab-h1") for one in demands})

    monkeypatch.setattr("manor.nfvo.placement.Balanced", lambda **_: Easy())
    one, two = (
        ns.propose(rt, ns.create(rt, "bench", name=name).id, OperationKind.INSTANTIATE) for name in ("one", "two")
    )
    placed = list(asked)
    begun = ns.start(rt, one)
    with pytest.raises(PlanRefused, match=f"lab/lab-h1: memory: .*: INSTANTIATE {begun} of one was accepted since"):
        ns.start(rt, two)
    assert placed
    assert asked == placed


def test_what_a_policy_forgets_or_breaks_is_refused_and_nothing_is_done(
    rt: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    vim(rt, "lab", 1 << 40)
    one = ns.create(rt, "bench", name="one")
    answers: list[Any] = [Placement(hosts={}), Placement(hosts={f"{one.id}/vnf/vm/main-0": ("lab", "nowhere")}), None]

    class Careless:
        """Says what it is told to."""

        def place(self, *_: Any) -> Any:
            return answers.pop(0)

    monkeypatch.setattr("manor.nfvo.placement.Balanced", lambda **_: Careless())
    for wrong in (
        "vm/main-0 is neither placed nor refused",
        "vm/main-0 is placed on lab/nowhere, and there is no such host",
        "it answered with something else than a Placement",
    ):
        with pytest.raises(PluginError) as refused:
            ns.propose(rt, one.id, OperationKind.INSTANTIATE)
        assert refused.value.message == f"placement policy balanced: {wrong}"
        assert "report it to manor" in refused.value.hint
    with rt.store.read() as tx:
        after = instances.get(tx, one.id)
    assert (after.state, after.last_operation) == (NsState.NOT_INSTANTIATED, "")


def test_huge_pages_that_an_operation_will_take_are_set_aside() -> None:
    page = 2 << 20
    spec = NodeSpec(
        key="n", owner="o", host="h", name="n", vcpus=1, memory_bytes=page + 1, cpu=CpuPolicy(hugepage_bytes=page)
    )
    step = Step(
        id="ensure node n",
        verb=Verb.ENSURE,
        kind="node",
        key="n",
        endpoint="vim:lab",
        host="h",
        change="create",
        spec=spec_to_json(spec),
    )
    host = Host(name="h", memory_free_bytes=GIB, hugepages_free_bytes={page: 3 * page, GIB: GIB})
    (left,) = claims.set_aside([Candidate(vim="lab", host=host)], claims.needed([step]))
    assert (left.host.memory_free_bytes, left.host.hugepages_free_bytes) == (GIB, {page: page, GIB: GIB})


def test_what_grows_takes_what_it_has_more_and_what_is_gone_already_all_of_it() -> None:
    def at(memory_bytes: int) -> Mapping[str, Any]:
        return spec_to_json(NodeSpec(key="n", owner="o", host="h", name="n", vcpus=2, memory_bytes=memory_bytes))

    place = {"kind": "node", "key": "n", "endpoint": "vim:lab", "host": "h", "change": "replace"}
    goes = Step(id="remove node n", verb=Verb.REMOVE, before=at(GIB), **place)  # type: ignore[arg-type]
    comes = Step(id="ensure node n", verb=Verb.ENSURE, spec=at(3 * GIB), **place)  # type: ignore[arg-type]
    (more,) = claims.needed([goes, comes])["lab", "h"]
    assert (more.vcpus, more.memory_bytes) == (0, 2 * GIB)
    (whole,) = claims.needed([comes])["lab", "h"]
    assert (whole.vcpus, whole.memory_bytes) == (2, 3 * GIB)
    (less,) = claims.needed([goes, dataclasses.replace(comes, spec=at(1))])["lab", "h"]
    assert less.memory_bytes == 0, "what it gives back is not given away before it has"


def _machine(*, dedicated: bool, vcpus: int = 3, key: str = "n") -> Mapping[str, Any]:
    cpu = CpuPolicy(dedicated=dedicated)
    return spec_to_json(NodeSpec(key=key, owner="o", host="h", name=key, vcpus=vcpus, memory_bytes=GIB, cpu=cpu))


def _turns(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Step, Step]:
    place = {"kind": "node", "key": before["key"], "endpoint": "vim:lab", "host": "h", "change": "replace"}
    goes = Step(id=f"remove node {before['key']}", verb=Verb.REMOVE, before=before, **place)  # type: ignore[arg-type]
    return goes, Step(id=f"ensure node {before['key']}", verb=Verb.ENSURE, spec=after, **place)  # type: ignore[arg-type]


def _refused(*steps: Step, host: Host, overcommit: float | None) -> str:
    """Why such a change would be refused; empty where it is not."""
    support = dict.fromkeys(("node", "cpu-pinning"), "full")
    there = {("lab", "h"): Candidate(vim="lab", host=host, support=support)}
    plan = Plan(operation=OperationKind.UPDATE, service_id="s", service_name="demo", steps=steps)
    seen = claims.Seen(time_s=0.0, hosts=there, cpu_overcommit=overcommit)
    return _told(lambda: claims.refuse_outgrown(plan, seen))


def _told(refuse: Callable[[], None]) -> str:
    try:
        refuse()
    except PlanRefused as error:
        return error.findings[0].message
    return ""


@pytest.mark.parametrize("overcommit", [1.0, None])
def test_cpus_that_turn_from_shared_to_dedicated_ones_or_back_are_counted_once(overcommit: float | None) -> None:
    shared, own = _machine(dedicated=False), _machine(dedicated=True)
    host = Host(name="h", vcpus=6, vcpus_used=6, memory_free_bytes=GIB)
    pinned = dataclasses.replace(host, vcpus_dedicated=3)
    assert _refused(*_turns(shared, own), host=host, overcommit=overcommit) == ""
    assert _refused(*_turns(own, shared), host=pinned, overcommit=overcommit) == ""
    full = dataclasses.replace(pinned, vcpus=3, vcpus_used=3)  # it has the host to itself
    assert _refused(*_turns(own, shared), host=full, overcommit=8.0) == ""
    four = _machine(dedicated=True, vcpus=4)
    if overcommit:
        assert "CPU: 4 dedicated wanted, 3 left" in _refused(*_turns(shared, four), host=host, overcommit=overcommit)
    crowded = dataclasses.replace(pinned, vcpus_dedicated=5)
    assert "CPU: 3 dedicated wanted, 1 left" in _refused(*_turns(shared, own), host=crowded, overcommit=overcommit)


def test_of_cpus_that_turn_the_dedicated_ones_are_kept_from_others() -> None:
    shared, own = _machine(dedicated=False), _machine(dedicated=True)
    host = Host(name="h", vcpus=8, vcpus_used=4, memory_free_bytes=GIB)  # three of them are the machine's
    for before, after, there in (
        (shared, own, host),
        (own, shared, dataclasses.replace(host, vcpus_dedicated=3)),
    ):
        kept = claims._kept(_turns(before, after))
        (left,) = claims.set_aside([Candidate(vim="lab", host=there)], kept)
        assert (left.host.vcpus_used, left.host.vcpus_dedicated) == (4, 3)
        (gone,) = claims._kept(_turns(before, after)[1:])["lab", "h"]  # what it had is free already
        assert gone.vcpus == 3


PAGE = 2 << 20


@pytest.mark.parametrize(
    ("cpu", "host", "said"),
    [
        ({"dedicated": True}, {"vcpus": 3, "vcpus_used": 9, "vcpus_dedicated": 9}, ""),
        ({"dedicated": True}, {"vcpus": 2}, "CPU: 3 dedicated wanted"),
        ({"dedicated": True}, {}, ""),
        ({"dedicated": True}, {"lacks": {"cpu-pinning": "no cpuset"}}, "cpu-pinning (no cpuset)"),
        ({"hugepage_bytes": PAGE}, {"hugepages_free_bytes": {PAGE: 0}}, ""),
        ({"hugepage_bytes": PAGE}, {"hugepages_free_bytes": {}}, "no pages of 2M are set aside there"),
        ({}, {"memory_bytes": GIB, "memory_free_bytes": -1, "vcpus": 1, "vcpus_used": 99}, ""),
        ({}, {"memory_bytes": GIB - 1}, "memory: 1024 MiB wanted"),
        ({}, {"memory_bytes": 1, "reachable": False}, ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("change", ["create", "repair"])
def test_what_comes_back_is_weighed_by_what_its_host_is_not_by_what_is_free(
    cpu: dict[str, Any], host: dict[str, Any], said: str, change: str
) -> None:
    spec = NodeSpec(key="s/vnf/web/n", owner="o", host="h", name="n", vcpus=3, memory_bytes=GIB, cpu=CpuPolicy(**cpu))
    step = Step(
        id="ensure", verb=Verb.ENSURE, kind="node", key=spec.key, endpoint="vim:lab", host="h", change=change,
        spec=spec_to_json(spec),
    )  # fmt: skip
    there = Candidate(vim="lab", host=Host(**{"name": "h", **host}), support={"cpu-pinning": "full"})
    plan = Plan(operation=OperationKind.HEAL, service_id="s", service_name="demo", steps=(step,))
    told = _told(lambda: claims.refuse_lost_host(plan, [there]))
    assert said in told
    assert bool(said) == bool(told)


def test_what_one_host_lacks_is_had_on_another_of_the_same_vim(rt: Runtime) -> None:
    lacking = {"name": "empty", "memory_bytes": 1 << 50, "lacks": {"direct-boot": "it boots from disks alone"}}
    vim(rt, "lab", 1 << 40, lacking)
    ns.create(rt, "bench", name="one")
    proposal = ns.propose(rt, "one", OperationKind.INSTANTIATE)
    assert set(proposal.plan.placement.values()) == {"lab/lab-h1"}
    with pytest.raises(PlanRefused) as refused:
        ns.propose(rt, "one", OperationKind.INSTANTIATE, Wishes(locations={"*": "lab/empty"}))
    assert "host empty lacks direct-boot (it boots from disks alone)" in refused.value.findings[0].message


SITES = """
sites:
  paris: {vims: [vim-a], labels: {country: FR}}
  lyon: {vims: [vim-b]}
links:
  - {between: [paris, lyon], latency_ms: 4, bandwidth_mbps: 1000}
"""


def test_a_service_is_placed_at_the_site_that_was_asked_for(rt: Runtime) -> None:
    for name in ("vim-a", "vim-b"):
        vim(rt, name, 1 << 40)
    (rt.home / "sites.yaml").write_text(SITES)
    ns.create(rt, "bench", name="one")
    for site, where in (("paris", "vim-a/vim-a-h1"), ("lyon", "vim-b/vim-b-h1")):
        proposal = ns.propose(rt, "one", OperationKind.INSTANTIATE, Wishes(locations={"*": f"site:{site}"}))
        assert set(proposal.plan.placement.values()) == {where}
    with pytest.raises(PlanRefused) as refused:
        ns.propose(rt, "one", OperationKind.INSTANTIATE, Wishes(locations={"*": "site:nice"}))
    assert "nearest: vim-a/vim-a-h1, with allowed at site paris" in refused.value.findings[0].message


def test_the_last_of_a_way_between_sites_is_had_once_too(rt: Runtime) -> None:
    for name in ("vim-a", "vim-b"):
        vim(rt, name, 1 << 40)
    (rt.home / "sites.yaml").write_text(SITES)
    with rt.store.begin() as tx:
        wide = packages.descriptor(tx, packages.get(tx, "bench", kind=PackageKind.NS).id)
        wide["id"] = "wide"
        wide["virtual_links"][0]["min_bitrate_bps"] = 600_000_000
        wide["flavours"][0]["vnf_profiles"][0].update(min_number_of_instances=2, max_number_of_instances=2)
        info = PackageInfo(id="wide-ns", kind=PackageKind.NS, descriptor_id="wide", name="wide")
        info = dataclasses.replace(info, operational_state=OperationalState.ENABLED)
        packages.add(tx, info, descriptor=wide)
    one, two = (
        ns.propose(rt, ns.create(rt, "wide", name=name).id, OperationKind.INSTANTIATE) for name in ("one", "two")
    )
    assert {place.partition("/")[0] for place in one.plan.placement.values()} == {"vim-a", "vim-b"}
    begun = ns.start(rt, one)
    with pytest.raises(PlanRefused, match="600 Mbit/s wanted from lyon to paris, 400 left"):
        ns.start(rt, two)
    late = ns.propose(rt, "two", OperationKind.INSTANTIATE)
    assert len(set(late.plan.placement.values())) == 1, "what is under way holds it: both of it are at one site"
    with work.working(rt):
        assert rt.operations.wait(begun).state is OperationState.COMPLETED
    assert len(set(ns.propose(rt, "two", OperationKind.INSTANTIATE).plan.placement.values())) == 1


def test_the_operator_sets_a_policy(rt: Runtime) -> None:
    vim(rt, "lab", 1 << 40)
    ns.create(rt, "bench", name="one")
    (rt.home / "placement.yaml").write_text("balanced: {cpu_overcommit: 0.5}")
    with pytest.raises(UsageError, match="cpu_overcommit"):
        ns.propose(rt, "one", OperationKind.INSTANTIATE)
    (rt.home / "placement.yaml").write_text("balanced: {cpu_overcommit: 2}")
    assert ns.propose(rt, "one", OperationKind.INSTANTIATE).plan.steps


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sites: {a: {vims: [x]}, b: {vims: [x]}}", "VIM x is at a and at b"),
        ("sites: {a: {}}\nlinks: [{between: [a, c]}]", "names the site c"),
        ("sites: {a: {}}\nlinks: [{between: [a, a]}]", "to itself"),
        ("sites: {a: {where: here}}", "sites.a.where"),
        ("sites: {a: {}}\nlinks: [{between: [a, a], latency_ms: -1}]", "latency_ms"),
        ("sites: [", "sites.yaml:"),
    ],
)
def test_a_file_of_sites_that_is_wrong_says_where(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "sites.yaml").write_text(text)
    with pytest.raises(UsageError, match=said):
        read_sites(tmp_path)
