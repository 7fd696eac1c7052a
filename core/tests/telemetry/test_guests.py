"""What guests say: the useful is taken, the hostile is bounded, and nothing takes the name of what Manor measures."""

import time
from collections.abc import Sequence

import pytest

from manor.api import GuestResult, ResourceKind, ResourceRef, SampleKind
from manor.errors import Transient
from manor.telemetry.guests import (
    MOST_BYTES,
    MOST_DISKS,
    MOST_INDICATORS,
    MOST_SERIES,
    GuestTarget,
    Indicator,
    admitted,
    ask_guest,
    read_indicator,
)
from manor.telemetry.kpis import Subject, kpi_rows
from manor.telemetry.rates import Rates

NODE = "0a0b0c0d/vnf/fw/main-0"
SYSTEM = b"""MemTotal:         100000 kB
MemFree:            1000 kB
MemAvailable:      25000 kB
0.50 0.40 0.30 1/60 1234
"""
DISKS = b"""Filesystem     1024-blocks  Used Available Capacity Mounted on
/dev/vda1             1000   890       100      90% /
tmpfs                  100    50        50      50% /run
/dev/vdb              9000   110      8890       2% /data
"""


def guest(**says: bytes):
    """A guest that answers by the program's name."""

    def run(argv: Sequence[str]) -> GuestResult:
        if argv[0] not in says:
            raise Transient("no agent answers")
        return GuestResult(exit_code=0, stdout=says[argv[0]], stderr=b"")

    return run


def target(*indicators: Indicator) -> GuestTarget:
    return GuestTarget(ref=ResourceRef(kind=ResourceKind.NODE, key=NODE), endpoint="vim:lab", indicators=indicators)


def values(samples: Sequence) -> dict[str, float]:
    rows = kpi_rows([Subject(key=NODE, kind="vnfc")], samples, Rates())
    return dict(rows[0].values) if rows else {}


def test_what_cannot_be_written_cannot_be_full() -> None:
    mounts = SYSTEM + b"/dev/vda1 / ext4 rw,relatime 0 0\n/dev/root /rom squashfs ro,relatime 0 0\n"
    disks = b"/dev/vda1 1000 100 900 10% /\n/dev/root 500 500 0 100% /rom\n"
    found = values(ask_guest(target(), guest(cat=mounts, df=disks), lambda: 1.0))
    assert found["v_guest_disk_fullest_usage"] == found["v_disk_usage_mean_vnf"] == pytest.approx(10.0)


def test_file_systems_that_are_nearly_full_are_named() -> None:
    disks = b"/dev/vda1 1000 10 990 1% /\n/dev/vdb 1000 950 50 95% /var/my log\n" + b"".join(
        b"/dev/vdc%d 100 91 9 91%% /data/%d\n" % (number, number) for number in range(100)
    )
    found = values(ask_guest(target(), guest(df=disks), lambda: 1.0))
    named = {kpi.partition(":")[2]: value for kpi, value in found.items() if kpi.startswith("v_guest_disk_usage:")}
    assert (named["/var/my_log"], "/" in named) == (pytest.approx(95.0), False)
    assert len(named) == MOST_DISKS, "no guest floods the history"


def test_memory_load_and_file_systems_are_taken_from_the_guest() -> None:
    found = values(ask_guest(target(), guest(cat=SYSTEM, df=DISKS), lambda: 1.0))
    assert found == pytest.approx(
        {
            "v_memory_usage_mean_vnf": 75.0,
            "v_guest_load": 0.5,
            "v_disk_usage_mean_vnf": 10.01001,
            "v_guest_disk_fullest_usage": 89.899,
        },
        rel=1e-4,
    )
    assert set(values(ask_guest(target(), guest(df=DISKS), lambda: 1.0))) == {
        "v_disk_usage_mean_vnf",
        "v_guest_disk_fullest_usage",
    }, "a command that fails costs its own values only"
    assert ask_guest(target(), guest(), lambda: 1.0) == []


def test_an_indicator_is_a_number_or_a_page_of_metrics() -> None:
    page = b"""# TYPE http_requests_total counter
http_requests_total{code="200",path="/a b\\"c"} 100
# TYPE queue gauge
queue 7
# TYPE wait histogram
wait_bucket{le="1"} 4
wait_bucket{le="+Inf"} 5
wait_sum 9
wait_count 5
odd NaN
"""
    said = guest(sessions=b" 12\n", up=b"true\n", state=b"READY\n", wget=page)
    names = ("sessions", "up", "state", "wget")
    indicators = [Indicator(id=name, command=(name,)) for name in names]
    samples = ask_guest(target(*indicators), said, lambda: 1.0)
    found = values(samples)
    assert found == {"vnf_indicator:sessions": 12.0, "vnf_indicator:up": 1.0, "vnf_indicator:wget/queue": 7.0}
    counters = {sample.labels["part"] for sample in samples if sample.kind is SampleKind.COUNTER}
    assert counters == {"wget/http_requests_total,code=200,path=/a_b_c", "wget/wait_sum", "wget/wait_count"}


@pytest.mark.parametrize(
    "text",
    [
        "\x00\xff" * 500,
        "{" * 5000,
        'a{b="' + "x" * 100_000,
        'a{b="c"} 1 2 3 4\n' * 50,
        "# TYPE a counter\n# TYPE a gauge\na 1\n",
        "nan",
        "1e999",
        "a 1e999\n",
        "x{" + ",".join(f'l{n}="v"' for n in range(2000)) + "} 1\n",
    ],
)
def test_nonsense_is_missing_and_costs_little(text: str) -> None:
    began = time.process_time()
    samples = list(read_indicator(NODE, "odd: name\n", text, 1.0))
    assert time.process_time() - began < 1.0
    assert all(len(sample.labels["part"]) <= 160 and "\n" not in sample.labels["part"] for sample in samples)


def test_a_flood_is_cut_off_and_takes_no_name_of_ours() -> None:
    flood = "".join(f'v_cpu_usage_mean_vnf{{n="{n}"}} {n}\n' for n in range(2000))
    samples = list(read_indicator(NODE, "flood", flood, 1.0))
    assert len(samples) == MOST_SERIES
    assert all(name.startswith("vnf_indicator:flood/") for name in values(samples))
    too_long = guest(huge=b"a 1\n" * MOST_BYTES)
    assert ask_guest(target(Indicator(id="huge", command=("huge",))), too_long, lambda: 1.0) == []


def test_a_guest_that_names_its_figures_anew_each_time_has_room_for_so_many_a_day_the_first() -> None:
    named: dict[tuple[str, str], float] = {}

    def ask(number: int, time_s: float) -> set[str]:
        page = "steady 1\n" + "".join(f"s{number}_{series} 1\n" for series in range(MOST_SERIES - 1))
        samples = ask_guest(target(Indicator(id="i", command=("page",))), guest(page=page.encode()), lambda: time_s)
        return {sample.labels["part"] for sample in admitted(samples, named)}

    seen: set[str] = set()
    for number in range(100):
        seen |= (found := ask(number, 15.0 * number))
        assert "i/steady" in found
    assert len(seen) == MOST_INDICATORS * MOST_SERIES + MOST_DISKS
    assert found == {"i/steady"}
    assert len(ask(100, 90_000.0)) == MOST_SERIES, "a day later there is room again"
