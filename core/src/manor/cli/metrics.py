"""``manor metrics``: what a Prometheus and a Grafana need to watch Manor, shipped with it and printed from here."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from manor.cli.session import new_app, session
from manor.errors import UsageError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

__all__ = ["app"]

app = new_app("For Prometheus and Grafana: rules, dashboards, sd.")

_LISTEN = "127.0.0.1:9740"
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write it to a file.")]


def _shipped() -> Traversable:
    return files("manor.telemetry") / "shipped"


@app.command()
def rules(ctx: typer.Context, output: Output = None) -> None:
    """Print the alert rules for Prometheus (``rule_files``)."""
    out, text = session(ctx).out, (_shipped() / "rules.yml").read_text(encoding="utf-8")
    if out.json and output is None:
        import yaml

        out.result(yaml.safe_load(text), lambda: None)
    else:
        out.document(text, output)


@app.command()
def dashboards(
    ctx: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to put them; made if missing.")],
) -> None:
    """Write the dashboards for Grafana as JSON files, to be imported or provisioned."""
    s = session(ctx)
    found = sorted((item for item in _shipped().iterdir() if item.name.endswith(".json")), key=lambda item: item.name)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        written = [directory / f"manor-{item.name.removeprefix('dashboard-')}" for item in found]
        for item, path in zip(found, written, strict=True):
            path.write_text(item.read_text(encoding="utf-8"), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write to {directory}: {error.strerror}", hint="choose another place") from error
    s.out.result([str(path) for path in written], lambda: [s.out.line(str(path)) for path in written] and None)


@app.command()
def sd(
    ctx: typer.Context,
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where `manor serve --metrics` answers.")] = _LISTEN,
    exporter: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="Also each VNFC's own exporter at this port.")
    ] = 0,
    output: Output = None,
) -> None:
    """Print targets for Prometheus's ``file_sd_configs``: Manor itself, and VNFCs at their management address.

    ``targets`` in assurance.yaml has ``manor serve`` keep such a file fresh.
    """
    from manor.assure.looking import Services
    from manor.assure.targets import target_groups

    s = session(ctx)
    groups = target_groups(Services(s.runtime).read(), listen, exporter) if exporter else target_groups((), listen)
    s.out.document(json.dumps(groups, indent=2) + "\n", output)
