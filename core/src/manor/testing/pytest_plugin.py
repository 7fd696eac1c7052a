"""Opt in with ``pytest_plugins = ["manor.testing.pytest_plugin"]`` in the top ``conftest.py``.

``pytest --manor-report out.json`` then writes one entry a kit test, with outcome and reason, to be published as a
compliance table. A kit test that is skipped, or expected to fail, without a stated reason fails.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

_NO_REASON = ("", "unconditional skip")
_REMEDY = "say why, best in the deviations of its class"
_RESULTS = pytest.StashKey[dict[str, dict[str, str]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--manor-report``."""
    parser.getgroup("manor").addoption(
        "--manor-report", metavar="PATH", default="", help="write the conformance kit's results as JSON"
    )


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Note what became of each kit test."""
    outcome = yield
    cls = _kit_class(item)
    report: pytest.TestReport = outcome.get_result()
    if cls is None or not (report.when == "call" or report.outcome != "passed"):
        return
    reason = getattr(report, "wasxfail", "") or (str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else "")
    if report.skipped and reason.removeprefix("Skipped").strip(": ") in _NO_REASON:
        report.outcome, report.longrepr = "failed", f"{item.name} is left out without a reason: {_REMEDY}"
        vars(report).pop("wasxfail", None)
    item.config.stash.setdefault(_RESULTS, {})[item.nodeid] = {
        "class": cls.__name__,
        "kit": next(base.__name__ for base in cls.__mro__ if base.__module__.startswith("manor.testing.")),
        "test": item.name,
        "outcome": "deviation" if hasattr(report, "wasxfail") else report.outcome,
        "reason": reason,
    }


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the report."""
    path = session.config.getoption("--manor-report", default="")
    if path:
        from importlib.metadata import version

        results = list(session.config.stash.get(_RESULTS, {}).values())
        Path(path).write_text(json.dumps({"kit": version("manor"), "results": results}, indent=2) + "\n")


def _kit_class(item: pytest.Item) -> type | None:
    from manor.testing.conformance import Conformance

    cls = getattr(item, "cls", None)
    return cls if isinstance(cls, type) and issubclass(cls, Conformance) else None
