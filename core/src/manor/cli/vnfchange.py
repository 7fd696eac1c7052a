"""``manor vnf``, what changes a VNF as such: its flavour, its links, and what is said of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from manor.cli.find import find_vnf, pairs
from manor.cli.options import Secrets, Vnf, changes
from manor.cli.session import new_app, session

if TYPE_CHECKING:
    from manor.lcm.ns import Proposal

__all__ = ["app"]

app = new_app("Changes of a VNF.")


@changes(app, "change-flavour")
def change_flavour(
    ctx: typer.Context,
    vnf: Vnf,
    flavour: Annotated[str, typer.Argument(metavar="FLAVOUR", help="Deployment flavour of the VNFD.")],
    level: Annotated[str, typer.Option("--level", help="An instantiation level of it; default: its own default.")] = "",
) -> Proposal:
    """Give a VNF another deployment flavour; machines that both have keep their names and addresses."""
    from manor.lcm import changing

    s = session(ctx)
    found = find_vnf(s, vnf)
    return changing.change_flavour(s.runtime, found.ns_id, found.name, flavour, level=level)


@changes(app, "change-ext-conn")
def change_ext_conn(
    ctx: typer.Context,
    vnf: Vnf,
    connect: Annotated[
        list[str],
        typer.Option(
            "--connect", metavar="CP=LINK", help="Put an external CP on a link, with CP= on none; repeatable."
        ),
    ],
) -> Proposal:
    """Put external connection points of a VNF on other virtual links of its service."""
    from manor.lcm import changing

    s = session(ctx)
    found = find_vnf(s, vnf)
    return changing.change_ext_conn(s.runtime, found.ns_id, found.name, pairs(connect, option="--connect"))


@changes(app)
def move(
    ctx: typer.Context,
    vnf: Vnf,
    place: Annotated[str, typer.Argument(metavar="VIM[/HOST]", help="Where its machines are to run.")],
    discard_data: Annotated[
        bool, typer.Option("--discard-data", help="Blank disks come empty; what they hold is lost.")
    ] = False,
) -> Proposal:
    """Move a VNF to another host or VIM: new machines first, with the same addresses, then the old ones go."""
    from manor.lcm import moving

    s = session(ctx)
    found = find_vnf(s, vnf)
    return moving.move(s.runtime, found.ns_id, found.name, place, discard_data=discard_data)


@changes(app)
def action(
    ctx: typer.Context,
    vnf: Vnf,
    name: Annotated[
        str, typer.Argument(metavar="[ACTION]", help="What to have done; without it they are listed.")
    ] = "",
    param: Annotated[
        list[str] | None, typer.Option("--param", metavar="KEY=VALUE", help="A parameter of it; repeatable.")
    ] = None,
    secret: Secrets = None,
) -> Proposal | None:
    """Have a VNF do something that its package offers: an operation of its own interfaces."""
    from manor.cli.settings import secrets
    from manor.lcm import changing
    from manor.lcm.scripts import actions

    s = session(ctx)
    found = find_vnf(s, vnf)
    if not name:
        offered = actions(s.runtime, found.vnfd_id)
        rows = [
            (each, script.kind, ", ".join(f"{k}={v}" if v is not None else k for k, v in script.parameters.items()))
            for each, script in offered.items()
        ]
        values = {each: {"kind": script.kind, "parameters": script.parameters} for each, script in offered.items()}
        s.out.result(
            values, lambda: s.out.table(("action", "kind", "parameters"), rows, empty=f"{found.name} has no action")
        )
        return None
    given = {**pairs(param or [], option="--param"), **secrets(secret or ())}
    return changing.act(s.runtime, found.ns_id, found.name, name, given)


@changes(app)
def modify(
    ctx: typer.Context,
    vnf: Vnf,
    name: Annotated[str | None, typer.Option("--name", help="vnfInstanceName, for people; empty for none.")] = None,
    description: Annotated[str | None, typer.Option("--description", help="For people; empty for none.")] = None,
    metadata: Annotated[
        list[str] | None, typer.Option("--metadata", metavar="KEY=VALUE", help="KEY= takes one away; repeatable.")
    ] = None,
    prop: Annotated[
        list[str] | None,
        typer.Option("--property", metavar="KEY=VALUE", help="A property; KEY= takes one away; repeatable."),
    ] = None,
) -> Proposal:
    """Change what is said of a VNF; its properties are parameters of its boot data and day-1 commands."""
    from manor.lcm import changing

    s = session(ctx)
    found = find_vnf(s, vnf)
    return changing.modify_information(
        s.runtime,
        found.ns_id,
        found.name,
        name=name,
        description=description,
        metadata=_values(metadata, "--metadata"),
        properties=_values(prop, "--property"),
    )


def _values(given: list[str] | None, option: str) -> dict[str, object]:
    """Values typed as YAML does; an empty one takes the key away."""
    from manor.cli.settings import settings

    pairs(given or (), option=option)  # said by the option's own name where it is none
    return {key: None if value == "" else value for key, value in settings(None, given or ()).items()}
