"""Two nodes on one PostgreSQL write at the same moment: each in turn, or one is refused in words.

One transaction is held open, the other brought to where it waits for the first, then the first goes on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Connection, text

from manor.api import HealAction, PerceivedSeverity
from manor.assure.alarming import Alarming
from manor.assure.raising import Changes
from manor.errors import UsageError
from manor.model.alarm import AlarmRecord, EventType, FaultyResourceType, Outcome, Ruling
from manor.model.instance import (
    Endpoint,
    EndpointKind,
    NsInstance,
    NsState,
    PackageInfo,
    PackageKind,
    UsageState,
    VnfInstance,
)
from manor.store import alarms, endpoints, instances, notifications, packages, rows
from manor.store.database import Database

pytestmark = [pytest.mark.real, pytest.mark.slow]

Deed = Callable[[Connection], Any]
_PATIENCE_S = 60.0


@pytest.fixture
def database(new_postgresql: str) -> Iterator[Database]:
    opened = Database.open(new_postgresql)
    yield opened
    opened.close()


def race(database: Database, first: Deed, other: Deed, then: Deed = lambda _tx: None) -> Any:
    """``first`` and ``then`` in one transaction, with ``other`` begun between them in another; what the other gave."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            with database.begin() as tx:
                outcome.append(other(tx))
        except Exception as error:  # the test looks at it
            outcome.append(error)

    thread = threading.Thread(target=run)
    with database.begin() as tx:
        first(tx)
        thread.start()
        until = time.monotonic() + _PATIENCE_S
        while not outcome and not _waits(database):
            assert time.monotonic() < until
            time.sleep(0.01)
        then(tx)
    thread.join(_PATIENCE_S)
    (found,) = outcome
    return found


def _waits(database: Database) -> bool:
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with database.read() as tx:
        return bool(tx.execute(text(query)).scalar())


def ns(number: int = 1, name: str = "") -> NsInstance:
    return NsInstance(id=f"{number:08x}", name=name or f"svc-{number}", nsd_id="n", nsd_package="pkg-n", flavour_id="f")


def vnf(number: int) -> VnfInstance:
    return VnfInstance(
        id=f"{number:08x}/vnf/v",
        name="v",
        ns_id=f"{number:08x}",
        profile_id="p",
        index=0,
        vnfd_id="fw",
        flavour_id="f",
        vnfm="generic",
    )


def package(kind: PackageKind, descriptor_id: str) -> PackageInfo:
    return PackageInfo(
        id=f"pkg-{descriptor_id}", kind=kind, descriptor_id=descriptor_id, name=descriptor_id, content_sha256="c"
    )


def test_who_notifies_and_then_writes_meets_who_wrote_and_then_notifies(database: Database) -> None:
    with database.begin() as tx:
        instances.add(tx, ns(1))

    def change(tx: Connection) -> None:
        instances.set_parameters(tx, ns(1).id, {"a": 1})

    def tell(tx: Connection) -> None:
        instances.add(tx, ns(2))

    def tell_and_change(tx: Connection) -> None:
        instances.add(tx, ns(3))
        change(tx)

    assert race(database, change, tell_and_change, tell) is None
    with database.read() as tx:
        told = notifications.after(tx, 0)
        assert len(instances.all_of(tx)) == 3
    assert [one.seq for one in told] == sorted(one.seq for one in told)
    assert {one.ns_id for one in told} == {ns(1).id, ns(2).id, ns(3).id}


def test_one_name_is_given_once(database: Database) -> None:
    refused = race(database, lambda tx: instances.add(tx, ns(1, "web")), lambda tx: instances.add(tx, ns(2, "web")))
    assert isinstance(refused, UsageError)
    assert "a service named web is there already" in refused.message
    lab = Endpoint(kind=EndpointKind.VIM, name="lab", driver="fake")
    refused = race(database, lambda tx: endpoints.add(tx, lab), lambda tx: endpoints.add(tx, lab))
    assert isinstance(refused, UsageError)
    one = package(PackageKind.VNF, "fw")
    refused = race(
        database,
        lambda tx: packages.add(tx, one, descriptor={}),
        lambda tx: packages.add(tx, one, descriptor={}),
    )
    assert isinstance(refused, UsageError)


def test_what_both_allow_is_allowed(database: Database) -> None:
    def allow(what: str, allowed: bool = True) -> Deed:
        return lambda tx: packages.allow_playbooks(tx, what, allowed=allowed)

    assert race(database, allow("a"), allow("b")) is None
    assert race(database, allow("c"), allow("a", False)) is None
    with database.read() as tx:
        assert packages.playbooks_allowed(tx) == {"b", "c"}


