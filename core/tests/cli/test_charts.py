"""KPIs as pictures: what is blamed and shaded can be seen, gaps stay gaps, and no name breaks a picture."""

import itertools
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from manor.cli.charts import Panel, Shade, save, spoken, terminal
from manor.cli.kpi import sparkline
from manor.cli.measured import blamed, with_gaps
from manor.errors import UsageError
from manor.model.alarm import AlarmRecord, EventType, FaultyResourceType, PerceivedSeverity
from manor.model.kpi import HistoryRow

T0 = 1_700_000_000.0
TIMES = [T0 + 5 * n for n in range(200)]


def panel(kpi: str, *, gap: range = range(0), is_blamed: bool = False) -> Panel:
    values = [None if n in gap else (90.0 if 100 <= n < 150 else 10.0) for n in range(200)]
    return Panel(kpi=kpi, unit="%", times_s=TIMES, values=values, blamed=is_blamed)


SHADE = Shade(begin_s=TIMES[100], end_s=TIMES[150], text="kpi-anomaly (a1b2)")


def cells(line: str) -> str:
    return line.partition("┤")[2] or line.partition("│")[2]


def test_a_terminal_shows_the_course_the_span_and_the_gap() -> None:
    drawn = terminal("demo/fw-0", [panel("cpu", gap=range(40, 80), is_blamed=True)], [SHADE], width=110, colour=False)
    lines = drawn.splitlines()
    assert lines[0] == "demo/fw-0"
    assert lines[1] == "cpu [%]  ◀ blamed"
    rows = [line for line in lines if "┤" in line]
    assert len(rows) == 6
    mark = cells(next(line for line in lines if line.lstrip().startswith("alarm")))
    begin, end = mark.index("▀"), len(mark)
    high = cells(rows[0]) + cells(rows[1])
    assert any(cell not in "⠀ " for cell in high[begin:end])
    inked = {column for row in rows for column, cell in enumerate(cells(row)) if cell not in "⠀ "}
    width = 100
    assert not inked & set(range(int(0.21 * width), int(0.38 * width))), "nothing is drawn where nothing was measured"
    assert inked & set(range(int(0.05 * width), int(0.19 * width)))
    assert "\x1b" not in drawn
    assert "\x1b[41m" in terminal("t", [panel("cpu")], [SHADE], width=110, colour=True)
    assert time.strftime("%H:%M:%S", time.localtime(T0)) in lines[-2]
    assert all(len(line) <= 112 for line in lines)


def test_a_constant_and_a_single_value_are_drawn_too() -> None:
    flat = Panel(kpi="flat", unit="1", times_s=TIMES[:3], values=[0.0, 0.0, 0.0])
    one = Panel(kpi="one", unit="By", times_s=TIMES[:1], values=[5e9])
    assert "flat" in terminal("t", [flat], [], width=60, colour=False)
    assert "5.5G" in terminal("t", [one], [], width=60, colour=False)


@pytest.mark.slow
def test_a_file_has_the_blamed_first_and_no_name_is_taken_for_a_formula(tmp_path: Path) -> None:
    panels = [panel("cpu", is_blamed=True), panel("vnf_indicator:$\\frac{x$", gap=range(10, 20))]
    save(tmp_path / "a.svg", "demo/$fw_0^", panels, [SHADE])
    text = "".join(ET.parse(tmp_path / "a.svg").getroot().itertext())
    assert text.index("cpu") < text.index("vnf_indicator")
    assert "shaded: kpi-anomaly (a1b2)" in text
    save(tmp_path / "b.svg", "demo/$fw_0^", panels, [SHADE])
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    save(tmp_path / "a.png", "t", panels, [])
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UsageError, match="cannot write"):
        save(tmp_path / "no/where.png", "t", panels, [])


