"""Read labelled KPI series: one ``.npz`` a machine, one folder a set."""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from manor.errors import UsageError
from manor_assurance.matching import Event

__all__ = ["Series", "period_of", "read_series", "sets_in"]

KNOWN_S = {"smd": 60.0, "asd": 300.0, "js": 300.0, "jumpstarter": 300.0}
DEFAULT_S = 60.0
_UNIT_S = {
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "seconds": 1.0,
    "min": 60.0,
    "minute": 60.0,
    "minutes": 60.0,
    "h": 3600.0,
}
_SAMPLING = re.compile(r"(\d+(?:\.\d+)?) ?(" + "|".join(_UNIT_S) + r")\b")


@dataclass(frozen=True, kw_only=True)
class Series:
    """One machine's KPIs, with what experts marked in the later part."""

    name: str
    train: np.ndarray
    test: np.ndarray
    label: np.ndarray
    events: tuple[Event, ...]
    period_s: float


def sets_in(directory: Path) -> dict[str, list[Path]]:
    """Series files by set: the directory's own, and those of each folder in it. Raises UsageError on none."""
    if not directory.is_dir():
        raise UsageError(f"{directory} is no directory", hint="name a directory with .npz files or folders of them")
    folders = [directory, *sorted(path for path in directory.iterdir() if path.is_dir())]
    sets = {folder.resolve().name: sorted(folder.glob("*.npz")) for folder in folders}
    sets = {name: files for name, files in sets.items() if files}
    if not sets:
        raise UsageError(f"{directory} holds no .npz file", hint="name a directory with .npz files or folders of them")
    return sets


def period_of(folder: Path, given: dict[str, float]) -> float:
    """Seconds between samples of a set: as given for it or for all, as a README's table says, as known by name."""
    name = folder.resolve().name
    if name in given or "" in given:
        return given.get(name, given.get("", DEFAULT_S))
    for readme in (folder / "README.md", folder.resolve().parent / "README.md"):
        if not readme.is_file():
            continue
        for line in readme.read_text(encoding="utf-8", errors="replace").splitlines():
            cells = [cell.strip(" `/") for cell in line.split("|")]
            found = [hit for looks in (_SAMPLING.fullmatch, _SAMPLING.match) for hit in map(looks, cells) if hit]
            if name in cells and found:
                number, unit = found[0].groups()
                return float(number) * _UNIT_S[unit]
    return KNOWN_S.get(name, DEFAULT_S)


def read_series(path: Path, period_s: float) -> Series:
    """Read one file. Raises UsageError where it is not of the format."""
    hint = "wanted: train (n, k), test (m, k), label (m,), and where known events as JSON [start, end, [KPIs]]"
    try:
        with np.load(path, allow_pickle=False) as data:
            train, test, label = _measured(data["train"]), _measured(data["test"]), data["label"] != 0
            text = str(data["events"]) if "events" in data.files else ""
            period_s = float(data["period_s"]) if "period_s" in data.files else period_s
        marked = [
            Event(start=int(a), end=int(b), kpis=tuple(map(int, kpis))) for a, b, kpis in json.loads(text or "[]")
        ]
    except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} is no labelled series: {error}", hint=hint) from error
    if train.ndim != 2 or test.ndim != 2 or train.shape[1] != test.shape[1] or label.shape != (len(test),):
        raise UsageError(f"{path}: train, test and label do not fit one another", hint=hint)
    first = _first_number(marked, np.concatenate([train, test]))
    marked = [replace(event, kpis=tuple(kpi - first for kpi in event.kpis)) for event in marked]
    return Series(name=path.stem, train=train, test=test, label=label, events=_events(label, marked), period_s=period_s)


def _measured(values: np.ndarray) -> np.ndarray:
    """As numbers; what is not finite was not measured."""
    numbers = values.astype(float)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _first_number(marked: list[Event], rows: np.ndarray) -> int:
    """What the marked KPIs are counted from: 0, or 1 as people count.

    One it is where a column is named that is not there, or where fewer of those named then stand still all the time:
    nobody blames such a column.
    """
    named = np.array([kpi for event in marked for kpi in event.kpis], int)
    if not len(named) or not len(rows) or named.min() < 1:
        return 0
    if named.max() >= rows.shape[1]:
        return 1
    filled = np.nan_to_num(rows)
    moves = (filled != filled[0]).any(axis=0)
    return int(moves[named - 1].sum() > moves[named].sum())


def _events(label: np.ndarray, marked: list[Event]) -> tuple[Event, ...]:
    """Stretches of the label; each with the KPIs that a marked event overlapping it names."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], label.astype(int), [0]])))
    events = []
    for start, end in zip(edges[::2].tolist(), (edges[1::2] - 1).tolist(), strict=True):
        kpis = {kpi for event in marked if event.start <= end and event.end >= start for kpi in event.kpis}
        events.append(Event(start=start, end=end, kpis=tuple(sorted(kpis))))
    return tuple(events)