def test_what_both_remember_is_one_of_the_two(database: Database) -> None:
    keepers = [threading.Thread(target=database.keep_fact, args=("f", str(n))) for n in range(8)]
    for thread in keepers:
        thread.start()
    for thread in keepers:
        thread.join(_PATIENCE_S)
    assert database.fact("f") in set("01234567")


def has(number: int, *vnfs: VnfInstance) -> Deed:
    """Make these the VNFs of a service."""
    return lambda tx: instances.become(
        tx, ns(number).id, NsState.INSTANTIATED, None, [rows.vnf_values(one) for one in vnfs]
    )


def test_a_package_in_use_says_so_whoever_let_go_of_it_just_then(database: Database) -> None:
    with database.begin() as tx:
        packages.add(tx, package(PackageKind.VNF, "fw"), descriptor={})
        instances.add(tx, ns(1))
        instances.add(tx, ns(2))
        has(1, vnf(1))(tx)
    race(database, has(1), has(2, vnf(2)))
    with database.read() as tx:
        assert packages.get(tx, "fw").usage_state is UsageState.IN_USE


def test_a_service_is_not_made_of_a_package_that_is_being_let_go_of(database: Database) -> None:
    with database.begin() as tx:
        packages.add(tx, package(PackageKind.NS, "n"), descriptor={})

    def let_go(tx: Connection) -> None:
        info = packages.get(tx, "n", hold=True)
        assert not packages.used_by(tx, info)

    def create(tx: Connection) -> None:
        packages.get(tx, "n", kind=PackageKind.NS, hold=True)
        instances.add(tx, ns(1))

    refused = race(database, let_go, create, lambda tx: packages.remove(tx, "pkg-n"))
    assert isinstance(refused, UsageError)
    assert "'n'" in refused.message


ALARM = AlarmRecord(
    id="aa11",
    ns_id=ns().id,
    managed_object_id=vnf(1).id,
    resource_key=f"{vnf(1).id}/main-0",
    faulty_resource_type=FaultyResourceType.COMPUTE,
    perceived_severity=PerceivedSeverity.CRITICAL,
    event_type=EventType.PROCESSING_ERROR_ALARM,
    probable_cause="node-absent",
    alarm_raised_time_s=100.0,
)
CLEARED = replace(ALARM, alarm_cleared_time_s=110.0)
HANDED_OVER = Ruling(
    id="r1",
    alarm_id=ALARM.id,
    ns_id=ALARM.ns_id,
    resource_key=ALARM.resource_key,
    time_s=101.0,
    action=HealAction.RESTART,
    outcome=Outcome.ESCALATED,
    reason="tried in vain",
)


def keep(database: Database, changes: Changes) -> Deed:
    """What the loop does with what a round changes."""
    plugins = SimpleNamespace(emit_alarm_event=lambda _event: None)
    alarming: Any = Alarming(SimpleNamespace(store=database, plugins=plugins))  # type: ignore[arg-type]
    return lambda _tx: alarming._keep(changes)


def test_an_alarm_that_clears_while_it_is_handed_to_a_person_is_both(database: Database) -> None:
    handed_over: Deed = lambda tx: alarms.add_ruling(tx, HANDED_OVER)  # noqa: E731
    with database.begin() as tx:
        alarms.add(tx, ALARM)
    assert race(database, lambda tx: alarms.save(tx, CLEARED), handed_over).escalated == "tried in vain"
    with database.begin() as tx:
        assert alarms.active(tx) == ()
        assert alarms.get(tx, ALARM.id).escalated == "tried in vain"
        alarms.add(tx, other := replace(ALARM, id="bb22"))
    handed_over = lambda tx: alarms.add_ruling(tx, replace(HANDED_OVER, id="r2", alarm_id=other.id))  # noqa: E731
    clears = keep(database, Changes(cleared=(replace(other, alarm_cleared_time_s=120.0),)))
    assert race(database, handed_over, clears) is None
    with database.read() as tx:
        now = alarms.get(tx, other.id)
    assert (now.alarm_cleared_time_s, now.escalated) == (120.0, "tried in vain")


def test_an_alarm_that_another_process_cleared_is_not_active_again(database: Database) -> None:
    with database.begin() as tx:
        alarms.add(tx, ALARM)
    worse = Changes(changed=(replace(ALARM, fault_details=("it is still not there",)),))
    assert race(database, lambda tx: alarms.save(tx, CLEARED), keep(database, worse)) is None
    with database.read() as tx:
        assert alarms.active(tx) == ()
