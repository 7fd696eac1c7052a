"""What importing a plugin costs and does, found out in a process of its own; and what its code imports of Manor."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from manor.api import deprecations
from manor.errors import PluginError

__all__ = ["HEAVY", "IMPORT_BUDGET_S", "SHOWN", "Probe", "deprecated_uses", "probe", "wrong_imports"]

_DATABASES = {"dbos", "sqlalchemy", "sqlmodel"}
_PLATFORMS = {"eventlet", "libvirt", "os_ken", "ovs", "ryu"}
_NUMBERS = {"numpy", "pandas", "river", "scipy", "sklearn"}
HEAVY = frozenset(_DATABASES | _PLATFORMS | _NUMBERS | {"typer"})
"""What no plugin may load before it is used."""

IMPORT_BUDGET_S = 0.2
"""CPU seconds that importing a plugin may take beside ``manor.api`` and pydantic."""

SHOWN = frozenset({"manor.api", "manor.errors"})
"""What a plugin's code may import of Manor."""

_SCRIPT = """
import sys, json, threading, time
import manor.api
from pydantic import BaseModel
written = []
def audit(event, args):
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        written.append(str(args[0]))
    elif event in ("os.mkdir", "os.remove", "os.rename", "socket.connect", "subprocess.Popen"):
        written.append(event + " " + str(args[0]))
sys.addaudithook(audit)
sys.dont_write_bytecode = True
before = set(sys.modules)
threads = threading.active_count()
started = time.process_time()
__import__(sys.argv[1])
print(json.dumps({
    "seconds": time.process_time() - started,
    "loaded": sorted({name.partition(".")[0] for name in set(sys.modules) - before}),
    "threads": threading.active_count() - threads,
    "written": written,
}))
"""
_TIMEOUT_S = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """One import."""

    seconds: float
    """CPU time."""
    loaded: tuple[str, ...]
    """Top-level packages that came with it."""
    threads: int
    """Threads that it started."""
    written: tuple[str, ...]
    """Files, connections and processes that it opened."""

    @property
    def heavy(self) -> tuple[str, ...]:
        """What should have waited until it is needed."""
        return tuple(sorted(HEAVY & set(self.loaded)))


def probe(module: str, *, tries: int = 1, path: Iterable[Path] = ()) -> Probe:
    """Import ``module`` in a fresh process, ``path`` before all else on its search path; of ``tries`` the quickest.

    Raises PluginError where it cannot be imported.
    """
    places = [*map(str, path), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}
    found = []
    for _ in range(tries):
        try:
            done = subprocess.run(  # noqa: S603 - our own interpreter and script; the name is an argument
                [sys.executable, "-c", _SCRIPT, module],
                capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, env=environment,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise PluginError(f"importing {module} takes longer than {_TIMEOUT_S} s") from error
        if done.returncode != 0:
            last = (done.stderr.strip() or f"exit {done.returncode}").splitlines()[-1]
            raise PluginError(f"cannot import {module}: {last}", hint=f"python -c 'import {module}'")
        told = json.loads(done.stdout.splitlines()[-1])
        found.append(
            Probe(
                seconds=told["seconds"],
                loaded=tuple(told["loaded"]),
                threads=told["threads"],
                written=tuple(told["written"]),
            )
        )
    return min(found, key=lambda one: one.seconds)


def wrong_imports(files: Iterable[Path], shown: frozenset[str] = SHOWN) -> list[str]:
    """``file:line module`` of every import from Manor that is not shown to plugins."""
    return [
        f"{path.name}:{line} {name}"
        for path in files
        for line, name in _imports(path)
        if name.split(".")[0] == "manor" and not any(f"{name}.".startswith(f"{ok}.") for ok in shown)
    ]


def deprecated_uses(files: Iterable[Path]) -> list[str]:
    """``file:line`` with what is said of every deprecated hook, or name of ``manor.api``, that the files use."""
    return [
        f"{path.name}:{line}: {known}"
        for path in files
        for line, name in _names(path)
        if (known := deprecations.find(name)) is not None
    ]


def _names(path: Path) -> Iterator[tuple[int, str]]:
    """Names imported from ``manor.api``, taken from it as attributes, and functions defined, with their lines."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module == "manor.api":
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("api", "manor.api"):
            yield node.lineno, node.attr
        elif isinstance(node, ast.FunctionDef):
            yield node.lineno, node.name


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every module that a file imports from, with its line; ``from manor import x`` counts as ``manor.x``."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names = [f"manor.{alias.name}" for alias in node.names] if node.module == "manor" else [node.module]
            yield from ((node.lineno, name) for name in names)
