"""``manor vim``: the VIMs, where machines run, and what of ours lies about unclaimed."""

from __future__ import annotations

from typing import Annotated

import typer

from manor.cli.endpoints import endpoint_app
from manor.cli.exits import ExitCode
from manor.cli.session import session
from manor.errors import DriverError
from manor.model.instance import EndpointKind

__all__ = ["app"]

app = endpoint_app(EndpointKind.VIM, "VIMs, where machines run: add, list, show, check, remove, orphans.")


@app.command()
def orphans(
    ctx: typer.Context,
    remove: Annotated[bool, typer.Option("--remove", help="Remove them.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """List resources that carry our tag and that no service claims, on VIMs and controllers.

    Ends with 1 where there are any, with 6 where an endpoint could not be asked.
    """
    from manor.lcm import endpoints

    s = session(ctx)
    found, silent = endpoints.orphans(s.runtime)
    for endpoint, why in silent.items():
        s.out.warn(f"{endpoint} could not be asked: {why}")
    rows = [(o.endpoint, o.observed.ref.host, o.observed.ref.kind, o.observed.ref.key, o.observed.phase) for o in found]

    def show() -> None:
        empty = "no orphan was found where it could be looked" if silent else "no orphan is left"
        s.out.table(("endpoint", "host", "kind", "key", "state"), rows, empty=empty)

    left: tuple[str, ...] = ()
    if remove and found:
        if not yes:
            show()
            if not s.out.confirm(f"Remove these {len(found)}?"):
                raise typer.Exit(ExitCode.GENERAL)
        left = endpoints.remove_orphans(s.runtime, found)
        s.out.result(
            {"removed": len(found) - len(left), "left": left}, lambda: s.out.line(f"{len(found) - len(left)} removed")
        )
    else:
        s.out.result({"orphans": found, "silent": silent}, show)
    if left:
        raise DriverError(f"{len(left)} could not be removed: {', '.join(left[:3])}", hint="manor -v vim check")
    if silent:
        raise typer.Exit(ExitCode.DRIVER)
    if found and not remove:
        raise typer.Exit(ExitCode.GENERAL)
