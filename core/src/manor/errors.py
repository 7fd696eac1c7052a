"""Every error that Manor raises on purpose; a class says what to do next.

::

    ManorError                    one line for the person, .hint names the remedy
    ├─ UsageError                 the command line, a name or a setting is wrong: correct it
    ├─ DescriptorError            a package or descriptor is refused: read .findings
    ├─ PlanRefused                nothing was done; a review, a capability or capacity says no
    ├─ OperationFailed            an operation ended badly: look at it, then retry, rollback or fail
    ├─ PluginError                a plugin cannot load, lies about a hook, or clashes
    │  └─ PluginConflict          two plugins provide one name: remove one
    ├─ StoreError                 the database cannot be used as it is
    │  └─ Fenced                  another worker has taken this operation: stop at once
    └─ DriverError                raised by drivers; the class decides what core does next
       ├─ Transient               nothing happened; try again after .retry_after_s
       │  └─ Unreachable          hosts do not answer; .found is what the others have
       ├─ Indeterminate           it may have happened: observe before anything else
       │  └─ DeadlineExceeded     the time allowed passed: treat as Indeterminate
       ├─ Unsupported             this driver or host cannot; never retried, nothing changed
       ├─ Conflict                the resource exists in another shape: plan again
       ├─ NotFound                what the call needs is not there
       ├─ QuotaExceeded           no room: place elsewhere or free something
       ├─ Unauthorized            the credentials are refused: correct the endpoint
       └─ Permanent               it will fail again the same way

A driver that raises anything else is taken to mean :class:`Indeterminate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from manor.api.records import Finding
    from manor.api.resources import Observed

__all__ = [
    "Conflict",
    "DeadlineExceeded",
    "DescriptorError",
    "DriverError",
    "Fenced",
    "Indeterminate",
    "ManorError",
    "NotFound",
    "OperationFailed",
    "Permanent",
    "PlanRefused",
    "PluginConflict",
    "PluginError",
    "QuotaExceeded",
    "StoreError",
    "Transient",
    "Unauthorized",
    "Unreachable",
    "Unsupported",
    "UsageError",
]


class ManorError(Exception):
    """Anything Manor refuses or fails at on purpose.

    ``message`` is one line that names thing and place; ``hint`` is the remedy, best an exact command.
    Neither ever holds a secret.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def with_hint(self) -> str:
        """The message with its remedy in brackets, for where both share a line."""
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(ManorError):
    """The command line, a name or a setting is wrong; nothing was done."""


class DescriptorError(ManorError):
    """A package or descriptor is refused; ``findings`` say where and why."""

    def __init__(self, message: str, *, findings: Sequence[Finding] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.findings = tuple(findings)


class PlanRefused(ManorError):
    """The plan may not be applied; nothing was done. ``findings`` give each reason."""

    def __init__(self, message: str, *, findings: Sequence[Finding] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.findings = tuple(findings)


class OperationFailed(ManorError):
    """An operation ended in a state other than the one wanted; ``operation_id`` names it."""

    def __init__(self, message: str, *, operation_id: str, hint: str = "") -> None:
        super().__init__(message, hint=hint or f"manor op show {operation_id}")
        self.operation_id = operation_id


class PluginError(ManorError):
    """A plugin cannot be imported, breaks the contract, or is needed and quarantined."""


class PluginConflict(PluginError):
    """Two plugins provide one name; the message names both distributions and versions."""


class StoreError(ManorError):
    """The database is missing, locked, or of another version."""


class Fenced(StoreError):
    """The claim on this operation was lost: another worker owns it. Stop, write nothing."""


class DriverError(ManorError):
    """A driver could not do what was asked; the subclass decides what core does next."""


class Transient(DriverError):
    """Nothing happened, and trying again may work. ``retry_after_s`` is in seconds."""

    def __init__(self, message: str, *, retry_after_s: float = 1.0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class Unreachable(Transient):
    """Not all hosts that were asked for answer: what is on them is neither there nor gone, but unknown.

    ``hosts`` says why, by name; ``found`` is what the others have.
    """

    def __init__(
        self,
        message: str,
        *,
        hosts: Mapping[str, str],
        found: Sequence[Observed] = (),
        retry_after_s: float = 1.0,
        hint: str = "",
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s, hint=hint)
        self.hosts = dict(hosts)
        self.found = tuple(found)


class Indeterminate(DriverError):
    """The effect may or may not have happened: observe before anything else."""


class DeadlineExceeded(Indeterminate):
    """The call ran out of its time; the effect may have happened."""


class Unsupported(DriverError):
    """This driver or host cannot do it. Raised before any effect. ``capability`` names what is missing."""

    def __init__(self, message: str, *, capability: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.capability = capability


class Conflict(DriverError):
    """The resource exists with another spec and cannot be changed in place.

    ``replace`` says that removing and creating it anew would work; ``fields`` name what differs.
    """

    def __init__(self, message: str, *, replace: bool = True, fields: Sequence[str] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.replace = replace
        self.fields = tuple(fields)


class NotFound(DriverError):
    """Something the call depends on is not there (not raised by ``remove``: absent is success)."""


class QuotaExceeded(DriverError):
    """The host or the pool has no room left."""


class Unauthorized(DriverError):
    """The endpoint refuses the credentials."""


class Permanent(DriverError):
    """It will fail the same way again; the cause must be mended first."""
