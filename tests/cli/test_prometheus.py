"""Debian's Prometheus scrapes a real `manor serve`, and `manor kpi` reads the history from it."""

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from shell import Cli

from manor.testing.ports import free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="no prometheus: apt-get install prometheus"),
]
_PATIENCE_S = 90.0


def until(done: Callable[[], object], what: str) -> object:
    """What ``done`` gives, once it gives something."""
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        try:
            found = done()
        except OSError:
            found = None
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"not within {_PATIENCE_S:g} s: {what}")


@pytest.fixture
def scraped(site: Cli, tmp_path: Path) -> Iterator[str]:
    """A service under `manor serve`, and a Prometheus that found it by the file that Manor wrote; its URL."""
    site.good("ns", "create", "secure-web", "--name", "web")
    site.good("ns", "instantiate", "web", "--yes")
    port, own = free_port(), free_port()
    url = f"http://127.0.0.1:{own}"
    (site.home / "assurance.yaml").write_text(f"collect_s: 0.5\ndetector: ''\nprometheus: {url}\n")
    site.good("metrics", "sd", "--listen", f"127.0.0.1:{port}", "-o", str(tmp_path / "targets.json"))
    (tmp_path / "rules.yml").write_text(site.good("metrics", "rules").out)
    (tmp_path / "prometheus.yml").write_text(
        json.dumps(
            {
                "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
                "rule_files": ["rules.yml"],
                "scrape_configs": [{"job_name": "found", "file_sd_configs": [{"files": ["targets.json"]}]}],
            }
        )
    )
    server = site.process("serve", "--metrics", str(port))
    flags = ("--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", f"--web.listen-address=127.0.0.1:{own}")
    with (tmp_path / "prometheus.log").open("wb") as log:
        prometheus = subprocess.Popen(["prometheus", *flags], cwd=tmp_path, stdout=log, stderr=log)
    try:
        yield url
    finally:
        for process in (prometheus, server):
            process.send_signal(signal.SIGTERM)
        prometheus.wait(_PATIENCE_S)
        _, said = server.communicate(timeout=_PATIENCE_S)
        assert server.returncode == 0, said


def ask(url: str, query: str) -> list[dict[str, object]]:
    with urlopen(f"{url}/api/v1/query?{urlencode({'query': query})}", timeout=_PATIENCE_S) as answer:
        document = json.load(answer)
    assert document["status"] == "success", document
    return document["data"]["result"]


def test_history_is_read_from_a_prometheus_that_scrapes_us(site: Cli, scraped: str) -> None:
    until(lambda: len(site("--json", "kpi", "list").json or []) >= 4, "four machines in Prometheus")
    listed = {one["name"]: one["kind"] for one in site.good("--json", "kpi", "list", "web").json}
    assert {"vnfc", "link", "chain"} == set(listed.values())
    machine = next(name for name, kind in listed.items() if kind == "vnfc" and "firewall" in name)

    def shown() -> object:
        found = site("--json", "kpi", "show", machine, "--since", "5m").json
        course = (found or {}).get("values", {}).get("v_cpu_usage_mean_vnf", [])
        return found if len([value for value in course if value is not None]) >= 1 else None

    found = until(shown, "a value of the CPU")
    assert isinstance(found, dict)
    assert found["kpis"]["v_cpu_usage_mean_vnf"] == {"unit": "%", "last": 1.0}, "in the KPI's own unit again"
    assert found["kpis"]["v_memory_usage_mean_vnf"]["last"] == pytest.approx(20.0)
    plotted = site.good("--json", "kpi", "plot", machine, "--since", "5m").json
    assert "v_cpu_usage_mean_vnf" in plotted["drawing"]
    assert plotted["resource_key"].endswith("/firewall-0"), "the alarms of the machine itself are shaded"
    assert "v_cpu_usage_mean_vnf" in site.good("kpi", "export", machine, "--since", "5m").out
    assert not (site.home / "history.db").exists(), "what Prometheus keeps is not kept twice"
    assert ask(scraped, 'manor_services{state="INSTANTIATED"}')[0]["value"][1] == "1"  # type: ignore[index]

    # Every expression of the dashboards and rules is one that a real server takes.
    shipped = files("manor.telemetry") / "shipped"
    boards = [json.loads(item.read_text(encoding="utf-8")) for item in shipped.iterdir() if item.name.endswith(".json")]
    exprs = [target["expr"] for board in boards for panel in board["panels"] for target in panel["targets"]]
    assert len(exprs) > 20
    for expr in exprs:
        ask(scraped, expr.replace("$service", ".*").replace("$vnf", ".*"))
    with urlopen(f"{scraped}/api/v1/rules", timeout=_PATIENCE_S) as answer:
        groups = json.load(answer)["data"]["groups"]
    until(lambda: all(rule["health"] != "err" for group in groups for rule in group["rules"]), "healthy rules")


def test_a_prometheus_that_is_away_is_named(site: Cli) -> None:
    port = free_port()
    site.home.mkdir(parents=True, exist_ok=True)
    (site.home / "assurance.yaml").write_text(f"prometheus: http://127.0.0.1:{port}\n")
    done = site("kpi", "list")
    assert done.code != 0
    assert f"Prometheus at http://127.0.0.1:{port} cannot be asked" in done.err
    (site.home / "assurance.yaml").write_text("prometheus: file:///etc/passwd\n")
    assert site("kpi", "list").code == 2
