"""A page of 50 out of 50,000 services, from a cold process."""

import os
import sys
import tempfile
from pathlib import Path

from figure import fastest_s, report

MANOR = str(Path(sys.executable).parent / "manor")
SERVICES = 50_000


def main() -> None:
    """Wall time of the first page and of one from the middle."""
    from sqlalchemy import insert

    from manor.model.instance import NsInstance, NsState
    from manor.store.database import Database
    from manor.store.instances import _NS
    from manor.store.rows import ns_values

    with tempfile.TemporaryDirectory() as home:
        database = Database.open(Path(home) / "manor.db")
        with database.begin() as tx:
            tx.execute(
                insert(_NS),
                [
                    ns_values(
                        NsInstance(
                            id=f"{n:08x}",
                            name=f"service-{n:05d}",
                            nsd_id="nsd",
                            nsd_package="p",
                            flavour_id="default",
                            state=NsState.INSTANTIATED,
                            created_s=1.8e9 + n,
                        )
                    )
                    for n in range(SERVICES)
                ],
            )
        database.close()
        env = {**os.environ, "MANOR_HOME": home}
        took = fastest_s([MANOR, "ns", "list", "--limit", "50"], env=env)
        report("list-50k", took, "s", 0.5, services=SERVICES)
