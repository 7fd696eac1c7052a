"""``manor chain``: service function chains, where traffic goes and how much of it went there."""

from __future__ import annotations

from typing import Annotated

import typer

from manor.cli.chainlook import counters, drawn, trace, verify
from manor.cli.chainshow import facts, path_words, show
from manor.cli.find import complete_ns, find_ns
from manor.cli.session import Session, new_app, session

__all__ = ["app"]

app = new_app("Service function chains: list, show, verify, trace, counters, disable, enable.")


@app.command("list")
def list_(
    ctx: typer.Context,
    service: Annotated[
        str, typer.Argument(metavar="NS", help="Of this service only.", autocompletion=complete_ns)
    ] = "",
) -> None:
    """List chains with the functions that traffic passes, in order."""
    from manor.store import reading

    s = session(ctx)
    wanted = [find_ns(s, service)] if service else [
        ns for ns in reading.ns_instances(s.url, limit=10_000).items if ns.state == "INSTANTIATED"
    ]  # fmt: skip
    pictures = [drawn(s, ns.id) for ns in wanted]
    found = [(picture, chain) for picture in pictures for chain in picture.chains]
    rows = [
        (picture.name, chain.name, path_words(picture, chain), "; ".join(chain.match) or "all traffic", chain.state)
        for picture, chain in found
    ]
    s.out.result(
        [{"service": picture.name, **facts(picture, chain)} for picture, chain in found],
        lambda: s.out.table(("service", "chain", "path", "traffic", "state"), rows, empty="no chain"),
    )


for command in (show, verify, trace, counters):
    app.command()(command)

OneChain = Annotated[
    str, typer.Argument(metavar="NS/CHAIN", help="A service and one of its chains.", autocompletion=complete_ns)
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.command()
def disable(ctx: typer.Context, chain: OneChain, yes: Yes = False) -> None:
    """Switch a chain off: its traffic goes straight to where it is addressed, past every function."""
    _switch(session(ctx), chain, is_on=False, yes=yes)


@app.command()
def enable(ctx: typer.Context, chain: OneChain, yes: Yes = False) -> None:
    """Switch a chain on again."""
    _switch(session(ctx), chain, is_on=True, yes=yes)


def _switch(s: Session, typed: str, *, is_on: bool, yes: bool) -> None:
    from manor.cli.running import carry_out
    from manor.lcm.updating import update
    from manor.model.instance import OnFailure

    service, _, name = typed.partition("/")
    on, off = ((name,), ()) if is_on else ((), (name,))
    proposal = update(s.runtime, find_ns(s, service).id, chains_on=on, chains_off=off)
    carry_out(s, proposal, yes=yes, on_failure=OnFailure.ROLLBACK, wait=True)
