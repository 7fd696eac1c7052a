"""``manor assurance``: measure the detectors on labelled series, strictly online."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated, Any

import typer

from manor.errors import UsageError

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Detectors: measure them on labelled series.")


@app.callback()
def _group() -> None:
    """Detectors: measure them on labelled series."""


@app.command()
def evaluate(
    directory: Annotated[Path, typer.Argument(help="Directory of .npz series, or of folders of them, one a set.")],
    budget_per_day: Annotated[float, typer.Option(help="False alarms allowed per machine and day.")] = 1.0,
    budget_per_week: Annotated[float | None, typer.Option(help="The same per week, instead.")] = None,
    period_s: Annotated[
        list[str] | None,
        typer.Option(help="Seconds between samples, for all or as SET=SECONDS; else README.md, the name, or 60."),
    ] = None,
    only: Annotated[list[str] | None, typer.Option("--set", help="Only this set; may be given again.")] = None,
    train_limit_s: Annotated[float, typer.Option(help="Use only the last seconds of train: a cold start.")] = 0.0,
    baselines: Annotated[bool, typer.Option(help="Measure the simple methods beside it.")] = True,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Replay labelled series: fit on train, then test sample by sample, and print how the alarms match the labels."""
    from manor_assurance.evaluation import evaluate_sets

    if budget_per_week is not None:
        budget_per_day = budget_per_week / 7.0
    if not 0 < budget_per_day <= 48:
        raise UsageError(f"a budget of {budget_per_day:g} a day cannot be kept", hint="give one above 0, at most 48")

    def progress(text: str) -> None:
        typer.echo(text, err=True)

    report = evaluate_sets(
        directory,
        budget_per_day=budget_per_day,
        periods_s=_periods(period_s or []),
        only=frozenset(only or ()),
        train_limit_s=train_limit_s,
        baselines=baselines,
        progress=progress,
    )
    if json:
        typer.echo(jsonlib.dumps(report, indent=2, sort_keys=True))
        return
    for line in _table(report):
        typer.echo(line)


def _periods(given: list[str]) -> dict[str, float]:
    periods: dict[str, float] = {}
    for item in given:
        name, _, number = item.rpartition("=")
        try:
            periods[name] = float(number)
        except ValueError:
            periods[name] = 0.0
        if not 0 < periods[name] < 86400:
            raise UsageError(f"--period-s {item}: no number of seconds", hint="as --period-s 60 or --period-s smd=60")
    return periods


def _table(report: dict[str, Any]) -> list[str]:
    """The report as lines for a person."""
    columns = ("set", "method", "F1", "95 %", "recall", "precision", "false/day", "delay", "AP", "top-1", "top-3", "us")
    rows = [columns]
    for name, one in report["sets"].items():
        for method, f in one["methods"].items():
            low, high = f["f1_interval"]
            rows.append(
                (name, method, _number(f["f1"]), f"{low:.2f}-{high:.2f}", _number(f["recall"]), _number(f["precision"]),
                 _number(f["false_alarms_per_day"]), _number(f["median_delay_s"], "{:.0f} s"),
                 _number(f["average_precision"]), _number(f["blame_top1"]), _number(f["blame_top3"]),
                 _number(f["row_us_median"] or None, "{:.0f}"))
            )  # fmt: skip
    widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _number(value: float | None, form: str = "{:.2f}") -> str:
    return "-" if value is None else form.format(value)
