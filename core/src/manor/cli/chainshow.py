"""``manor chain show``: one chain hop by hop, as a table, a picture, or data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from manor.cli.chainlook import Chain, ChainName, find_chain
from manor.cli.render.chain_picture import ChainPicture, chain_picture
from manor.cli.render.topology import machine_name
from manor.cli.session import Session, session
from manor.errors import DriverError, UsageError
from manor.model.topology import ServiceTopology, TopologyChain

__all__ = ["Format", "facts", "path_words", "show"]

_LOOK_S = 30.0


class Format(StrEnum):
    """How a chain is shown."""

    TABLE = "table"
    ASCII = "ascii"
    SVG = "svg"
    MERMAID = "mermaid"
    JSON = "json"


def path_words(picture: ServiceTopology, chain: TopologyChain) -> str:
    """The chain's stops by name, as ``client > firewall > web``."""
    ports = picture.ports()

    def names(keys: Sequence[str]) -> str:
        return "|".join(dict.fromkeys(ports[key][0].name if key in ports else "outside" for key in keys)) or "outside"

    stops = [
        names(chain.sources),
        *(names([e.ingress for e in hop.elements]) for hop in chain.hops),
        names(chain.destinations),
    ]
    return " > ".join(stops)


def facts(picture: ServiceTopology, chain: TopologyChain) -> dict[str, object]:
    """The chain as it was planned, for ``--json``."""
    return {
        "path": path_words(picture, chain),
        **{name: getattr(chain, name) for name in TopologyChain.__dataclass_fields__},
    }


def show(
    ctx: typer.Context,
    service: Chain,
    chain: ChainName = "",
    format: Annotated[Format, typer.Option("--format", "-f", help="A table, a picture, or data.")] = Format.TABLE,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write a picture to a file.")] = None,
) -> None:
    """Show a chain hop by hop: who stands where, and in pictures the rules that lead there."""
    s = session(ctx)
    picture, found = find_chain(s, service, chain)
    if format is Format.TABLE and output is not None:
        raise UsageError("a table is not written to a file", hint="choose a picture: --format svg")
    if format is Format.JSON or (s.out.json and output is None):
        seen = chain_picture(picture, found, _observed(s, picture, found))
        rules = {"stops": seen.stops, "legs": seen.legs, "foreign": seen.foreign}
        s.out.data({"service": picture.name, **facts(picture, found), **rules}, output)
    elif format is Format.TABLE:
        _table(s, picture, found)
    else:
        seen = chain_picture(picture, found, _observed(s, picture, found))
        s.out.document(_drawn(seen, format, s.out.console.width if s.out.is_terminal else 80), output)


def _observed(s: Session, picture: ServiceTopology, chain: TopologyChain) -> Mapping[str, Any] | None:
    """What the controller tells of the chain's rules; None where it cannot be asked."""
    from manor.api import CallContext, Query, ResourceKind

    endpoint = next((link.sdn for link in picture.links if link.key == chain.link), "")
    if not endpoint:
        return None
    query = Query(owner=s.runtime.owner, kinds=frozenset({ResourceKind.CHAIN}), keys=frozenset({chain.key}))
    try:
        seen = s.runtime.sdn(endpoint).observe(query, CallContext.within(_LOOK_S))
    except DriverError as error:
        s.out.note(f"the rules are not known: {error.message}")
        return None
    return seen[0].detail if seen else None


def _drawn(picture: ChainPicture, format: Format, width: int) -> str:
    if format is Format.SVG:
        from manor.cli.render.chain_svg import chain_svg

        return chain_svg(picture)
    if format is Format.MERMAID:
        from manor.cli.render.chain_mermaid import chain_mermaid

        return chain_mermaid(picture)
    from manor.cli.render.chain_ascii import chain_ascii

    return chain_ascii(picture, width)


def _table(s: Session, picture: ServiceTopology, chain: TopologyChain) -> None:
    ports = picture.ports()

    def place(key: str) -> tuple[str, str, str]:
        if key not in ports:
            host, _, device = chain.outside.get(key, "").partition("/")
            return f"SAP {key.rpartition('/')[2]}" if device else "outside", device, host
        vnf, vnfc, port = ports[key]
        return f"{vnf.name}/{machine_name(vnf, vnfc)}", port.name, vnfc.host

    s.out.fields(
        [
            ("chain", chain.name),
            ("service", picture.name),
            ("traffic", "; ".join(chain.match) or "all"),
            ("ways", "both" if chain.symmetric else "there only"),
            ("precedence", chain.precedence or ""),
            ("state", chain.state),
        ]
    )
    s.out.line()
    rows: list[tuple[object, ...]] = [("from", "", *place(key)[:2], "", place(key)[2]) for key in chain.sources]
    for number, hop in enumerate(chain.hops, 1):
        for element in hop.elements:
            machine, port_in, host = place(element.ingress)
            rows.append((number, hop.name, machine, port_in, place(element.egress)[1], host))
    rows += [("to", "", *place(key)[:2], "", place(key)[2]) for key in chain.destinations]
    s.out.table(("hop", "position", "machine", "in", "out", "host"), rows)
