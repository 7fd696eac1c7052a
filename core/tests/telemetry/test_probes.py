"""Loss and latency of a chain from what became of its probes."""

from dataclasses import dataclass, field

from manor.telemetry.families import family_of
from manor.telemetry.kpis import unit_of
from manor.telemetry.probes import probe_kpis


@dataclass
class Hop:
    name: str
    latency_s: float | None
    is_fault: bool = False


@dataclass
class Way:
    ok: bool
    hops: list[Hop] = field(default_factory=list)


def test_a_chain_has_the_loss_of_its_ways_and_the_latency_of_its_functions() -> None:
    there = Way(True, [Hop("client", None), Hop("firewall", 0.002), Hop("web", 0.001)])
    back = Way(False, [Hop("web", None), Hop("firewall", None)])
    found = probe_kpis([there, back])
    assert found == {
        "probe_loss": 50.0, "probe_latency": 0.003, "probe_latency:firewall": 0.002, "probe_latency:web": 0.001,
    }  # fmt: skip
    assert probe_kpis([back]) == {"probe_loss": 100.0}, "a latency that was not measured is missing"
    assert probe_kpis([]) == {}
    stopped = Way(False, [Hop("client", None), Hop("firewall", None, is_fault=True), Hop("web", None)])
    assert probe_kpis([there, stopped])["probe_loss:firewall"] == 50.0, "where it stopped is told"
    assert [unit_of(kpi) for kpi in ("probe_loss", "probe_latency:fw")] == ["%", "s"]
    assert family_of("probe_latency:fw") == ("manor_probe_latency_seconds", 1.0)
