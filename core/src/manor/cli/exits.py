"""Exit codes: the part of the command line that scripts read. They never change their meaning."""

from __future__ import annotations

from enum import IntEnum

from manor import errors

__all__ = ["ExitCode", "exit_code"]


class ExitCode(IntEnum):
    """What a finished ``manor`` process says in one number."""

    OK = 0
    GENERAL = 1
    """It ran, and the answer is no: a check failed, drift was found."""
    USAGE = 2
    DESCRIPTOR = 3
    """A package or descriptor is refused."""
    PLAN = 4
    """A plan is refused; nothing was done."""
    OPERATION = 5
    """An operation did not reach what was wanted."""
    DRIVER = 6
    PLUGIN = 7
    STORE = 8
    BUG = 70
    INTERRUPTED = 130
    BROKEN_PIPE = 141


_CODES: tuple[tuple[type[BaseException], ExitCode], ...] = (
    (errors.UsageError, ExitCode.USAGE),
    (errors.DescriptorError, ExitCode.DESCRIPTOR),
    (errors.PlanRefused, ExitCode.PLAN),
    (errors.OperationFailed, ExitCode.OPERATION),
    (errors.DriverError, ExitCode.DRIVER),
    (errors.PluginError, ExitCode.PLUGIN),
    (errors.StoreError, ExitCode.STORE),
    (errors.ManorError, ExitCode.GENERAL),
    (KeyboardInterrupt, ExitCode.INTERRUPTED),
    (BrokenPipeError, ExitCode.BROKEN_PIPE),
)


def exit_code(error: BaseException) -> ExitCode:
    """The code for ``error``; what Manor did not raise on purpose is a bug."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return ExitCode.BUG
