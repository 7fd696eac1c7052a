"""``manor ns``, what changes a running service: heal, scale, update."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from manor.cli.find import find_ns, pairs
from manor.cli.options import Secrets, Service, changes
from manor.cli.session import new_app, session
from manor.errors import UsageError

if TYPE_CHECKING:
    from manor.lcm.ns import Proposal

__all__ = ["app"]

app = new_app("Changes of a service.")


@changes(app)
def heal(
    ctx: typer.Context,
    service: Service,
    vnf: Annotated[
        list[str] | None, typer.Option("--vnf", help="Make all machines of this VNF anew; repeatable.")
    ] = None,
    vnfc: Annotated[
        list[str] | None, typer.Option("--vnfc", help="Make this machine anew, as VNF/VDU-0; repeatable.")
    ] = None,
    cause: Annotated[str, typer.Option(help="Why; kept with the operation.")] = "",
) -> Proposal:
    """Bring back what is broken; with --vnf or --vnfc also make machines anew, under the same key, MAC and address."""
    from manor.lcm import healing

    s = session(ctx)
    return healing.heal(s.runtime, find_ns(s, service).id, vnfs=vnf or (), vnfcs=vnfc or (), cause=cause)


@changes(app)
def scale(
    ctx: typer.Context,
    service: Service,
    vnf: Annotated[
        list[str] | None, typer.Option("--vnf", metavar="PROFILE=+1|-1|N", help="VNFs of a profile; repeatable.")
    ] = None,
    level: Annotated[str, typer.Option("--level", help="An instantiation level of the NSD.")] = "",
    aspect: Annotated[str, typer.Option(help="A scaling aspect of the NSD.")] = "",
    out: Annotated[int, typer.Option("--out", min=0, help="Steps up.")] = 0,
    in_: Annotated[int, typer.Option("--in", min=0, help="Steps down.")] = 0,
    to: Annotated[int | None, typer.Option("--to", min=0, help="Exactly this level of the aspect.")] = None,
) -> Proposal:
    """Give a service more or fewer VNFs; the newest go first, and chains take in or let go of them."""
    from manor.lcm.scaling import scale_ns

    if aspect and bool(out) + bool(in_) + (to is not None) != 1:
        raise UsageError(f"scale {aspect} by how much?", hint="one of --out N, --in N, --to N")
    s = session(ctx)
    return scale_ns(
        s.runtime,
        find_ns(s, service).id,
        vnfs=pairs(vnf or (), option="--vnf"),
        level=level,
        aspect=aspect,
        steps=out - in_,
        to_level=to,
    )


@changes(app)
def update(
    ctx: typer.Context,
    service: Service,
    param: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="A parameter to change; repeatable.")
    ] = None,
    secret: Secrets = None,
    update_type: Annotated[
        str, typer.Option("--type", metavar="UPDATETYPE", help="ETSI's updateType, as MOVE_VNF; `--type ?` lists them.")
    ] = "",
    data: Annotated[Path | None, typer.Option("--data", help="A YAML file with the type's attributes.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One attribute of the type; repeatable.")
    ] = None,
) -> Proposal:
    """Change a running service: its parameters, or with --type anything that ETSI's UpdateNs changes.

    Machines whose boot data change are made anew, one after the other.
    """
    from manor.cli.settings import secrets, settings
    from manor.lcm.updates import update_ns
    from manor.lcm.updating import update as updated

    if bool(update_type) == bool(param or secret):
        raise UsageError("what to change?", hint="--param KEY=VALUE, or --type UPDATETYPE with --set or --data")
    s = session(ctx)
    found = find_ns(s, service).id
    if update_type:
        return update_ns(s.runtime, found, update_type, settings(data, set_ or (), option="--set"))
    return updated(
        s.runtime, found, parameters={**settings(None, param or (), option="--param"), **secrets(secret or ())}
    )
