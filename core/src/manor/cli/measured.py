"""What was measured, as commands read it from this home's history, and what of it a picture shows first.

The history is Manor's own or a Prometheus server's, as ``assurance.yaml`` says; nothing here sees the difference.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from manor.cli.session import Session

if TYPE_CHECKING:
    from manor.cli.charts import Panel, Shade
    from manor.model.alarm import AlarmRecord
    from manor.model.kpi import HistoryRow, Series
    from manor.telemetry.kpis import Subject

__all__ = ["Kept", "alarm_drawn", "blamed", "courses", "draw", "pictured", "resource_of", "stood_on", "with_gaps"]

_WIDTH, _LEAST_WIDTH = 100, 40
_BEFORE_S = 600.0
"""Least time before an alarm that is drawn with it."""
_AFTER_S = 60.0
_GAP = 3.5
"""Steps between two rows from which on the ones between are missing."""
_MOST_EMPTY = 300
"""Rows of a gap; so many are seen among the most that are read, whatever the width of the picture."""
_BLAMED = 2
"""KPIs that an alarm is drawn with."""


class Kept:
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
        """All that there is a history of."""
        from manor.store.history import subjects

        return self._server.subjects() if self._server else subjects(self._path)

    def read(self, series: Series, since_s: float) -> tuple[HistoryRow, ...]:
        """What was measured of one since then, in order."""
        from manor.store.history import read

        if self._server:
            return self._server.read(series, since_s=since_s)
        return read(self._path, series.key, since_s=since_s)


def with_gaps(rows: Sequence[HistoryRow]) -> list[HistoryRow]:
    """The rows, with empty ones where none was written for long, as of a machine that was off.

    Long is that which both steps beside it are not: older rows are further apart.
    """
    from manor.model.kpi import HistoryRow

    steps = [after.time_s - row.time_s for row, after in itertools.pairwise(rows)]
    found: list[HistoryRow] = []
    for place, row in enumerate(rows):
        found.append(row)
        beside = (*steps[max(0, place - 1) : place], *steps[place + 1 : place + 2])
        usual_s = max(beside, default=0.0)
        if place < len(steps) and 0.0 < _GAP * usual_s < steps[place]:
            missed = min(int(steps[place] / usual_s), _MOST_EMPTY)
            apart_s = steps[place] / missed
            found += [HistoryRow(time_s=row.time_s + apart_s * (n + 0.5), values={}) for n in range(missed)]
    return found


def courses(rows: Sequence[HistoryRow]) -> dict[str, list[float | None]]:
    """Each KPI over these times; None where it was not measured."""
    names = sorted({name for row in rows for name in row.values})
    return {name: [row.values.get(name) for row in rows] for name in names}


def resource_of(s: Session, series: Series) -> str:
    """The resource's key; a Prometheus knows its labels only."""
    if series.key != series.name:
        return series.key
    return next((one.key for one in _subjects(s) if _is_named(series, one)), series.key)


def stood_on(s: Session, key: str) -> frozenset[str]:
    """Keys whose alarms say what befell a resource: its own, and those of the host that a machine is on."""
    from manor.assure.looking import Services

    found = (
        {service.place(endpoint, node.host), f"{endpoint}/{node.host}"}
        for service in Services(s.runtime).read()
        for endpoint, node in service.nodes()
        if node.key == key
    )
    return frozenset({key}).union(*found)


def _series_of(s: Session, kept: Kept, key: str) -> Series | None:
    known = kept.subjects()
    if (own := next((one for one in known if one.key == key), None)) is not None:
        return own
    subject = next((one for one in _subjects(s) if one.key == key), None)
    return next((one for one in known if subject is not None and _is_named(one, subject)), None)


def _subjects(s: Session) -> list[Subject]:
    from manor.assure.looking import Services
    from manor.assure.subjects import subjects_of

    return subjects_of(Services(s.runtime).read())


def _is_named(series: Series, subject: Subject) -> bool:
    """Whether a series that has no key is the subject's."""
    return series.key == series.name and {k: subject.labels.get(k) for k in series.labels} == dict(series.labels)


def blamed(kpis: Iterable[str], alarms: Sequence[AlarmRecord]) -> list[str]:
    """Of these KPIs the ones that the alarms name, most suspect first."""
    known = list(kpis)
    lines = [line for alarm in alarms for line in alarm.fault_details]
    named = [kpi for line in lines for kpi in known if line.startswith(f"{kpi} ")]
    return list(dict.fromkeys(named))


def pictured(
    rows: Sequence[HistoryRow], chosen: Sequence[str], alarms: Sequence[AlarmRecord]
) -> tuple[list[Panel], list[Shade]]:
    """A panel for each chosen KPI, and a shade for each alarm that was up at one of these times."""
    from manor.cli.charts import Panel, Shade
    from manor.telemetry.kpis import unit_of

    times, accused = [row.time_s for row in rows], blamed(chosen, alarms)
    panels = [
        Panel(
            kpi=name,
            unit=unit_of(name),
            times_s=times,
            values=[row.values.get(name) for row in rows],
            blamed=name in accused,
        )
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
    return panels, shades


def draw(s: Session, title: str, panels: Sequence[Panel], shades: Sequence[Shade]) -> str:
    """As wide as this terminal, or as lines of a file commonly are."""
    from manor.cli.charts import terminal

    width = max(_LEAST_WIDTH, min(s.out.console.width if s.out.is_terminal else _WIDTH, 160))
    return terminal(title, panels, shades, width=width, colour=s.out.is_terminal)


def alarm_drawn(s: Session, alarm: AlarmRecord) -> str:
    """The KPIs that an alarm blames most, before and while it was up; empty where none of them was kept."""
    kept = Kept(s)
    series = _series_of(s, kept, alarm.resource_key)
    began_s, ended_s = alarm.event_time_s, alarm.alarm_cleared_time_s or time.time()
    before_s = max(_BEFORE_S, ended_s - began_s)
    rows = kept.read(series, began_s - before_s) if series is not None else ()
    rows = tuple(row for row in rows if row.time_s <= ended_s + _AFTER_S)
    chosen = blamed(courses(rows), [alarm])[:_BLAMED]
    if series is None or not chosen:
        return ""
    return draw(s, series.name, *pictured(with_gaps(rows), chosen, [alarm]))
