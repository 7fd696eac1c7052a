"""An in-memory VIM and SDN that behave, fail and crash like real ones: for dry runs, third-party tests and our own.

A :class:`World` holds what exists; drivers come and go, worlds stay. With a state file the world outlives a killed
process. Faults are part of the world, so that one process can plan the misfortune of another.
"""

from manor.fakes.clock import FakeClock
from manor.fakes.faults import Action, Boundary, Crash, Fault, Moment, When
from manor.fakes.openflow import Ambiguous, Arrival, Fabric, Walk, overlap
from manor.fakes.sdn import FakeSdn
from manor.fakes.vim import FakeVim
from manor.fakes.world import FakeHost, Native, World

__all__ = [
    "Action",
    "Ambiguous",
    "Arrival",
    "Boundary",
    "Crash",
    "Fabric",
    "FakeClock",
    "FakeHost",
    "FakeSdn",
    "FakeVim",
    "Fault",
    "Moment",
    "Native",
    "Walk",
    "When",
    "World",
    "overlap",
]
