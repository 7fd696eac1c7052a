"""The command line. Nothing heavy is imported before a command that needs it is run."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``manor`` with these arguments (default: the process's) and return its exit code."""
    try:
        from manor.cli.root import run

        return run(argv)
    except KeyboardInterrupt:  # while modules were still being imported; later ones are told of by run
        return 130
