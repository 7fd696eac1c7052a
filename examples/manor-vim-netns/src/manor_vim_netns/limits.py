"""Memory and CPU of a node, by control groups of version 2 or 1; where the host lets nobody write them, without."""

from __future__ import annotations

from pathlib import Path

__all__ = ["Limits"]

_ROOT = Path("/sys/fs/cgroup")
_PERIOD_US = 100_000


class Limits:
    """The groups of one node."""

    def __init__(self, name: str) -> None:
        if (_ROOT / "cgroup.controllers").exists():
            self._groups = {_ROOT / "manor-netns" / name: ("memory.max", "cpu.max")}
        else:
            self._groups = {
                _ROOT / "memory/manor-netns" / name: ("memory.limit_in_bytes",),
                _ROOT / "cpu/manor-netns" / name: ("cpu.cfs_quota_us",),
            }

    def make(self, *, memory_bytes: int, vcpus: int) -> list[Path]:
        """The groups, limits set; those that could be made."""
        quota = vcpus * _PERIOD_US
        values = {
            "memory.max": memory_bytes,
            "memory.limit_in_bytes": memory_bytes,
            "cpu.max": f"{quota} {_PERIOD_US}",
            "cpu.cfs_quota_us": quota,
        }
        made = []
        for group, files in self._groups.items():
            try:
                group.mkdir(parents=True, exist_ok=True)
                for file in files:
                    (group / file).write_text(str(values[file]))
                made.append(group)
            except OSError:
                continue  # a container without control groups of its own: the node runs without this limit
        return made

    def remove(self) -> None:
        """Gone, once no process is in them."""
        for group in self._groups:
            try:
                group.rmdir()
            except OSError:
                continue  # absent, or the last process is still ending; an empty group costs nothing
