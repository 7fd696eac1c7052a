"""What core hands to every call into a plugin: a deadline, a name for the work, a log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from manor.errors import DeadlineExceeded

__all__ = ["CallContext", "DriverEnvironment"]


def _never() -> bool:
    return False


@dataclass(frozen=True, kw_only=True, slots=True)
class CallContext:
    """The frame of one call. A driver checks :meth:`check` before each effect and bounds its waits by
    :meth:`remaining_s`; core cannot interrupt a thread."""

    deadline: float
    """Monotonic time in seconds (``time.monotonic``) after which nothing new may be started."""
    operation: str = ""
    """Id of the lifecycle operation occurrence, empty outside one."""
    attempt: int = 1
    patience_s: float | None = None
    """How long to ask a node to shut down before it is turned off (gracefulStopTimeout); 0 asks nothing, None is the
    driver's choice."""
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("manor.driver"))
    clock: Callable[[], float] = time.monotonic
    is_cancelled: Callable[[], bool] = _never
    """True once the operation's cancel flag is seen; a long call may stop early with Transient."""

    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What stands behind the tokens in this call's specs; for :meth:`reveal` alone, never to be logged or kept."""

    @classmethod
    def within(cls, seconds: float, *, operation: str = "", attempt: int = 1) -> CallContext:
        """A context whose deadline is ``seconds`` from now."""
        return cls(deadline=time.monotonic() + seconds, operation=operation, attempt=attempt)

    def remaining_s(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.deadline - self.clock())

    def reveal(self, text: str) -> str:
        """Boot data with its secrets in place: for what goes into the machine, and nowhere else."""
        for token, secret in self.secrets.items():
            text = text.replace(token, secret)
        return text

    def check(self, doing: str) -> None:
        """Raise :class:`~manor.errors.DeadlineExceeded` when no time is left for ``doing``."""
        if self.clock() >= self.deadline:
            raise DeadlineExceeded(f"no time left for {doing}", hint="raise the step's deadline or retry")


@dataclass(frozen=True, kw_only=True, slots=True)
class DriverEnvironment:
    """What a driver's ``connect`` gets beside its configuration."""

    name: str
    """The endpoint's name as the operator registered it."""
    owner: str
    """The installation's owner tag, ``manor/<installation-id>``; stored on every native object."""
    state_dir: Path
    """A directory of this endpoint's own that survives restarts (mode 0700)."""
    runtime_dir: Path
    """A directory for sockets and pid files (mode 0700)."""
