"""``manor vnf``: VNFs and the machines they are made of, from outside and inside."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from manor.cli import vnfchange, vnfoperations, vnfsnapshot
from manor.cli.find import complete_ns, complete_package, complete_vnf, descriptor_names, find_ns, find_vnf
from manor.cli.names import resolve
from manor.cli.options import Vnf, Vnfs, changes
from manor.cli.output import printable
from manor.cli.render.topology import machine_name
from manor.cli.session import Session, new_app, session
from manor.errors import Unsupported, UsageError
from manor.lcm.rollout import Strategy
from manor.model.instance import PackageKind
from manor.model.topology import TopologyVnf, TopologyVnfc

if TYPE_CHECKING:
    from manor.lcm.ns import Proposal

__all__ = ["app"]

app = new_app(
    "VNFs: list, show, heal, start, stop, scale, upgrade, change, move, snapshot, operations, console, run a program."
)
app.add_typer(vnfchange.app)
app.add_typer(vnfoperations.app)
app.add_typer(vnfsnapshot.app, name="snapshot")

Machine = Annotated[
    str,
    typer.Argument(
        metavar="NS/VNF[/VNFC]", help="Service and VNF; the machine where it has several.", autocompletion=complete_vnf
    ),
]
_LOOK_S = 30.0


@app.command("list")
def list_(
    ctx: typer.Context,
    service: Annotated[
        str, typer.Argument(metavar="NS", help="Of this service only.", autocompletion=complete_ns)
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 1000,
) -> None:
    """List VNFs."""
    from manor.store import reading

    s = session(ctx)
    ns_id = find_ns(s, service).id if service else ""
    page = reading.vnf_instances(s.url, limit=limit, ns_id=ns_id)
    names = {ns.id: ns.name for ns in reading.ns_instances(s.url, limit=100_000).items}
    vnfds = descriptor_names(s, PackageKind.VNF)
    rows = [
        (
            names.get(v.ns_id, v.ns_id),
            v.name,
            vnfds.get(v.vnfd_id, v.vnfd_id),
            v.vnfm,
            v.vnf_state,
            sum(v.vdu_counts.values()),
        )
        for v in page.items
    ]
    headers = ("service", "vnf", "vnfd", "vnfm", "state", "machines")
    s.out.result(page.items, lambda: s.out.table(headers, rows, right=("machines",), empty="no VNF runs"))
    if page.next:
        s.out.note(f"{len(page.items)} of {page.total}; see more with --limit")


def _machines(s: Session, typed: str, *, look: bool = True) -> TopologyVnf:
    """The VNF as it is drawn, by id, name or ``service/VNF``; ``look`` to see its state too."""
    from manor.lcm.views import topology

    found = find_vnf(s, typed)
    picture = topology(s.runtime, found.ns_id, look=look)
    return next(vnf for vnf in picture.vnfs if vnf.id == found.id)


def _machine(s: Session, typed: str) -> TopologyVnfc:
    """The one machine meant. Raises UsageError where there are several and none is named."""
    try:
        vnf, wanted = _machines(s, typed, look=False), ""
    except UsageError:
        head, _, wanted = typed.rpartition("/")
        if head.count("/") < 1:
            raise
        vnf = _machines(s, head, look=False)
    if not vnf.vnfcs:
        raise UsageError(f"{vnf.name} has no machine", hint="manor vnf show " + typed)
    if not wanted and len(vnf.vnfcs) == 1:
        return vnf.vnfcs[0]
    if not wanted:
        names = ", ".join(machine_name(vnf, vnfc) for vnfc in vnf.vnfcs)
        raise UsageError(
            f"{vnf.name} has {len(vnf.vnfcs)} machines: {names}",
            hint=f"name one: {typed}/{machine_name(vnf, vnf.vnfcs[0])}",
        )
    known = ((c.key, wanted if wanted == c.name else machine_name(vnf, c)) for c in vnf.vnfcs)
    key = resolve(wanted, known, what="machine", listing=f"manor vnf show {typed}")
    return next(vnfc for vnfc in vnf.vnfcs if vnfc.key == key)


@app.command()
def show(ctx: typer.Context, vnf: Vnf) -> None:
    """Show a VNF: its machines, ports and addresses."""
    s = session(ctx)
    info, drawn = find_vnf(s, vnf), _machines(s, vnf)

    def human() -> None:
        s.out.fields(
            [
                ("name", info.name),
                ("id", info.id),
                ("vnfd", descriptor_names(s, PackageKind.VNF).get(info.vnfd_id, info.vnfd_id)),
                ("flavour", info.flavour_id),
                ("vnfm", info.vnfm),
                ("state", f"{info.instantiation_state}, {info.vnf_state}"),
                ("scale levels", ", ".join(f"{aspect} {level}" for aspect, level in info.scale_levels.items())),
                *_said(info.information),
            ]
        )
        s.out.line()
        rows = [
            (machine_name(drawn, c), f"{c.vim}/{c.host}", c.state, p.name, " ".join(p.addresses), p.mac, p.device)
            for c in drawn.vnfcs
            for p in c.ports
        ]
        s.out.table(("machine", "where", "state", "port", "addresses", "mac", "device"), rows)

    s.out.result({"vnf": info, "machines": drawn.vnfcs}, human)


def _said(information: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the operator says of a VNF, as fields."""
    words = {
        "vnfInstanceName": "called",
        "vnfInstanceDescription": "description",
        "metadata": "metadata",
        "vnfConfigurableProperties": "properties",
    }
    return [
        (word, ", ".join(f"{k}={v}" for k, v in said.items()) if isinstance(said, Mapping) else str(said))
        for key, word in words.items()
        if (said := information.get(key))
    ]


