"""Programs that a package brings run inside the machines, at their time, with their parameters, and nowhere else."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from service_world import VNFDS, Site, opened

from manor.api import GuestResult, OperationKind
from manor.errors import PlanRefused, UsageError
from manor.lcm import changing, ns, scripts
from manor.lcm.scaling import scale_vnf
from manor.lcm.updating import change_package
from manor.model.instance import OperationState
from manor.model.vnfd import LcmScript, VnfAction, Vnfd
from manor.plugin import unguarded

BASH, PYTHON = "tosca.artifacts.Implementation.Bash", "tosca.artifacts.Implementation.Python"
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


def test_an_action_that_fails_is_said_and_held(site: Site, inside: Inside) -> None:
    inside.exit_code = 3
    operation = site.run(changing.act(site.rt, "demo", "web", "backup", {"target": "tape"}))
    assert operation.state in (OperationState.FAILED_TEMP, OperationState.ROLLED_BACK)
    assert "backup exited 3: no such target" in operation.error


def test_what_cannot_be_asked_for_is_refused(site: Site, inside: Inside) -> None:
    with pytest.raises(UsageError, match="no action dance") as refused:
        changing.act(site.rt, "demo", "web", "dance")
    assert refused.value.hint == "it has: backup, drive"
    with pytest.raises(UsageError, match="no parameter speed"):
        changing.act(site.rt, "demo", "web", "backup", {"speed": 1})
    with pytest.raises(UsageError, match="needs target"):
        changing.act(site.rt, "demo", "web", "backup")
    with pytest.raises(PlanRefused, match="vnfm:generic runs no tosca"):
        changing.act(site.rt, "demo", "web", "drive")
    with pytest.raises(UsageError, match="firewall has no action dance") as refused:
        changing.act(site.rt, "demo", "firewall", "dance")
    assert refused.value.hint == "it has: none"
    assert inside.machines() == []


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
    from manor.lcm.healing import heal

    inside.exit_code = 1
    site.done(heal(site.rt, "demo", vnfs=["web"]))
    assert inside.machines() == ["main-0"]
