"""``manor kpi``: what was measured of machines, links and chains, as a table, a course, a picture or a file."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from manor.cli.find import complete_ns, complete_vnf, find_ns
from manor.cli.markers import when
from manor.cli.measured import Kept, blamed, courses, draw, pictured, resource_of, stood_on, with_gaps
from manor.cli.names import resolve
from manor.cli.session import Session, new_app, session
from manor.errors import UsageError

if TYPE_CHECKING:
    from manor.model.alarm import AlarmRecord
    from manor.model.kpi import Series

__all__ = ["app", "measured_of", "span_s", "sparkline"]

app = new_app("KPIs: list, show, plot, export.")

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


def measured_of(s: Session, key: str) -> set[str]:
    """Names, without their parts, of the KPIs that were measured of an object or below it in the last hour."""
    kept = Kept(s)
    since_s = time.time() - _SECONDS["h"]
    below = (one for one in kept.subjects() if one.key == key or one.key.startswith(f"{key}/"))
    return {name.partition(":")[0] for one in below for row in kept.read(one, since_s) for name in row.values}


def _find(kept: Kept, typed: str) -> Series:
    known = kept.subjects()
    if not known:
        raise UsageError("nothing was measured yet", hint="manor serve measures; see docs/telemetry.md")
    by_vnf = [one for one in known if typed == f"{one.labels.get('service')}/{one.labels.get('vnf')}"]
    if len(by_vnf) == 1:
        return by_vnf[0]
    key = resolve(typed, ((one.key, one.name) for one in known), what="measured thing", listing="manor kpi list")
    return next(one for one in known if one.key == key)


def span_s(text: str, option: str = "--since") -> float:
    """A span as ``30m`` in seconds. Raises UsageError naming the option."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise UsageError(f"{option} takes a span, not '{text}'", hint="for example 30m, 6h or 2d")
    return float(found[1]) * _SECONDS[found[2]]


def _since_s(span: str) -> float:
    return time.time() - span_s(span)


@app.command("list")
def list_(
    ctx: typer.Context,
    service: Annotated[
        str, typer.Argument(metavar="NS", help="Of this service only.", autocompletion=complete_ns)
    ] = "",
) -> None:
    """List what is measured: machines, links and chains."""
    s = session(ctx)
    name = find_ns(s, service).name if service else ""
    found = [one for one in Kept(s).subjects() if not name or one.labels.get("service") == name]
    rows = [(one.name, one.kind, when(one.last_s), one.key) for one in found]
    named = [
        {"name": one.name, "kind": one.kind, "key": one.key, "labels": one.labels, "last_s": one.last_s}
        for one in found
    ]
    s.out.result(
        named, lambda: s.out.table(("name", "kind", "last measured", "key"), rows, empty="nothing was measured yet")
    )


@app.command()
def show(ctx: typer.Context, subject: Subject, since: Since = "1h") -> None:
    """Show the KPIs of one machine, link or chain with their course."""
    from manor.cli.charts import spoken
    from manor.telemetry.kpis import unit_of

    s = session(ctx)
    kept = Kept(s)
    series = _find(kept, subject)
    rows = kept.read(series, _since_s(since))
    known, drawn = courses(rows), courses(with_gaps(rows))
    table = []
    for kpi, course in known.items():
        values = [value for value in course if value is not None]
        peak = max(row.peaks.get(kpi, row.values[kpi]) for row in rows if kpi in row.values)
        last = f"{course[-1]:.4g}" if course[-1] is not None else "missing"
        table.append((kpi, spoken(unit_of(kpi)), last, f"{min(values):.4g}", f"{peak:.4g}", sparkline(drawn[kpi])))
    s.out.result(
        {
            "subject": series,
            "kpis": {kpi: {"unit": unit_of(kpi), "last": course[-1]} for kpi, course in known.items()},
            "times_s": [row.time_s for row in rows],
            "values": known,
        },
        lambda: s.out.table(
            ("kpi", "unit", "last", "least", "most", f"last {since}"),
            table,
            right=("last", "least", "most"),
            empty=f"nothing was measured of it in the last {since}",
        ),
    )


def sparkline(course: Sequence[float | None], width: int = 40) -> str:
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
def plot(
    ctx: typer.Context,
    subject: Subject,
    kpi: Annotated[list[str] | None, typer.Option("--kpi", "-k", metavar="KPI", help="This one; repeat it.")] = None,
    since: Since = "1h",
    most: Annotated[int, typer.Option(min=1, max=40, help="How many KPIs at most, the blamed ones first.")] = 4,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Draw it into a file, as .svg or .png.")] = None,
) -> None:
    """Draw KPIs over time; spans with an alarm are shaded, and what an alarm blames comes first."""
    from manor.cli.charts import save

    s = session(ctx)
    kept = Kept(s)
    series = _find(kept, subject)
    rows = kept.read(series, _since_s(since))
    known = courses(rows)
    unknown = [name for name in kpi or () if name not in known]
    if unknown or not known:
        what = f"{unknown[0]} was not" if unknown else "nothing was"
        raise UsageError(f"{what} measured of {series.name} in the last {since}", hint=f"manor kpi show {series.name}")
    key = resource_of(s, series)
    alarms = _alarms(s, key, rows[0].time_s)
    accused = blamed(known, alarms)
    moving = sorted(known, key=lambda name: (len({v for v in known[name] if v is not None}) < 2, name))
    chosen = list(dict.fromkeys(kpi or (*accused, *moving)))[:most]
    panels, shades = pictured(with_gaps(rows), chosen, alarms)
    value = {
        "subject": series,
        "resource_key": key,
        "kpis": chosen,
        "blamed": accused,
        "alarms": [one.told() for one in alarms],
    }
    if output is None:
        drawn = draw(s, series.name, panels, shades)
        s.out.result({**value, "drawing": drawn}, lambda: s.out.document(drawn))
        return
    save(output, series.name, panels, shades)
    s.out.result({**value, "file": str(output)}, lambda: s.out.note(f"written to {output}"))


def _alarms(s: Session, key: str, since_s: float) -> list[AlarmRecord]:
    """Alarms about the resource, or what it stands on, that were active in the span, the newest first."""
    from manor.assure.emptied import is_of_all
    from manor.store import alarms

    keys = stood_on(s, key)
    with s.runtime.store.read() as tx:
        found = alarms.listing(tx, cleared=True, limit=10_000)
    mine = (alarm for alarm in found if alarm.resource_key in keys and not is_of_all(alarm))
    return [alarm for alarm in mine if alarm.is_active or alarm.alarm_cleared_time_s >= since_s]


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
    kept = Kept(s)
    rows = kept.read(_find(kept, subject), _since_s(since))
    names = sorted({name for row in rows for name in row.values})
    if s.out.json or format is Form.JSON:
        records: list[dict[str, Any]] = [{"time_s": row.time_s, **row.values} for row in rows]
        text = json.dumps(records) + "\n"
    else:
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(("time_s", *names))
        writer.writerows((row.time_s, *(row.values.get(name, "") for name in names)) for row in rows)
        text = buffer.getvalue()
    s.out.document(text, output)
