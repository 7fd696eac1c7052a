"""Thousands of random histories in one run, as ``python core/tests/lcm/many_histories.py --histories 10000 --seed 1``.

They are shared out, each share a process and a seed of its own: one that fails prints its shortest history, and
``--share N`` lives through that share alone again. What has come to its end is counted, and said as it goes.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Share", "main", "share"]

_EACH = 125
_STEPS = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """What became of the histories of one seed."""

    seed: int
    lived: int
    events: int
    digest: str
    cpu_s: float
    failure: str = ""


def share(seed: int, *, histories: int) -> Share:
    """Live through the histories of one seed, in this process."""
    from histories import live, staged

    said, failure, before_s = io.StringIO(), "", time.process_time()
    with staged() as lived:
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                live(histories, of=seed, steps=_STEPS)
        except Exception:  # whatever it is, it is what the run is for: told, and the other shares go on
            failure = f"{said.getvalue()}\n{traceback.format_exc()}"
        return Share(
            seed=seed,
            lived=lived.histories,
            events=lived.events,
            digest=lived.digest,
            cpu_s=time.process_time() - before_s,
            failure=failure,
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Live through them, print what came of it, and return the number of seeds that failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--histories", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1, help="share N has the seed 1000 * SEED + N")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--share", type=int, help="this one alone")
    asked = parser.parse_args(argv)
    sys.path.insert(0, str(Path(__file__).parents[1]))  # as the folder's conftest has it, where pytest runs this
    os.environ["PYTHONHASHSEED"] = "0"  # sets are walked in the same order, in every process and every time
    shares = range(-(-asked.histories // _EACH)) if asked.share is None else [asked.share]
    size = min(_EACH, asked.histories)
    done: list[Share] = []
    began_s = time.monotonic()
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(asked.processes, mp_context=spawn, max_tasks_per_child=1) as pool:
        futures = [pool.submit(share, 1000 * asked.seed + number, histories=size) for number in shares]
        for future in as_completed(futures):
            one = future.result()
            done.append(one)
            how = "FAILED" if one.failure else "ended well" if one.lived >= size else "ENDED EARLY"
            sys.stdout.write(
                f"{len(done)} of {len(futures)}: seed {one.seed}, {one.lived} histories, {one.events} events, "
                f"{one.cpu_s:.0f} s of CPU, {one.digest}, {how}\n{one.failure}"
            )
            sys.stdout.flush()
    failed = [one.seed for one in done if one.failure or one.lived < size]
    sys.stdout.write(
        f"{sum(one.lived for one in done)} histories, {sum(one.events for one in done)} events, "
        f"{sum(one.cpu_s for one in done):.0f} s of CPU, {time.monotonic() - began_s:.0f} s; "
        f"failed: {', '.join(map(str, sorted(failed))) or 'none'}\n"
    )
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
