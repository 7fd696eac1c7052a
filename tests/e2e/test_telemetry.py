"""Every source of KPIs on a real host: hypervisor, guests, switches, probes and a VNF's own indicators, under serve."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from manor.testing.ports import free_port

pytestmark = [pytest.mark.real, pytest.mark.slow]
PATIENCE_S = 120.0
PAGE = '# TYPE fw_sessions gauge\\nfw_sessions{zone="lan"} 7\\n# TYPE fw_hits_total counter\\nfw_hits_total 3\\n'


def declare(site: Any, vnf: str, indicators: dict[str, list[str]]) -> None:
    """As if the VNFD had these indicators with their commands."""
    from sqlalchemy import update

    from manor.lcm.runtime import open_runtime
    from manor.store.tables import PackageRow

    (package,) = [one for one in site.ask("package", "list") if one["name"].lower().startswith(f"demo {vnf}")]
    table = PackageRow.__table__  # type: ignore[attr-defined]
    with open_runtime(site.home) as rt, rt.store.begin() as tx:
        row = tx.execute(table.select().where(table.c.id == package["id"])).mappings().one()
        told = [{"id": name, "name": name, "source": "VNF", "command": argv} for name, argv in indicators.items()]
        tx.execute(
            update(table)
            .where(table.c.id == package["id"])
            .values(descriptor={**row["descriptor"], "indicators": told})
        )


def until(found: Callable[[], Any], what: object) -> Any:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        value = found()
        if value:
            return value
        time.sleep(0.5)
    raise AssertionError(f"not within {PATIENCE_S:g} s: {what}")


@pytest.fixture(scope="module")
def served(site: Any, packages: Path) -> Iterator[tuple[Any, str]]:
    """The demo service under `manor serve`, and where its metrics are."""
    site.manor("package", "onboard", *map(str, sorted((packages / "secure-web").glob("*.csar"))))
    site.manor("ns", "create", "secure-web", "--name", "shop")
    declare(
        site,
        "firewall",
        {"entropy": ["cat", "/proc/sys/kernel/random/entropy_avail"], "own": ["busybox", "printf", PAGE]},
    )
    site.manor("ns", "instantiate", "shop", "--yes")
    (site.home / "assurance.yaml").write_text("{collect_s: 1, guest_s: 2, probe_s: 3, detector: ''}\n")
    port = free_port()
    with (site.home / "serve.log").open("wb") as log:
        server = subprocess.Popen(
            [str(Path(sys.executable).parent / "manor"), "serve", "--metrics", str(port)],
            env=site.env, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield site, f"http://127.0.0.1:{port}/metrics"
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(180) == 0, (site.home / "serve.log").read_text()[-3000:]


def test_all_sources_of_a_service_become_kpis(served: tuple[Any, str]) -> None:
    site, url = served
    names = until(lambda: {one["name"]: one for one in site.ask("kpi", "list")}, "something measured")
    of_hypervisor = {"v_cpu_usage_mean_vnf", "v_memory_usage_mean_vnf", "packet_incoming_vnf_ext_cp:in"}
    of_indicators = {"entropy", "own/fw_sessions,zone=lan", "own/fw_hits_total"}
    need = {*of_hypervisor, "v_guest_load", *(f"vnf_indicator:{name}" for name in of_indicators)}

    def kpis(name: str) -> dict[str, Any]:
        return dict(site.ask("kpi", "show", name, "--since", "10m")["kpis"])

    firewall = next(name for name, one in names.items() if one["labels"].get("vnf") == "firewall")
    missing: set[str] = set()

    def complete() -> dict[str, Any] | None:
        now = kpis(firewall)
        missing.clear()
        missing.update(need - now.keys())
        return None if missing else now

    found = until(complete, missing)
    assert 0 < found["v_memory_usage_mean_vnf"]["last"] < 100
    assert found["vnf_indicator:own/fw_sessions,zone=lan"]["last"] == 7.0
    assert found["vnf_indicator:own/fw_hits_total"]["last"] == 0.0, "a counter is a rate"

    chain = next(name for name, one in until(lambda: _by_kind(site, "chain"), "a chain").items())
    functions = [f"{vnf}-{vnf}-0:{side}" for vnf in ("firewall", "monitor") for side in ("in", "out")]
    counted = {f"packet_{way}:{function}" for way in ("incoming", "outgoing") for function in functions}

    def passed() -> dict[str, Any] | None:
        """What was probed, once all came through: a machine that is too busy may lose one to the clock."""
        now = kpis(chain)
        missing.clear()
        missing.update({*counted, "probe_latency"} - now.keys())
        return now if not missing and now["probe_loss"]["last"] == 0.0 else None

    probed = until(passed, ("probes of the chain, none lost; packets into and out of each function", missing))
    assert 0 < probed["probe_latency"]["last"] < 5

    def exported() -> bytes | None:
        """All of it at once, which of a guest that is busy is a word that grows old soon."""
        with urlopen(url, timeout=60) as answer:
            page: bytes = answer.read()
        return page if b'manor_vnf_indicator{chain="",link="",part="entropy",service="shop"' in page else None

    page = until(exported, "the indicator is exported")
    if shutil.which("promtool"):
        checked = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, check=False)
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
    targets = json.loads(site.manor("metrics", "sd", "--exporter", "9100"))
    assert {one["labels"]["job"] for one in targets} == {"manor", "vnf"}
    assert "probe_latency" in site.manor("kpi", "plot", chain, "--kpi", "probe_latency", "--since", "10m")


def _by_kind(site: Any, kind: str) -> dict[str, Any]:
    return {one["name"]: one for one in site.ask("kpi", "list") if one["kind"] == kind}
