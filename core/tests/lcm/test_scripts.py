"""Programs that a package brings run inside the machines, at their time, with their parameters, and nowhere else."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from service_world import VNFDS, Site, opened

from manor.api import GuestResult, OperationKind, PowerState
from manor.errors import PlanRefused, PluginError, UsageError
from manor.lcm import changing, ns, scripts, snapshots
from manor.lcm.healing import heal
from manor.lcm.ns import Proposal
from manor.lcm.operate import operate
from manor.lcm.scaling import scale_vnf
from manor.lcm.updates import update_ns
from manor.lcm.updating import change_package, update
from manor.model.instance import OperationState
from manor.model.vnfd import LcmScript, VnfAction, Vnfd
from manor.plugin import unguarded

BASH, PYTHON, ANSIBLE = (f"tosca.artifacts.Implementation.{kind}" for kind in ("Bash", "Python", "Ansible"))
FILE = "vmlinuz"
"""Stands for the script's file: the packages of these tests hold files of one content."""


def brings(**changes: object) -> Vnfd:
    """A newer web server, with scripts and actions."""
    events = ("scale_start", "scale_end", "terminate_start", "heal_start", "change_current_package_end")
    more = {
        "scripts": tuple(LcmScript(event=event, script=FILE, dsl=BASH, inputs={"zone": "a b"}) for event in events),
        "actions": (
            VnfAction(name="backup", script=FILE, dsl=BASH, inputs={"target": None, "keep": 3}),
            VnfAction(name="drive", script=FILE, dsl=PYTHON),
            VnfAction(name="paint", script=FILE, dsl=ANSIBLE, inputs={"vdu": "spare"}),
        ),
    }
    return dataclasses.replace(VNFDS["web-vnfd"], **{"id": "web-vnfd-2", "version": "2", **more, **changes})


class Inside:
    """What is asked of the guests, and what they answer."""

    def __init__(self, site: Site) -> None:
        self.asked: list[tuple[str, str]] = []
        self.exit_code = 0
        unguarded(site.rt.vim("lab"))._guest_script = self  # type: ignore[attr-defined]

    def __call__(self, key: str, argv: Sequence[str], stdin: bytes) -> GuestResult:
        if tuple(argv) == ("/bin/sh", "-s"):
            self.asked.append((key.rpartition("/")[2], stdin.decode()))
        return GuestResult(exit_code=self.exit_code, stdout=b"", stderr=b"no such target")

    def events(self) -> list[str]:
        """What the scripts were told they run for, once each."""
        found = [text.partition("export event=")[2].partition("\n")[0] for _, text in self.asked]
        self.asked.clear()
        return list(dict.fromkeys(found))

    def machines(self) -> list[str]:
        found = [machine for machine, _ in self.asked]
        self.asked.clear()
        return found


