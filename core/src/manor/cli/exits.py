"""Exit codes: the part of the command line that scripts read. They never change their meaning."""

from __future__ import annotations

import errno
from enum import IntEnum

from manor import errors

__all__ = ["ExitCode", "exit_code", "refused_by_machine"]


class ExitCode(IntEnum):
    """What a finished ``manor`` process says in one number."""

    OK = 0
    GENERAL = 1
    """It ran, and the answer is no: a check failed, drift was found, there is no room or no permission here."""
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


_PLACES = frozenset({errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG})
_MACHINE = frozenset(
    {errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE}
)


def refused_by_machine(error: BaseException) -> bool:
    """Whether this machine would not let Manor: no room, no permission, a path to nowhere. No bug of Manor's."""
    if not isinstance(error, OSError):
        return False
    return error.errno in _MACHINE or (error.errno in _PLACES and error.filename is not None)


def exit_code(error: BaseException) -> ExitCode:
    """The code for ``error``; what Manor did not raise on purpose is a bug, unless the machine refused."""
    if refused_by_machine(error):
        return ExitCode.GENERAL
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return ExitCode.BUG
