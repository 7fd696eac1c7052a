"""The one place that prints: results on stdout, as text or as one JSON document, and the rest on stderr."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, Literal

from manor.cli.exits import ExitCode, refused_by_machine
from manor.cli.jsonable import jsonable
from manor.cli.tables import Layout, is_prose, layout
from manor.errors import ManorError, OperationFailed, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console
    from rich.text import Text

    from manor.api.records import Finding

__all__ = ["Output", "describe", "printable"]

_GOOD, _BUSY, _BAD, _WARN = "green", "cyan", "red", "yellow"
_STYLES: Mapping[str, str] = {
    **dict.fromkeys(("COMPLETED", "INSTANTIATED", "ENABLED", "ONBOARDED", "active", "done", "ok", "yes"), _GOOD),
    **dict.fromkeys(("PROCESSING", "ROLLING_BACK", "pending", "intended", "undoing"), _BUSY),
    **dict.fromkeys(("FAILED", "ERROR", "error", "failed", "undo_failed", "absent", "quarantined", "no"), _BAD),
    **dict.fromkeys(("FAILED_TEMP", "ROLLED_BACK", "degraded", "warning", "stopped", "unknown"), _WARN),
    "PARTIALLY_COMPLETED": _WARN,
}
_LONGEST = 2000
_UNSAFE = {n: f"\\x{n:02x}" for n in (*range(32), *range(127, 160)) if chr(n) not in "\n\t"} | {
    n: f"\\u{n:04x}" for n in (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
}
"""Control characters, other line ends, and what turns the direction of text."""


def printable(text: object) -> str:
    """``text`` without control characters: what a package or a guest says must not drive the terminal."""
    return str(text).translate(_UNSAFE)


class Output:
    """Where a command says what it has to say.

    ``json`` asks for one JSON document on stdout; ``verbosity`` is the number of ``-v``.
    """

    def __init__(
        self,
        *,
        json: bool = False,
        verbosity: int = 0,
        stdout: IO[str] | None = None,
        stderr: IO[str] | None = None,
    ) -> None:
        self.json = json
        self.verbosity = verbosity
        self.stdout = stdout or sys.stdout
        self.stderr = stderr or sys.stderr
        self.has_result = False

    @property
    def is_terminal(self) -> bool:
        """Whether a person reads stdout as it is printed."""
        return not self.json and self.stdout.isatty() and os.environ.get("TERM") != "dumb"

    @cached_property
    def console(self) -> Console:
        """Rich on stdout."""
        return self._console(self.stdout)

    @cached_property
    def error_console(self) -> Console:
        """Rich on stderr, for progress and questions."""
        return self._console(self.stderr)

    def _console(self, stream: IO[str]) -> Console:
        from rich.console import Console

        # Off a terminal nothing may be folded or cut: a pipe has no width.
        width = None if stream.isatty() else 10_000
        return Console(file=stream, width=width, highlight=False, markup=False, emoji=False, soft_wrap=True)

    # Results

    def result(self, value: Any, human: Callable[[], None]) -> None:
        """The command's answer: ``value`` with ``--json``, else whatever ``human`` prints."""
        self.has_result = True
        if self.json:
            self.stdout.write(json.dumps(jsonable(value), indent=2) + "\n")
        else:
            human()

    def event(self, value: Any, human: str) -> None:
        """One of a stream of results: a JSON document on a line of its own, or a line of text."""
        self.has_result = True
        self.stdout.write((json.dumps(jsonable(value)) if self.json else printable(human)) + "\n")
        self.stdout.flush()

    def line(self, text: str = "", style: str = "") -> None:
        """A line of a result for people."""
        if style and self.is_terminal:
            self.console.print(self._text(text, style))
        else:
            self.stdout.write(printable(text) + "\n")

    def data(self, value: Any, path: Path | None = None) -> None:
        """A result that is JSON whatever the global options say: to stdout, or into a file."""
        self.document(json.dumps(jsonable(value), indent=2) + "\n", path)

    def document(self, text: str, path: Path | None = None) -> None:
        """A result that is a document of its own, as a picture: to stdout, or into a file."""
        self.has_result = True
        if path is None:
            self.stdout.write(text)
            return
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}", hint="choose another place") from error
        self.result({"written": path}, lambda: self.note(f"written to {path}"))

    def table(
        self, headers: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str = "", right: Sequence[str] = ()
    ) -> None:
        """Rows under headers; ``empty`` is said on stderr where there are none."""
        cells = [tuple(printable(cell) for cell in row) for row in rows]
        if not cells:
            self.note(empty or "none")
            return
        from rich import box
        from rich.cells import cell_len
        from rich.table import Table

        widths = [max(cell_len(text) for text in column) for column in zip(headers, *cells, strict=True)]
        form = layout(widths, self.console.width) if self.is_terminal else Layout.PLAIN
        if form is Layout.RECORDS:
            for number, row in enumerate(cells):
                if number:
                    self.line()
                self.fields(zip(headers, row, strict=True))
            return
        table = Table(box=box.SIMPLE_HEAD if form is Layout.FRAMED else None, pad_edge=False, header_style="bold")
        for header, width in zip(headers, widths, strict=True):
            justify: Literal["left", "right"] = "right" if header in right else "left"
            folds = form is Layout.FOLDED and is_prose(width)
            table.add_column(header, justify=justify, overflow="fold", no_wrap=not folds)
        for row in cells:
            table.add_row(*(self._text(cell) for cell in row))
        self._print(table)

    def fields(self, pairs: Iterable[tuple[str, object]]) -> None:
        """Names and values of one thing, those without a value left out."""
        from rich.table import Table

        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in pairs:
            if value not in ("", None, (), [], {}):
                grid.add_row(self._text(name, "bold"), self._text(value))
        self._print(grid)

    def findings(self, findings: Iterable[Finding], *, to_stderr: bool = False) -> None:
        """Findings as compilers print them: place, severity, code, message; the hint under it."""
        say = self._err if to_stderr else self.line
        for finding in findings:
            place = ":".join(str(part) for part in (finding.file, finding.line, finding.column) if part)
            say(f"{place + ': ' if place else ''}{finding.severity}: {finding.message} [{finding.code}]")
            if finding.hint:
                say(f"    hint: {finding.hint}")

    def _text(self, value: object, style: str = "") -> Text:
        from rich.text import Text

        text = printable(value)
        return Text(text, style=style or _STYLES.get(text, ""))

    def _print(self, renderable: Any) -> None:
        if self.is_terminal:
            self.console.print(renderable, soft_wrap=False)
            return
        with self.console.capture() as captured:
            self.console.print(renderable, soft_wrap=False)
        self.stdout.writelines(line.rstrip() + "\n" for line in captured.get().splitlines())

    # Everything else

    def _err(self, text: str) -> None:
        self.stderr.write(printable(text) + "\n")
        self.stderr.flush()

    def note(self, text: str) -> None:
        """Something worth knowing that is not the result."""
        self._err(text)

    def warn(self, text: str) -> None:
        """Something that may become a problem."""
        self._err(f"warning: {text}")

    def confirm(self, question: str) -> bool:
        """Ask on the terminal. Raises UsageError where nobody can answer."""
        if self.json or not (sys.stdin.isatty() and self.stderr.isatty()):
            raise UsageError("nobody is there to confirm this", hint="look at the plan, then add --yes")
        self.stderr.write(f"{question} [y/N] ")
        self.stderr.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def error(self, error: BaseException, code: ExitCode) -> None:
        """The end of a command that failed: one line and a hint, findings above it, the traceback only with ``-v``."""
        if self.verbosity:
            import traceback

            self.stderr.writelines(traceback.format_exception(error))
        message, hint = (_short(text) for text in describe(error, code))
        findings = tuple(getattr(error, "findings", ()))
        if self.json:
            body = {"code": int(code), "class": type(error).__name__, "message": message, "hint": hint}
            if findings:
                body["findings"] = jsonable(findings)
            if isinstance(error, OperationFailed):
                body["operation_id"] = error.operation_id
            # A second document would spoil a stdout that already holds the result.
            stream = self.stderr if self.has_result else self.stdout
            stream.write(json.dumps({"error": body}, indent=2) + "\n")
            return
        self.findings(findings, to_stderr=True)
        self._err(f"error: {message}")
        if hint:
            self._err(f"hint: {hint}")


def _short(text: str) -> str:
    """What was mistyped may be a whole file: its beginning will do."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"


_REMEDIES: Mapping[int, str] = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some space there; nothing that was committed is lost"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "run it as the user that this belongs to, or set MANOR_HOME"),
    **dict.fromkeys((errno.EROFS, errno.EIO), "check the disk: dmesg"),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "allow more open files: ulimit -n"),
}


def describe(error: BaseException, code: ExitCode) -> tuple[str, str]:
    """Message and hint of any error, each on one line."""
    if isinstance(error, ManorError):
        return " ".join(error.message.split()), error.hint
    if isinstance(error, OSError) and refused_by_machine(error):
        place = f"{error.filename}: " if error.filename is not None else ""
        return f"{place}{error.strerror}", _REMEDIES.get(error.errno or 0, "check MANOR_HOME and the path")
    if code is ExitCode.BUG:
        first = str(error).strip().partition("\n")[0]
        text = f"this is a bug in Manor: {type(error).__name__}{': ' + first if first else ''}"
        return text, "run it again with -v to see where"
    return str(error), ""
