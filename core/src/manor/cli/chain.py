"""``manor chain``: service function chains, where traffic goes and how much of it went there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from manor.cli.chainlook import counters, drawn, trace, verify
from manor.cli.chainshow import facts, path_words, show
from manor.cli.find import complete_ns, find_ns
from manor.cli.options import changes
from manor.cli.session import Session, new_app, session

if TYPE_CHECKING:
    from manor.lcm.ns import Proposal

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


@changes(app)
def disable(ctx: typer.Context, chain: OneChain) -> Proposal:
    """Switch a chain off: its traffic goes straight to where it is addressed, past every function."""
    return _switched(session(ctx), chain, is_on=False)


@changes(app)
def enable(ctx: typer.Context, chain: OneChain) -> Proposal:
    """Switch a chain on again."""
    return _switched(session(ctx), chain, is_on=True)


def _switched(s: Session, typed: str, *, is_on: bool) -> Proposal:
    from manor.lcm.updating import update

    service, _, name = typed.partition("/")
    on, off = ((name,), ()) if is_on else ((), (name,))
    return update(s.runtime, find_ns(s, service).id, chains_on=on, chains_off=off)
