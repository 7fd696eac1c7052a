"""What telemetry costs with 1,000 machines: collected, made into KPIs, kept and exported, as CPU a machine and period.

libvirt's own in-memory hypervisor (``test:///``) is asked in bulk as a host is. It knows a domain's state only, so
each record is completed with the counters that QEMU would give for two ports and one disk. Steps of a period are timed
apart; the history is on disk, is tidied as in ``serve``, and Prometheus scrapes once in three periods (15 s).
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from figure import report

MACHINES, PERIODS, WARM, PERIOD_S = 1000, 24, 3, 5.0
DOMAIN = """<domain type='test'><name>vm{0}</name><memory unit='MiB'>256</memory><vcpu>1</vcpu>
<os><type>hvm</type></os></domain>"""


def main() -> None:
    """CPU a machine and period, the part of one core, and the ratio to the bare bulk call."""
    import libvirt
    from prometheus_client import CollectorRegistry, generate_latest

    from manor.store.history import History
    from manor.telemetry.families import AssuranceFigures, Assured
    from manor.telemetry.kpis import KpiRow, Subject, kpi_rows
    from manor.telemetry.rates import Rates
    from manor_vim_libvirt.metering import read_samples, stats_flags

    spent: dict[str, float] = {}

    def timed(step: str, work: Callable[[], Any], count: bool) -> Any:
        began = time.process_time()
        result = work()
        if count:
            spent[step] = spent.get(step, 0.0) + time.process_time() - began
        return result

    host = libvirt.open("test:///default")
    for number in range(MACHINES):
        host.createXML(DOMAIN.format(number), 0)
    keys = {d.UUIDString(): f"0a0b0c0d/vnf/vm{n}/main-0" for n, d in enumerate(host.listAllDomains()) if d.ID() > 1}
    subjects = [_subject(Subject, key) for key in keys.values()]
    rates, newest = Rates(), tuple[KpiRow, ...]()
    registry = CollectorRegistry()
    registry.register(Assured(lambda: AssuranceFigures(rows=newest)))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "history.db"
        history = History.open(path)
        values = 0
        for period in range(WARM + PERIODS):
            count = period >= WARM
            now_s = 1_700_000_000.0 + period * PERIOD_S
            found = timed("bare", lambda: host.getAllDomainStats(stats_flags(), 0), count)
            answers = [(domain, stats | _counters(n, now_s)) for n, (domain, stats) in enumerate(found)]

            def sampled(answers: Any = answers, now_s: float = now_s) -> list[Any]:
                out: list[Any] = []
                for domain, stats in answers:
                    key = keys.get(domain.UUIDString())
                    if key is not None:
                        out += read_samples(key, stats, {"host": "h"}, now_s=now_s)
                return out

            samples = timed("samples", sampled, count)
            rows = timed("kpis", lambda samples=samples: kpi_rows(subjects, samples, rates), count)
            newest = tuple(rows)
            kept = [(r.subject.key, r.subject.kind, r.subject.labels, r.time_s, r.values) for r in rows]
            values += timed("keep", lambda kept=kept: history.add(kept), count)
            if period % 12 == 11:
                timed("tidy", lambda now_s=now_s: history.tidy(now_s), count)
            if period % 3 == 2:
                timed("export", lambda: generate_latest(registry), count)
        history.close()
        size = path.stat().st_size
    machine_s = sum(spent.values()) / PERIODS / MACHINES
    report(
        "telemetry-1000",
        100 * machine_s * MACHINES / PERIOD_S,
        "% of a core",
        50.0,
        cpu_us_a_machine=round(1e6 * machine_s, 1),
        ratio_to_bare=round(sum(spent.values()) / spent["bare"], 1),
        values_a_machine=len(newest[0].values),
        bytes_a_value=round(size / values, 2),
        **{f"{step}_us": round(1e6 * s / PERIODS / MACHINES, 1) for step, s in spent.items()},
    )


def _subject(make: Any, key: str) -> Any:
    vnf, _, machine = key.removeprefix("0a0b0c0d/vnf/").partition("/")
    number = vnf.removeprefix("vm")
    return make(
        key=key,
        kind="vnfc",
        labels={"service": "bench", "vnf": vnf, "vnfc": machine, "vdu": "main"},
        group=key.rpartition("/")[0],
        vcpus=1,
        memory_bytes=256 << 20,
        parts={f"m{number}a": "in", f"m{number}b": "out"},
    )


def _counters(number: int, now_s: float) -> dict[str, Any]:
    """As QEMU answers for a machine with two ports and one disk; ``number`` is the place in libvirt's answer."""
    ticks = int((now_s - 1_699_990_000.0) * 1e6)
    stats: dict[str, Any] = {
        "cpu.time": ticks * 300, "cpu.user": ticks * 100, "cpu.system": ticks * 50,
        "vcpu.current": 1, "vcpu.maximum": 1, "balloon.current": 262144, "balloon.maximum": 262144,
        "balloon.rss": 180000 + number, "balloon.unused": 100000, "balloon.usable": 120000 - ticks % 1000,
        "net.count": 2, "block.count": 1, "block.0.name": "vda",
    }  # fmt: skip
    for port, device in enumerate((f"m{number}a", f"m{number}b")):
        stats |= {f"net.{port}.{field}": ticks // 7 for field in ("rx.bytes", "tx.bytes", "rx.pkts", "tx.pkts")}
        stats |= {f"net.{port}.name": device, f"net.{port}.rx.drop": 0, f"net.{port}.tx.drop": 0}
    return stats | {f"block.0.{field}": ticks // 9 for field in ("rd.bytes", "wr.bytes", "rd.reqs", "wr.reqs")}


if __name__ == "__main__":
    main()