@pytest.mark.parametrize(
    ("unit", "values", "labels"),
    [
        ("%", (0.0, 0.8), {"0", "0.6"}),
        ("{packet}/s", (2e3, 2.5e6), {"0", "1M", "2M"}),
        ("By", (134_217_728.0, 134_221_824.0), {"134.218M", "134.22M", "134.222M"}),
    ],
    ids=["of a hundred, none is a thousandth", "many", "as many digits as tell them apart"],
)
def test_numbers_beside_a_picture_are_in_the_unit_above_it(
    tmp_path: Path, unit: str, values: tuple[float, float], labels: set[str]
) -> None:
    drawn = Panel(kpi="load", unit=unit, times_s=TIMES[:2], values=values)
    save(tmp_path / "a.svg", "t", [drawn], [])
    assert labels <= {one.strip() for one in ET.parse(tmp_path / "a.svg").getroot().itertext()}


def test_what_cannot_be_drawn_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"neither \.svg nor \.png"):
        save(tmp_path / "a.pdf", "t", [panel("cpu")], [])
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match="matplotlib") as refused:
        save(tmp_path / "a.svg", "t", [panel("cpu")], [])
    assert "manor[plot]" in refused.value.hint


def test_what_the_newest_alarm_blames_most_comes_first() -> None:
    def alarm(*details: str) -> AlarmRecord:
        return AlarmRecord(
            id="a", ns_id="n", managed_object_id="v", resource_key="k", faulty_resource_type=FaultyResourceType.COMPUTE,
            perceived_severity=PerceivedSeverity.MINOR, event_type=EventType.QOS_ALARM, probable_cause="kpi-anomaly",
            fault_details=details,
        )  # fmt: skip

    kpis = ["cpu", "cpu_peak", "memory", "load"]
    told = [
        alarm("score 9", "memory of m is 9 %", "cpu_peak of m is 1 %"),
        alarm("load of m is 3", "memory of m is 1 %"),
    ]
    assert blamed(kpis, told) == ["memory", "cpu_peak", "load"]
    assert blamed(kpis, []) == []


@pytest.mark.parametrize(
    ("ucum", "people"), [("{packet}/s", "packets/s"), ("By/s", "B/s"), ("By", "B"), ("%", "%"), ("s", "s"), ("1", "")]
)
def test_units_are_as_people_write_them(ucum: str, people: str) -> None:
    assert spoken(ucum) == people


def test_a_time_without_any_row_is_a_gap_and_another_period_is_none() -> None:
    """A machine that is off has no row at all; rows of long ago are kept for each minute."""
    minutes = [T0 + 60 * n for n in range(10)]
    before = [minutes[-1] + 60 + 5 * n + n % 2 for n in range(20)]
    after = [before[-1] + 100 + 5 * n for n in range(20)]
    rows = with_gaps([HistoryRow(time_s=time_s, values={"cpu": 1.0}) for time_s in (*minutes, *before, *after)])
    assert [row.time_s for row in rows] == sorted(row.time_s for row in rows)
    empty = [row.time_s for row in rows if not row.values]
    assert (min(empty) > before[-1], max(empty) < after[0]) == (True, True)
    assert 15 <= len(empty) <= 20
    assert list(with_gaps([])) == []


def test_a_gap_of_days_beside_one_of_seconds_is_drawn_and_costs_little() -> None:
    days = 6 * 86400
    rows = [HistoryRow(time_s=T0 + t, values={"cpu": 1.0}) for t in (0, *range(days, days + 5000))]
    drawn = with_gaps(rows)
    empty = [row.time_s - T0 for row in drawn if not row.values]
    assert len(empty) < 500
    assert max(after - before for before, after in itertools.pairwise([0, *empty, days])) < days / 100
    assert " " in sparkline([row.values.get("cpu") for row in drawn]), "it is seen where each row is as wide"


def test_one_row_or_none_has_no_gap() -> None:
    assert list(with_gaps([])) == []
    assert [row.time_s for row in with_gaps([HistoryRow(time_s=T0, values={})])] == [T0]
