"""A placement made more level: machines leave the fullest host, and others make room for them where they go.

The quick policy takes nothing back. Here a machine of the fullest host goes elsewhere, up to two of those that stand
there have to go on for it, and up to two once more for each, until all stand again and every host that took part is
emptier than the fullest one was (ejection chains). Again, until no such chain is found. Pure, deterministic, and
bounded by work.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

from manor.api.placement import Demand, PlacementRule
from manor.nfvo.hosts import Board, Room, ordinary_bytes, scopes

__all__ = ["levelled"]

_WORK = 20_000
"""Places looked at, and answers weighed, machine by machine: some tenths of a second at most."""
_DEPTH = 2
_EJECTED = 2

Place = tuple[str, str]
Hosts = Mapping[str, Place]


def levelled(
    hosts: Hosts,
    pending: Sequence[Demand],
    rules: Sequence[PlacementRule],
    rooms: Sequence[Room],
    is_sound: Callable[[Hosts], bool],
) -> dict[str, Place]:
    """A place for everyone of ``hosts``, of whom only ``pending`` may move. ``rooms`` are as they were before these.

    ``is_sound`` weighs a whole placement: what is not memory, and no affinity, is left to it.
    """
    search = _Search(hosts, pending, rules, rooms, is_sound)
    while search.improve():
        pass
    return search.hosts


class _Search:
    """Who stands where, as machines are taken up and put down."""

    def __init__(
        self,
        hosts: Hosts,
        pending: Sequence[Demand],
        rules: Sequence[PlacementRule],
        rooms: Sequence[Room],
        is_sound: Callable[[Hosts], bool],
    ) -> None:
        self.hosts = dict(hosts)
        self.is_sound = is_sound
        self.work = _WORK
        self.bar = 0
        """Memory that stays free on the fullest host, in bytes: every host has to keep more."""
        self.size = {demand.key: ordinary_bytes(demand) for demand in pending}
        self.free = {room.place: room.memory_bytes for room in rooms}
        self.here: dict[Place, set[str]] = {room.place: set() for room in rooms}
        self.demands = {demand.key: demand for demand in pending}
        self.rooms = {room.place: room for room in rooms}
        self.where = {room.place: scopes(room.candidate) for room in rooms}
        self.rules: dict[str, list[PlacementRule]] = {}
        for rule in rules:
            for key in rule.keys:
                self.rules.setdefault(key, []).append(rule)
        self.alone = Board.of(rooms, (), (), {})
        self.fits: dict[tuple[str, Place], bool] = {}
        for key in self.size:
            self._put(key, self.hosts[key])

    def improve(self) -> bool:
        """Make the fullest host emptier by one chain; whether there was one."""
        low = min((place for place, keys in self.here.items() if keys), key=lambda place: self.free[place])
        self.bar = self.free[low]
        for depth in range(_DEPTH + 1):
            for key in self._largest_first(self.here[low]):
                self._take(key)
                if self._settle((key,), depth):
                    return True
                self._put(key, low)
        return False

    def _settle(self, off: tuple[str, ...], depth: int) -> bool:
        """Find places for all who stand nowhere; where there are none, everything is as before."""
        if not off:
            self.work -= len(self.hosts)
            return self.is_sound(self.hosts)
        key, *rest = off
        for place in sorted(self.free, key=lambda place: -self.free[place]):
            self.work -= 1 + len(self.here[place]) // 10  # who stands there is put in order
            if self.work < 0 or (depth == 0 and self.free[place] - self.size[key] <= self.bar):
                return False
            for ejected in self._ejections(key, place, depth):
                for one in ejected:
                    self._take(one)
                self._put(key, place)
                if self._settle(self._largest_first((*rest, *ejected)), depth - 1 if ejected else depth):
                    return True
                self._take(key)
                for one in ejected:
                    self._put(one, place)
        return False

    def _ejections(self, key: str, place: Place, depth: int) -> Iterator[tuple[str, ...]]:
        """Who would have to leave for ``key``: the least first, none where it fits as it is."""
        clashes = self._clashes(key, place)
        if clashes is None or not self._fits(key, place):
            return
        after = self.free[place] - self.size[key] + sum(self.size[one] for one in clashes)
        others = self._largest_first(self.here[place] - clashes)
        for count in range(len(clashes), (_EJECTED if depth else 0) + 1):
            for more in itertools.combinations(others, count - len(clashes)):
                if after + sum(self.size[one] for one in more) > self.bar:
                    self.work -= 1
                    yield (*sorted(clashes), *more)
                if self.work < 0:
                    return

    def _clashes(self, key: str, place: Place) -> set[str] | None:
        """Those on the host that may not be with it; None where somebody else stands against it too."""
        found = set()
        for rule in self.rules.get(key, ()):
            for mate in rule.keys:
                at = self.hosts.get(mate)
                if mate == key or at not in self.where:
                    continue
                if (self.where[at][rule.scope] == self.where[place][rule.scope]) != rule.anti:
                    continue
                if not rule.anti or at != place or mate not in self.size:
                    return None
                found.add(mate)
        return found

    def _fits(self, key: str, place: Place) -> bool:
        """Whether the host would take it if it were alone."""
        if (key, place) not in self.fits:
            self.fits[key, place] = not any(self.alone.objections(self.demands[key], self.rooms[place]))
        return self.fits[key, place]

    def _largest_first(self, keys: Sequence[str] | set[str]) -> tuple[str, ...]:
        return tuple(sorted(keys, key=lambda key: (-self.size[key], key)))

    def _put(self, key: str, place: Place) -> None:
        self.hosts[key] = place
        self.here[place].add(key)
        self.free[place] -= self.size[key]

    def _take(self, key: str) -> None:
        place = self.hosts.pop(key)
        self.here[place].remove(key)
        self.free[place] += self.size[key]
