"""``manor doctor``: checks of this machine by core and plugins, how to mend each, and mending where that is safe."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated

import typer

from manor.api import CallContext, DoctorCheck, Finding, Severity
from manor.cli.exits import ExitCode, refused_by_machine
from manor.cli.output import describe
from manor.cli.session import Session, new_app, session
from manor.errors import ManorError, UsageError

__all__ = ["app"]

_CHECK_S, _FIX_S, _AT_ONCE = 60.0, 600.0, 4

app = new_app("Check this machine and say how to mend it.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What one check found."""

    name: str
    plugin: str
    summary: str
    state: str
    """``ok``, ``warning`` or ``error``."""
    findings: tuple[Finding, ...]
    fixed: bool = False
    fixable: bool = False


@app.command()
def doctor(
    ctx: typer.Context,
    fix: Annotated[bool, typer.Option("--fix", help="Mend what can be mended safely, then check again.")] = False,
    only: Annotated[list[str] | None, typer.Option("--only", help="Run this check alone; may be repeated.")] = None,
) -> None:
    """Check host, virtualisation, switch, controller, database and plugins.

    Ends with 1 where something is wrong; a warning is not wrong.
    """
    s = session(ctx)
    checks = _gather(s)
    if only:
        known = {check.name for _, check in checks}
        for name in only:
            if name not in known:
                raise UsageError(f"there is no check '{name}'", hint=f"there are: {', '.join(sorted(known))}")
        checks = [(plugin, check) for plugin, check in checks if check.name in only]
    results = []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for (plugin, check), first in zip(checks, pool.map(lambda pair: _run(*pair), checks), strict=True):
            result = _mend(plugin, check, first) if fix and first.state != "ok" and check.fix else first
            results.append(result)
            if not s.out.json and not fix:
                _show(s, result)
    if fix:
        # Mending one thing may have mended another, which was looked at before.
        results = [
            _run(plugin, check, fixed=True) if result.state != "ok" and not check.fix else result
            for (plugin, check), result in zip(checks, results, strict=True)
        ]
        for result in results if not s.out.json else ():
            _show(s, result)
    broken = [result for result in results if result.state == "error"]

    def end() -> None:
        warned = sum(result.state == "warning" for result in results)
        s.out.line()
        s.out.line(f"{len(results)} checks, {len(broken)} wrong, {warned} with a warning")
        if not fix and any(result.fixable for result in results):
            s.out.line("some of this can be mended by itself: manor doctor --fix")

    s.out.result(results, end)
    if broken:
        raise typer.Exit(ExitCode.GENERAL)


def _gather(s: Session) -> list[tuple[str, DoctorCheck]]:
    from manor.cli.checks import core_checks
    from manor.cli.root import BUILTIN

    mine = [("manor", check) for check in core_checks(s, frozenset(BUILTIN))]
    try:
        theirs = [(p.plugin, p.record) for p in s.runtime.plugins.doctor_checks().values()]
    except ManorError as error:
        s.out.warn(f"the plugins' checks cannot be run: {error.message}")
        theirs = []
    return mine + theirs


def _run(plugin: str, check: DoctorCheck, *, fixed: bool = False) -> Result:
    try:
        findings = tuple(check.check(CallContext.within(_CHECK_S)))
    # A check is a stranger's code: its failure is a finding like any other.
    except Exception as error:
        message, hint = describe(error, ExitCode.GENERAL)
        if not isinstance(error, ManorError) and not refused_by_machine(error):
            message, hint = str(error) or repr(error), f"the plugin {plugin} has a fault; manor -v doctor"
        findings = (Finding(severity=Severity.ERROR, code="check-failed", message=message, hint=hint),)
    severities = {finding.severity for finding in findings}
    state = "error" if Severity.ERROR in severities else "warning" if Severity.WARNING in severities else "ok"
    return Result(
        name=check.name,
        plugin=plugin,
        summary=check.summary,
        state=state,
        findings=findings,
        fixed=fixed and state == "ok",
        fixable=state != "ok" and check.fix is not None,
    )


def _mend(plugin: str, check: DoctorCheck, found: Result) -> Result:
    assert check.fix is not None
    try:
        check.fix(CallContext.within(_FIX_S))
    # As above; what it found stays on record with what went wrong in mending it.
    except Exception as error:
        hint = error.hint if isinstance(error, ManorError) else ""
        failed = Finding(severity=Severity.ERROR, code="fix-failed", message=f"could not be mended: {error}", hint=hint)
        return Result(
            name=found.name,
            plugin=plugin,
            summary=found.summary,
            state="error",
            findings=(*found.findings, failed),
            fixable=True,
        )
    return _run(plugin, check, fixed=True)


_MARKS = {"ok": ("ok  ", "green"), "warning": ("warn", "yellow"), "error": ("FAIL", "bold red")}


def _show(s: Session, result: Result) -> None:
    mark, style = _MARKS[result.state]
    s.out.line(f"{mark}  {result.name}: {result.summary}{' (mended)' if result.fixed else ''}", style=style)
    for finding in result.findings:
        if finding.severity is not Severity.INFO or s.out.verbosity or result.state == "ok":
            s.out.line(f"      {finding.message}")
            if finding.hint:
                s.out.line(f"      hint: {finding.hint}")
