"""How long one answer of a switch may be waited for, and when nothing new may be begun."""

from __future__ import annotations

import time

from manor.errors import DeadlineExceeded

__all__ = ["ANSWER_S", "check", "left_s"]

ANSWER_S = 20.0
"""The longest that one answer of a switch is waited for."""


def left_s(deadline: float) -> float:
    """Seconds for one answer; ``deadline`` is monotonic. Never nothing, so that what was begun can be heard."""
    return max(0.05, min(ANSWER_S, deadline - time.monotonic()))


def check(deadline: float, doing: str) -> None:
    """Raise DeadlineExceeded when no time is left for ``doing``."""
    if time.monotonic() >= deadline:
        raise DeadlineExceeded(f"no time left for {doing}")
