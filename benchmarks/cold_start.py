"""How long a person waits for the command line: ``--help`` and a listing, from a cold process."""

import os
import sys
import tempfile
from pathlib import Path

from figure import fastest_s, report

MANOR = str(Path(sys.executable).parent / "manor")


def main() -> None:
    """Wall times, and their ratio to an empty Python process in the same run."""
    nothing = fastest_s([sys.executable, "-c", "pass"])
    with tempfile.TemporaryDirectory() as home:
        env = {**os.environ, "MANOR_HOME": home}
        fastest_s([MANOR, "db", "upgrade"], runs=1, env=env)
        for name, argv, target in (("help", ["--help"], 0.15), ("ns-list", ["ns", "list"], 0.40)):
            took = fastest_s([MANOR, *argv], env=env)
            report(f"cold-start-{name}", took, "s", target, ratio_to_python=round(took / nothing, 1))
