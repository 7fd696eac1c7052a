"""``manor metrics``: the KPIs that were measured, as `manor serve` keeps them."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from manor.cli.find import complete_ns, complete_vnf, find_ns
from manor.cli.markers import when
from manor.cli.names import resolve
from manor.cli.session import Session, new_app, session
from manor.errors import UsageError

if TYPE_CHECKING:
    from manor.store.history import HistoryRow, Series

__all__ = ["app"]

app = new_app("KPIs: list, show, export.")

_BARS = "▁▂▃▄▅▆▇█"
_SPAN = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

Subject = Annotated[
    str,
    typer.Argument(
        metavar="NS/NAME", help="A machine, VNF, link or chain of a service; or a key.", autocompletion=complete_vnf
    ),
]
Since = Annotated[str, typer.Option(metavar="SPAN", help="How far back, as 30m, 6h or 2d.")]


class Form(StrEnum):
    """Forms of an export."""

    CSV = "csv"
    JSON = "json"


def _path(s: Session) -> Path:
    return s.home / "history.db"


def _name(series: Series) -> str:
    labels = series.labels
    what = labels.get("vnfc") or labels.get("link") or labels.get("chain") or series.key
    return f"{labels.get('service', '')}/{what}"


def _find(s: Session, typed: str) -> Series:
    from manor.store.history import subjects

    known = subjects(_path(s))
    if not known:
        raise UsageError("nothing was measured yet", hint="manor serve measures; see docs/assurance.md")
    by_vnf = [one for one in known if typed == f"{one.labels.get('service')}/{one.labels.get('vnf')}"]
    if len(by_vnf) == 1:
        return by_vnf[0]
    key = resolve(typed, ((one.key, _name(one)) for one in known), what="measured thing", listing="manor metrics list")
    return next(one for one in known if one.key == key)


def _rows(s: Session, series: Series, since: str) -> tuple[HistoryRow, ...]:
    from manor.store.history import read

    return read(_path(s), series.key, since_s=time.time() - _span_s(since))


def _span_s(text: str) -> float:
    found = _SPAN.fullmatch(text)
    if found is None:
        raise UsageError(f"--since takes a span, not '{text}'", hint="for example 30m, 6h or 2d")
    return float(found[1]) * _SECONDS[found[2]]


@app.command("list")
def list_(
    ctx: typer.Context,
    service: Annotated[
        str, typer.Argument(metavar="NS", help="Of this service only.", autocompletion=complete_ns)
    ] = "",
) -> None:
    """List what is measured: machines, links and chains."""
    from manor.store.history import subjects

    s = session(ctx)
    prefix = f"{find_ns(s, service).id}/" if service else ""
    found = [one for one in subjects(_path(s)) if one.key.startswith(prefix)]
    rows = [(_name(one), one.kind, when(one.last_s), one.key) for one in found]
    s.out.result(
        found, lambda: s.out.table(("name", "kind", "last measured", "key"), rows, empty="nothing was measured yet")
    )


@app.command()
def show(ctx: typer.Context, subject: Subject, since: Since = "1h") -> None:
    """Show the KPIs of one machine, link or chain with their course."""
    from manor.telemetry.kpis import unit_of

    s = session(ctx)
    series = _find(s, subject)
    rows = _rows(s, series, since)
    courses = {
        kpi: [row.values.get(kpi) for row in rows] for kpi in sorted({name for row in rows for name in row.values})
    }
    table = []
    for kpi, course in courses.items():
        known = [value for value in course if value is not None]
        peak = max(row.peaks.get(kpi, row.values[kpi]) for row in rows if kpi in row.values)
        last = f"{course[-1]:.4g}" if course[-1] is not None else "missing"
        table.append((kpi, unit_of(kpi), last, f"{min(known):.4g}", f"{peak:.4g}", sparkline(course)))
    s.out.result(
        {
            "subject": series,
            "kpis": {kpi: {"unit": unit_of(kpi), "last": course[-1]} for kpi, course in courses.items()},
            "times_s": [row.time_s for row in rows],
            "values": courses,
        },
        lambda: s.out.table(
            ("kpi", "unit", "last", "least", "most", f"last {since}"),
            table,
            right=("last", "least", "most"),
            empty=f"nothing was measured of it in the last {since}",
        ),
    )


def sparkline(course: list[float | None], width: int = 40) -> str:
    """A course as one line of bars; a gap where nothing was measured."""
    if not course:
        return ""
    parts = min(width, len(course))
    cells: list[float | None] = []
    for part in range(parts):
        known = [v for v in course[part * len(course) // parts : (part + 1) * len(course) // parts] if v is not None]
        cells.append(sum(known) / len(known) if known else None)
    present = [cell for cell in cells if cell is not None]
    if not present:
        return " " * parts
    least, span = min(present), max(present) - min(present)
    return "".join(
        " " if cell is None else _BARS[min(7, int(8 * (cell - least) / span))] if span else _BARS[0] for cell in cells
    )


@app.command()
def export(
    ctx: typer.Context,
    subject: Subject,
    since: Since = "1h",
    format: Annotated[Form, typer.Option("--format", "-f", help="Form of the file.")] = Form.CSV,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write it to a file.")] = None,
) -> None:
    """Write the KPIs of one machine, link or chain as a table over time; what is missing stays empty."""
    s = session(ctx)
    series = _find(s, subject)
    rows = _rows(s, series, since)
    names = sorted({name for row in rows for name in row.values})
    if s.out.json or format is Form.JSON:
        text = json.dumps([{"time_s": row.time_s, **row.values} for row in rows]) + "\n"
    else:
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(("time_s", *names))
        writer.writerows((row.time_s, *(row.values.get(name, "") for name in names)) for row in rows)
        text = buffer.getvalue()
    s.out.document(text, output)
