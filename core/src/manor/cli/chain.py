"""``manor chain``: service function chains, where traffic goes and how much of it went there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from manor.cli.chainlook import Chain, ChainName, counters, drawn, find_chain, trace, verify
from manor.cli.find import complete_ns, find_ns
from manor.cli.render.topology import machine_name
from manor.cli.session import Session, new_app, session
from manor.model.topology import ServiceTopology, TopologyChain

__all__ = ["app"]

app = new_app("Service function chains: list, show, verify, trace, counters, disable, enable.")


def _path(picture: ServiceTopology, chain: TopologyChain) -> str:
    ports = picture.ports()

    def names(keys: Sequence[str]) -> str:
        return "|".join(dict.fromkeys(ports[key][0].name if key in ports else "outside" for key in keys)) or "outside"

    stops = [
        names(chain.sources),
        *(names([e.ingress for e in hop.elements]) for hop in chain.hops),
        names(chain.destinations),
    ]
    return " > ".join(stops)


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
        (picture.name, chain.name, _path(picture, chain), "; ".join(chain.match) or "all traffic", chain.state)
        for picture, chain in found
    ]
    s.out.result(
        [{"service": picture.name, **_facts(picture, chain)} for picture, chain in found],
        lambda: s.out.table(("service", "chain", "path", "traffic", "state"), rows, empty="no chain"),
    )


def _facts(picture: ServiceTopology, chain: TopologyChain) -> dict[str, object]:
    return {
        "path": _path(picture, chain),
        **{name: getattr(chain, name) for name in TopologyChain.__dataclass_fields__},
    }


@app.command()
def show(ctx: typer.Context, service: Chain, chain: ChainName = "") -> None:
    """Show a chain hop by hop."""
    s = session(ctx)
    picture, found = find_chain(s, service, chain)
    ports = picture.ports()

    def place(key: str) -> tuple[str, str, str]:
        if key not in ports:
            return "outside", "", ""
        vnf, vnfc, port = ports[key]
        return f"{vnf.name}/{machine_name(vnf, vnfc)}", port.name, vnfc.host

    def human() -> None:
        s.out.fields(
            [
                ("chain", found.name),
                ("service", picture.name),
                ("traffic", "; ".join(found.match) or "all"),
                ("ways", "both" if found.symmetric else "there only"),
                ("precedence", found.precedence or ""),
                ("state", found.state),
            ]
        )
        s.out.line()
        rows: list[tuple[object, ...]] = [("from", "", *place(key)[:2], "", place(key)[2]) for key in found.sources]
        for number, hop in enumerate(found.hops, 1):
            for element in hop.elements:
                machine, port_in, host = place(element.ingress)
                rows.append((number, hop.name, machine, port_in, place(element.egress)[1], host))
        rows += [("to", "", *place(key)[:2], "", place(key)[2]) for key in found.destinations]
        s.out.table(("hop", "position", "machine", "in", "out", "host"), rows)

    s.out.result({"service": picture.name, **_facts(picture, found)}, human)


for command in (verify, trace, counters):
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
