"""What the agent was told to keep true, on disk: one small file per program, so that a change costs one write.

With it the agent brings the switches back after its own death, or theirs, without anybody's help. Files are closed
to others and replaced atomically; a file that cannot be read is set aside and named in the log, never guessed at.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from manor.api import FlowProgram, FlowRule

__all__ = ["Store", "program_from_json", "program_to_json"]

_LOG = logging.getLogger("manor.sdn.store")
_ADAPTER: Any = None
_RULE = tuple(field.name for field in dataclasses.fields(FlowRule))


def program_to_json(program: FlowProgram) -> dict[str, Any]:
    """The program as JSON values."""
    # Field by field: dataclasses.asdict copies every value of every rule.
    return {
        **{field.name: getattr(program, field.name) for field in dataclasses.fields(program)},
        "rules": [{name: getattr(rule, name) for name in _RULE} for rule in program.rules],
        "groups": [dataclasses.asdict(group) for group in program.groups],
    }


def program_from_json(data: Any) -> FlowProgram:
    """Read and check what :func:`program_to_json` wrote. Raises ValueError on any other shape."""
    global _ADAPTER
    if _ADAPTER is None:
        from pydantic import TypeAdapter

        _ADAPTER = TypeAdapter(FlowProgram)
    program: FlowProgram = _ADAPTER.validate_python(data)
    return program


class Store:
    """Programs by cookie, and the agent's settings."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "programs"
        self._settings = directory / "settings.json"
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def programs(self) -> Iterator[tuple[int, FlowProgram]]:
        """Every stored program with the compiler version that made it."""
        for path in sorted(self._directory.glob("*.json")):
            try:
                data = json.loads(path.read_bytes())
                yield int(data["compiler"]), program_from_json(data["program"])
            except (ValueError, KeyError, TypeError) as error:
                aside = path.with_suffix(".unreadable")
                path.replace(aside)
                _LOG.error("stored program cannot be read, set aside as %s: %s", aside, error)

    def put(self, number: int, compiler: int, program: FlowProgram) -> None:
        """Keep a program; on return it is on the disk."""
        _replace(self._path(number), {"compiler": compiler, "program": program_to_json(program)})

    def drop(self, number: int) -> None:
        """Forget a program; on return it is gone from the disk."""
        self._path(number).unlink(missing_ok=True)
        _sync_directory(self._directory)

    def settings(self) -> dict[str, Any]:
        """The agent's settings; empty when there are none yet."""
        try:
            data = json.loads(self._settings.read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            _LOG.error("%s cannot be read: %s", self._settings, error)
            return {}
        return data if isinstance(data, dict) else {}

    def put_settings(self, settings: Mapping[str, Any]) -> None:
        """Keep the agent's settings."""
        _replace(self._settings, settings)

    def _path(self, number: int) -> Path:
        return self._directory / f"{number:016x}.json"


def _replace(path: Path, value: Mapping[str, Any]) -> None:
    draft = path.with_suffix(".new")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(json.dumps(value, separators=(",", ":")))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
