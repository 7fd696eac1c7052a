"""The agent's protocol: one JSON object a line over a Unix socket that only its owner may open.

A request is ``{"v": 2, "verb": …, "timeout_s": …, "args": {…}}``; the answer ``{"v": 2, "ok": true, "result": …}`` or
``{"v": 2, "ok": false, "error": <class of manor.errors>, "message": …, "hint": …, "more": {…}}``. Lines are bounded.
A message in another version is refused by name, so that no driver misreads an agent of another release; what
:class:`WrongVersion` carries lets the driver say which side is the older one.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from manor import errors

__all__ = [
    "LINE_MAX_BYTES",
    "VERSION",
    "WrongVersion",
    "at_path",
    "connect",
    "decode",
    "encode",
    "failure",
    "raise_failure",
    "read_line",
]

VERSION = 2
LINE_MAX_BYTES = 64 * 1024 * 1024
_PATH_MAX = 100
_EXTRA = ("capability", "replace", "fields", "retry_after_s", "hosts")


class WrongVersion(ValueError):
    """A message of another protocol version, which ``theirs`` gives where it is a number."""

    def __init__(self, theirs: Any) -> None:
        super().__init__(f"protocol version {theirs!r}, not {VERSION}")
        self.theirs = theirs if isinstance(theirs, int) else -1


def encode(message: Mapping[str, Any]) -> bytes:
    """One line."""
    return json.dumps({"v": VERSION, **message}, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """Read one line. Raises ValueError on what is no message, WrongVersion on one of another version."""
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError("not a message")
    if message.get("v") != VERSION:
        raise WrongVersion(message.get("v"))
    return message


def read_line(file: Any) -> bytes:
    """The next line, empty at the end. Raises ValueError when it is longer than allowed."""
    line: bytes = file.readline(LINE_MAX_BYTES + 1)
    if len(line) > LINE_MAX_BYTES:
        raise ValueError(f"a message of more than {LINE_MAX_BYTES} bytes")
    return line


def failure(error: errors.ManorError) -> dict[str, Any]:
    """An error as an answer."""
    more = {name: getattr(error, name) for name in _EXTRA if hasattr(error, name)}
    return {"ok": False, "error": type(error).__name__, "message": error.message, "hint": error.hint, "more": more}


def raise_failure(answer: Mapping[str, Any]) -> None:
    """Raise the error that an answer tells of."""
    cls = getattr(errors, str(answer.get("error")), None)
    if not (isinstance(cls, type) and issubclass(cls, errors.DriverError)):
        cls = errors.Indeterminate
    given = answer.get("more") if isinstance(answer.get("more"), dict) else {}
    more = {name: value for name, value in (given or {}).items() if name in _EXTRA}
    if cls is errors.Unreachable:
        more.setdefault("hosts", {})
    raise cls(str(answer.get("message", "")), hint=str(answer.get("hint", "")), **more)


@contextlib.contextmanager
def at_path(path: Path) -> Iterator[str]:
    """An address for a Unix socket at ``path``, also where the path is longer than a socket's may be."""
    if len(os.fsencode(path)) <= _PATH_MAX:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def connect(path: Path, timeout_s: float) -> socket.socket:
    """A connection to the agent. Raises OSError."""
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connected.settimeout(timeout_s)
    try:
        with at_path(path) as address:
            connected.connect(address)
    except OSError:
        connected.close()
        raise
    return connected
