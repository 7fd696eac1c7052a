"""``manor serve`` and other commands as processes of their own, on homes that share a database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

__all__ = ["Node", "at_once", "until"]

MANOR = str(Path(sys.executable).parent / "manor")
PATIENCE_S = 240.0


class Node:
    """A server on a home, which others may share."""

    def __init__(self, home: Path, url: str, name: str) -> None:
        self.home = home
        self.log = home.parent / f"{name}.log"
        self.env = {**os.environ, "MANOR_HOME": str(home), "MANOR_DB": url}
        self.served: subprocess.Popen[bytes] | None = None

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """Begin a command."""
        pipe = subprocess.PIPE
        argv = (MANOR, "--json", *argv)
        return subprocess.Popen(argv, env=self.env, stdout=pipe, stderr=pipe, stdin=subprocess.DEVNULL, text=True)

    def manor(self, *argv: str) -> Any:
        """Run a command; its answer."""
        (said,) = at_once(self.start(*argv))
        return json.loads(said) if said.strip() else None

    def serve(self) -> None:
        """Start the server, and wait until it says that it serves."""
        with self.log.open("wb") as file:
            self.served = subprocess.Popen(
                [MANOR, "serve"], env=self.env, stdout=file, stderr=file, stdin=subprocess.DEVNULL
            )

        def is_serving() -> bool:
            assert self.served is not None
            assert self.served.poll() is None, self.log.read_text()
            return "serving" in self.log.read_text()

        until(f"{self.log.name}: it serves", is_serving)

    @property
    def pid(self) -> int:
        """The server's; -1 where it runs no more."""
        return self.served.pid if self.served is not None else -1

    def stop(self, number: int) -> None:
        """End it, however it takes it."""
        if self.served is not None:
            self.served.send_signal(number)
            self.served.wait(PATIENCE_S)
            self.served = None


def at_once(*commands: subprocess.Popen[str]) -> list[str]:
    """What commands that run beside each other said; each must succeed."""
    said = [command.communicate(timeout=PATIENCE_S) for command in commands]
    for command, (_, error) in zip(commands, said, strict=True):
        assert command.returncode == 0, error
    return [out for out, _ in said]


def until(what: str, so: Any) -> Any:
    """Wait until it is so."""
    end_s = time.monotonic() + PATIENCE_S
    while not (found := so()):
        assert time.monotonic() < end_s, what
        time.sleep(0.1)
    return found
