"""Guests are asked beside the loop: their word joins the machine's KPIs, grows old, and never holds up the rest."""

import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from assured_site import PATIENCE_S, Site, unguarded
from sqlalchemy import update

from manor.api import GuestResult
from manor.fakes import Fault
from manor.model.instance import PackageKind
from manor.store import packages
from manor.store.tables import PackageRow

pytestmark = pytest.mark.slow

Make = Callable[..., Site]


def declare(site: Site, vnf: str, indicator: str, *command: str) -> None:
    """As if the VNFD of this VNF had an indicator with a command."""
    with site.rt.store.begin() as tx:
        vnfd = next(
            check.view["vnfd_id"]
            for service in site.assurance._services.read()
            for check in service.desired.checks
            if check.kind == "vnf" and f"/{vnf}/" in "".join(check.nodes)
        )
        package = packages.by_descriptor(tx, PackageKind.VNF, vnfd)
        assert package is not None
        descriptor = dict(packages.descriptor(tx, package.id))
        descriptor["indicators"] = [{"id": indicator, "command": list(command)}]
        table = PackageRow.__table__  # type: ignore[attr-defined]
        tx.execute(update(table).where(table.c.id == package.id).values(descriptor=descriptor))


def test_the_word_of_a_guest_joins_its_machines_kpis_and_grows_old(make_site: Make) -> None:
    site = make_site()
    declare(site, "firewall", "sessions", "fw-sessions")
    said = {"cat": b"1.50 0.40 0.30 1/60 1234\n", "fw-sessions": b"42\n"}

    def script(_key: str, argv: Sequence[str], _stdin: bytes) -> GuestResult:
        return GuestResult(exit_code=0 if argv[0] in said else 127, stdout=said.get(argv[0], b""), stderr=b"")

    unguarded(site.rt.vim("lab"))._guest_script = script
    firewall, web = site.node("firewall"), site.node("web")
    for key in (firewall, web):
        site.world.metrics[key] = {"v_cpu_usage_mean": 10.0}
    measuring = site.assurance._measuring
    site.rounds(2, step_s=5, measure=True)
    measuring.guests.wait(PATIENCE_S)
    site.rounds(1, step_s=5, measure=True)
    assert measuring.rows[firewall].values["vnf_indicator:sessions"] == 42.0
    assert measuring.rows[firewall].values["v_guest_load"] == 1.5
    assert "vnf_indicator:sessions" not in measuring.rows[web].values
    site.world.inject(Fault(verb="samples", times=0))
    site.rounds(1, step_s=5, measure=True)
    assert measuring.rows[firewall].values["vnf_indicator:sessions"] == 42.0
    assert "v_cpu_usage_mean_vnf" not in measuring.rows[firewall].values, "the hypervisor says nothing"
    site.world.stop(web)
    site.rounds(2, step_s=5, measure=True)
    assert web not in measuring.rows, "a machine that is off has no word that is good still"
    site.world.heal()
    said.clear()
    for _ in range(9):
        site.rounds(1, step_s=5, measure=True)
        measuring.guests.wait(PATIENCE_S)
    assert set(measuring.rows[firewall].values) == {"v_cpu_usage_mean_vnf"}, "an old word is missing, not kept"


def test_a_guest_that_hangs_holds_up_nothing(make_site: Make) -> None:
    site = make_site()
    answer, asked = threading.Event(), threading.Event()

    def script(*_: Any) -> GuestResult:
        asked.set()
        answer.wait(2 * PATIENCE_S)
        return GuestResult(exit_code=0, stdout=b"", stderr=b"")

    unguarded(site.rt.vim("lab"))._guest_script = script
    firewall = site.node("firewall")
    site.world.metrics[firewall] = {"v_cpu_usage_mean": 10.0}
    site.rounds(3, step_s=20, measure=True)
    assert asked.wait(PATIENCE_S)
    assert site.assurance._measuring.rows[firewall].values == {"v_cpu_usage_mean_vnf": 10.0}
    answer.set()


