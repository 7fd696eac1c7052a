"""``manor serve``: run the long-running process in the foreground, as systemd and containers want it."""

from __future__ import annotations

import logging
import signal
import threading
from typing import Annotated

import typer

from manor.cli.session import new_app, session
from manor.errors import UsageError

__all__ = ["app"]

app = new_app("Run the long-running process: operations, housekeeping.")


@app.command()
def serve(
    ctx: typer.Context,
    metrics: Annotated[
        str, typer.Option(metavar="[HOST:]PORT", help="Answer Prometheus here; host 127.0.0.1 where none is given.")
    ] = "",
) -> None:
    """Work off operations and do the housekeeping until SIGTERM or SIGINT; nothing is lost by stopping it."""
    from manor.serve import STOP_S, leave_within
    from manor.serve import serve as run

    s = session(ctx)
    stop = threading.Event()

    def end(*_: object) -> None:
        if not stop.is_set():
            stop.set()
            leave_within(STOP_S)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    address = _address(metrics) if metrics else None
    rt = s.runtime
    if not s.out.verbosity:
        logging.getLogger("manor").setLevel(logging.INFO)  # its log is what it has to say
    run(rt, stop, metrics=address)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f"--metrics takes [HOST:]PORT, not '{text}'", hint="for example --metrics 9740")
    return host.strip("[]") or "127.0.0.1", int(port)
