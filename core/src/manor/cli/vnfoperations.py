"""``manor vnf operations``: what the operations on a service were to its VNFs, as ETSI's occurrences."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from manor.cli.find import complete_vnf, find_ns, find_vnf
from manor.cli.markers import when
from manor.cli.session import Session, new_app, session

if TYPE_CHECKING:
    from manor.model.vnfoperation import VnfLcmOpOcc

__all__ = ["app"]

app = new_app("What operations are to VNFs.")

_PAGE = 100


@app.command()
def operations(
    ctx: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            metavar="NS[/VNF]", help="Service, or one of its VNFs, also one that is gone.", autocompletion=complete_vnf
        ),
    ],
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 50,
) -> None:
    """List what operations were to VNFs, the newest first.

    The id begins with that of the service's operation, which is what `manor op` shows, retries and rolls back.
    """
    s = session(ctx)
    service, _, vnf = what.partition("/")
    vnf = vnf.removeprefix("vnf/")
    found = list(islice(_occurrences(s, find_ns(s, service).id, vnf), limit))
    if vnf and not found:
        find_vnf(s, what)  # says what it has, where it is no VNF
    rows = [
        (one.id, one.operation, one.state, when(one.start_s), when(one.state_entered_s), one.error) for one in found
    ]
    headers = ("id", "operation", "state", "started", "state since", "error")
    s.out.result(
        [one.document() for one in found],
        lambda: s.out.table(headers, rows, empty=f"nothing is known of operations on VNFs: manor op list {service}"),
    )


def _occurrences(s: Session, ns_id: str, vnf: str) -> Iterator[VnfLcmOpOcc]:
    from manor.model.vnfoperation import occurrences, recalled
    from manor.store import operations, reading

    marker = ""
    while True:
        page = reading.operations(s.url, limit=_PAGE, after=marker, ns_id=ns_id)
        for operation in page.items:
            theirs = operation.params.get("vnfs", {vnf: ""})  # what an older release accepted has to be looked into
            if not theirs or vnf not in ("", *theirs):
                continue
            with s.runtime.store.read() as tx:  # both as they are at one moment
                records = operations.steps(tx, operation.id)
                found = occurrences(recalled(operations.get(tx, operation.id), records), records)
            yield from (one for one in found if vnf in ("", one.id.partition("/")[2]))
        marker = page.next
        if not marker:
            return
