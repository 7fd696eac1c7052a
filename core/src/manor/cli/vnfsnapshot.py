"""``manor vnf snapshot``: the content of a VNF's disks at one moment, to come back to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from manor.cli.find import find_ns, find_vnf
from manor.cli.markers import when
from manor.cli.options import Service, Vnf, changes
from manor.cli.session import new_app, session

if TYPE_CHECKING:
    from manor.lcm.ns import Proposal

__all__ = ["app"]

app = new_app("Snapshots of VNFs: create, list, revert, delete.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the snapshot, within its service.")]


@changes(app)
def create(
    ctx: typer.Context,
    vnf: Vnf,
    name: Name,
    description: Annotated[str, typer.Option(help="For people.")] = "",
) -> Proposal:
    """Take a snapshot of all disks of a VNF; its machines go on, and their memory is not in it."""
    from manor.lcm import snapshots

    s = session(ctx)
    found = find_vnf(s, vnf)
    return snapshots.create(s.runtime, found.ns_id, found.name, name, description=description)


@app.command("list")
def list_(ctx: typer.Context, service: Service) -> None:
    """List a service's snapshots, and whether they are whole."""
    from manor.lcm import snapshots

    s = session(ctx)
    found = snapshots.listed(s.runtime, find_ns(s, service).id)
    rows = [
        (name, one["vnf"], when(one["created_s"]), ", ".join(sorted(set(one["parts"].values()))), one["description"])
        for name, one in found.items()
    ]
    headers = ("name", "vnf", "taken", "state", "description")
    s.out.result(found, lambda: s.out.table(headers, rows, empty="no snapshot: manor vnf snapshot create NS/VNF NAME"))


@changes(app)
def revert(
    ctx: typer.Context,
    vnf: Vnf,
    name: Name,
) -> Proposal:
    """Give a VNF's disks the content of a snapshot; what was written since is lost."""
    from manor.lcm import snapshots

    s = session(ctx)
    found = find_vnf(s, vnf)
    return snapshots.revert(s.runtime, found.ns_id, found.name, name)


@changes(app)
def delete(
    ctx: typer.Context,
    service: Service,
    name: Name,
) -> Proposal:
    """Delete a snapshot."""
    from manor.lcm import snapshots

    s = session(ctx)
    return snapshots.delete(s.runtime, find_ns(s, service).id, name)
