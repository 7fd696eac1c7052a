"""One figure: what was measured, in which unit, and whether it is as good as it has to be."""

import json
import subprocess
import time
from collections.abc import Mapping, Sequence


def report(name: str, value: float, unit: str, target: float | None, **more: object) -> None:
    """One JSON line on stdout. ``target`` is the most that is allowed; None where there is no bound."""
    met = None if target is None else value <= target
    print(json.dumps({"name": name, "value": round(value, 4), "unit": unit, "target": target, "met": met, **more}))


def fastest_s(argv: Sequence[str], *, runs: int = 7, env: Mapping[str, str] | None = None) -> float:
    """Least wall time of a command over several runs after a warm-up, in seconds: the machine's noise only adds."""
    times = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        done = subprocess.run(argv, capture_output=True, env=env, check=False)
        times.append(time.perf_counter() - began)
        if done.returncode:
            raise SystemExit(f"{argv[0]} exited {done.returncode}: {done.stderr.decode()[-500:]}")
    return min(times[1:])
