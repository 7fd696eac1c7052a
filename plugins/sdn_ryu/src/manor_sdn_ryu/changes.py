"""From what the switches hold to what they should: which messages, in which order. Pure.

A program changes without a gap (make before break): first what frames will need later on their way, then the entry
(where frames are classified into the chain, or admitted to the segment), then a pause for the frames that are already
inside functions, then what nobody needs any more. A removal closes the entry first.

One switch takes a phase as one atomic bundle. Over several switches, and if a bundle were cut off anywhere, a frame
still takes the whole old way, the whole new way, or is dropped. Where that cannot be had in place (a function stands
behind other functions than before, so that a frame under way would skip or repeat one), the entry is shut first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from manor.api import ChainSpec, ResourceKind
from manor_sdn_ryu.entries import Entry, Identity
from manor_sdn_ryu.pipeline import Table

__all__ = ["Change", "Phase", "difference", "phases", "reorders"]

Held = Mapping[str, Mapping[Identity, Entry]]
"""Entries by host and identity."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One message to one switch: put this entry (over what has its identity), or delete exactly it."""

    entry: Entry
    delete: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """What may be done on all switches at once; done everywhere before the next begins."""

    changes: Mapping[str, Sequence[Change]] = field(default_factory=dict)
    settle: bool = False
    """Let frames that are under way arrive first."""


def difference(installed: Mapping[Identity, Entry], wanted: Mapping[Identity, Entry]) -> list[Change]:
    """Puts in the reverse of the wanted order (so that a way is laid from its end), then deletes.

    What is there and cannot be sent stays, and is told of as too much.
    """
    if not installed:
        return [Change(entry=entry) for entry in list(wanted.values())[::-1]]
    puts = [Change(entry=entry) for identity, entry in wanted.items() if installed.get(identity) != entry]
    spare = [entry for identity, entry in installed.items() if identity not in wanted]
    return puts[::-1] + [Change(entry=entry, delete=True) for entry in spare if entry.is_sendable]


def phases(kind: ResourceKind, installed: Held, wanted: Held, *, shut: bool = False) -> list[Phase]:
    """The phases that lead from ``installed`` to ``wanted``; none when they are equal."""
    door = Table.CLASSIFY if kind is ResourceKind.CHAIN else Table.ADMIT
    hosts = sorted({*installed, *wanted})
    closed = _closed(installed, door) if shut else {}
    if any(closed.values()):
        installed = {
            host: {**held, **{change.entry.identity: change.entry for change in closed[host]}}
            for host, held in installed.items()
        }
    all_changes = {host: difference(installed.get(host, {}), wanted.get(host, {})) for host in hosts}
    ahead = {h: [c for c in changes if not c.delete and c.entry.table != door] for h, changes in all_changes.items()}
    entry = {h: [c for c in changes if c.entry.table == door] for h, changes in all_changes.items()}
    after = {h: [c for c in changes if c.delete and c.entry.table != door] for h, changes in all_changes.items()}
    steps: list[Phase] = []
    if shut:
        steps.append(Phase(changes=closed))
    touched = [host for host in hosts if ahead[host] or entry[host]]
    if len(touched) == 1:
        host = touched[0]
        steps.append(Phase(changes={host: [*ahead[host], *entry[host]]}, settle=shut))
    else:
        steps += [Phase(changes=ahead, settle=shut), Phase(changes=entry)]
    steps.append(Phase(changes=after, settle=kind is ResourceKind.CHAIN))
    return [step for step in steps if any(step.changes.values())]


def _closed(installed: Held, door: Table) -> dict[str, list[Change]]:
    """What makes every entry drop."""
    return {
        host: [
            Change(entry=replace(e, actions=()))
            for e in held.values()
            if e.table == door and e.actions and e.is_sendable
        ]
        for host, held in installed.items()
    }


def reorders(old: ChainSpec | None, new: ChainSpec) -> bool:
    """Whether a function that stays has other functions before it than it had, on the way there or back.

    A frame in flight inside such a function would take neither the old way nor the new one.
    """
    if old is None:
        return False
    for forth in (True, False):
        before, now = _prefixes(old, forth), _prefixes(new, forth)
        follows, follows_now = _next(old, forth), _next(new, forth)
        for device in before.keys() & now.keys():
            if before[device] != now[device] and follows[device] != follows_now[device]:
                return True
    return False


def _levels(spec: ChainSpec, forth: bool) -> list[frozenset[str]]:
    positions = spec.positions if forth else spec.positions[::-1]
    return [
        frozenset((element.egress if forth else element.ingress).device for element in position.elements)
        for position in positions
    ]


def _prefixes(spec: ChainSpec, forth: bool) -> dict[str, Any]:
    levels = _levels(spec, forth)
    return {device: tuple(levels[:number]) for number, level in enumerate(levels) for device in level}


def _next(spec: ChainSpec, forth: bool) -> dict[str, Any]:
    levels = [*_levels(spec, forth), frozenset[str]()]
    return {device: levels[number + 1] for number, level in enumerate(levels[:-1]) for device in level}