@changes(app)
def heal(
    ctx: typer.Context,
    vnf: Vnf,
    vnfc: Annotated[list[str] | None, typer.Option("--vnfc", help="Only this machine, as main-0; repeatable.")] = None,
    cause: Annotated[str, typer.Option(help="Why; kept with the operation.")] = "",
) -> Proposal:
    """Make a VNF's machines anew, under the same key, MAC and address, and bring back what else is broken."""
    from manor.lcm import healing

    s = session(ctx)
    found = find_vnf(s, vnf)
    return healing.heal(
        s.runtime,
        found.ns_id,
        vnfs=() if vnfc else (found.name,),
        vnfcs=[name if name.startswith(found.name) else f"{found.name}/{name}" for name in vnfc or ()],
        cause=cause,
    )


def _of_one_service(s: Session, typed: list[str]) -> tuple[str, list[str]]:
    """The service's id and the VNFs' names. Raises UsageError where they are of several services."""
    found = [find_vnf(s, one) for one in typed]
    if len({vnf.ns_id for vnf in found}) > 1:
        raise UsageError("these VNFs are of several services", hint="one operation is of one service: run it for each")
    return found[0].ns_id, [vnf.name for vnf in found]


@changes(app)
def start(
    ctx: typer.Context,
    vnfs: Vnfs,
) -> Proposal:
    """Turn stopped VNFs on, and prove that they work."""
    from manor.api import PowerState
    from manor.lcm.operate import operate

    s = session(ctx)
    return operate(s.runtime, *_of_one_service(s, vnfs), PowerState.STARTED)


@changes(app)
def stop(
    ctx: typer.Context,
    vnfs: Vnfs,
    forceful: Annotated[
        bool, typer.Option("--forceful/--graceful", help="Turn off at once, or ask the guest to shut down first.")
    ] = False,
    timeout_s: Annotated[
        float | None, typer.Option("--timeout", min=0, max=86_400, help="Seconds to ask before turning off.")
    ] = None,
) -> Proposal:
    """Turn VNFs off; they stay so, and are no drift, until `vnf start`."""
    from manor.api import PowerState
    from manor.lcm.operate import operate

    if forceful and timeout_s is not None:
        raise UsageError("a forceful stop waits for nothing", hint="leave out --timeout or --forceful")
    s = session(ctx)
    patience_s = 0.0 if forceful else timeout_s
    return operate(s.runtime, *_of_one_service(s, vnfs), PowerState.STOPPED, patience_s=patience_s)


@changes(app)
def scale(
    ctx: typer.Context,
    vnf: Vnf,
    aspect: Annotated[str, typer.Option(help="Scaling aspect of the VNFD.")] = "",
    out: Annotated[int, typer.Option("--out", min=0, help="Steps up.")] = 0,
    in_: Annotated[int, typer.Option("--in", min=0, help="Steps down.")] = 0,
    level: Annotated[int | None, typer.Option("--level", min=0, help="Exactly this scale level of the aspect.")] = None,
    to_level: Annotated[str, typer.Option("--to-level", help="An instantiation level of the VNFD.")] = "",
) -> Proposal:
    """Give a VNF more or fewer machines; the newest go first."""
    from manor.lcm.scaling import scale_vnf

    if aspect and bool(out) + bool(in_) + (level is not None) != 1:
        raise UsageError(f"scale {aspect} by how much?", hint="one of --out N, --in N, --level N")
    s = session(ctx)
    found = find_vnf(s, vnf)
    return scale_vnf(s.runtime, found.ns_id, found.name, aspect=aspect, steps=out - in_, to_level=level, level=to_level)


