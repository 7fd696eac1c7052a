import io
import os

import pytest

from manor.cli.output import Output
from manor.cli.tables import Layout, layout

IDS = ("b08fa488c025", "708b25be-3153-5325-b5fa-91bab132541b")
HEADERS = ("id", "operation", "state", "started", "error")
ROWS = [
    (IDS[0], "INSTANTIATE", "COMPLETED", "2026-11-21 13:22:03", ""),
    (IDS[1][:12], "TERMINATE", "FAILED_TEMP", "2026-11-21 13:22:01", "the hypervisor could not be asked " * 3),
]


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(width: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    for name, value in {"COLUMNS": str(width), "LINES": "24", "TERM": "xterm", "NO_COLOR": "1"}.items():
        monkeypatch.setitem(os.environ, name, value)
    screen = Screen()
    Output(stdout=screen, stderr=io.StringIO()).table(HEADERS, ROWS)
    return screen.getvalue().replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()


def test_the_narrower_the_plainer() -> None:
    assert layout([12, 11, 100], 200) is Layout.FRAMED
    assert layout([12, 11, 100], 128) is Layout.PLAIN
    assert layout([12, 11, 100], 80) is Layout.FOLDED
    assert layout([12, 11, 100], 40) is Layout.RECORDS
    assert layout([12, 11, 12, 19, 20], 60) is Layout.RECORDS


@pytest.mark.parametrize("width", [30, 44, 72, 80, 100, 200])
def test_no_id_state_or_time_is_broken_and_no_line_too_long(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(width, monkeypatch)
    for whole in (IDS[0], "INSTANTIATE", "FAILED_TEMP"):
        assert any(whole in line for line in lines), whole
    assert max(len(line.rstrip()) for line in lines) <= width
    assert not any("…" in line for line in lines)


def test_a_narrow_terminal_has_one_value_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line.rstrip() for line in shown(44, monkeypatch)]
    assert lines[:4] == [
        "id         b08fa488c025",
        "operation  INSTANTIATE",
        "state      COMPLETED",
        "started    2026-11-21 13:22:03",
    ]
    assert "" in lines
