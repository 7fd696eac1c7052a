"""Where findings of one item gather: bounded, so that a hostile file cannot fill memory with complaints."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable

from manor.api.records import Finding, Severity

__all__ = ["Report", "did_you_mean", "refusal"]

_MOST = 200
_SHOWN = 120
_COMPARED = 300


class Report:
    """Findings of one package or descriptor, in the order they were made; a repeated one is kept once."""

    def __init__(self) -> None:
        self._findings: dict[Finding, None] = {}
        self._refused = False

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All of them, at most 201."""
        return tuple(self._findings)

    @property
    def refused(self) -> bool:
        """Whether any finding is an ERROR, kept or not."""
        return self._refused

    @property
    def is_full(self) -> bool:
        """Whether more findings are only counted: nothing need be said at any cost."""
        return len(self._findings) >= _MOST

    def add(self, finding: Finding) -> None:
        """Keep a finding, unless there are too many already; an ERROR is always kept count of."""
        self._refused = self._refused or finding.severity is Severity.ERROR
        if len(self._findings) < _MOST:
            self._findings[finding] = None
        elif len(self._findings) == _MOST:
            self._findings[
                Finding(
                    severity=Severity.ERROR if self._refused else Severity.INFO,
                    code="findings-many",
                    message=f"more than {_MOST} findings; the rest is left out",
                    file=finding.file,
                )
            ] = None

    def extend(self, findings: Iterable[Finding]) -> None:
        """Keep several."""
        for finding in findings:
            self.add(finding)

    def error(self, code: str, message: str, *, file: str = "", line: int = 0, column: int = 0, hint: str = "") -> None:
        """Something that refuses the item."""
        self._say(Severity.ERROR, code, message, file, line, column, hint)

    def warning(
        self, code: str, message: str, *, file: str = "", line: int = 0, column: int = 0, hint: str = ""
    ) -> None:
        """Something worth a look."""
        self._say(Severity.WARNING, code, message, file, line, column, hint)

    def info(self, code: str, message: str, *, file: str = "", line: int = 0, column: int = 0, hint: str = "") -> None:
        """Something that is kept and not acted on."""
        self._say(Severity.INFO, code, message, file, line, column, hint)

    def _say(self, severity: Severity, code: str, message: str, file: str, line: int, column: int, hint: str) -> None:
        self.add(Finding(severity=severity, code=code, message=message, file=file, line=line, column=column, hint=hint))


def refusal(code: str, message: str, *, file: str = "", line: int = 0, column: int = 0, hint: str = "") -> Finding:
    """An ERROR finding."""
    return Finding(severity=Severity.ERROR, code=code, message=message, file=file, line=line, column=column, hint=hint)


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """A hint naming the closest known name, or what there is where none is close and the list is short."""
    candidates = list(dict.fromkeys(itertools.islice(known, _COMPARED)))
    close = difflib.get_close_matches(name[:_SHOWN], candidates, n=1, cutoff=cutoff)
    if close:
        return f"did you mean {close[0]}?"
    if candidates and len(candidates) <= 8:
        return f"there is: {', '.join(candidates)}"
    return ""
