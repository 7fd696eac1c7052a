"""Settings from the command line and from files: ``-o key=value`` over a YAML mapping, typed as YAML does."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from manor.cli.find import pairs
from manor.errors import UsageError

__all__ = ["redacted", "secrets", "settings"]

_SECRET = re.compile(r"pass|secret|token|credential|private|key$", re.IGNORECASE)


def settings(config: Path | None, options: Iterable[str], *, option: str = "-o") -> dict[str, Any]:
    """The file's mapping with the options laid over it; a dot in a key goes one level down.

    ``option`` is what the command calls them.

    Raises UsageError for a file that cannot be read, is no mapping, or an option that is no ``key=value``.
    """
    import yaml

    found: dict[str, Any] = {}
    if config is not None:
        try:
            loaded = yaml.safe_load(config.read_text())
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise UsageError(f"cannot read {config}: {reason}", hint="give a YAML file") from error
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
            raise UsageError(f"{config}{where}: {getattr(error, 'problem', None) or 'not YAML'}") from error
        if loaded is not None and not isinstance(loaded, dict):
            raise UsageError(f"{config} holds a {type(loaded).__name__}, not settings", hint="write key: value lines")
        found = loaded or {}
    for key, text in pairs(options, option=option).items():
        *path, last = key.split(".")
        place: dict[str, Any] = found
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise UsageError(f"{option} {key}: {part} is a value already", hint="give it once")
        try:
            place[last] = yaml.safe_load(text) if text else ""
        except yaml.YAMLError:
            place[last] = text
    return found


def secrets(given: Iterable[str]) -> dict[str, str]:
    """Parameters whose values are in files, from ``key=file``: a token for each. Raises UsageError for a bad file."""
    from manor.secrets import token_of

    return {key: token_of(path) for key, path in pairs(given, option="--secret").items()}


def redacted(config: Any) -> Any:
    """The settings for showing, what looks like a secret hidden."""
    if isinstance(config, Mapping):
        return {
            key: "***" if isinstance(value, (str, int)) and value and _SECRET.search(str(key)) else redacted(value)
            for key, value in config.items()
        }
    if isinstance(config, (list, tuple)):
        return [redacted(item) for item in config]
    return config
