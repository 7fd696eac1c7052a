"""The commands that VIMs and SDN controllers share: both are endpoints that a driver connects to."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from manor.cli.exits import ExitCode
from manor.cli.find import one_of
from manor.cli.render.steps import size
from manor.cli.session import Session, new_app, session
from manor.cli.settings import redacted, settings
from manor.errors import DriverError, PluginError, UsageError
from manor.model.instance import Endpoint, EndpointKind

if TYPE_CHECKING:
    from manor.api import CallContext, Capabilities, Host, Topology

__all__ = ["endpoint_app", "find_endpoint", "look", "registered"]


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """An endpoint as it answered."""

    kind: EndpointKind
    name: str
    driver: str
    ok: bool
    seconds: float
    problem: str = ""
    hint: str = ""
    capabilities: Capabilities | None = None
    topology: Topology | None = None


def registered(s: Session, kind: EndpointKind) -> tuple[Endpoint, ...]:
    """Every endpoint of a kind, by name."""
    from manor.store import endpoints

    with s.runtime.store.read() as tx:
        return endpoints.all_of(tx, kind)


def find_endpoint(s: Session, kind: EndpointKind, typed: str) -> Endpoint:
    """The endpoint with this name or unique start of one."""
    known = {endpoint.name: endpoint for endpoint in registered(s, kind)}
    return known[one_of(typed, known, what=kind.upper(), listing=f"manor {kind} list")]


def look(s: Session, endpoint: Endpoint, ctx: CallContext | None = None) -> View:
    """Connect and ask what the endpoint can do, within ``ctx`` where one is given; a failure is part of the answer."""
    from manor.api import CallContext
    from manor.lcm import endpoints

    started_s = time.monotonic()
    capabilities = topology = None
    problem = hint = ""
    try:
        capabilities = endpoints.check(s.runtime, endpoint.kind, endpoint.name, ctx)
        if endpoint.kind is EndpointKind.SDN:
            topology = s.runtime.sdn(endpoint.name).topology(ctx or CallContext.within(endpoints.CHECK_S))
        away = [f"{host.name}: {host.reason or 'not reachable'}" for host in capabilities.hosts if not host.reachable]
        problem = "; ".join(away)
    except (DriverError, PluginError, UsageError) as error:
        problem, hint = error.message, error.hint
    return View(
        kind=endpoint.kind,
        name=endpoint.name,
        driver=endpoint.driver,
        ok=not problem,
        seconds=time.monotonic() - started_s,
        problem=problem,
        hint=hint,
        capabilities=capabilities,
        topology=topology,
    )


def endpoint_app(kind: EndpointKind, help: str) -> typer.Typer:
    """The group with the commands that every kind of endpoint has."""
    app = new_app(help)
    is_vim = kind is EndpointKind.VIM
    word = "VIM" if is_vim else "controller"
    shown_of = "its hosts and what is free on them" if is_vim else "its switches"
    takes_off = "taking our cached images off it" if is_vim else "ending its agent"

    @app.command(help=f"Register a {word} and look whether it answers; nothing is kept where it does not.")
    def add(
        ctx: typer.Context,
        name: Annotated[str, typer.Argument(help="What it is called from now on.")],
        driver: Annotated[str, typer.Option("--driver", "-d", help="Kind of it: manor plugin list.")],
        option: Annotated[
            list[str] | None, typer.Option("-o", "--option", metavar="KEY=VALUE", help="A setting.")
        ] = None,
        config: Annotated[Path | None, typer.Option(help="YAML file with settings.")] = None,
    ) -> None:
        from manor.lcm import endpoints

        s = session(ctx)
        endpoints.add(s.runtime, kind, name, driver=driver, config=settings(config, option or ()))
        view = look(s, s.runtime.endpoint(kind, name))
        s.out.result(view, lambda: _show_view(s, view))

    @app.command("list", help=f"List the registered {word}s.")
    def list_(ctx: typer.Context) -> None:
        s = session(ctx)
        found = registered(s, kind)
        rows = [(e.name, e.driver, time.strftime("%Y-%m-%d %H:%M", time.localtime(e.created_s))) for e in found]
        shown = [
            {"name": e.name, "driver": e.driver, "config": redacted(e.config), "created_s": e.created_s} for e in found
        ]
        empty = f"no {word} is registered: manor {kind} add NAME --driver DRIVER"
        s.out.result(shown, lambda: s.out.table(("name", "driver", "registered"), rows, empty=empty))

    @app.command(help=f"Show a {word}: its settings, what it can do, {shown_of}.")
    def show(ctx: typer.Context, name: Annotated[str, typer.Argument(help="Its name, or the start of it.")]) -> None:
        s = session(ctx)
        endpoint = find_endpoint(s, kind, name)
        view = look(s, endpoint)
        config = redacted(endpoint.config)

        def human() -> None:
            s.out.fields([("name", endpoint.name), ("driver", endpoint.driver), *_flat(config)])
            s.out.line()
            _show_view(s, view)
            _show_support(s, view)

        s.out.result({"config": config, **_as_dict(view)}, human)

    @app.command(help=f"Look whether one {word}, or every one, answers; ends with 6 where one does not.")
    def check(ctx: typer.Context, name: Annotated[str, typer.Argument(help="Name; default: all.")] = "") -> None:
        s = session(ctx)
        wanted = (find_endpoint(s, kind, name),) if name else registered(s, kind)
        views = [look(s, endpoint) for endpoint in wanted]

        def human() -> None:
            for view in views:
                _show_view(s, view)

        s.out.result(views, human)
        if any(not view.ok for view in views):
            raise typer.Exit(ExitCode.DRIVER)

    @app.command(help=f"Forget a {word}, {takes_off}. Refused while a service uses it.")
    def remove(
        ctx: typer.Context,
        name: Annotated[str, typer.Argument(help="Its name, or the start of it.")],
        force: Annotated[
            bool, typer.Option("--force", help="Also where it does not answer; what stays is listed.")
        ] = False,
    ) -> None:
        from manor.lcm import endpoints

        s = session(ctx)
        endpoint = find_endpoint(s, kind, name)
        left = endpoints.remove(s.runtime, kind, endpoint.name, force=force)
        for key in left:
            s.out.warn(f"left behind: {key}")
        s.out.result({"removed": endpoint.name, "left": left}, lambda: s.out.line(f"{endpoint.name} is forgotten"))

    return app


def _as_dict(view: View) -> dict[str, Any]:
    return {name: getattr(view, name) for name in View.__dataclass_fields__}


def _flat(config: Any, prefix: str = "") -> list[tuple[str, object]]:
    if not isinstance(config, Mapping):
        plain = json.dumps(config, ensure_ascii=False) if isinstance(config, (list, tuple)) else config
        return [(prefix.rstrip("."), plain)]
    return [pair for key, value in config.items() for pair in _flat(value, f"{prefix}{key}.")]


def _show_view(s: Session, view: View) -> None:
    word = "answers" if view.ok else "answers, but" if view.capabilities else "does not answer:"
    tail = f"in {view.seconds:.2f} s" if view.ok else view.problem
    s.out.line(f"{view.name} ({view.driver}) {word} {tail}", style="green" if view.ok else "red")
    if view.hint:
        s.out.line(f"    hint: {view.hint}")
    hosts = view.capabilities.hosts if view.capabilities else ()
    if hosts and view.kind is EndpointKind.SDN:
        s.out.table(
            ("host", "state"), [(h.name, h.reason or ("ok" if h.reachable else "not reachable")) for h in hosts]
        )
    elif hosts:
        s.out.table(
            ("host", "zone", "accelerator", "vcpus", "used", "memory", "free", "disk", "free disk", "state"),
            [
                (h.name, h.zone, h.accelerator, h.vcpus, h.vcpus_used, size(h.memory_bytes), _free(h),
                 size(h.storage_bytes), size(h.storage_free_bytes), "ok" if h.reachable and not h.reason else h.reason)
                for h in hosts
            ],
            right=("vcpus", "used", "memory", "free", "disk", "free disk"),
        )  # fmt: skip
    if view.topology:
        s.out.table(
            ("switch on", "datapath", "connected", "ports"),
            [(w.host, w.datapath_id, "yes" if w.connected else "no", len(w.ports)) for w in view.topology.switches],
            right=("ports",),
            empty="it knows no switch yet",
        )


def _free(host: Host) -> str:
    """Memory that is free: of ordinary pages, and of huge ones by their size."""
    pages = sorted(host.hugepages_free_bytes.items())
    return " + ".join([size(host.memory_free_bytes), *(f"{size(free)} in {size(page)} pages" for page, free in pages)])


def _show_support(s: Session, view: View) -> None:
    if view.capabilities:
        s.out.line()
        s.out.table(
            ("capability", "support", "why"),
            [
                (name, level, view.capabilities.detail.get(name, ""))
                for name, level in view.capabilities.support.items()
            ],
        )
