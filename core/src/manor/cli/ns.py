"""``manor ns``: network services, from a descriptor to running machines and back to nothing."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from manor.cli import nschange
from manor.cli.exits import ExitCode
from manor.cli.find import complete_package, descriptor_names, find_ns, pairs
from manor.cli.markers import pack_marker, unpack_marker, when
from manor.cli.options import Failing, NoWait, Secrets, Service, Yes
from manor.cli.planfile import load_plan, plan_document, save_plan
from manor.cli.render.topology import machine_name
from manor.cli.session import new_app, session
from manor.errors import UsageError
from manor.model.instance import OnFailure, PackageKind

if TYPE_CHECKING:
    from manor.lcm.wishes import Wishes

__all__ = ["app"]

app = new_app("Network services: create, plan, instantiate, show, drift, heal, scale, update, terminate, delete.")
app.add_typer(nschange.app)

Vim = Annotated[str, typer.Option("--vim", help="Place all machines on this VIM.")]
Place = Annotated[
    list[str] | None,
    typer.Option("--place", metavar="VNF=VIM[/HOST]", help="Place one VNF; also VNF=site:SITE; repeatable."),
]
Sdn = Annotated[str, typer.Option("--sdn", help="Controller, where several are registered.")]
Policy = Annotated[str, typer.Option("--policy", help="Placement policy.")]
Level = Annotated[str, typer.Option("--level", help="Instantiation level of the NSD.")]
Scale = Annotated[
    list[str] | None,
    typer.Option("--scale", metavar="VNF:ASPECT=LEVEL", help="Scale level that a VNF begins at; repeatable."),
]


class Planned(StrEnum):
    """Operations that can be planned from the command line."""

    INSTANTIATE = "instantiate"
    TERMINATE = "terminate"
    REPAIR = "repair"


class Picture(StrEnum):
    """Forms of a topology."""

    ASCII = "ascii"
    SVG = "svg"
    MERMAID = "mermaid"
    JSON = "json"


def _wishes(vim: str, place: list[str] | None, sdn: str, policy: str, level: str, scale: list[str] | None) -> Wishes:
    from manor.lcm.wishes import Wishes

    said = pairs(place or (), option="--place")
    if nowhere := [vnf for vnf, where in said.items() if not where]:
        raise UsageError(f"--place {nowhere[0]}= says no place", hint=f"--place {nowhere[0]}=VIM[/HOST], or site:SITE")
    places = {"*": vim} if vim else {}
    levels: dict[str, dict[str, int]] = {}
    for what, number in pairs(scale or (), option="--scale").items():
        vnf, _, aspect = what.rpartition(":")
        if not (vnf and aspect and number.isascii() and number.isdigit()):
            raise UsageError(f"--scale takes VNF:ASPECT=LEVEL, not '{what}={number}'", hint="--scale web:workers=2")
        levels.setdefault(vnf, {})[aspect] = int(number)
    return Wishes(sdn=sdn, placement=policy, level=level, locations={**places, **said}, scale_levels=levels)


@app.command()
def create(
    ctx: typer.Context,
    nsd: Annotated[str, typer.Argument(help="NSD id, name or package.", autocompletion=complete_package)],
    name: Annotated[str, typer.Option("--name", "-n", help="What the service is called.")],
    flavour: Annotated[str, typer.Option(help="Deployment flavour; default: the first.")] = "",
    description: Annotated[str, typer.Option(help="For people.")] = "",
    param: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A parameter; repeatable.")] = None,
    secret: Secrets = None,
) -> None:
    """Create a service from an on-boarded NSD; nothing runs yet."""
    from manor.cli.settings import secrets, settings
    from manor.lcm import ns

    s = session(ctx)
    made = ns.create(
        s.runtime,
        nsd,
        name=name,
        flavour_id=flavour,
        description=description,
        parameters={**settings(None, param or (), option="--param"), **secrets(secret or ())},
    )
    s.out.result(
        made, lambda: s.out.line(f"{made.name} ({made.id}) created; go on with: manor ns instantiate {made.name}")
    )


@app.command()
def plan(
    ctx: typer.Context,
    service: Service,
    operation: Annotated[Planned, typer.Option(help="What to plan.")] = Planned.INSTANTIATE,
    save: Annotated[Path | None, typer.Option(help="Keep the plan in this file, for `ns instantiate --plan`.")] = None,
    vim: Vim = "",
    place: Place = None,
    sdn: Sdn = "",
    policy: Policy = "balanced",
    level: Level = "",
    scale: Scale = None,
) -> None:
    """Show what an operation would do: every resource, where, and why. Changes nothing."""
    from manor.api.plan import OperationKind
    from manor.cli.running import show_plan
    from manor.lcm import ns

    s = session(ctx)
    wishes = _wishes(vim, place, sdn, policy, level, scale)
    proposal = ns.propose(s.runtime, find_ns(s, service).id, OperationKind(operation.upper()), wishes)
    if save is not None:
        save_plan(save, proposal)

    def human() -> None:
        show_plan(s, proposal.plan)
        s.out.findings(proposal.findings)
        if save is not None:
            s.out.note(f"kept in {save}")

    s.out.result(plan_document(proposal), human)


@app.command()
def instantiate(
    ctx: typer.Context,
    service: Service,
    approved: Annotated[Path | None, typer.Option("--plan", help="Do what this saved plan says, or refuse.")] = None,
    yes: Yes = False,
    on_failure: Failing = OnFailure.ROLLBACK,
    no_wait: NoWait = False,
    vim: Vim = "",
    place: Place = None,
    sdn: Sdn = "",
    policy: Policy = "balanced",
    level: Level = "",
    scale: Scale = None,
) -> None:
    """Bring a service up: plan, ask, do, prove."""
    from manor.api.plan import OperationKind
    from manor.cli.running import approve, run
    from manor.lcm import ns

    s = session(ctx)
    found = find_ns(s, service)
    if approved is not None:
        saved, wishes = load_plan(approved)
        if saved.service_id != found.id or saved.operation is not OperationKind.INSTANTIATE:
            raise UsageError(
                f"{approved} is a plan to {saved.operation} {saved.service_name} ({saved.service_id})",
                hint=f"manor ns plan {found.name}",
            )
        proposal = ns.confirm(s.runtime, saved, wishes)
    else:
        wishes = _wishes(vim, place, sdn, policy, level, scale)
        proposal = ns.propose(s.runtime, found.id, OperationKind.INSTANTIATE, wishes)
        approve(s, proposal, yes=yes)
    run(s, proposal, on_failure=on_failure, wait=not no_wait)


@app.command("list")
def list_(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 50,
    after: Annotated[str, typer.Option(help="Page marker, as the page before gave it.")] = "",
) -> None:
    """List services by name, a page at a time."""
    from manor.store import reading

    s = session(ctx)
    page = reading.ns_instances(s.url, limit=limit, after=unpack_marker(after))

    def human() -> None:
        nsds = descriptor_names(s, PackageKind.NS)
        s.out.table(
            ("id", "name", "state", "nsd", "created", "last operation"),
            [
                (n.id, n.name, n.state, nsds.get(n.nsd_id, n.nsd_id), when(n.created_s), n.last_operation[:8])
                for n in page.items
            ],
            empty="no service yet: manor ns create NSD --name NAME",
        )

    s.out.result(page.items, human)
    if page.next:
        s.out.note(
            f"{len(page.items)} of {page.total}; next: manor ns list --limit {limit} --after {pack_marker(page.next)}"
        )


@app.command()
def show(ctx: typer.Context, service: Service) -> None:
    """Show a service: its VNFs, where their machines run, their addresses."""
    from manor.lcm.views import topology
    from manor.store import reading

    s = session(ctx)
    found = find_ns(s, service)
    picture = topology(s.runtime, found.id)
    vnfs = reading.vnf_instances(s.url, limit=10_000, ns_id=found.id).items
    operations = reading.operations(s.url, limit=1, ns_id=found.id).items

    def human() -> None:
        s.out.fields(
            [
                ("name", found.name),
                ("id", found.id),
                ("state", found.state),
                ("nsd", descriptor_names(s, PackageKind.NS).get(found.nsd_id, found.nsd_id)),
                ("flavour", found.flavour_id),
                ("description", found.description),
                ("created", when(found.created_s)),
                ("parameters", ", ".join(f"{key}={value}" for key, value in found.parameters.items())),
                ("last operation", "  ".join(f"{op.operation} {op.id} {op.state}" for op in operations)),
            ]
        )
        rows = [
            (
                vnf.name,
                machine_name(vnf, vnfc),
                f"{vnfc.vim}/{vnfc.host}",
                vnfc.state,
                " ".join(a for p in vnfc.ports for a in p.addresses),
            )
            for vnf in picture.vnfs
            for vnfc in vnf.vnfcs
        ]
        if rows:
            s.out.line()
            s.out.table(("vnf", "machine", "where", "state", "addresses"), rows)

    s.out.result(
        {"ns": found, "vnfs": vnfs, "topology": picture, "last_operation": next(iter(operations), None)}, human
    )


@app.command()
def topology(
    ctx: typer.Context,
    service: Service,
    format: Annotated[Picture, typer.Option("--format", "-f", help="Form of the picture.")] = Picture.ASCII,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write it to a file.")] = None,
) -> None:
    """Draw a service: machines on hosts, ports on links, chains in order."""
    from manor.lcm import views

    s = session(ctx)
    picture = views.topology(s.runtime, find_ns(s, service).id)
    if format is Picture.JSON or (s.out.json and output is None):
        s.out.data(picture, output)
        return
    text = _drawn(picture, format, s.out.console.width if s.out.is_terminal else 120)
    s.out.document(text, output)


def _drawn(picture: Any, format: Picture, width: int) -> str:
    if format is Picture.SVG:
        from manor.cli.render.topology_svg import topology_svg

        return topology_svg(picture)
    if format is Picture.MERMAID:
        from manor.cli.render.topology_mermaid import topology_mermaid

        return topology_mermaid(picture)
    from manor.cli.render.topology_ascii import topology_ascii

    return topology_ascii(picture, width)


@app.command()
def drift(
    ctx: typer.Context,
    service: Service,
    repair: Annotated[bool, typer.Option("--repair", help="Bring back what differs.")] = False,
    yes: Yes = False,
    on_failure: Failing = OnFailure.ROLLBACK,
    no_wait: NoWait = False,
) -> None:
    """Compare what should be with what is, down to single rules in the switches. Ends with 1 where they differ."""
    import time

    from manor.api.plan import OperationKind
    from manor.cli.driftlook import drift_lines, flows_of
    from manor.cli.render.plan import Action, changes
    from manor.cli.running import approve, run, show_plan, unseen, warn_of_unseen
    from manor.lcm import ns
    from manor.lcm.leftovers import told_of

    s = session(ctx)
    found = find_ns(s, service)
    proposal = ns.propose(s.runtime, found.id, OperationKind.REPAIR)
    drifted = any(change.action is not Action.CHECK for change in changes(proposal.plan))
    lost = [f"snapshot {key.split('/', 2)[-1]} is lost, and nothing brings it back" for key in proposal.lost]
    twice = [told_of(one, proposal.observed) for one in proposal.twice]
    if drifted and repair:
        for line in lost:
            s.out.warn(line)
        approve(s, proposal, yes=yes)
        run(s, proposal, on_failure=on_failure, wait=not no_wait)
        return

    flows = flows_of(s, found.id)
    missed = unseen(proposal)

    def human() -> None:
        if drifted:
            show_plan(s, proposal.plan)
        for line in (*drift_lines(flows, time.time()), *lost, *(() if drifted else twice)):  # a plan has it in notes
            s.out.line(line)
        if drifted:
            s.out.note(f"bring it back with: manor ns drift {found.name} --repair")
        if lost:
            s.out.note(f"be without it: manor vnf snapshot delete {found.name} NAME")
        if not drifted and not lost and not twice and not missed:
            s.out.line(f"{found.name} is as it should be: {len(proposal.plan.unchanged)} resources")

    differs = bool(drifted or lost or twice)
    answer = {"drift": differs, "lost": proposal.lost, "twice": twice, "flows": flows, "unseen": missed}
    s.out.result({**answer, **plan_document(proposal)}, human)
    warn_of_unseen(s, proposal)
    if differs or missed:
        raise typer.Exit(ExitCode.GENERAL if differs else ExitCode.DRIVER)


@app.command()
def terminate(
    ctx: typer.Context,
    service: Service,
    forceful: Annotated[
        bool | None,
        typer.Option("--forceful/--graceful", help="Turn off at once and drain nothing, or ask guests to shut down."),
    ] = None,
    timeout_s: Annotated[
        float | None, typer.Option("--timeout", min=0, max=86_400, help="Seconds to be graceful; default 30.")
    ] = None,
    yes: Yes = False,
    on_failure: Failing = OnFailure.HOLD,
    no_wait: NoWait = False,
) -> None:
    """Take a service down; its name and descriptor stay.

    VNFs are drained by their managers first. Machines are turned off at once, unless it is to be --graceful.
    """
    from manor.api.plan import OperationKind
    from manor.cli.running import approve, run
    from manor.lcm import ns
    from manor.lcm.wishes import Wishes

    if forceful and timeout_s is not None:
        raise UsageError("a forceful terminate waits for nothing", hint="leave out --timeout or --forceful")
    patience_s = 0.0 if forceful else 30.0 if forceful is False and timeout_s is None else timeout_s
    s = session(ctx)
    wishes = Wishes(patience_s=patience_s)
    proposal = ns.propose(s.runtime, find_ns(s, service).id, OperationKind.TERMINATE, wishes)
    approve(s, proposal, yes=yes)
    run(s, proposal, on_failure=on_failure, wait=not no_wait)


@app.command()
def delete(
    ctx: typer.Context,
    service: Service,
    force: Annotated[bool, typer.Option("--force", help="Take it down first; list what cannot be cleaned up.")] = False,
    yes: Yes = False,
) -> None:
    """Forget a service that does not run."""
    from manor.lcm import ns

    s = session(ctx)
    found = find_ns(s, service)
    if force and not yes and not s.out.confirm(f"Take {found.name} down, whatever state it is in, and forget it?"):
        raise typer.Exit(ExitCode.GENERAL)
    left = ns.delete(s.runtime, found.id, force=force, tell=lambda found: s.out.findings(found, to_stderr=True))
    for key in left:
        s.out.warn(f"left behind: {key} (manor vim orphans)")
    s.out.result(
        {"deleted": found.id, "name": found.name, "left": left}, lambda: s.out.line(f"{found.name} is deleted")
    )
