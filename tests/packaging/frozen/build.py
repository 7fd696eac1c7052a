"""How the wheel beside this file was made; it is kept as it is, and this is here to be read, or to make the next one.

    git archive 702e637 | tar x -C /tmp/oldest
    PYTHONPATH=/tmp/oldest/core/src python build.py /tmp/frozen     # with core's dependencies and `build` at hand

One distribution of everything that `manor plugin new` wrote on that day, with the hooks that it has no kind for.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from manor.authoring import KINDS, new_plugin

PROJECT = """
[build-system]
requires = ["hatchling>=1.25"]
build-backend = "hatchling.build"

[project]
name = "manor-frozen"
version = "0.1.0"
description = "Plugins of the oldest API that is supported."
requires-python = ">=3.11"
license = "MIT"
dependencies = ["manor>=0.1,<0.2", "pydantic>=2.9"]

[project.entry-points."manor.plugins.v1"]
{points}

[tool.hatch.build.targets.wheel]
only-include = ["src"]
sources = ["src"]
"""

MORE = '''"""The hooks that no kind of new plugin has: reviews, events, a command group and a check of the machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import typer

from manor.api import (
    Alarm,
    CallContext,
    CliCommand,
    DoctorCheck,
    Finding,
    OperationEvent,
    Plan,
    ServiceView,
    Severity,
    Verb,
    hookimpl,
)

HEARD: list[str] = []
app = typer.Typer()


@app.command()
def greet() -> None:
    """Say hello."""
    print("hello from the past")


@app.command()
def again() -> None:
    """A second one."""


def _check(ctx: CallContext) -> Iterable[Finding]:
    ctx.check("looking")
    yield Finding(severity=Severity.INFO, code="frozen-well", message="all is as it was")


@hookimpl
def manor_cli_commands() -> Iterable[CliCommand]:
    yield CliCommand(name="frozen", help="From the past.", target="manor_frozen_more:app")


@hookimpl
def manor_doctor_checks() -> Iterable[DoctorCheck]:
    yield DoctorCheck(name="frozen", summary="The past", check=_check)


@hookimpl
def manor_review_descriptor(descriptor: Mapping[str, Any]) -> Iterable[Finding]:
    if not descriptor.get("provider"):
        yield Finding(severity=Severity.WARNING, code="no-provider", message="nobody made this")


@hookimpl
def manor_review_plan(plan: Plan, service: ServiceView) -> Iterable[Finding]:
    if service.name == "forbidden" and any(step.verb is Verb.ENSURE for step in plan.steps):
        yield Finding(severity=Severity.ERROR, code="forbidden", message=f"{plan.operation} is refused", hint="rename")


@hookimpl
def manor_operation_event(event: OperationEvent) -> None:
    HEARD.append(f"{event.operation} {event.state}")


@hookimpl
def manor_alarm_event(event: Alarm) -> None:
    HEARD.append(f"{event.perceived_severity} {event.probable_cause}")
'''


def main(place: Path) -> None:
    """Write the distribution into ``place`` and build its wheel there."""
    points = []
    for kind in KINDS:
        root = new_plugin(kind, "frozen", place / "new")[0]
        (package,) = (root / "src").iterdir()
        shutil.copytree(package, place / "src" / package.name)
        points.append(f'{kind}-frozen = "{package.name}"')
    (place / "src/manor_frozen_more.py").write_text(MORE)
    points.append('frozen-more = "manor_frozen_more"')
    (place / "pyproject.toml").write_text(PROJECT.format(points="\n".join(points)))
    subprocess.run([sys.executable, "-m", "build", "--wheel", str(place)], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
