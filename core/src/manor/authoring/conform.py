"""``manor plugin conform``: the conformance kit against what is really there, under an owner tag of its own.

pytest runs in a process of its own, on a test module written for the occasion, so that neither the kit nor pytest is
part of the product. What the kit makes carries the owner tag ``manor/conform-…``, which no installation has.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from manor.authoring.generate import KINDS
from manor.errors import PluginError, UsageError
from manor.plugin import Plugins
from manor.plugin.connecting import validated

__all__ = ["Report", "conform"]


_FIXTURES = {"vnfm": "manager", "telemetry": "source"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What became of each test."""

    kind: str
    name: str
    provenance: str
    """Distribution and version of the plugin."""
    kit: str
    """Version of the kit, which is core's."""
    owner: str
    """The disposable owner tag."""
    results: tuple[Mapping[str, str], ...]
    """Class, kit, test, outcome (passed, failed, skipped, deviation) and reason of each."""

    @property
    def counts(self) -> Mapping[str, int]:
        """How many came out how."""
        return Counter(result["outcome"] for result in self.results)

    @property
    def ok(self) -> bool:
        """Whether something ran and nothing failed."""
        return self.counts["failed"] == 0 and self.counts["passed"] > 0

    def to_json(self) -> dict[str, Any]:
        """The report as it is saved and printed."""
        fields = {name: getattr(self, name) for name in ("kind", "name", "provenance", "kit", "owner")}
        return {**fields, "ok": self.ok, "counts": dict(self.counts), "results": [dict(r) for r in self.results]}


def conform(
    kind: str, name: str, *, config: Mapping[str, Any], specs: Mapping[str, Any], say: IO[str], only: str = ""
) -> Report:
    """Run the kit of ``kind`` on the driver ``name``. pytest's own words go to ``say``.

    ``specs`` are fields of the kit's specs, as ``host`` and ``kernel``; ``only`` is pytest's ``-k``. Raises UsageError
    where there is no kit or the settings are wrong, PluginError where the driver or the test tools are not there.
    """
    if kind not in KINDS:
        raise UsageError(f"there is no conformance kit for the kind {kind!r}", hint=f"kits: {', '.join(KINDS)}")
    missing = [tool for tool in ("pytest", "hypothesis") if find_spec(tool) is None]
    if missing:
        raise PluginError(f"the conformance kit needs {' and '.join(missing)}", hint="pip install 'manor[testing]'")
    provided = Plugins().choose(KINDS[kind].hook, name)
    if hasattr(provided.record, "config"):
        validated(provided, config)
    elif config:
        raise UsageError(f"{name} takes no settings", hint="leave out -o and --config")
    owner = f"manor/conform-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory(prefix="manor-conform-") as temporary:
        place = Path(temporary)
        given = {"name": name, "config": dict(config), "specs": dict(specs), "owner": owner}
        # Settings may hold secrets: the folder is ours alone, and goes with everything in it.
        (place / "given.json").write_text(json.dumps(given, default=str))
        (place / "test_live.py").write_text(_test_module(kind))
        (place / "pytest.ini").write_text("[pytest]\n")
        told = _run(place, say, only)
    return Report(
        kind=kind,
        name=name,
        provenance=provided.provenance,
        kit=told["kit"],
        owner=owner,
        results=tuple(told["results"]),
    )


def _test_module(kind: str) -> str:
    import jinja2

    known = KINDS[kind]
    template = "connected.py.j2" if known.maker == "connect" else "created.py.j2"
    text = (resources.files("manor.authoring") / "live" / template).read_text(encoding="utf-8")
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701 - it writes Python from our own names, no HTML
    )
    values = {
        "kind": kind,
        "kit": known.kit,
        "hook": known.hook,
        "specs": known.specs,
        "fixture": _FIXTURES.get(kind, "driver"),
    }
    return environment.from_string(text).render(values)


def _run(place: Path, say: IO[str], only: str) -> dict[str, Any]:
    report = place / "report.json"
    argv = [sys.executable, "-m", "pytest", "-q", "-rs", "--tb=short", "-p", "manor.testing.pytest_plugin"]
    argv += ["-p", "no:cacheprovider", f"--manor-report={report}", *(["-k", only] if only else []), str(place)]
    environment = {**os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": str(place / "hypothesis")}
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=place, env=environment
    ) as process:
        for line in process.stdout or ():
            say.write(line)
    if not report.exists():
        raise PluginError(
            f"the kit could not run: pytest ended with {process.returncode}", hint="read what it said above"
        )
    told: dict[str, Any] = json.loads(report.read_text())
    return told
