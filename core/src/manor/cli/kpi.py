"""``manor kpi``: what was measured of machines, links and chains, as a table, a course, a picture or a file.

The history is Manor's own or a Prometheus server's, as ``assurance.yaml`` says; nothing here sees the difference.
"""

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
from manor.cli.names import resolve
from manor.cli.session import Session, new_app, session
from manor.errors import UsageError

if TYPE_CHECKING:
    from manor.model.alarm import AlarmRecord
    from manor.model.kpi import HistoryRow, Series

__all__ = ["app", "blamed", "measured_of", "span_s", "sparkline"]

app = new_app("KPIs: list, show, plot, export.")

_BARS = "▁▂▃▄▅▆▇█"
_SPAN = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_WIDTH, _LEAST_WIDTH = 100, 40

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


class _Kept:
    """The history of this home."""

    def __init__(self, s: Session) -> None:
        from manor.assure.settings import read_settings

        self._path = s.home / "history.db"
        url = read_settings(s.home).prometheus
        if url:
            from manor.telemetry.prometheus import PrometheusHistory

            self._server: PrometheusHistory | None = PrometheusHistory(url=url)
        else:
            self._server = None

    def subjects(self) -> tuple[Series, ...]:
        from manor.store.history import subjects

        return self._server.subjects() if self._server else subjects(self._path)

    def read(self, series: Series, since: str) -> tuple[HistoryRow, ...]:
        from manor.store.history import read

        since_s = time.time() - span_s(since)
        if self._server:
            return self._server.read(series, since_s=since_s)
        return read(self._path, series.key, since_s=since_s)


def measured_of(s: Session, key: str) -> set[str]:
    """Names, without their parts, of the KPIs that were measured of an object or below it in the last hour."""
    kept = _Kept(s)
    below = (one for one in kept.subjects() if one.key == key or one.key.startswith(f"{key}/"))
    return {name.partition(":")[0] for one in below for row in kept.read(one, "1h") for name in row.values}


def _find(kept: _Kept, typed: str) -> Series:
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


def _courses(rows: Sequence[HistoryRow]) -> dict[str, list[float | None]]:
    names = sorted({name for row in rows for name in row.values})
    return {name: [row.values.get(name) for row in rows] for name in names}


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
    found = [one for one in _Kept(s).subjects() if not name or one.labels.get("service") == name]
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
    kept = _Kept(s)
    series = _find(kept, subject)
    rows = kept.read(series, since)
    courses = _courses(rows)
    table = []
    for kpi, course in courses.items():
        known = [value for value in course if value is not None]
        peak = max(row.peaks.get(kpi, row.values[kpi]) for row in rows if kpi in row.values)
        last = f"{course[-1]:.4g}" if course[-1] is not None else "missing"
        table.append((kpi, spoken(unit_of(kpi)), last, f"{min(known):.4g}", f"{peak:.4g}", sparkline(course)))
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
    from manor.cli.charts import Panel, Shade, save, terminal
    from manor.telemetry.kpis import unit_of

    s = session(ctx)
    kept = _Kept(s)
    series = _find(kept, subject)
    rows = kept.read(series, since)
    courses = _courses(rows)
    unknown = [name for name in kpi or () if name not in courses]
    if unknown or not courses:
        what = f"{unknown[0]} was not" if unknown else "nothing was"
        raise UsageError(f"{what} measured of {series.name} in the last {since}", hint=f"manor kpi show {series.name}")
    key = _key(s, series)
    alarms = _alarms(s, key, rows[0].time_s)
    accused = blamed(list(courses), alarms)
    moving = sorted(courses, key=lambda name: (len({v for v in courses[name] if v is not None}) < 2, name))
    chosen = list(dict.fromkeys(kpi or (*accused, *moving)))[:most]
    times = [row.time_s for row in rows]
    panels = [
        Panel(kpi=name, unit=unit_of(name), times_s=times, values=courses[name], blamed=name in accused)
        for name in chosen
    ]
    shades = [
        Shade(
            begin_s=max(alarm.event_time_s or alarm.alarm_raised_time_s, times[0]),
            end_s=min(alarm.alarm_cleared_time_s or times[-1], times[-1]),
            text=f"{alarm.probable_cause} ({alarm.id})",
        )
        for alarm in alarms
    ]
    value = {"subject": series, "resource_key": key, "kpis": chosen, "blamed": accused, "alarms": alarms}
    if output is None:
        width = max(_LEAST_WIDTH, min(s.out.console.width if s.out.is_terminal else _WIDTH, 160))
        drawn = terminal(series.name, panels, shades, width=width, colour=s.out.is_terminal)
        s.out.result({**value, "drawing": drawn}, lambda: s.out.document(drawn))
        return
    save(output, series.name, panels, shades)
    s.out.result({**value, "file": str(output)}, lambda: s.out.note(f"written to {output}"))


def _alarms(s: Session, key: str, since_s: float) -> list[AlarmRecord]:
    """Alarms about the resource that were active in the span, the newest first."""
    from manor.store import alarms

    with s.runtime.store.read() as tx:
        found = alarms.listing(tx, cleared=True, limit=10_000)
    return [
        alarm for alarm in found if alarm.resource_key == key and (alarm.alarm_cleared_time_s or time.time()) >= since_s
    ]


def _key(s: Session, series: Series) -> str:
    """The resource's key; a Prometheus knows its labels only."""
    from manor.assure.looking import Services
    from manor.assure.subjects import subjects_of

    if series.key != series.name:
        return series.key
    subjects = subjects_of(Services(s.runtime).read())
    same = (one.key for one in subjects if {k: one.labels.get(k) for k in series.labels} == dict(series.labels))
    return next(same, series.key)


def blamed(kpis: Sequence[str], alarms: Sequence[AlarmRecord]) -> list[str]:
    """Of these KPIs the ones that the alarms name, most suspect first."""
    lines = [line for alarm in alarms for line in alarm.fault_details]
    named = [kpi for line in lines for kpi in kpis if line.startswith(f"{kpi} ")]
    return list(dict.fromkeys(named))


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
    kept = _Kept(s)
    rows = kept.read(_find(kept, subject), since)
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
