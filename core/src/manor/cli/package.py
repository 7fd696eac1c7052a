"""``manor package``: VNF and NS packages, looked at, kept and let go of."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from manor.cli.exits import ExitCode
from manor.cli.find import complete_package, find_package
from manor.cli.markers import pack_marker, unpack_marker, when
from manor.cli.session import Session, new_app, session
from manor.errors import UsageError
from manor.model.instance import OperationalState, PackageInfo

__all__ = ["app"]

app = new_app("VNF and NS packages: validate, onboard, list, show, enable, disable, delete.")

Paths = Annotated[list[Path], typer.Argument(metavar="PATH...", help="Packages, descriptors, or folders of them.")]
Package = Annotated[
    str,
    typer.Argument(metavar="PACKAGE", help="Id, descriptor id or name.", autocompletion=complete_package),
]
All = Annotated[bool, typer.Option("--all", "-a", help="Show findings of severity info too.")]


@app.command()
def validate(ctx: typer.Context, paths: Paths, all: All = False) -> None:
    """Look at packages and descriptors without keeping them. Ends with 3 where one is refused."""
    from manor.catalog.validate import all_accepted
    from manor.catalog.validate import validate as look
    from manor.plugin import Plugins

    s = session(ctx)
    items = look(paths, formats=[each.record for each in Plugins().descriptor_formats().values()])

    def human() -> None:
        for item in items:
            word = {True: "accepted", False: "REFUSED", None: "no descriptor"}[item.accepted]
            kind = " ".join(part for part in (item.format, item.kind) if part and item.accepted is not None)
            style = {True: "green", False: "bold red", None: "dim"}[item.accepted]
            s.out.line(f"{item.path}: {word}{f' ({kind})' if kind else ''}", style=style)
            s.out.findings(f for f in item.findings if all or f.severity != "info")
        counted = Counter(item.accepted for item in items)
        s.out.line(f"{counted[True]} accepted, {counted[False]} refused, {counted[None]} no descriptors")

    s.out.result([item.to_json() for item in items], human)
    if not any(item.accepted is not None for item in items):
        where = ", ".join(str(path) for path in paths)
        raise UsageError(f"there is no package or descriptor at {where}", hint="give a CSAR or a descriptor")
    if not all_accepted(items):
        raise typer.Exit(ExitCode.DESCRIPTOR)


@app.command()
def onboard(ctx: typer.Context, paths: Paths) -> None:
    """Keep packages, each whole or not at all. VNF packages go before the NS packages that need them."""
    from manor.catalog.onboard import onboard as keep

    s = session(ctx)
    kept = keep(s.runtime, paths)

    def human() -> None:
        for info in kept:
            s.out.line(f"{info.name} {info.version} ({info.kind} {info.id}) {info.onboarding_state}")

    s.out.result(kept, human)


@app.command("list")
def list_(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 50,
    after: Annotated[str, typer.Option(help="Page marker, as the page before gave it.")] = "",
) -> None:
    """List packages by name."""
    from manor.store import reading

    s = session(ctx)
    page = reading.packages(s.url, limit=limit, after=unpack_marker(after))
    rows = [
        (
            p.id[:12],
            p.kind,
            p.name,
            p.version,
            p.provider,
            p.format,
            p.onboarding_state,
            p.operational_state,
            p.usage_state,
        )
        for p in page.items
    ]
    headers = ("id", "kind", "name", "version", "provider", "format", "onboarding", "operational", "usage")
    s.out.result(
        page.items, lambda: s.out.table(headers, rows, empty="no package is on-boarded: manor package onboard PATH")
    )
    if page.next:
        marker = pack_marker(page.next)
        s.out.note(f"{len(page.items)} of {page.total}; next: manor package list --limit {limit} --after {marker}")


@app.command()
def show(ctx: typer.Context, package: Package) -> None:
    """Show a package: its states, its files, who uses it, and what was found when it was read."""
    from manor.store import packages

    s = session(ctx)
    info = find_package(s, package)
    with s.runtime.store.read() as tx:
        findings = packages.findings(tx, info.id)
        users = packages.used_by(tx, info)
        descriptor = packages.descriptor(tx, info.id)

    def human() -> None:
        s.out.fields(
            [
                ("name", info.name),
                ("id", info.id),
                ("kind", info.kind),
                ("descriptor", info.descriptor_id),
                ("version", info.version),
                ("provider", info.provider),
                ("format", info.format),
                ("onboarding", info.onboarding_state),
                ("operational", info.operational_state),
                ("usage", info.usage_state),
                ("used by", ", ".join(users)),
                ("kept since", when(info.created_s)),
                ("content", info.content_sha256),
            ]
        )
        if info.artifacts:
            s.out.line()
            s.out.table(("file", "sha256"), sorted(info.artifacts.items()))
        if findings:
            s.out.line()
            s.out.findings(findings)

    s.out.result({"package": info, "used_by": users, "findings": findings, "descriptor": descriptor}, human)


@app.command()
def delete(ctx: typer.Context, package: Package) -> None:
    """Let go of a package that no service uses, with its files and cached images."""
    from manor.lcm.packages import delete as let_go

    s = session(ctx)
    info = find_package(s, package)
    left = let_go(s.runtime, info.id)
    for key in left:
        s.out.warn(f"left behind: {key} (manor vim orphans)")
    s.out.result({"deleted": info.id, "name": info.name, "left": left}, lambda: s.out.line(f"{info.name} is deleted"))


@app.command()
def enable(ctx: typer.Context, package: Package) -> None:
    """Let services be made from a package again."""
    _switch(session(ctx), package, OperationalState.ENABLED)


@app.command()
def disable(ctx: typer.Context, package: Package) -> None:
    """Keep new services from being made from a package; those that run go on."""
    _switch(session(ctx), package, OperationalState.DISABLED)


@app.command()
def allow(
    ctx: typer.Context,
    package: Package,
    revoke: Annotated[bool, typer.Option("--revoke", help="No longer.")] = False,
) -> None:
    """Let a package's Ansible playbooks run on this host, for exactly this content; nothing else of a package does."""
    from manor.store import packages

    s = session(ctx)
    info = find_package(s, package)
    with s.runtime.store.begin() as tx:
        packages.allow_playbooks(tx, info.content_sha256, allowed=not revoke)
    words = "may no longer" if revoke else "may"
    s.out.result(
        {"package": info.id, "allowed": not revoke}, lambda: s.out.line(f"playbooks of {info.name} {words} run here")
    )


def _switch(s: Session, typed: str, state: OperationalState) -> None:
    from manor.store import packages

    found = find_package(s, typed)
    with s.runtime.store.begin() as tx:
        info: PackageInfo = replace(packages.get(tx, found.id, hold=True), operational_state=state)
        packages.save(tx, info)
    s.out.result(info, lambda: s.out.line(f"{info.name} is {state}"))