@pytest.fixture
def site(fast_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with opened(fast_path, monkeypatch) as site:
        site.onboard(brings())
        yield site


@pytest.fixture
def inside(site: Site) -> Inside:
    found = Inside(site)
    site.done(change_package(site.rt, "demo", "web", "web-vnfd-2"))
    assert found.machines() == ["main-0"], "change_current_package_end"
    return found


def test_scripts_run_around_what_is_done_to_their_vnf(site: Site, inside: Inside) -> None:
    proposal = scale_vnf(site.rt, "demo", "web", level="large")
    order = [step.id for step in proposal.plan.steps if "/web" in step.id]
    assert order[0].startswith("script vnf")
    assert order[-1].startswith("script vnf")
    site.done(proposal)
    assert inside.machines() == ["main-0", "main-0", "main-1", "main-2"], "start on those there were, end on all"
    assert site.run(ns.propose(site.rt, "demo", OperationKind.TERMINATE)).state is OperationState.COMPLETED
    assert inside.machines() == ["main-0", "main-1", "main-2"]


OPERATIONS = (
    "instantiate",
    "scale",
    "scale_to_level",
    "terminate",
    "heal",
    "operate",
    "modify_information",
    "change_flavour",
    "change_external_connectivity",
    "change_current_package",
    "create_snapshot",
    "revert_to_snapshot",
)
ALL = tuple(
    LcmScript(event=f"{name}_{end}", script=FILE, dsl=BASH, inputs={"event": f"{name}_{end}"})
    for name in OPERATIONS
    for end in ("start", "end")
)


(_DF,) = VNFDS["web-vnfd"].flavours
FLAVOURS = (_DF, dataclasses.replace(_DF, id="plus"))


@pytest.fixture
def told(site: Site) -> Inside:
    """A web server of two flavours, whose package has a script for every event."""
    site.onboard(brings(id="web-vnfd-all", version="3", scripts=ALL, flavours=FLAVOURS))
    site.done(change_package(site.rt, "demo", "web", "web-vnfd-all"))
    return Inside(site)


@pytest.mark.slow
def test_each_change_is_its_own_event(site: Site, told: Inside) -> None:
    site.onboard(brings(id="web-vnfd-more", version="4", scripts=ALL, flavours=FLAVOURS))
    site.done(update_ns(site.rt, "demo", "CREATE_NS_VIRTUAL_LINK", {"virtualLinkId": "spare"}))
    site.done(update(site.rt, "demo", chains_off=["to-web"]))  # it would tie the web server to its link
    rt, demo = site.rt, ("demo", "web")
    changes: tuple[tuple[Callable[[], Proposal], str], ...] = (
        (lambda: changing.modify_information(rt, *demo, name="front"), "modify_information"),
        (lambda: changing.modify_information(rt, *demo, metadata={"rack": "7"}), "modify_information"),
        (lambda: changing.modify_information(rt, *demo, properties={"greeting": "x"}), "modify_information"),
        (lambda: scale_vnf(rt, *demo, aspect="workers", steps=1), "scale"),
        (lambda: scale_vnf(rt, *demo, aspect="workers", to_level=0), "scale_to_level"),
        (lambda: scale_vnf(rt, *demo, level="large"), "scale_to_level"),
        (lambda: snapshots.create(rt, *demo, "one"), "create_snapshot"),
        (lambda: snapshots.revert(rt, *demo, "one"), "revert_to_snapshot"),
        (lambda: snapshots.delete(rt, "demo", "one"), ""),
        (lambda: heal(rt, "demo", vnfs=["web"]), "heal"),
        (lambda: changing.change_flavour(rt, *demo, "plus"), "change_flavour"),
        (lambda: changing.change_ext_conn(rt, *demo, {"eth": "spare"}), "change_external_connectivity"),
        (lambda: change_package(rt, *demo, "web-vnfd-more"), "change_current_package"),
    )
    for propose, event in changes:
        proposal = propose()
        assert not proposal.is_idle
        site.done(proposal)
        assert told.events() == [event + moment for moment in ("_start", "_end") if event], event


def test_scripts_of_a_snapshot_run_around_it(site: Site, told: Inside) -> None:
    steps = [step.id for step in snapshots.create(site.rt, "demo", "web", "one").plan.steps]
    (taken,) = [number for number, step in enumerate(steps) if step.startswith("ensure snapshot")]
    (first,) = [number for number, step in enumerate(steps) if step.endswith("create_snapshot_start")]
    (last,) = [number for number, step in enumerate(steps) if step.endswith("create_snapshot_end")]
    assert first < taken < last


def test_a_machine_is_told_before_it_stops_and_after_it_starts(site: Site, told: Inside) -> None:
    stop = operate(site.rt, "demo", ["web"], PowerState.STOPPED)
    assert "web: operate_end is not run: none of its machines runs that can be looked into" in stop.plan.notes
    site.done(stop)
    assert told.events() == ["operate_start"]
    site.done(changing.modify_information(site.rt, "demo", "web", name="asleep"))
    start = operate(site.rt, "demo", ["web"], PowerState.STARTED)
    assert "web: operate_start is not run: none of its machines runs that can be looked into" in start.plan.notes
    site.done(start)
    assert told.events() == ["operate_end"]


def test_what_is_so_already_runs_nothing(site: Site, told: Inside) -> None:
    assert operate(site.rt, "demo", ["web"], PowerState.STARTED).is_idle
    assert changing.modify_information(site.rt, "demo", "web", metadata={"gone": None}).is_idle


def test_a_machine_that_comes_back_by_the_way_is_healed(site: Site, told: Inside) -> None:
    site.world.stop(f"{site.vnf('web').id}/main-0")
    site.done(operate(site.rt, "demo", ["firewall"], PowerState.STOPPED))
    assert told.events() == ["heal_end"], "heal_start has nobody to tell"


def test_a_forced_delete_does_not_wait_for_a_manager_that_is_gone(
    site: Site, told: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_self: object, _name: str) -> None:
        raise PluginError("driver generic is not installed")

    monkeypatch.setattr(type(site.rt), "vnfm", gone)
    assert ns.delete(site.rt, "demo", force=True) == ()


def test_another_vnf_is_left_alone(site: Site, inside: Inside) -> None:
    proposal = changing.modify_information(site.rt, "demo", "firewall", description="the other one")
    site.done(proposal)
    assert inside.machines() == []


def test_an_action_is_done_with_its_parameters(site: Site, inside: Inside) -> None:
    proposal = changing.act(site.rt, "demo", "web", "backup", {"target": "it's; rm -rf /"})
    assert [step.summary for step in proposal.plan.steps] == ["run backup in web"]
    site.done(ns.confirm(site.rt, proposal))
    ((machine, text),) = inside.asked
    assert machine == "main-0"
    assert """export target='it'"'"'s; rm -rf /'\n""" in text
    assert "export keep=3\n" in text
    assert "export MANOR_VNF=web\n" in text
    assert site.drift() == ()


def test_an_action_that_fails_is_said_and_stands_in_nobodys_way(site: Site, inside: Inside) -> None:
    inside.exit_code = 3
    operation = site.run(changing.act(site.rt, "demo", "web", "backup", {"target": "tape"}))
    assert operation.state is OperationState.ROLLED_BACK
    assert "backup exited 3: no such target" in operation.error
    inside.exit_code = 0
    site.done(changing.act(site.rt, "demo", "web", "backup", {"target": "tape"}))


def test_what_cannot_be_asked_for_is_refused(site: Site, inside: Inside) -> None:
    with pytest.raises(UsageError, match="no action dance") as refused:
        changing.act(site.rt, "demo", "web", "dance")
    assert refused.value.hint == "it has: backup, drive, paint"
    with pytest.raises(UsageError, match="no parameter speed"):
        changing.act(site.rt, "demo", "web", "backup", {"speed": 1})
    with pytest.raises(UsageError, match="needs target"):
        changing.act(site.rt, "demo", "web", "backup")
    with pytest.raises(PlanRefused, match="vnfm:generic runs no tosca"):
        changing.act(site.rt, "demo", "web", "drive")
    with pytest.raises(PlanRefused, match="no machine of VDU spare"):
        changing.act(site.rt, "demo", "web", "paint")
    with pytest.raises(UsageError, match="firewall has no action dance") as refused:
        changing.act(site.rt, "demo", "firewall", "dance")
    assert refused.value.hint == "it has: none"
    assert inside.machines() == []


def test_an_action_of_a_vnf_that_is_off_is_refused_for_that(site: Site, inside: Inside) -> None:
    site.done(operate(site.rt, "demo", ["web"], PowerState.STOPPED))
    with pytest.raises(PlanRefused, match="web is stopped") as refused:
        changing.act(site.rt, "demo", "web", "backup", {"target": "x"})
    assert refused.value.hint == "manor vnf start demo/web"


def test_an_action_in_a_service_without_a_way_in_is_refused_not_forgotten(
    fast_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(fast_path, monkeypatch) as site:
        monkeypatch.setattr(scripts, "_checks", lambda _state: {})
        with pytest.raises(PlanRefused, match="no machine that can be looked into"):
            changing.act(site.rt, "demo", "web", "backup")


def test_an_action_is_never_forgiven_whatever_it_is_called(site: Site) -> None:
    site.onboard(brings(id="web-vnfd-3", version="3", actions=(VnfAction(name="heal_start", script=FILE, dsl=BASH),)))
    inside = Inside(site)
    site.done(change_package(site.rt, "demo", "web", "web-vnfd-3"))
    inside.exit_code = 3
    operation = site.run(changing.act(site.rt, "demo", "web", "heal_start"))
    assert operation.state is not OperationState.COMPLETED


def test_a_script_of_a_dead_machine_holds_up_no_heal(site: Site, inside: Inside) -> None:
    inside.exit_code = 1
    site.done(heal(site.rt, "demo", vnfs=["web"]))
    assert inside.machines() == ["main-0"]
