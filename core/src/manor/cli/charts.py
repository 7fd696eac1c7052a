"""KPIs as pictures: braille in a terminal, SVG and PNG in a file. Spans with an alarm are shaded, gaps stay gaps."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from manor.cli.output import printable
from manor.errors import UsageError

__all__ = ["Panel", "Shade", "save", "spoken", "terminal"]

_HEIGHT = 6
_LABEL = 9
_BLAMED, _NORMAL, _SHADE = "#c0392b", "#2c3e50", "#f5b7b1"


def spoken(unit: str) -> str:
    """A unit of UCUM as people write it: ``{packet}/s`` is packets/s, ``By`` is B; a bare number has none."""
    if unit == "1":
        return ""
    words = unit.replace("By", "B").split("/")
    return "/".join(f"{word[1:-1]}s" if word.startswith("{") else word for word in words)


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """One KPI over time."""

    kpi: str
    unit: str
    times_s: Sequence[float]
    values: Sequence[float | None]
    blamed: bool = False

    @property
    def title(self) -> str:
        """Name, unit and whether an alarm blames it."""
        unit = f" [{spoken(self.unit)}]" if spoken(self.unit) else ""
        return f"{self.kpi}{unit}{'  ◀ blamed' if self.blamed else ''}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Shade:
    """A span in which an alarm was active. Seconds since the epoch."""

    begin_s: float
    end_s: float
    text: str


def terminal(title: str, panels: Sequence[Panel], shades: Sequence[Shade], *, width: int, colour: bool) -> str:
    """Panels below each other with one time axis; the line under a panel is ``▀`` where an alarm was active."""
    import plotille

    plot = width - _LABEL - 1
    lines = [printable(title)]
    first_s, last_s = _span(panels)
    for panel in panels:
        known = [value for value in panel.values if value is not None]
        low, high = _bounds(known)
        canvas = plotille.Canvas(plot, _HEIGHT, xmin=first_s, xmax=last_s, ymin=low, ymax=high)
        for run in _runs(panel):
            for (x0, y0), (x1, y1) in zip(run, [*run[1:], run[-1]], strict=True):
                canvas.line(x0, y0, x1, y1)
        lines.append(printable(panel.title))
        drawn = canvas.plot().splitlines()
        drawn += [""] * (_HEIGHT - len(drawn))
        for number, row in enumerate(drawn):
            label = _short(high) if number == 0 else _short(low) if number == _HEIGHT - 1 else ""
            ends = _painted(row, shades, first_s, last_s, plot) if colour else row.rstrip("⠀ ")
            lines.append(f"{label:>{_LABEL - 1}} ┤{ends}".rstrip())
        if shades:
            cells = ("▀" if _shaded(column, shades, first_s, last_s, plot) else " " for column in range(plot))
            lines.append(f"{'alarm':>{_LABEL - 1}} │{''.join(cells)}".rstrip())
    begin, end = (_clock(time_s, last_s - first_s) for time_s in (first_s, last_s))
    lines.append(f"{'':{_LABEL}}└{begin}{end:>{max(1, plot - len(begin))}}")
    lines += [f"{'':{_LABEL}} ▀ {printable(s.text)} from {_clock(s.begin_s, last_s - first_s)}" for s in shades]
    return "\n".join(lines) + "\n"


def save(path: Path, title: str, panels: Sequence[Panel], shades: Sequence[Shade]) -> None:
    """Draw into an ``.svg`` or ``.png``. Raises UsageError where that cannot be."""
    if path.suffix.lower() not in (".svg", ".png"):
        raise UsageError(f"{path} is neither .svg nor .png", hint="give the file's name one of these endings")
    try:
        import matplotlib as mpl
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
        from matplotlib.figure import Figure
        from matplotlib.ticker import FuncFormatter
    except ImportError as error:
        raise UsageError(
            "pictures need matplotlib, which is not installed",
            hint="pip install 'manor[plot]'; without --output it is drawn in the terminal",
        ) from error
    figure = Figure(figsize=(9, 0.9 + 1.7 * len(panels)), layout="constrained")
    figure.suptitle(_literal(title), x=0.01, ha="left", fontsize=11)
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for number, (axes, panel) in enumerate(zip(grid, panels, strict=True)):
        for shade in shades:
            axes.axvspan(_day(shade.begin_s), _day(shade.end_s), color=_SHADE, lw=0, zorder=0)
        for run in _runs(panel):
            marker = "." if len(run) == 1 else ""
            days, values = [_day(x) for x, _ in run], [y for _, y in run]
            axes.plot(days, values, color=_BLAMED if panel.blamed else _NORMAL, lw=1.1, marker=marker)
        axes.set_title(_literal(panel.title), loc="left", fontsize=9, color=_BLAMED if panel.blamed else _NORMAL)
        axes.tick_params(labelsize=8)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value, 6)))
        axes.grid(alpha=0.25)
        axes.margins(x=0)
        axes.spines[["top", "right"]].set_visible(False)
        low, high = _bounds([value for value in panel.values if value is not None])
        axes.set_ylim(low, high)
        if number == len(panels) - 1:
            axes.xaxis.set_major_locator(locator := AutoDateLocator())
            axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    if shades:
        words = "shaded: " + "; ".join(dict.fromkeys(shade.text for shade in shades))
        figure.supxlabel(_literal(words[:160]), x=0.01, ha="left", fontsize=8, color=_BLAMED)
    try:
        with mpl.rc_context({"svg.hashsalt": "manor", "svg.fonttype": "none"}):
            metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
            figure.savefig(path, dpi=130, metadata=metadata)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", hint="choose another place") from error


def _runs(panel: Panel) -> Iterator[list[tuple[float, float]]]:
    """Stretches without a gap."""
    run: list[tuple[float, float]] = []
    for time_s, value in zip(panel.times_s, panel.values, strict=True):
        if value is not None:
            run.append((time_s, value))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _bounds(known: Sequence[float]) -> tuple[float, float]:
    """From zero where that costs little of the picture; a constant gets room on both sides."""
    low, high = min(known), max(known)
    if 0 <= low <= 0.6 * high:
        low = 0.0
    margin = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    return (low if low == 0.0 else low - margin), high + margin


def _span(panels: Sequence[Panel]) -> tuple[float, float]:
    first_s, last_s = panels[0].times_s[0], panels[0].times_s[-1]
    return first_s, max(last_s, first_s + 1.0)


def _shaded(column: int, shades: Sequence[Shade], first_s: float, last_s: float, width: int) -> bool:
    begin_s = first_s + (last_s - first_s) * column / width
    end_s = first_s + (last_s - first_s) * (column + 1) / width
    return any(shade.begin_s < end_s and shade.end_s >= begin_s for shade in shades)


def _painted(row: str, shades: Sequence[Shade], first_s: float, last_s: float, width: int) -> str:
    """The row with a red ground where an alarm was active."""
    text, on = "", False
    for column, cell in enumerate(row.ljust(width)):
        shaded = _shaded(column, shades, first_s, last_s, width)
        if shaded is not on:
            text, on = text + ("\x1b[41m" if shaded else "\x1b[0m"), shaded
        text += cell
    return text + ("\x1b[0m" if on else "")


def _short(value: float, digits: int = 4) -> str:
    """With so many digits, in at most four characters more. Nothing is told in thousandths: that is no unit's word."""
    for least, unit, prefix in ((1e12, 1e12, "T"), (1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= least:
            return f"{value / unit:.{digits}g}{prefix}"
    return f"{value:.{digits}g}" if not value or abs(value) >= 0.001 else f"{value:.1e}"


def _clock(time_s: float, span_s: float) -> str:
    return time.strftime("%H:%M:%S" if span_s < 86400 else "%d.%m. %H:%M", time.localtime(time_s))


def _day(time_s: float) -> float:
    """Days since the epoch in local time, as matplotlib counts."""
    return (time_s + time.localtime(time_s).tm_gmtoff) / 86400.0 if math.isfinite(time_s) else math.nan


def _literal(text: str) -> str:
    """Text in which nothing is taken for a formula."""
    return printable(text).replace("$", r"\$")
