"""Small forms that several commands print and read: points in time, page markers."""

from __future__ import annotations

import base64
import time

from manor.errors import UsageError

__all__ = ["pack_marker", "unpack_marker", "when"]


def when(time_s: float) -> str:
    """A point in time for people, in local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_s)) if time_s else ""


def pack_marker(marker: str) -> str:
    """A page marker as one plain word of the command line."""
    return base64.urlsafe_b64encode(marker.encode()).decode().rstrip("=")


def unpack_marker(word: str) -> str:
    """Read what :func:`pack_marker` made. Raises UsageError for anything else."""
    try:
        return base64.urlsafe_b64decode(word + "=" * (-len(word) % 4)).decode()
    except ValueError:
        raise UsageError(f"'{word}' is not a page marker", hint="take it from the page before") from None
