"""``manor`` as a user has it, in this process or as one of its own."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manor.cli import main

COMMAND = "import sys; from manor.cli import main; sys.exit(main(sys.argv[1:]))"


@dataclass
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Stdout, which must be one JSON document."""
        return json.loads(self.out)


@dataclass
class Cli:
    """``manor`` as a user has it."""

    home: Path
    capture: Callable[[], Any]

    def __call__(self, *args: str) -> Done:
        """Run it in this process, with every error that would end it shown as it would be."""
        self.capture()
        code = main(args)
        said = self.capture()
        assert "Traceback" not in said.err
        return Done(code, said.out, said.err)

    def good(self, *args: str) -> Done:
        """Run it; it must succeed."""
        done = self(*args)
        assert done.code == 0, done.err
        return done

    def process(self, *args: str) -> subprocess.Popen[str]:
        """Run it as a process of its own, which heeds an interrupt also where this one was started to ignore it."""
        command = ["env", "--default-signal=INT", sys.executable, "-c", COMMAND, *args]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