def test_exporters_are_asked_over_the_network_only_where_the_operator_wants_it(
    make_site: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, object]] = []

    def scrape(address: str, place: object, **_: object) -> bytes:
        asked.append((address, place))
        return b"7\n"

    monkeypatch.setattr("manor.telemetry.guests.scrape", scrape)
    site = make_site()
    declare(site, "web", "sessions", "http://:9100/metrics")
    web = site.node("web")
    measuring = site.assurance._measuring

    def go() -> dict[str, float]:
        for _ in range(4):
            site.rounds(1, step_s=16, measure=True)
            measuring.guests.wait(PATIENCE_S)
        return dict(measuring.rows[web].values)

    assert "vnf_indicator:sessions" not in go()
    assert asked == []
    site.settings(detector="", scrape=True)
    assert go()["vnf_indicator:sessions"] == 7.0
    addresses = {address for address, _ in asked}
    (desired,) = [service.desired for service in site.assurance._services.read()]
    ports = [port for r in desired.resources if r.spec.key == web for port in r.spec.ports]  # type: ignore[union-attr]
    assert addresses == {ports[0].addresses[0].partition("/")[0]}


def test_counters_that_are_read_seldom_have_rates_too(make_site: Make) -> None:
    site = make_site(collect_s=120, guest_s=120)
    declare(site, "firewall", "hits", "fw-hits")
    hits = itertools.count(0, 1200)

    def script(_key: str, argv: Sequence[str], _stdin: bytes) -> GuestResult:
        said = b"# TYPE hits_total counter\nhits_total %d\n" % next(hits) if argv[0] == "fw-hits" else b""
        return GuestResult(exit_code=0, stdout=said, stderr=b"")

    unguarded(site.rt.vim("lab"))._guest_script = script
    measuring = site.assurance._measuring
    for _ in range(4):
        site.rounds(1, step_s=120, measure=True)
        measuring.guests.wait(PATIENCE_S)
    (chain,) = [row.values for row in measuring.rows.values() if row.subject.kind == "chain"]
    assert measuring.rows[site.node("firewall")].values["vnf_indicator:hits/hits_total"] == 10.0
    assert chain["packet_forwarded"] == 0.0


def test_an_indicator_that_falls_silent_is_told_and_heals_nothing(make_site: Make) -> None:
    """What is missing crosses no limit. Of an agent that says nothing at all it is told as the agent's silence."""
    site = make_site(guest_s=5, heartbeat_lost_s=20, clear_s=2)
    declare(site, "firewall", "sessions", "fw-sessions")
    said = {"cat": b"1.50 0.40 0.30 1/60 1234\n", "fw-sessions": b"42\n"}

    def script(_key: str, argv: Sequence[str], _stdin: bytes) -> GuestResult:
        return GuestResult(exit_code=0 if argv[0] in said else 127, stdout=said.get(argv[0], b""), stderr=b"")

    unguarded(site.rt.vim("lab"))._guest_script = script
    firewall = site.node("firewall")
    site.world.metrics[firewall] = {"v_cpu_usage_mean": 10.0}

    def go(rounds: int) -> list[tuple[str, str]]:
        for _ in range(rounds):
            site.rounds(1, step_s=5, measure=True)
            site.assurance._measuring.guests.wait(PATIENCE_S)
        return [alarm.fault for alarm in site.alarms()]

    assert go(3) == []
    sessions = said.pop("fw-sessions")
    assert go(2) == [], "a question or two may be lost"
    assert go(4) == [(firewall, "indicator-silent")]
    (alarm,) = site.alarms()
    assert alarm.fault_details[0].startswith("no value any more of sessions")
    said["fw-sessions"] = sessions
    assert go(3) == []
    site.world.inject(Fault(verb="guest_exec", times=0))
    assert go(10) == [], "that is the agent's silence"
    site.world.heal()
    assert go(2) == []
    assert site.operations() == []
