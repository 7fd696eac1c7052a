"""Changes under traffic, by machines that write on each datagram which functions it has been through.

Each function appends its number to the datagram's DSCP (a path of up to three numbers from 1 to 3 fits into 6 bits), in
the kernel, so that what the receiver reads is the path that was really taken.
"""

from __future__ import annotations

import bisect
import itertools
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from manor.api import ChainElement, Phase
from manor.errors import Indeterminate, Transient
from manor.testing.ovs import Netns

from .conftest import Rig, Stream, chain, eventually, forwards_first, segment

pytestmark = [pytest.mark.real, pytest.mark.slow]
_CACHE_S = 0.3
_BASE = 4
"""A path is a number with its functions as digits; 0 is none."""


def path(way: Sequence[str]) -> int:
    number = 0
    for name in way:
        number = number * _BASE + int(name[1:])
    return number


def writes(netns: Netns, number: int) -> None:
    """The function appends its number; what has no room for it goes no further."""
    rules = "".join(
        f"ip protocol udp ip dscp {was} ip dscp set {was * _BASE + number} accept\n" for was in range(_BASE * _BASE)
    )
    table = "table bridge path {\nchain forward {\ntype filter hook forward priority 0;\n"
    script = f"{table}{rules}ip protocol udp drop\n}}\n}}\n"
    file = Path(f"/tmp/manor-path-{os.getpid()}-{number}.nft")
    try:
        file.write_text(script)
        netns.run("nft", "-f", str(file))
    finally:
        file.unlink(missing_ok=True)


class Written(Stream):
    """A stream that also knows the path of each datagram."""

    def __init__(self, source: Netns, target: Netns, address: str, *, per_second: int, port: int = 5000) -> None:
        super().__init__(source, target, address, per_second=per_second, port=port)
        self._receiver.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        self.paths: dict[int, int] = {}
        self._got_s: dict[int, float] = {}
        self._since: list[tuple[float, tuple[int, ...]]] = []
        """(time, paths that may be taken from then on)."""

    def may_take(self, *ways: Sequence[str]) -> None:
        """From now on."""
        self._since.append((time.monotonic(), tuple(map(path, ways))))

    def _take(self) -> int:
        data, more, _, _ = self._receiver.recvmsg(64, 64)
        number = int.from_bytes(data[:8], "big")
        self.paths[number], self._got_s[number] = more[0][2][0] >> 2, time.monotonic()
        return number

    def gaps(self) -> str:
        """Which datagrams are missing, and how many changes had begun or ended by then."""
        missing = [number for number in range(self.sent) if number not in self.paths]
        marks = [sum(since <= self.sent_s[number] for since, _ in self._since) for number in missing]
        return f"{len(missing)} of {self.sent} lost: {missing[:50]}, after the changes {sorted(set(marks))}"

    def astray(self) -> list[tuple[int, int]]:
        """Datagrams that took a path which was not the whole of one that was right while they were under way, or
        shortly before: a switch answers for its tables before its cache follows them."""
        times = [since for since, _ in self._since]
        found = []
        for number, taken in self.paths.items():
            first = bisect.bisect_right(times, self.sent_s[number] - _CACHE_S) - 1
            last = bisect.bisect_right(times, self._got_s[number])
            if not any(taken in allowed for _, allowed in self._since[max(0, first) : last]):
                found.append((number, taken))
        return found


