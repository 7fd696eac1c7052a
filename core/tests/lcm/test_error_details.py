"""For every operation type: what goes wrong is told with step, resource, host, driver, cause and hint."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from matrix import ROWS, Stage, staged
from sim_site import SimSite
from typer.testing import CliRunner

from manor.api import Step, Verb
from manor.cli.failures import failure, problem_in
from manor.cli.op import app
from manor.cli.output import Output
from manor.cli.session import Session
from manor.errors import (
    Conflict,
    DeadlineExceeded,
    Indeterminate,
    NotFound,
    Permanent,
    QuotaExceeded,
    Transient,
    Unauthorized,
    Unsupported,
)
from manor.fakes import Fault
from manor.lcm.problem import Problem, remedy
from manor.model.instance import OperationState


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged() as stage:
        yield stage


def _shown(site: SimSite, operation_id: str) -> str:
    """What ``manor op show`` prints."""
    said = io.StringIO()
    session = Session(out=Output(stdout=said), home=site.path)
    session.__dict__["runtime"] = site.rt
    done = CliRunner().invoke(app, ["show", operation_id], obj=session, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return said.getvalue()


def _fails(stage: Stage, deed: str, fault: Fault) -> Problem:
    """The operation goes wrong so, and what is told of it."""
    prepared = stage.prepared(deed)
    site = stage.again(prepared, seed=1)
    site.world.inject(fault)
    site.work()
    operation, steps = site.rt.operations.get(prepared.operation_id)
    assert operation.state is not OperationState.COMPLETED
    problem = problem_in(site.rt, operation, steps)
    assert problem is not None
    missing = [name for name in ("step", "resource", "host", "driver", "cause", "hint") if not getattr(problem, name)]
    assert not missing, (deed, fault, problem)
    assert set(problem.host.split(", ")) <= {host.name for host in site.hosts()}
    assert problem.step in {record.step.id for record in steps}
    ended = failure(operation, problem)
    for text in (_shown(site, operation.id), f"{ended.message}; {ended.hint}"):
        _tells(text, problem)
    return problem


def _tells(text: str, problem: Problem) -> None:
    for part in (problem.step, problem.resource, problem.host, problem.cause, problem.hint, problem.detail):
        assert part in text, (part, text)
    assert f"driver {problem.driver}" in text


@pytest.mark.slow
@pytest.mark.parametrize("deed", ROWS)
def test_every_call_of_each_operation(stage: Stage, deed: str) -> None:
    for call in stage.prepared(deed).calls:
        problem = _fails(stage, deed, Fault(error="Permanent", verb=call.verb, kind=call.kind, key=call.key))
        assert problem.cause == "Permanent"
        assert problem.driver == ("generic" if call.verb == "guest_exec" else "sim")
        assert "injected fault" in problem.detail


def test_a_machine_that_never_answers(stage: Stage) -> None:
    problem = _fails(stage, "upgrade", Fault(error="Transient", verb="guest_ping", key="*/web/*", times=0))
    assert (problem.driver, problem.resource) == ("generic", "0a0b0c0d/vnf/web")


def test_every_error_has_a_remedy() -> None:
    step = Step(id="s", verb=Verb.ENSURE, kind="node", key="k", endpoint="vim:lab")
    for cls in (Transient, Indeterminate, DeadlineExceeded, Unsupported, Conflict, NotFound, QuotaExceeded, Permanent):
        said = remedy(cls("no"), step)
        assert said
        assert "{" not in said
    assert remedy(Unauthorized("no"), step) == "correct the credentials of vim:lab, then retry"
