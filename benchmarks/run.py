"""Runs all benchmarks, or those named: ``python benchmarks/run.py [NAME …]``. Each figure is one JSON line."""

import importlib
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main(wanted: list[str]) -> None:
    """Every module beside this one with a ``main`` is a benchmark, named by its file with dashes."""
    sys.path.insert(0, str(HERE))
    known = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in ("run", "figure", "sample"))
    names = [name.replace("-", "_") for name in wanted] or known
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"no benchmark {unknown[0]}; there are: {', '.join(n.replace('_', '-') for n in known)}")
    for name in names:
        importlib.import_module(name).main()


if __name__ == "__main__":
    main(sys.argv[1:])