class Field:
    """Two ends and three functions that write."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        forwards_first(rig.ovs)
        (self.one, self.p1), (self.two, self.p2) = rig.machine(1), rig.machine(2)
        self.elements: dict[str, ChainElement] = {}
        for number in (1, 2, 3):
            host, self.elements[f"f{number}"] = rig.bump(f"f{number}")
            writes(host.netns, number)
        rig.apply(segment(self.p1, self.p2))

    def set(self, way: Sequence[str]) -> None:
        spec = chain(self.p1, self.p2, *(self.elements[name] for name in way))
        if not way:
            self.rig.remove(chain(self.p1, self.p2, self.elements["f1"]))
        else:
            assert self.rig.apply(spec).phase is Phase.ACTIVE

    def streams(self) -> tuple[Written, Written]:
        """There and back."""
        return (
            Written(self.one.netns, self.two.netns, "10.0.0.2", per_second=2500),
            Written(self.two.netns, self.one.netns, "10.0.0.1", per_second=300, port=5001),
        )


WAYS = [way.split() for way in ("f1", "f2", "f1 f3", "f2 f3", "f2", "", "f3", "f1 f2 f3", "f2 f3", "f1")]


@pytest.mark.parametrize("least", [0, pytest.param(2000, marks=pytest.mark.long)])
def test_fifty_changes_lose_nothing_and_every_path_is_whole(
    rig: Rig, least: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """How many datagrams a second there are is the machine's doing, and told; the long run demands as many."""
    field = Field(rig)
    there, back = field.streams()
    field.set(WAYS[0])
    there.may_take(WAYS[0])
    back.may_take(WAYS[0][::-1])
    with there, back:
        began, first = time.monotonic(), there.sent
        for number in range(1, 51):
            before, way = WAYS[(number - 1) % len(WAYS)], WAYS[number % len(WAYS)]
            there.may_take(before, way)
            back.may_take(before[::-1], way[::-1])
            field.set(way)
            there.may_take(way)
            back.may_take(way[::-1])
        rate = (there.sent - first) / (time.monotonic() - began)
    assert (there.lost, back.lost) == (0, 0), f"{there.gaps()}; {back.gaps()}"
    assert (there.astray(), back.astray()) == ([], [])
    assert set(there.paths.values()) == {path(way) for way in WAYS}, "every way was taken"
    with capsys.disabled():
        print(f"\n50 changes at {rate:.0f} datagrams/s there, {back.sent} in all back: none lost, none astray")
    assert rate >= least, f"a machine at work for others sent {rate:.0f} datagrams a second only"


def test_an_agent_killed_amid_changes_loses_nothing_and_mixes_nothing(one_rig: Rig) -> None:
    field = Field(one_rig)
    there, back = field.streams()
    field.set(WAYS[0])
    chance = random.Random(20261121)
    there.may_take(WAYS[0])
    back.may_take(WAYS[0][::-1])
    with there, back:
        for before, way in itertools.pairwise([WAYS[n] for n in (0, 1, 2, 3, 4, 6)]):
            there.may_take(before, way)
            back.may_take(before[::-1], way[::-1])
            pid = one_rig.agent_pid
            killer = threading.Timer(chance.uniform(0.0, 0.08), os.kill, (pid, signal.SIGKILL))
            killer.start()
            eventually(lambda way=way: _tried(field, way), "it is so in the end")
            killer.join()
            eventually(lambda way=way: _tried(field, way), "also after the kill")
    assert (there.lost, back.lost) == (0, 0), f"{there.gaps()}; {back.gaps()}"
    assert (there.astray(), back.astray()) == ([], [])


def _tried(field: Field, way: Sequence[str]) -> bool:
    """Whether a driver that asked, perhaps of a dying agent, was told that it is so."""
    try:
        field.set(way)
    except (Transient, Indeterminate):
        return False
    return True


@pytest.mark.parametrize("gone_s", [3.0, pytest.param(60.0, marks=pytest.mark.long)])
def test_a_controller_that_is_gone_is_not_missed(one_rig: Rig, gone_s: float) -> None:
    field = Field(one_rig)
    there, back = field.streams()
    field.set(WAYS[3])
    there.may_take(WAYS[3])
    back.may_take(WAYS[3][::-1])
    with there, back:
        one_rig.kill_agent()
        time.sleep(gone_s)  # the time itself is what is tried
        field.set(WAYS[3])
    assert (there.lost, back.lost) == (0, 0), f"{there.gaps()}; {back.gaps()}"
    assert (there.astray(), back.astray()) == ([], [])
