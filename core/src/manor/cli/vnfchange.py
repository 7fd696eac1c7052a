"""``manor vnf``, what changes a VNF as such: its flavour, its links, and what is said of it."""

from __future__ import annotations

from typing import Annotated

import typer

from manor.cli.find import find_vnf, pairs
from manor.cli.options import Failing, NoWait, Secrets, Vnf, Yes
from manor.cli.session import new_app, session
from manor.model.instance import OnFailure

__all__ = ["app"]

app = new_app("Changes of a VNF.")


@app.command("change-flavour")
def change_flavour(
    ctx: typer.Context,
    vnf: Vnf,
    flavour: Annotated[str, typer.Argument(metavar="FLAVOUR", help="Deployment flavour of the VNFD.")],
    level: Annotated[str, typer.Option("--level", help="An instantiation level of it; default: its own default.")] = "",
    yes: Yes = False,
    on_failure: Failing = OnFailure.ROLLBACK,
    no_wait: NoWait = False,
) -> None:
    """Give a VNF another deployment flavour; machines that both have keep their names and addresses."""
    from manor.cli.running import carry_out
    from manor.lcm import changing

    s = session(ctx)
    found = find_vnf(s, vnf)
    proposal = changing.change_flavour(s.runtime, found.ns_id, found.name, flavour, level=level)
    carry_out(s, proposal, yes=yes, on_failure=on_failure, wait=not no_wait)


@app.command("change-ext-conn")
def change_ext_conn(
    ctx: typer.Context,
    vnf: Vnf,
    connect: Annotated[
        list[str],
        typer.Option("--connect", metavar="CP=LINK", help="External CP, link; CP= for none; repeatable."),
    ],
    yes: Yes = False,
    on_failure: Failing = OnFailure.ROLLBACK,
    no_wait: NoWait = False,
) -> None:
    """Put external connection points of a VNF on other virtual links of its service."""
    from manor.cli.running import carry_out
    from manor.lcm import changing

    s = session(ctx)
    found = find_vnf(s, vnf)
    proposal = changing.change_ext_conn(s.runtime, found.ns_id, found.name, pairs(connect, option="--connect"))
    carry_out(s, proposal, yes=yes, on_failure=on_failure, wait=not no_wait)


@app.command()
def move(
    ctx: typer.Context,
    vnf: Vnf,
    place: Annotated[str, typer.Argument(metavar="VIM[/HOST]", help="Where its machines are to run.")],
    discard_data: Annotated[
        bool, typer.Option("--discard-data", help="Blank disks may stay behind with their data.")
    ] = False,
    yes: Yes = False,
    on_failure: Failing = OnFailure.ROLLBACK,
    no_wait: NoWait = False,
) -> None:
    """Move a VNF to another host or VIM: new machines first, with the same addresses, then the old ones go."""
    from manor.cli.running import carry_out
    from manor.lcm import moving

    s = session(ctx)
    found = find_vnf(s, vnf)
    proposal = moving.move(s.runtime, found.ns_id, found.name, place, discard_data=discard_data)
    carry_out(s, proposal, yes=yes, on_failure=on_failure, wait=not no_wait)


@app.command()
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
    yes: Yes = False,
    on_failure: Failing = OnFailure.HOLD,
    no_wait: NoWait = False,
) -> None:
    """Have a VNF do something that its package offers: an operation of its own interfaces."""
    from manor.cli.running import carry_out
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
        return
    given = {**pairs(param or [], option="--param"), **secrets(secret or ())}
    proposal = changing.act(s.runtime, found.ns_id, found.name, name, given)
    carry_out(s, proposal, yes=yes, on_failure=on_failure, wait=not no_wait)


@app.command()
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
    yes: Yes = False,
    on_failure: Failing = OnFailure.ROLLBACK,
    no_wait: NoWait = False,
) -> None:
    """Change what is said of a VNF; its properties are parameters of its boot data and day-1 commands."""
    from manor.cli.running import carry_out
    from manor.lcm import changing

    s = session(ctx)
    found = find_vnf(s, vnf)
    proposal = changing.modify_information(
        s.runtime,
        found.ns_id,
        found.name,
        name=name,
        description=description,
        metadata=_values(metadata, "--metadata"),
        properties=_values(prop, "--property"),
    )
    carry_out(s, proposal, yes=yes, on_failure=on_failure, wait=not no_wait)


def _values(given: list[str] | None, option: str) -> dict[str, object]:
    """Values typed as YAML does; an empty one takes the key away."""
    from manor.cli.settings import settings

    pairs(given or (), option=option)  # said by the option's own name where it is none
    return {key: None if value == "" else value for key, value in settings(None, given or ()).items()}