@changes(app)
def upgrade(
    ctx: typer.Context,
    vnfs: Vnfs,
    package: Annotated[
        str, typer.Option("--package", help="VNF package: id, VNFD id or name.", autocompletion=complete_package)
    ],
    strategy: Annotated[Strategy, typer.Option(help="How machines are replaced.")] = Strategy.ROLLING,
    fraction: Annotated[float, typer.Option(min=0, max=1, help="Of the machines, those that go first (canary).")] = 0.0,
    gate: Annotated[
        list[str] | None,
        typer.Option("--gate", metavar="KPI<NUMBER", help="A bound for new machines; repeatable."),
    ] = None,
    soak_s: Annotated[float, typer.Option("--soak", min=0, help="Seconds that they have to keep it.")] = 0.0,
    discard_data: Annotated[
        bool, typer.Option("--discard-data", help="Blank disks come empty; what they hold is lost (blue-green).")
    ] = False,
) -> Proposal:
    """Run VNFs from another package; where one is not healthy or breaks the gate, the old ones come back.

    Rolling: machine after machine. Canary: the first ones have to stand the gate. Blue-green: all beside the old.
    """
    from manor.lcm.updating import change_package

    s = session(ctx)
    return change_package(
        s.runtime,
        *_of_one_service(s, vnfs),
        package,
        strategy=strategy,
        fraction=fraction,
        gate=gate or (),
        soak_s=soak_s,
        discard_data=discard_data,
    )


@app.command()
def console(
    ctx: typer.Context,
    machine: Machine,
    log: Annotated[bool, typer.Option("--log", help="Print what the console has said so far.")] = False,
) -> None:
    """Attach to a machine's serial console."""
    from manor.api import CallContext, Console, ResourceKind, ResourceRef

    s = session(ctx)
    vnfc = _machine(s, machine)
    vim: Any = s.runtime.vim(vnfc.vim)
    if not isinstance(vim, Console):
        raise Unsupported(f"VIM {vnfc.vim} has no consoles", capability="console", hint=f"manor vim show {vnfc.vim}")
    ref = ResourceRef(kind=ResourceKind.NODE, key=vnfc.key, host=vnfc.host)
    info = vim.console(ref, CallContext.within(_LOOK_S))
    if s.out.json:
        s.out.result(info, lambda: None)
    elif log:
        _print_log(s, vnfc, info.log_path)
    elif not info.argv:
        raise Unsupported(f"{vnfc.name} has no console to attach to", capability="console", hint="add --log to read it")
    elif not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("a console needs a terminal", hint=f"read it with --log, or run: {shlex.join(info.argv)}")
    else:
        s.close()
        os.execvp(info.argv[0], list(info.argv))  # noqa: S606 (argv from the driver, no shell)


def _print_log(s: Session, vnfc: TopologyVnfc, path: str) -> None:
    if not path:
        raise Unsupported(f"{vnfc.name} keeps no console log", capability="console", hint="attach to it without --log")
    try:
        with open(path, encoding="utf-8", errors="replace", newline="") as file:
            s.out.document(printable(file.read().replace("\r\n", "\n").replace("\r", "\n")))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", hint="it is on the host of the machine") from error


@app.command("exec", context_settings={"ignore_unknown_options": True})
def exec_(
    ctx: typer.Context,
    machine: Machine,
    argv: Annotated[list[str], typer.Argument(metavar="-- PROGRAM [ARG]...", help="What to run inside; no shell.")],
    timeout_s: Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait for it.")] = 60.0,
    stdin: Annotated[bool, typer.Option("--stdin", "-i", help="Pass standard input on.")] = False,
) -> None:
    """Run a program inside a machine by its guest agent; ends with the program's own exit code."""
    from manor.api import CallContext, ResourceKind, ResourceRef
    from manor.lcm.driving import VimGuest

    s = session(ctx)
    vnfc = _machine(s, machine)
    ref = ResourceRef(kind=ResourceKind.NODE, key=vnfc.key, host=vnfc.host)
    guest = VimGuest(vim=s.runtime.vim(vnfc.vim), ref=ref)
    given = sys.stdin.buffer.read() if stdin else b""
    done = guest.run(argv, CallContext.within(timeout_s), stdin=given)
    if s.out.json:
        s.out.result(done, lambda: None)
    else:
        _pass_on(done.stdout, sys.stdout)
        _pass_on(done.stderr, sys.stderr)
    raise typer.Exit(done.exit_code)


def _pass_on(data: bytes, stream: Any) -> None:
    """Bytes as they are into a pipe; to a terminal only what cannot drive it."""
    stream.flush()
    if stream.isatty():
        stream.write(printable(data.decode("utf-8", "replace").replace("\r\n", "\n")))
    elif hasattr(stream, "buffer"):
        stream.buffer.write(data)
    else:
        stream.write(data.decode("utf-8", "replace"))
    stream.flush()
