"""A database of 50,000 services copied while it is written, and restored."""

import os
import sys
import tempfile
import threading
import time
from pathlib import Path

from figure import fastest_s, report

MANOR = str(Path(sys.executable).parent / "manor")
SERVICES = 50_000


def main() -> None:
    """Wall time of `manor db backup` and `restore`, and how long a commit beside the copying took at most."""
    from sqlalchemy import insert

    from manor.model.instance import NsInstance
    from manor.store.backup import backup, restore
    from manor.store.database import Database
    from manor.store.instances import _NS
    from manor.store.rows import ns_values

    with tempfile.TemporaryDirectory() as place:
        home, copy = Path(place) / "home", Path(place) / "copy.db"
        with Database.open(home / "manor.db") as database:
            names = {"nsd_id": "nsd", "nsd_package": "p", "flavour_id": "default"}
            many = (NsInstance(id=f"{n:08x}", name=f"service-{n:05d}", **names) for n in range(SERVICES))
            with database.begin() as tx:
                tx.execute(insert(_NS), [ns_values(ns) for ns in many])
            copied, waited = threading.Event(), [0.0]

            def write() -> None:
                while not copied.is_set():
                    began_s = time.monotonic()
                    database.keep_fact("benchmark", str(began_s))
                    waited.append(time.monotonic() - began_s)

            writer = threading.Thread(target=write)
            writer.start()
            try:
                began_s = time.monotonic()
                size = backup(str(home / "manor.db"), copy)
                took = time.monotonic() - began_s
            finally:
                copied.set()
                writer.join()
        shared = {"services": SERVICES, "bytes": size}
        report("db-backup", took, "s", None, longest_commit_meanwhile_s=round(max(waited), 3), **shared)
        env = {**os.environ, "MANOR_HOME": str(home)}
        whole = fastest_s([MANOR, "db", "backup", "--force", str(copy)], runs=3, env=env)
        report("db-backup-command", whole, "s", None, **shared)
        began_s = time.monotonic()
        restore(str(Path(place) / "new" / "manor.db"), copy)
        report("db-restore", time.monotonic() - began_s, "s", None, **shared)
