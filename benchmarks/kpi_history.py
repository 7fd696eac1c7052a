"""What the history of KPIs costs on disk and in writing: 20 machines of 20 KPIs every 5 s, with its housekeeping.

Half a day, so that the finest level (three hours) and the minutes above it are both full; SQLite in WAL on disk.
"""

import random
import tempfile
import time
from pathlib import Path

from figure import report

MACHINES, KPIS, HOURS, PERIOD_S = 20, 20, 12, 5.0


def main() -> None:
    """Bytes a value as measured, bytes a machine with all that is kept, CPU a value written and kept tidy."""
    from manor.store.history import History

    chance = random.Random(1)
    names = [f"kpi_{n}" for n in range(KPIS)]
    level = {name: chance.uniform(0, 1e6) for name in names}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "history.db"
        history = History.open(path)
        writing = tidying = 0.0
        values, raw_bytes = 0, 0.0
        start_s = 1_700_000_000.0 // 900 * 900
        for period in range(int(HOURS * 3600 / PERIOD_S)):
            now_s = start_s + period * PERIOD_S
            rows = []
            for machine in range(MACHINES):
                found = {name: level[name] * chance.uniform(0.9, 1.1) for name in names}
                rows.append((f"s/vnf/vm{machine}/main-0", "vnfc", {"vnf": f"vm{machine}"}, now_s, found))
            began = time.process_time()
            values += history.add(rows)
            writing += time.process_time() - began
            if period == int(3600 / PERIOD_S):
                raw_bytes = _bytes(path) / values
            if period % 12 == 11:
                began = time.process_time()
                history.tidy(now_s)
                tidying += time.process_time() - began
        history.close()
        size = path.stat().st_size
    report(
        "kpi-history",
        raw_bytes,
        "bytes a value, as measured",
        8.0,
        bytes_a_machine=round(size / MACHINES),
        bytes_a_value_written=round(size / values, 2),
        write_us_a_value=round(1e6 * writing / values, 2),
        tidy_us_a_value=round(1e6 * tidying / values, 2),
        machines=MACHINES,
        kpis=KPIS,
        hours=HOURS,
    )


def _bytes(path: Path) -> int:
    """The file with what its log holds, put into it."""
    import sqlite3

    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path.stat().st_size


if __name__ == "__main__":
    main()
