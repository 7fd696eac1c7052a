"""Misfortune on order: which call fails, how, and whether before or after it had its effect."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from manor import errors
from manor.api import CallContext
from manor.errors import DeadlineExceeded, Indeterminate, Transient, UsageError

__all__ = ["MUTATING", "Action", "Boundary", "Crash", "Fault", "Moment", "When", "carry_out"]


class Crash(BaseException):
    """The process dies here, as far as an in-process crash test goes: no handler of errors may catch it."""


class When(StrEnum):
    """On which side of the effect. ``after`` a failure is a lie: it happened, and is reported as failed."""

    BEFORE = "before"
    AFTER = "after"


class Action(StrEnum):
    """What goes wrong."""

    FAIL = "fail"
    """Raise ``Fault.error``."""
    HANG = "hang"
    """Sit there until the deadline, then raise DeadlineExceeded."""
    DELAY = "delay"
    """Take ``Fault.seconds`` longer, whatever the deadline says."""
    CRASH = "crash"
    """Raise :class:`Crash`."""
    KILL = "kill"
    """End this process by SIGKILL."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """One side of one call."""

    verb: str
    kind: str
    key: str
    when: When


MUTATING = frozenset({"ensure", "apply", "remove", "guest_exec"})

Boundary = Callable[[Moment], None]
"""Told of both sides of every mutating call; may raise (:class:`Crash`, to enumerate crash points)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """A misfortune that befalls calls; patterns are shell-like (``*``)."""

    action: Action = Action.FAIL
    verb: str = "*"
    kind: str = "*"
    key: str = "*"
    when: When = When.BEFORE
    times: int = 1
    """How many calls it befalls; 0 for every one."""
    skip: int = 0
    """How many matching calls it spares first."""
    error: str = ""
    """Name of a DriverError of :mod:`manor.errors`, or ``unknown`` for an exception that is not Manor's; empty for
    the usual one: Transient before, Indeterminate after."""
    seconds: float = 0.0

    def __post_init__(self) -> None:
        """Raises UsageError where ``error`` names nothing that a driver could raise."""
        cls = getattr(errors, self.error, None)
        if self.error not in ("", "unknown") and not (isinstance(cls, type) and issubclass(cls, errors.DriverError)):
            raise UsageError(f"no driver error is called {self.error!r}", hint="a class of manor.errors, or unknown")

    def matches(self, moment: Moment) -> bool:
        """Whether the call and side are the ones meant."""
        return (
            self.when is moment.when
            and fnmatchcase(moment.verb, self.verb)
            and fnmatchcase(moment.kind, self.kind)
            and fnmatchcase(moment.key, self.key)
        )

    def strikes(self, hits: int) -> bool:
        """Whether it befalls the call after ``hits`` matching ones."""
        return hits >= self.skip and (self.times == 0 or hits < self.skip + self.times)


def carry_out(fault: Fault, moment: Moment, ctx: CallContext, sleep: Callable[[float], None]) -> None:
    """Make it happen to the call at hand."""
    what = f"{moment.verb} {moment.kind} {moment.key}"
    match fault.action:
        case Action.FAIL:
            raise _error(fault, f"{what}: injected fault {fault.when} the effect")
        case Action.HANG:
            pause_s = 0.05
            while (left_s := ctx.remaining_s()) > 0:
                if ctx.is_cancelled():
                    raise Indeterminate(f"{what}: cancelled while hanging")
                sleep(min(left_s, pause_s))
                pause_s = min(1.1 * pause_s, 5.0)
            raise DeadlineExceeded(f"{what}: no answer in time")
        case Action.DELAY:
            sleep(fault.seconds)
        case Action.CRASH:
            raise Crash(what)
        case Action.KILL:
            os.kill(os.getpid(), signal.SIGKILL)


def _error(fault: Fault, message: str) -> Exception:
    if fault.error == "unknown":
        return RuntimeError(message)
    if fault.error:
        cls = getattr(errors, fault.error)
        error: Exception = cls(message)
        return error
    if fault.when is When.AFTER:
        return Indeterminate(message)
    return Transient(message, retry_after_s=0.01)
