"""Secrets are files that only we can read. What is stored and shown is the path; the content is read for one call.

A parameter that is a secret has the value ``@secret:<path>@``, a token that stands in plans, steps and the database
wherever the parameter is used. Only tokens that the operator gave are ever replaced: a package that writes one of its
own gets no file of ours.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from manor.errors import UsageError

__all__ = ["hide", "read_secret", "tokens_in", "token_of", "with_texts"]

_TOKEN = re.compile(r"@secret:/[^@\s\"\\]+@")
_MOST_BYTES = 64 << 10
_LEAST_LINE, _LEAST_START = 8, 4
"""Characters of a line of a secret, or of the start of one, that are worth hiding."""


def token_of(path: str) -> str:
    """What stands for the secret in this file. Raises UsageError where it cannot be read or others can read it too."""
    path = os.path.abspath(path)
    token = f"@secret:{path}@"
    if not _TOKEN.fullmatch(token):
        raise UsageError(f"{path!r} is no name for a secret's file", hint="without spaces, quotes and @")
    read_secret(path)
    return token


def tokens_in(*values: Any) -> frozenset[str]:
    """Every token in these JSON values, however deep."""
    found: set[str] = set()
    for value in values:
        if isinstance(value, str):
            found.update(_TOKEN.findall(value))
        elif isinstance(value, Mapping):
            found |= tokens_in(*value.values())
        elif isinstance(value, Iterable):
            found |= tokens_in(*value)
    return frozenset(found)


def with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """The JSON value with every text in it changed so, however deep; keys stay as they are."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: with_texts(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [with_texts(item, change) for item in value]
    return value


def read_secret(path: str) -> str:
    """A secret, without blanks around it. Raises UsageError where it cannot be read, is empty, or open to others."""
    path = path.removeprefix("@secret:").removesuffix("@")
    try:
        with open(path, encoding="utf-8") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(_MOST_BYTES).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise UsageError(f"cannot read the secret {path}: {reason}", hint="check the file") from error
    if mode & 0o077:
        raise UsageError(f"the secret {path} is open to others (mode {mode:o})", hint=f"chmod 600 {path}")
    if not text:
        raise UsageError(f"the secret {path} is empty", hint=f"write it to {path}")
    return text


def hide(text: str, secrets: Iterable[str]) -> str:
    """The text without the secrets in it, nor a line of one, nor the start of one that the text's end cuts off.

    Also as who repeats it may write it: quoted for a shell, as JSON or by Python, with its blanks folded, or two of it.
    """
    plain = {part for secret in secrets for part in (secret, *_long_lines(secret))}
    parts = {form for part in plain for once in _forms(part) for form in _forms(once)}
    for part in sorted(parts, key=len, reverse=True):
        text = text.replace(part, "***")
    for part in parts:
        cut = next((n for n in range(len(part) - 1, _LEAST_START - 1, -1) if text.endswith(part[:n])), 0)
        text = f"{text[:-cut]}***" if cut else text
    return text


def _forms(part: str) -> Iterable[str]:
    return (part, shlex.quote(part), json.dumps(part)[1:-1], repr(part)[1:-1], " ".join(part.split()))


def _long_lines(secret: str) -> Iterable[str]:
    """Its lines that say something by themselves."""
    return (line for line in map(str.strip, secret.splitlines()) if len(line) >= _LEAST_LINE)
