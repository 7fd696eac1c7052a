"""A timeline as a Gantt picture, with a line from each step to the one it waited for."""

from __future__ import annotations

import math

from manor.cli.render.steps import seconds
from manor.cli.render.svg import INK, MUTED, Drawing
from manor.cli.render.timeline import Timeline

__all__ = ["timeline_svg"]

_MARGIN, _TOP, _ROW, _BAR, _CHART = 24, 84, 24, 14, 620
_COLOURS = {"failed": "#dc2626", "undo_failed": "#dc2626", "undone": "#d97706", "undoing": "#d97706"}
_CRITICAL, _OTHER, _GRID, _WAIT = "#1d4ed8", "#93b4f5", "#e4e7eb", "#9aa5b1"


def timeline_svg(times: Timeline) -> str:
    """The picture as an SVG document."""
    label = 24 + 7.8 * max((len(bar.name) for bar in times.bars), default=10)
    left = _MARGIN + label
    bottom = _TOP + _ROW * len(times.bars)
    sheet = Drawing(left + _CHART + 110, bottom + 48, f"Timeline of {times.title}")
    sheet.text(_MARGIN, 32, times.title, size=17, weight="600")
    head = " · ".join((times.operation_id, times.state, seconds(times.duration_s)))
    sheet.text(_MARGIN, 50, head, size=11, fill=MUTED)
    scale = _CHART / times.duration_s if times.duration_s else 0.0
    for tick in _ticks(times.duration_s):
        x = left + tick * scale
        sheet.line([(x, _TOP - 8), (x, bottom)], stroke=_GRID, width=1)
        sheet.text(x, _TOP - 14, f"{tick:g} s", size=10, fill=MUTED, anchor="middle")
    row_of = {bar.id: _TOP + _ROW * number for number, bar in enumerate(times.bars)}
    by_id = {bar.id: bar for bar in times.bars}
    for bar in times.bars:
        if bar.after:
            x, y = left + by_id[bar.after].end_s * scale, row_of[bar.after] + _BAR / 2 + 2
            here = left + bar.start_s * scale
            sheet.line([(x, y), (x, row_of[bar.id] + 9), (max(here, x), row_of[bar.id] + 9)], stroke=_WAIT, width=1)
    for bar in times.bars:
        y = row_of[bar.id]
        x, width = left + bar.start_s * scale, max(3.0, bar.duration_s * scale)
        colour = _COLOURS.get(bar.state, _CRITICAL if bar.critical else _OTHER)
        sheet.box(x, y + 2, width, _BAR, fill=colour, radius=3)
        sheet.text(
            left - 12, y + 13, bar.name, size=12, fill=INK, anchor="end", weight="600" if bar.critical else "normal"
        )
        note = seconds(bar.duration_s) + ("" if bar.state == "done" else f" {bar.state}")
        sheet.text(x + width + 6, y + 13, note, size=11, fill=MUTED, halo=True)
    y = bottom + 24
    for x, colour, words in ((left, _CRITICAL, "critical path"), (left + 130, _OTHER, "beside it")):
        sheet.box(x, y - 10, 16, 10, fill=colour, radius=2)
        sheet.text(x + 22, y - 1, words, size=11, fill=MUTED)
    sheet.line([(left + 240, y - 5), (left + 258, y - 5)], stroke=_WAIT, width=1)
    sheet.text(left + 264, y - 1, "waited for", size=11, fill=MUTED)
    return sheet.to_xml()


def _ticks(duration_s: float) -> list[float]:
    """Five to ten round times over the duration."""
    if duration_s <= 0:
        return [0.0]
    raw = duration_s / 8
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    return [round(step * number, 9) for number in range(int(duration_s / step) + 1)]
