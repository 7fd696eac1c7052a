"""How a table is laid out in the width that there is: an id that is broken in two can be neither read nor copied."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

__all__ = ["Layout", "is_prose", "layout"]

_GAP, _FRAME = 2, 2
_LONG = 24
"""A column wider than this is prose, and may be folded."""
_PROSE_LEAST = 16


class Layout(StrEnum):
    """From the widest to the narrowest."""

    FRAMED = "framed"
    PLAIN = "plain"
    FOLDED = "folded"
    """As plain; columns of prose are folded, others are not."""
    RECORDS = "records"
    """Each row as names and values, one below the other."""


def layout(widths: Sequence[int], room: int) -> Layout:
    """What fits into ``room`` columns, of a table whose columns are so wide."""
    plain = sum(widths) + _GAP * (len(widths) - 1)
    # Rich gives a framed column a space on either side and one between.
    if sum(widths) + (_GAP + 1) * len(widths) + _FRAME <= room:
        return Layout.FRAMED
    if plain <= room:
        return Layout.PLAIN
    folded = sum(min(width, _PROSE_LEAST) if width > _LONG else width for width in widths) + _GAP * (len(widths) - 1)
    return Layout.FOLDED if folded <= room else Layout.RECORDS


def is_prose(width: int) -> bool:
    """Whether a column so wide may be folded."""
    return width > _LONG
