"""What of this API is on its way out: since when, the last release that has it, and what to use instead.

A name that is here still works. ``manor plugin check`` and ``manor plugin list`` tell its users; importing it from
``manor.api`` warns. A test fails once the last release is over and the name is still here.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DEPRECATIONS", "Deprecation", "find"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Deprecation:
    """One name. Two minor releases lie at least between ``since`` and ``last``."""

    name: str
    """A name of ``manor.api``, or a hook."""
    since: str
    """Release, as ``0.2``, in which this was first said."""
    last: str
    """The last release that has it."""
    instead: str
    """What to use: for a name that ``manor.api`` has under another, that name."""

    def __str__(self) -> str:
        return f"{self.name} is deprecated since {self.since} and goes after {self.last}: use {self.instead}"


DEPRECATIONS: tuple[Deprecation, ...] = ()


def find(name: str) -> Deprecation | None:
    """What is said of this name, where anything is."""
    return next((known for known in DEPRECATIONS if known.name == name), None)
