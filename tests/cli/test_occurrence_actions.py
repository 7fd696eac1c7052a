"""What ``manor op`` does with an operation in each of ETSI's states: the legal is done, all else refused."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from shell import Cli

from manor.api import OperationKind, Plan, Step, Verb
from manor.lcm.operations import Operations
from manor.lcm.target import Target
from manor.model.instance import NsInstance, NsState, OperationState, VnfInstance
from manor.store import instances, operations
from manor.store.database import Database

pytestmark = pytest.mark.slow

S = OperationState
HANDLED = {"retry": S.PROCESSING, "rollback": S.ROLLING_BACK, "continue": S.PROCESSING, "fail": S.FAILED_TEMP}
"""What leads out of FAILED_TEMP, and where to; `fail` cleans up first."""
RUNS = (S.PROCESSING, S.ROLLING_BACK)


class Queue:
    """An engine that has nobody to do the work."""

    def prepare(self) -> None: ...

    def dispatch(self, *_: object) -> None: ...


@pytest.fixture
def database(manor: Cli) -> Iterator[Database]:
    with Database.open(os.environ.get("MANOR_DB") or manor.home / "manor.db") as database:
        yield database


@pytest.fixture
def operation(database: Database) -> str:
    """Id of an operation on a service with one VNF, which nobody works off."""
    with database.begin() as tx:
        ns = NsInstance(
            id="0a0b0c0d", name="demo", nsd_id="n", nsd_package="p", flavour_id="", state=NsState.INSTANTIATED
        )
        instances.add(tx, ns)
    names = {"id": "0a0b0c0d/vnf/web", "name": "web", "ns_id": ns.id, "profile_id": "web", "vnfm": "generic"}
    vnf = VnfInstance(**names, index=0, vnfd_id="v", flavour_id="")
    step = Step(id="ensure node n", verb=Verb.ENSURE, kind="node", key="0a0b0c0d/vnf/web/main-0", endpoint="vim:lab")
    plan = Plan(operation=OperationKind.INSTANTIATE, service_id=ns.id, service_name=ns.name, steps=(step,))
    target = Target(ns_state=NsState.INSTANTIATED, desired=None, vnfs=(vnf,))
    return Operations(database, Queue()).submit(plan, target).id  # type: ignore[arg-type]


def put(database: Database, operation: str, state: S, *, mode: str) -> None:
    with database.begin() as tx:
        operations.set_columns(tx, operation, state=str(state), mode=mode, is_cancel_pending=False)


def shown(manor: Cli, operation: str) -> tuple[dict[str, object], list[str]]:
    """The occurrence as ETSI's document, and what is said to be possible."""
    found = manor.good("--json", "op", "show", operation).json
    return found["occurrence"], found["possible"]


@pytest.mark.parametrize("state", list(S))
def test_each_way_out_of_each_state(manor: Cli, database: Database, operation: str, state: S) -> None:
    for action, leads_to in HANDLED.items():
        put(database, operation, state, mode="forward" if state in RUNS else "")
        possible = shown(manor, operation)[1]
        assert (action in possible) is (state is S.FAILED_TEMP)
        done = manor("op", action, operation, "--no-wait")
        if state is S.FAILED_TEMP:
            assert (done.code, f"{operation} {leads_to}" in done.out) == (0, True), done.err
            assert shown(manor, operation)[0]["operationState"] == leads_to
            assert manor("op", action, operation, "--no-wait").code == 2, "one error-handling action at a time"
        else:
            assert done.code == 2
            assert f"{action} is not possible in {state}: it takes an operation in FAILED_TEMP" in done.err
            assert shown(manor, operation)[0]["operationState"] == state


def test_the_list_names_what_an_update_was(manor: Cli, database: Database, operation: str) -> None:
    put(database, operation, S.COMPLETED, mode="")
    plan = Plan(operation=OperationKind.UPDATE, service_id="0a0b0c0d", service_name="demo", steps=())
    target = Target(ns_state=NsState.INSTANTIATED, desired=None, vnfs=())
    action = {"action": {"vnf": "web", "name": "rotate", "parameters": {}}}
    for params, name in (({"wishes": action}, "UPDATE action rotate of web"), ({"updateType": "X"}, "UPDATE X")):
        made = Operations(database, Queue()).submit(plan, target, params=params).id  # type: ignore[arg-type]
        assert name in manor.good("op", "list").out
        assert name in manor.good("op", "show", made).out
        put(database, made, S.COMPLETED, mode="")


@pytest.mark.parametrize("state", list(S))
def test_a_cancel_of_each_state(manor: Cli, database: Database, operation: str, state: S) -> None:
    for mode in ("GRACEFUL", "FORCEFUL"):
        put(database, operation, state, mode="forward" if state in RUNS else "")
        assert ("cancel" in shown(manor, operation)[1]) is (state in RUNS)
        done = manor("op", "cancel", operation, "--mode", mode)
        of_service = shown(manor, operation)[0]
        (of_vnf,) = manor.good("--json", "vnf", "operations", "demo").json
        assert of_service["operationState"] == state
        assert of_vnf["operationState"] == ("FAILED" if state is S.PARTIALLY_COMPLETED else state)
        for occurrence in (of_service, of_vnf):
            assert occurrence["isCancelPending"] is (state in RUNS)
            assert occurrence.get("cancelMode") == (mode if state in RUNS else None)
        if state in RUNS:
            assert done.code == 0
        else:
            assert done.code == 2
            assert f"cancel is not possible in {state}: it takes an operation in PROCESSING or ROLLING_BACK" in done.err
            assert f"hint: manor op show {operation}" in done.err
