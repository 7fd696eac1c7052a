"""A fixed number of newest rows: what keeps a detector's memory bounded however long it runs."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["Ring"]


class Ring:
    """The newest ``capacity`` rows of one shape; older ones are overwritten."""

    def __init__(self, capacity: int, shape: tuple[int, ...], dtype: Any = np.float32) -> None:
        self.rows = np.zeros((capacity, *shape), dtype)
        self.total = 0

    def __len__(self) -> int:
        return min(self.total, len(self.rows))

    def push(self, row: Any) -> None:
        """Take one row, dropping the oldest when full."""
        self.rows[self.total % len(self.rows)] = row
        self.total += 1

    def view(self) -> np.ndarray:
        """All rows, oldest first."""
        if self.total <= len(self.rows):
            return self.rows[: self.total]
        return np.roll(self.rows, -(self.total % len(self.rows)), axis=0)

    def newest(self, count: int) -> np.ndarray:
        """The newest ``count`` rows, newest first; there have to be so many."""
        return np.asarray(self.rows[(self.total - 1 - np.arange(count)) % len(self.rows)])

    def widen(self, width: int, fill: float) -> None:
        """Make the last axis ``width`` long; old rows have ``fill`` in the new places."""
        pad = [(0, 0)] * (self.rows.ndim - 1) + [(0, width - self.rows.shape[-1])]
        self.rows = np.pad(self.rows, pad, constant_values=fill)
