"""What a driver in a process of its own costs: to start it, and each call, beside the same driver in core's process."""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from figure import report

from manor.api import CallContext, DriverEnvironment, NodeSpec, Query, Vim
from manor.plugin import Plugins, PluginSettings, unguarded

CALLS = 300


def main() -> None:
    """Three figures."""
    with tempfile.TemporaryDirectory() as place:
        here = Path(place)
        environment = DriverEnvironment(name="bench", owner="manor/bench", state_dir=here, runtime_dir=here)
        settings = PluginSettings(isolate=frozenset({"manor.fakes.plugin"}))
        plain = Plugins(entry_points=False, settings=PluginSettings()).connect_vim(
            "fake", {"state_file": ""}, environment
        )
        starts, cpu = [], []
        for _ in range(5):
            plugins = Plugins(entry_points=False, settings=settings)
            plugins.load()
            started_s = time.perf_counter()
            isolated = plugins.connect_vim("fake", {"state_file": ""}, environment)
            starts.append(time.perf_counter() - started_s)
            cpu.append(_cpu_s(unguarded(isolated).pid))
            if len(starts) < 5:
                isolated.close()
        rss_bytes = _rss_bytes(unguarded(isolated).pid)
        per_call = {name: _each_s(vim) for name, vim in (("plain", plain), ("isolated", isolated))}
        isolated.close()
    more_s = per_call["isolated"] - per_call["plain"]
    report("isolated-plugin-start", min(starts), "s", None, cpu_s=round(min(cpu), 2))
    report("isolated-plugin-call", more_s, "s", None, plain_s=round(per_call["plain"], 5))
    report("isolated-plugin-memory", rss_bytes / (1 << 20), "MiB", None)


def _each_s(vim: Vim) -> float:
    ctx = CallContext.within(60)

    def work(at: int) -> None:
        spec = NodeSpec(key=f"n{at % 3}", owner="manor/bench", host="host-1", name="n", vcpus=1, memory_bytes=1 << 26)
        vim.ensure(spec, ctx)
        vim.observe(Query(owner="manor/bench", keys=frozenset({spec.key})), ctx)

    return _least_s(work) / 2


def _least_s(work: Callable[[int], None]) -> float:
    taken = []
    for at in range(CALLS):
        started_s = time.perf_counter()
        work(at)
        taken.append(time.perf_counter() - started_s)
    return min(taken)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096


if __name__ == "__main__":
    main()
